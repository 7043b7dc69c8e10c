"""The folder of a run: what it is, what is done, what happened. Everything in it survives a crash."""

from __future__ import annotations

import contextlib
import datetime
import json
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import robench
from robench.engine.cset import Key
from robench.engine.journal import Journal, only_writer, read_lines
from robench.engine.protocol import SCHEMA_VERSION, Identity
from robench.engine.rows import read_cells, statuses, write_rows
from robench.errors import NotComparable
from robench.io.files import explained, make_folder, read_json, write_json_atomic

RUN, EVENTS, ROWS = "run.json", "events.jsonl", "rows"
_MADE_HERE = (ROWS, "examples", "meshes", "report")
_PACKAGES = ("numpy", "torch", "warp-lang", "scikit-image", "opencv-python", "onnxruntime", "rembg", "pandas")


class RunFolder:
    """A run on disk; made by `open_run`.

    Attributes:
        path: ``runs/<run_id>``.
        identity: What the run is.
        done: Finished cells and how they ended.
        shard: Number of the part that is being written.
    """

    def __init__(self, path: Path, identity: Identity) -> None:
        self.path, self.identity = path, identity
        self.done: dict[Key, str] = {}
        make_folder(path / ROWS)
        parts = {int(p.stem.removeprefix("part-")): p for p in (path / ROWS).glob("part-*.parquet")}
        for part in parts.values():
            self.done |= read_cells(part)
            # A crash between writing a part and removing its journal leaves both; the part counts.
            self._journal_path(int(part.stem.removeprefix("part-"))).unlink(missing_ok=True)
        self.shard = max(parts, default=-1) + 1
        self.done |= statuses(self._journal_rows())
        self._journal: Journal | None = None

    def _journal_path(self, shard: int) -> Path:
        return self.path / ROWS / f"part-{shard:04d}.wip.jsonl"

    def _journal_rows(self) -> list[Mapping[str, Any]]:
        return [row for line in read_lines(self._journal_path(self.shard)) for row in line]

    def append(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> None:
        """Store the rows of one finished cell: one flushed line."""
        if self._journal is None:
            self._journal = Journal(self._journal_path(self.shard))
        self._journal.append(list(rows))
        self.done |= {key: statuses(rows)[key]}

    def event(self, name: str, /, **facts: Any) -> None:
        """Add a line to ``events.jsonl``; the only place with times in it."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        with explained(self.path / EVENTS), open(self.path / EVENTS, "a", encoding="utf-8") as handle:
            handle.write(json.dumps({"time": now, "event": name, **facts}, ensure_ascii=False, default=str) + "\n")

    def describe(self, **facts: Any) -> None:
        """Write ``run.json``: the identity, and what else is worth knowing."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.path.name,
            **self.identity.to_json(),
            "versions": versions(),
            **facts,
        }
        write_json_atomic(self.path / RUN, content)

    def finish(self) -> None:
        """Turn the journal into a part."""
        rows = self._journal_rows()
        self.close()
        if rows:
            write_rows(self.path / ROWS / f"part-{self.shard:04d}.parquet", rows)
            self._journal_path(self.shard).unlink()
            self.shard += 1

    def close(self) -> None:
        """Close the journal; it stays for the next time."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None


@contextlib.contextmanager
def open_run(out: Path, identity: Identity, *, fresh: bool = False) -> Iterator[RunFolder]:
    """Open the folder of a run and hold it; what is done in it is kept unless `fresh`.

    Raises:
        UsageError: If another process writes it, or it cannot be written.
        EnvironmentNotReady: If the disk is full or read-only.
        NotComparable: If the folder belongs to something else.
        Mismatch: If its rows are damaged.
    """
    path = out / identity.run_id
    with only_writer(path, "the run"):
        if (path / RUN).is_file():
            stored = read_json(path / RUN)
            ours = identity.to_json()
            wrong = [name for name in ours if stored.get(name) != json.loads(json.dumps(ours[name]))]
            if wrong:
                raise NotComparable(f"{path} is another run", got=f"another {wrong[0]}", hint="--out another folder")
        if fresh:
            for name in _MADE_HERE:
                shutil.rmtree(path / name, ignore_errors=True)
        run = RunFolder(path, identity)
        try:
            yield run
        finally:
            run.close()


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"robench": robench.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
