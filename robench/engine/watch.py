"""How far a run is, wherever it is worked on: finished shards, and the journals of the others."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from robench.engine.rows import statuses
from robench.engine.run_folder import journal_path
from robench.engine.shard import Shard


class Watch:
    """Counts the cells of shards that others work on.

    Args:
        run: Folder of the run.
        shards: None of them is begun.

    Attributes:
        gpu_mem_mb: The most of an accelerator's memory that a cell took, 0 where it is not known.
    """

    def __init__(self, run: Path, shards: Sequence[Shard]) -> None:
        self._run = run
        self.gpu_mem_mb = 0.0
        self._read = {shard.number: 0 for shard in shards}
        self._seen: dict[int, Counter[str]] = {shard.number: Counter() for shard in shards}

    def finished(self, shard: int, found: Mapping[str, int]) -> Counter[str]:
        """Return what a finished shard has that was not counted yet, by status."""
        del self._read[shard]
        return Counter(dict(found)) - self._seen.pop(shard)

    def look(self) -> Counter[str]:
        """Return what was done since the last look, by status."""
        new: Counter[str] = Counter()
        for shard in self._read:
            found = self._lines(shard)
            self._seen[shard] += found
            new += found
        return new

    def _lines(self, shard: int) -> Counter[str]:
        """Return the cells in the whole lines that came to a journal; one that is gone is a part by now."""
        try:
            with open(journal_path(self._run, shard), "rb") as handle:
                handle.seek(self._read[shard])
                data = handle.read()
        except OSError:
            return Counter()
        whole = data[: data.rfind(b"\n") + 1]
        self._read[shard] += len(whole)
        cells = [json.loads(line) for line in whole.splitlines()]
        self.gpu_mem_mb = max([self.gpu_mem_mb, *(row.get("gpu_mem_mb") or 0.0 for rows in cells for row in rows)])
        return Counter(status for rows in cells for status in statuses(rows).values())
