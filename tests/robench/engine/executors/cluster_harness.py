"""What the tests of executors share: how to run the toys, and whether rows and processes are as they must be."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from robench.engine.rows import COST
from robench.engine.tasks import Options

TOYS = Path(__file__).parents[1] / "faults" / "toys"
KEY = ["sample_id", "corruption", "severity", "metric"]
PATIENCE_S = 240.0
"""Nothing here takes so long; a loaded machine is slow."""


@dataclass(frozen=True)
class World:
    """What the tests of one module share.

    Attributes:
        state: Where the toys count.
        options: Of a run of 15 cells in 3 shards, given a name for the folder to put it into.
        command: The same as a command.
        alone: The rows of a run by this process alone, without cost.
        mark: A variable in the environment of all processes that the module's tests start, and of nobody else.
    """

    state: Path
    options: Callable[..., Options]
    command: Callable[..., list[str]]
    alone: pd.DataFrame
    mark: str

    def run(self, out: str) -> Path:
        """Return the run in a folder."""
        (found,) = (path for path in self.options(out).out.iterdir() if path.is_dir())
        return found

    def assert_same(self, out: str) -> None:
        """Check that a run has the rows of the run alone."""
        pd.testing.assert_frame_equal(science(self.run(out)), self.alone)

    def opened(self) -> int:
        """Return in how many processes the model was opened so far."""
        return len(list(self.state.glob("model-*")))

    def processes(self) -> dict[int, str]:
        """Return the living processes with the mark, but this one and its tracker, with their command lines."""
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdecimal() and int(folder.name) != os.getpid():
                try:
                    words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                    ours = f"{self.mark}=".encode() in (folder / "environ").read_bytes()
                    if ours and words and "resource_tracker" not in words:
                        found[int(folder.name)] = words
                except OSError:  # it ended meanwhile
                    continue
        return found

    def start(self, out: str, *more: str) -> subprocess.Popen[str]:
        """Start a command."""
        words = self.command(out, *more)
        return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def science(folder: Path) -> pd.DataFrame:
    """Read a run's rows in order, without what may differ between two runs of the same work."""
    rows = pd.concat([pd.read_parquet(path) for path in sorted((folder / "rows").glob("*.parquet"))])
    return rows.sort_values(KEY).reset_index(drop=True).drop(columns=list(COST))


def wait_for(what: Callable[[], object]) -> None:
    """Wait until something is true."""
    deadline = time.monotonic() + PATIENCE_S
    while not what():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)


def cells_done(out: Path) -> dict[str, int]:
    """Return how many cells the journals of a run have that is being made in a folder."""
    return {path.name: path.read_bytes().count(b"\n") for path in out.glob("*/rows/*.wip.jsonl")}
