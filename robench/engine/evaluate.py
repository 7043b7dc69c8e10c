"""``robench evaluate``: a model over a recipe, resumable, one row a sample x corruption x severity x metric."""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from robench.engine.executors import check, executor, take_over
from robench.engine.ledger import cut
from robench.engine.masks import mask_source, source_of
from robench.engine.progress import Advance, progress
from robench.engine.protocol import card_json, track_of
from robench.engine.rows import FAILED
from robench.engine.run_folder import RunFolder, open_run, refuse_other
from robench.engine.shard import Job, Shard, ShardResult, run_shard
from robench.engine.tasks import Options, Task, failure_limit, plan_task
from robench.engine.watch import Watch
from robench.engine.workplace import Workplace
from robench.errors import TooManyFailures
from robench.io.processes import command_line

_SHARDS_A_WORKER = 4
"""At least, so that a slow worker or a late one does not keep the others waiting at the end."""


@dataclass(frozen=True)
class RunResult:
    """What `evaluate` did.

    Attributes:
        folder: The run.
        cells: Cells in the run.
        made: Cells done by this call.
        statuses: How many cells ended how; see `robench.engine.ledger.ORDER`.
    """

    folder: Path
    cells: int
    made: int
    statuses: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Cells that failed."""
        return sum(count for status, count in self.statuses.items() if status in FAILED)


def evaluate(options: Options, resume: Path | None = None) -> RunResult:
    """Run a model over a recipe; what is done already is not done again.

    Args:
        options: What the user asked for.
        resume: Folder of the run that this must be; None for whichever it is.

    Returns:
        Where the rows are and how many cells failed. A sample that fails is rows with a status and a penalty.

    Raises:
        UsageError: If the options are wrong or the data lacks what they need.
        EnvironmentNotReady: If device, weights or disk are not ready. Finished work is kept.
        NotComparable, Mismatch: If what is on disk does not belong together or is damaged.
        TooManyFailures: If more cells failed than allowed, with cells left. Finished work is kept.
    """
    check(options)
    task = plan_task(options)
    # A login node may lack the GPU that the cluster has, and the head only asks the model who it is.
    at_head = None if options.executor == "local" or options.device == "cpu" else "auto"
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(Workplace(task, options, at_head))
        if resume is not None:
            refuse_other(resume, place.identity, facts(task, place))
        run = stack.enter_context(
            open_run(options.out, place.identity, task.ledger(), fresh=options.fresh, take_over=take_over)
        )
        run.redo(frozenset(options.redo))
        shards = shards_of(run, task, options)
        todo = sum(len(shard) for shard in shards)
        run.describe(**facts(task, place), state="running")
        run.event("started", cells=task.size, todo=todo, shards=len(shards), command=command_line())

        job, used = Job(options, run.path.resolve(), place.identity, place.report.device), dict[str, str]()
        with progress("evaluate", todo, "samples", quiet=options.quiet, json_lines=options.json_events) as advance:
            tally = Tally(task.size, run.ledger.counts(), options, advance)
            with contextlib.closing(executed(job, shards, place, tally)) as results:
                for result in results:
                    run.finished(result.shard)
                    used |= {what: device for what, device in result.devices.items() if device is not None}
                    run.event("shard", **asdict(result))

        counts = run.ledger.counts()
        run.describe(**facts(task, place, used), state="complete", statuses=counts)
        run.event("finished", made=todo, statuses=counts)
        return RunResult(run.path, task.size, todo, counts)


def shards_of(run: RunFolder, task: Task, options: Options) -> list[Shard]:
    """Cut what is left to do into shards of whole samples, small enough to keep every worker busy to the end."""
    ranges = run.ledger.todo()
    left = sum(stop - start for start, stop in ranges)
    size = (
        min(options.shard_size, -(-left // (options.workers * _SHARDS_A_WORKER)))
        if options.workers > 1
        else (options.shard_size)
    )
    pieces = cut(ranges, size, grain=len(task.conditions))
    return [Shard(number, tuple(piece)) for number, piece in enumerate(pieces, start=run.next_shard)]


def executed(job: Job, shards: Sequence[Shard], place: Workplace, tally: Tally) -> Generator[ShardResult, None, None]:
    """Have shards worked on, here or by others, and yield what was done.

    Raises:
        TooManyFailures: If the tally says so.
    """
    if not shards:
        return
    if job.options.executor == "local" and job.options.workers == 1:
        for shard in shards:
            yield run_shard(job, shard, place, tally.add)
        return
    place.close()  # it told who the run is; whoever works on a shard opens the model for itself
    watch = Watch(job.run, shards)
    with contextlib.closing(executor(job.options.executor)(job, shards)) as results:
        for result in results:
            counts = watch.look() if result is None else watch.finished(result.shard, result.statuses)
            tally.update(counts, watch.gpu_mem_mb or None)
            if result is not None:
                yield result


class Tally:
    """Counts cells as they are done, and stops the run where too many fail.

    Args:
        cells: Of the run.
        counts: How those ended that were done before.
        options: How many may fail.
        advance: Shows it.
    """

    def __init__(self, cells: int, counts: Mapping[str, int], options: Options, advance: Advance) -> None:
        self._cells, self._advance = cells, advance
        self._done = sum(counts.values())
        self._failed = sum(count for status, count in counts.items() if status in FAILED)
        self._allowed: float = self._failed if options.fail_fast else failure_limit(options.max_failures)(cells)
        self._stop_if_too_many()

    def add(self, status: str, gpu_mem_mb: float | None) -> None:
        """Count a cell."""
        self.update({status: 1}, gpu_mem_mb)

    def update(self, counts: Mapping[str, int], gpu_mem_mb: float | None = None) -> None:
        """Count cells by status.

        Raises:
            TooManyFailures: If more failed than may, and there are cells left.
        """
        done, failed = sum(counts.values()), sum(count for status, count in counts.items() if status in FAILED)
        self._done, self._failed = self._done + done, self._failed + failed
        if done:
            self._advance(done, failed, gpu_mem_mb)
        self._stop_if_too_many()

    def _stop_if_too_many(self) -> None:
        if self._failed > self._allowed and self._done < self._cells:
            raise TooManyFailures(
                f"{self._failed} of {self._done} cells failed, more than allowed; {self._cells - self._done} are left",
                hint="robench status says why; then the same command with a higher --max-failures, or with "
                "--redo failed,timeout,oom once the cause is mended",
            )


def facts(task: Task, place: Workplace, used: Mapping[str, str] = MappingProxyType({})) -> dict[str, Any]:
    """Return what ``run.json`` says beside the identity: where the data was, what was asked, what was used."""
    selection, options = task.selection, place.options
    return {
        "options": options.to_json(),
        "dataset": {
            "name": selection.dataset,
            "root": str(selection.root.resolve()),
            "revision": selection.revision,
            "split": selection.split,
            "split_sha256": selection.split_sha256,
            "samples": len(selection.samples),
            "subjects": len({sample.subject_id for sample in selection.samples}),
            "partial": selection.partial,
        },
        "recipe": {
            "name": task.recipe.name,
            "version": task.recipe.version,
            "conditions": [list(condition) for condition in task.conditions],
            "composed": {name: made_of.to_json() for name, made_of in task.recipe.composed().items()},
        },
        "seed": task.seed,
        "cset": str(task.cset.folder) if task.cset is not None else None,
        "track": track_of(task.masker),
        "mask_source": mask_source(task.masker),
        "masks_from": source_of(task.masker),
        "device": {"asked": options.device, "model": place.report.device, "masker": place.masker_device, **used},
        "parameters": place.report.parameters,
        "checkpoint": options.checkpoint.name if options.checkpoint is not None else None,
        "cards": {
            "model": card_json(place.card),
            "masker": card_json(task.masker.card),
            "metrics": [card_json(metric.card) for metric in task.metrics],
        },
    }
