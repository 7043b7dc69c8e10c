"""What executors share whose workers run on other machines: the environment of a worker, and what its loss means."""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from robench.engine.journal import Held
from robench.engine.rows import read_cells
from robench.engine.run_folder import journal_path, log_event, part_path
from robench.engine.shard import Job, Shard, ShardResult, run_shard
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.processes import thread_variables

_LOSSES = 3
"""Workers that may be lost over one shard without a cell done between, before the run is stopped."""
_HELD_S = 120.0
"""How long the journal of a shard may still be held by a worker that is thought to be lost."""
_PASSED_ON = re.compile("ROBENCH_.*|XDG_CACHE_HOME|HF_HOME|PYOPENGL_PLATFORM|CUBLAS_WORKSPACE_CONFIG")


def work_on(job: Job, shard: Shard) -> ShardResult:
    """Do `run_shard` where another worker had the shard before: finished is finished, and who is late is waited for.

    Raises:
        Held: If the former worker does not let go within two minutes.
        RobenchError: What `run_shard` raises.
    """
    deadline = time.monotonic() + _HELD_S
    while True:
        part = part_path(job.run, shard.number)
        if part.is_file():
            return ShardResult(shard.number, 0, dict(Counter(read_cells(part).values())))
        try:
            return run_shard(job, shard)
        except Held:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)


def environment_here(threads: int) -> dict[str, str]:
    """Return the variables by which a worker finds the Python code and the weights that this process finds."""
    own = Path(__file__).resolve().parents[3]
    asked = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    installed = [Path(folder).resolve() for folder in (sys.prefix, sys.base_prefix)]
    found = [path for path in map(_resolved, [str(own), *sys.path]) if not any(map(path.is_relative_to, installed))]
    paths = dict.fromkeys(str(path) for path in [*map(_resolved, asked), *found])
    passed = {name: value for name, value in os.environ.items() if _PASSED_ON.fullmatch(name)}
    return {**passed, **thread_variables(threads), "PYTHONPATH": os.pathsep.join(paths)}


def _resolved(path: str) -> Path:
    return Path(path or ".").resolve()


def enter(folder: str, run: Path) -> None:
    """Go where the command was started, so that relative paths mean the same.

    Raises:
        EnvironmentNotReady: If this machine does not see that folder, or not the run.
    """
    for path in (Path(folder), run):
        if not path.is_dir():
            raise EnvironmentNotReady(
                f"The node {socket.gethostname()} does not see {path}",
                expected="data, weights and --out on a file system that all nodes share",
            )
    os.chdir(folder)


def number(cluster: Mapping[str, str], name: str, default: float) -> float:
    """Return an option of the cluster that is a number.

    Raises:
        UsageError: If it is not one, or negative.
    """
    text = cluster.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"The cluster's option '{name}' is not understood", got=f"'{text}'", expected="a number")
    return value


def wants_gpu(options: Options) -> bool:
    """True if the user asked for a GPU by name."""
    return options.device.startswith("cuda")


class Losses:
    """Counts the workers that were lost over each shard without headway, and says when it is enough.

    Args:
        run: Folder of the run.
    """

    def __init__(self, run: Path) -> None:
        self._run = run
        self._in_a_row: Counter[int] = Counter()
        self._done: dict[int, int] = {}
        self._at_start = 0

    def over(self, shard: Shard, reason: str) -> None:
        """Note that a worker was lost over a shard.

        Raises:
            EnvironmentNotReady: If no cell was done since the last one, and that again and again.
        """
        number, path = shard.number, journal_path(self._run, shard.number)
        done = path.stat().st_size if path.is_file() else 0
        if done > self._done.get(number, 0):
            self._in_a_row[number] = 0
        self._done[number] = done
        self._in_a_row[number] += 1
        log_event(self._run, "worker_lost", shard=number, deaths=self._in_a_row[number], reason=reason[:500])
        if self._in_a_row[number] > _LOSSES:
            raise EnvironmentNotReady(
                f"Workers are lost again and again over shard {number}",
                got=first_line(reason) or "no reason given; the memory may be too small",
                hint="the same command with more memory or time for each worker: it resumes",
            )

    def at_start(self, reason: str) -> None:
        """Note that a worker was lost before it could work.

        Raises:
            EnvironmentNotReady: If none could between, again and again.
        """
        self._at_start += 1
        log_event(self._run, "worker_lost", deaths=self._at_start, reason=reason[:500])
        if self._at_start > _LOSSES:
            raise EnvironmentNotReady("Workers cannot be started", got=first_line(reason) or "no reason given")

    def started(self) -> None:
        """Note that a worker can work."""
        self._at_start = 0


def first_line(text: str) -> str:
    """Return the first line of a text that says something, shortened."""
    return next((line.strip()[:200] for line in text.splitlines() if line.strip()), "")
