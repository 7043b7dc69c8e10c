"""A shard: some cells of a run, done from picture to rows by one call, in whichever process of whichever machine."""

from __future__ import annotations

import contextlib
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path

from robench.engine.bench import Finished
from robench.engine.cell_rows import unable_rows
from robench.engine.ledger import Range
from robench.engine.protocol import Identity
from robench.engine.run_folder import ShardJournal, refuse_other
from robench.engine.tasks import Options, plan_task
from robench.engine.workplace import Workplace

_AHEAD = 2
"""Batches that are corrupted and masked while the model works on another."""

Told = Callable[[str, float | None], None]
"""Called with the status of each cell as it is done, and the accelerator's memory in MB, where it is known."""


@dataclass(frozen=True)
class Job:
    """What all shards of a run share: enough to work on one anywhere that sees the same files.

    Attributes:
        options: What the user asked for.
        run: Folder of the run.
        identity: Who the run is.
        device: Where the head's model was, "" if that is not known.
    """

    options: Options
    run: Path
    identity: Identity
    device: str = ""


@dataclass(frozen=True)
class Shard:
    """A piece of a run.

    Attributes:
        number: Names its file of rows.
        cells: Ranges of numbers of cells; see `robench.engine.ledger`.
    """

    number: int
    cells: tuple[Range, ...]

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.cells)

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.cells:
            yield from range(start, stop)


@dataclass(frozen=True)
class ShardResult:
    """What `run_shard` did.

    Attributes:
        shard: Its number.
        made: Cells done by this call.
        statuses: How all its cells ended, and how many.
        seconds: Where the time went, summed over the cells made, by stage; see `robench.engine.profile`.
        wall_s: Time of the call.
        devices: Where model and masker ran.
    """

    shard: int
    made: int
    statuses: Mapping[str, int]
    seconds: Mapping[str, float] = field(default_factory=dict)
    wall_s: float = 0.0
    devices: Mapping[str, str | None] = field(default_factory=dict)


def run_shard(
    job: Job, shard: Shard, place: Workplace | None = None, told: Told = lambda status, gpu_mem_mb: None
) -> ShardResult:
    """Do what is not done yet of a shard, and turn its journal into a part. All executors call this.

    Args:
        job: The run.
        shard: The piece.
        place: Where to work; None takes the one that this process keeps open for the run.
        told: Called after each cell.

    Raises:
        UsageError: If somebody else works on the shard.
        EnvironmentNotReady: If device, weights or disk are not ready. Finished work is kept.
        NotComparable: If data, weights or options here make another run than the job's.
    """
    started = time.perf_counter()
    place = place or _kept_place(job)
    refuse_other(job.run, place.identity)
    seconds: dict[str, float] = defaultdict(float)
    with ShardJournal(job.run, shard.number) as journal:
        before = len(journal.done)

        def note(finished: Finished) -> None:
            begun = time.perf_counter()
            status = journal.append(finished.key, finished.rows)
            for stage, spent in finished.seconds.items():
                seconds[stage] += spent
            seconds["write"] += time.perf_counter() - begun
            told(status, max((row["gpu_mem_mb"] or 0.0 for row in finished.rows), default=0.0) or None)

        for finished in _finished(job, shard, place, journal):
            note(finished)
        journal.finish()
        statuses = dict(Counter(journal.done.values()))
    wall, devices = time.perf_counter() - started, {"model": place.report.device, "masker": place.masker_device}
    return ShardResult(shard.number, len(journal.done) - before, statuses, dict(seconds), wall, devices)


def _finished(job: Job, shard: Shard, place: Workplace, journal: ShardJournal) -> Iterator[Finished]:
    """Yield the cells of a shard with their rows: those that cannot be made first, then the others as they are done."""
    task, size = place.task, place.options.batch_size
    columns = {**place.columns(job.run), "shard": shard.number}
    doable = []
    for number in shard:
        cell = task.cell(number)
        if cell.key in journal.done:
            continue
        if task.able(cell):
            doable.append(number)
        else:
            yield Finished(cell.key, unable_rows(cell, task, columns), {})
    if not doable:
        return
    crew, guard = place.crew(job.run), place.guard(job.run)
    with contextlib.closing(crew.prepared(doable, _AHEAD * size)) as prepared:
        for item, outcome in guard.reconstructed(prepared, size):
            yield from crew.finish(item, outcome, columns)
        yield from crew.rest()


_place: tuple[Job, Workplace] | None = None


def _kept_place(job: Job) -> Workplace:
    """Return the workplace of this process, opened with the first shard of a run and kept for the next."""
    global _place
    if _place is None or _place[0] != job:
        leave()
        # At its end a process waits for its children, and the model for its pipe to be closed.
        Finalize(None, leave, exitpriority=1)
        _place = job, Workplace(plan_task(job.options), job.options)
    return _place[1]


def leave() -> None:
    """Close the workplace that this process keeps."""
    global _place
    if _place is not None:
        _place[1].close()
        _place = None
