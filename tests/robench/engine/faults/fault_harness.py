"""Commands that are killed: who of them is alive, what they left behind, and whether their rows are right."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from robench.engine.journal import is_written
from robench.engine.rows import COLUMNS, COST
from robench.io.files import TEMP_PREFIX

TOYS = Path(__file__).with_name("toys")
KEY = ["sample_id", "corruption", "severity", "metric"]
MARK = "FAULT_HARNESS_MARK"
PATIENCE_S = 120.0
"""Nothing here takes so long; a loaded machine is slow."""


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


class Commands:
    """Starts ``robench`` with a mark in its environment that all its descendants inherit.

    Args:
        folder: For outputs and the toys' state.
        environment: What else to set.
    """

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.folder, self.state = folder, folder / "state"
        self.state.mkdir(parents=True, exist_ok=True)
        self.mark = secrets.token_hex(8)
        self.environment = {
            **os.environ,
            MARK: self.mark,
            "PYTHONPATH": str(TOYS),
            "TOY_STATE": str(self.state),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "200",
            **(environment or {}),
        }

    def start(self, *arguments: object, **changes: str) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own; its output goes to files."""
        words = [sys.executable, "-m", "robench", *map(str, arguments)]
        with open(self.folder / "out", "wb") as out, open(self.folder / "err", "wb") as err:
            env = self.environment | changes
            return subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=env, start_new_session=True
            )

    def done(self, head: subprocess.Popen[bytes]) -> Done:
        """Wait for the end of a command."""
        try:
            code = head.wait(PATIENCE_S)
        finally:
            if head.poll() is None:
                self.kill_all()
        return Done(code, *((self.folder / name).read_text(errors="replace") for name in ("out", "err")))

    def run(self, *arguments: object, **changes: str) -> Done:
        """Run a command to its end."""
        return self.done(self.start(*arguments, **changes))

    def alive(self) -> dict[int, str]:
        """Return the marked processes: ``head``, ``model`` (open), ``worker`` (all other children) or ``tracker``."""
        found: dict[int, str] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal():
                continue
            with contextlib.suppress(OSError):
                if f"{MARK}={self.mark}".encode() not in (folder / "environ").read_bytes():
                    continue
                words = (folder / "cmdline").read_bytes()
                if words and int(folder.name) != os.getpid():  # a zombie has none
                    found[int(folder.name)] = self._role(int(folder.name), words)
        return found

    def _role(self, pid: int, words: bytes) -> str:
        if b"resource_tracker" in words:
            return "tracker"
        if b"multiprocessing" not in words:
            return "head"
        return "model" if (self.state / f"model-{pid}").exists() else "worker"

    def kill_all(self) -> None:
        """Kill every marked process, the youngest last, until none is left."""
        while pids := sorted(self.alive()):
            for pid in pids:
                with contextlib.suppress(OSError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.01)

    def leftover(self, within_s: float = 10.0) -> dict[int, str]:
        """Return the processes that are still there after a while; killed by then."""
        deadline = time.monotonic() + within_s
        while (left := self._strangers()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            self.kill_all()
        return left

    def _strangers(self) -> dict[int, str]:
        """Return the marked processes but the tracker of this one, which lives as long as this one."""
        return {p: role for p, role in self.alive().items() if role != "tracker" or parent(p) != os.getpid()}

    def count(self, name: str) -> int:
        """Return how often the toys counted something."""
        path = self.state / name
        return path.stat().st_size if path.exists() else 0


def parent(pid: int) -> int:
    """Return the parent's id of a process, or 0."""
    with contextlib.suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


def run_folder(out: Path) -> Path:
    """Return the only run in a folder."""
    folders = [path for path in out.iterdir() if path.is_dir()]
    assert len(folders) == 1, folders
    return folders[0]


def science(run: Path) -> pd.DataFrame:
    """Return all rows of a run, sorted, without the columns that may differ between two runs of the same work."""
    rows = pd.concat([pd.read_parquet(path) for path in sorted((run / "rows").glob("part-*.parquet"))])
    assert list(rows.columns) == list(COLUMNS)
    assert not rows.duplicated(["run_id", *KEY, "masker"]).any()
    return rows.drop(columns=list(COST)).sort_values(KEY).reset_index(drop=True)


def assert_same(run: Path, undisturbed: Path) -> None:
    """Check that two runs have exactly the same rows."""
    pd.testing.assert_frame_equal(science(run), science(undisturbed), check_exact=True)


def assert_tidy(run: Path) -> None:
    """Check that a finished run has no lock, no journal and no temporary file."""
    assert not is_written(run)
    assert [path.name for path in run.rglob(f"{TEMP_PREFIX}*")] == []
    assert [path.name for path in (run / "rows").iterdir() if path.suffix != ".parquet"] == []


@dataclass
class Killings:
    """What a chaotic run went through."""

    kills: dict[str, int]
    starts: int = 0
    clean_stops: int = 0

    @property
    def total(self) -> int:
        """Processes that were killed; everybody at once counts once."""
        return sum(self.kills.values())


def chaos(
    commands: Commands,
    arguments: Sequence[object],
    rng: np.random.Generator,
    wanted: Mapping[str, int],
    pause_s: tuple[float, float],
) -> Killings:
    """Run a command, kill at random moments, and run it again until it completes.

    Args:
        commands: Starts it.
        arguments: Of ``robench``.
        rng: Draws targets and moments.
        wanted: How many of ``model``, ``worker``, ``head`` (the parent alone) and ``all`` (everybody at once).
        pause_s: Shortest and longest time between two kills.

    Returns:
        What happened.

    Raises:
        AssertionError: If a run ends in another way than killed, complete, or telling that its processes keep dying.
    """
    left, seen = dict(wanted), Killings(dict.fromkeys(wanted, 0))
    while True:
        head = commands.start(*arguments)
        seen.starts += 1
        while head.poll() is None and any(left.values()):
            time.sleep(rng.uniform(*pause_s))
            kind = str(rng.choice([kind for kind, count in left.items() for _ in range(count)]))
            if _killed(commands, head, kind, rng):
                left[kind] -= 1
                seen.kills[kind] += 1
        done = commands.done(head)
        if done.code == 0 and not any(left.values()):
            return seen
        assert done.code != 0, f"the run was over before all kills: {left} are left"
        if done.code == 7:
            assert "again and again" in done.err or "ended while it was opened" in done.err, done.err
            seen.clean_stops += 1
        else:
            assert done.code == -signal.SIGKILL, done


def _killed(commands: Commands, head: subprocess.Popen[bytes], kind: str, rng: np.random.Generator) -> bool:
    """Kill somebody of a kind; return whether there was somebody. Parents are spared while they start."""
    alive = commands.alive()
    if head.poll() is not None or (kind in ("head", "all") and "model" not in alive.values()):
        return False
    if kind == "all":
        commands.kill_all()
        return True
    targets = sorted(pid for pid, role in alive.items() if role == kind)
    if not targets:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(int(rng.choice(targets)), signal.SIGKILL)
        return True
    return False
