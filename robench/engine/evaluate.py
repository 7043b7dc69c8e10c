"""``robench evaluate``: a model over a recipe, resumable, one row a sample x corruption x severity x metric."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import robench
from robench import registry
from robench.contracts import Failure, Mesh, Metric, OpenReport, Reconstruction, Reconstructor, Sample, Scene
from robench.engine.batches import batched, prefetched
from robench.engine.cells import Cell
from robench.engine.examples import keep_example
from robench.engine.masks import mask_source, source_of
from robench.engine.model_options import configure
from robench.engine.pipeline import Outcome, Prepared, failure_of, prepare, reconstruct
from robench.engine.progress import progress
from robench.engine.protocol import FRAME, Identity, card_json, identity_of, metric_facts, track_of
from robench.engine.rows import FAILED
from robench.engine.run_folder import RunFolder, open_run
from robench.engine.scoring import Penalties, Score, Truths, score
from robench.engine.tasks import Options, Task, plan_task
from robench.io.files import sha256_bytes
from robench.io.images import pixels_sha256

_AHEAD = 2
"""Batches that are corrupted and masked while the model works on another."""


@dataclass(frozen=True)
class RunResult:
    """What `evaluate` did.

    Attributes:
        folder: The run.
        cells: Cells in the run.
        made: Cells done by this call.
        statuses: How many cells ended how; see `robench.engine.rows.statuses`.
    """

    folder: Path
    cells: int
    made: int
    statuses: Mapping[str, int]

    @property
    def failed(self) -> int:
        """Cells that failed."""
        return sum(count for status, count in self.statuses.items() if status in FAILED)


@dataclass(frozen=True, eq=False)
class Tools:
    """What is open while a run runs."""

    model: Reconstructor
    report: OpenReport
    identity: Identity
    masker_device: str
    truths: Truths
    penalties: Penalties


def evaluate(options: Options) -> RunResult:
    """Run a model over a recipe; what is done already is not done again.

    Args:
        options: What the user asked for.

    Returns:
        Where the rows are and how many cells failed. A sample that fails is rows with a status and a penalty.

    Raises:
        UsageError: If the options are wrong or the data lacks what they need.
        EnvironmentNotReady: If device, weights or disk are not ready. Finished work is kept.
        NotComparable, Mismatch: If what is on disk does not belong together or is damaged.
    """
    task = plan_task(options)
    with opened(task, options) as tools, open_run(options.out, tools.identity, fresh=options.fresh) as run:
        run.describe(**facts(task, options, tools), state="running")
        todo = [cell for cell in task.cells() if cell.key not in run.done]
        run.event("started", cells=task.size, todo=len(todo), command=shlex.join(["robench", *sys.argv[1:]]))

        doable = (cell for cell in todo if task.able(cell))
        ready = (prepare(cell, task.pictures, task.masker, task.stored_masks, run.event) for cell in doable)
        with (
            contextlib.closing(prefetched(ready, _AHEAD * options.batch_size)) as prepared,
            progress("evaluate", len(todo), "samples", quiet=options.quiet) as advance,
        ):
            for cell in (cell for cell in todo if not task.able(cell)):
                run.append(cell.key, unable_rows(cell, task, run, tools))
                advance()
            for batch in batched(prepared, options.batch_size):
                outcomes = reconstruct(tools.model, batch, tools.report.device, run.event)
                for item, outcome in zip(batch, outcomes, strict=True):
                    rows = scored_rows(item, outcome, task, run, tools)
                    keep_example(run.path, item, outcome, options.keep, task.examples)
                    run.append(item.cell.key, rows)
                    advance(1, run.done[item.cell.key] in FAILED)

        run.finish()
        result = RunResult(run.path, task.size, len(todo), dict(Counter(run.done.values())))
        run.describe(**facts(task, options, tools), state="complete", statuses=result.statuses)
        run.event("finished", made=result.made, statuses=result.statuses)
    return result


@contextlib.contextmanager
def opened(task: Task, options: Options) -> Iterator[Tools]:
    """Open model and masker, and close them whatever happens.

    Raises:
        UsageError: If the model has no such option or value.
        EnvironmentNotReady: If the device or the weights are not there.
    """
    model = registry.load("models", options.model)
    configure(model, options.model_options)
    penalties = Penalties(task.metrics)
    with contextlib.ExitStack() as stack:
        stack.callback(model.close)
        report = model.open(options.device, options.checkpoint)
        stack.callback(task.masker.close)
        masker_device = task.masker.open(options.device)
        stack.callback(penalties.close)
        identity = identity_of(model, report, task.cset_id, task.metrics, task.masker, penalties.identity())
        yield Tools(model, report, identity, masker_device, Truths(), penalties)


def scored_rows(item: Prepared, outcome: Outcome, task: Task, run: RunFolder, tools: Tools) -> list[dict[str, Any]]:
    """Return the rows of one finished cell: every metric has one, whatever happened."""
    sample, result = item.cell.sample, outcome.result
    failure = result if isinstance(result, Failure) else None
    try:
        truth, unmoved = _truths(item, tools.truths)
    except Exception as error:
        truth = unmoved = None
        failure = failure_of(error, run.event, keys=[item.cell.key])
    scene = Scene(
        prediction=result.mesh if isinstance(result, Reconstruction) else None,
        truth=truth,
        mask=item.mask,
        true_mask=item.picture.true_mask if item.picture is not None else None,
        camera=item.picture.camera if item.picture is not None else sample.camera,
        truth_unmoved=unmoved,
    )
    shared = _shared(item.cell, task, run, tools) | _made(item, outcome)
    rows = []
    for metric in task.metrics:
        found = score(metric, scene, failure, has_mask=sample.mask is not None)
        penalty = None
        if found.status in FAILED:
            penalty = tools.penalties.of(item.inputs, unmoved, sample.camera).get(metric.card.name)
        rows.append(shared | _measured(metric, found, penalty))
    return rows


def unable_rows(cell: Cell, task: Task, run: RunFolder, tools: Tools) -> list[dict[str, Any]]:
    """Return the rows of a cell that was left out because its sample lacks what the corruption needs."""
    needs = " and ".join(sorted(task.needs.get(cell.corruption, ()))) or "something"
    skipped = Score("skipped", message=f"{cell.corruption} needs {needs}, which this sample does not have")
    shared = _shared(cell, task, run, tools)
    return [shared | _measured(metric, skipped, None) for metric in task.metrics]


def _truths(item: Prepared, truths: Truths) -> tuple[Mesh | None, Mesh | None]:
    """Return the ground truth where the picture as corrupted shows it, and where the clean one does."""
    sample: Sample = item.cell.sample
    if sample.mesh is None or sample.camera is None:
        return None, None
    unmoved = truths.of(sample, sample.camera)
    return (truths.of(sample, item.picture.camera) if item.picture is not None else unmoved), unmoved


def _shared(cell: Cell, task: Task, run: RunFolder, tools: Tools) -> dict[str, Any]:
    """Return the columns that all rows of a cell share and that are known before it is done."""
    sample, selection = cell.sample, task.selection
    return {
        "run_id": run.path.name,
        "sample_id": sample.sample_id,
        "subject_id": sample.subject_id,
        "view_id": f"{sample.view:g}",
        "corruption": cell.corruption,
        "severity": cell.severity,
        "masker": task.masker.card.name,
        "frame": FRAME,
        "mask_source": mask_source(task.masker),
        "prior_source": str(tools.model.card.extra.get("prior_source", "none")),
        "track": track_of(task.masker),
        "model": tools.identity.model,
        "checkpoint_sha256": tools.identity.checkpoint_sha256,
        "adapter_version": tools.identity.adapter_version,
        "dataset": selection.dataset,
        "dataset_revision": selection.revision,
        "split_sha256": selection.split_sha256,
        "cset_id": task.cset_id,
        "corruption_version": None,
        "image_sha256": None,
        "mask_sha256": None,
        "mesh_sha256": None,
        "time_s": None,
        "gpu_mem_mb": None,
        "device": tools.report.device,
        "attempt": 1,
        "shard": run.shard,
        "robench_version": robench.__version__,
    }


def _made(item: Prepared, outcome: Outcome) -> dict[str, Any]:
    """Return the columns that say what was made: hashes and cost."""
    from robench.io.meshes import encode_ply

    picture, result = item.picture, outcome.result
    return {
        "corruption_version": picture.corruption_version or None if picture is not None else None,
        "image_sha256": picture.sha256 if picture is not None else None,
        "mask_sha256": pixels_sha256(item.mask) if item.mask is not None else None,
        "mesh_sha256": sha256_bytes(encode_ply(result.mesh)) if isinstance(result, Reconstruction) else None,
        "time_s": outcome.time_s,
        "gpu_mem_mb": outcome.gpu_mem_mb,
    }


def _measured(metric: Metric, found: Score, penalty: float | None) -> dict[str, Any]:
    """Return the columns of one metric."""
    known = metric_facts(metric.card)
    return {
        "metric": known["name"],
        "value": found.value,
        "unit": known["unit"],
        "direction": known["direction"],
        "status": found.status,
        "failure_value": penalty,
        "message": found.message,
        "metric_version": known["version"],
        "n_points": known["n_points"],
        "metric_seed": known["seed"],
        "alignment": known["alignment"],
    }


def facts(task: Task, options: Options, tools: Tools) -> dict[str, Any]:
    """Return what ``run.json`` says beside the identity: where the data was, what was asked and used."""
    selection = task.selection
    return {
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
            "conditions": [list(condition) for condition in task.recipe.conditions()],
            "composed": {name: made_of.to_json() for name, made_of in task.recipe.composed().items()},
        },
        "seed": task.seed,
        "cset": str(task.cset.folder) if task.cset is not None else None,
        "track": track_of(task.masker),
        "mask_source": mask_source(task.masker),
        "masks_from": source_of(task.masker),
        "device": {"asked": options.device, "model": tools.report.device, "masker": tools.masker_device},
        "parameters": tools.report.parameters,
        "checkpoint": options.checkpoint.name if options.checkpoint is not None else None,
        "cards": {
            "model": card_json(tools.model.card),
            "masker": card_json(task.masker.card),
            "metrics": [card_json(metric.card) for metric in task.metrics],
        },
    }
