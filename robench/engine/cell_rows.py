"""The rows of a finished cell: every metric has one, whatever happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import robench
from robench.contracts import CardLike, Failure, Mesh, Metric, Reconstruction, Sample, Scene
from robench.engine.cells import Cell, Inputs
from robench.engine.failures import failure_of
from robench.engine.masks import mask_source
from robench.engine.pipeline import Event, Outcome, Prepared
from robench.engine.protocol import FRAME, Identity, metric_facts, track_of
from robench.engine.rows import FAILED
from robench.engine.scoring import Penalties, Score, Truths, score
from robench.engine.tasks import Task
from robench.errors import printable
from robench.io.files import sha256_bytes
from robench.io.images import pixels_sha256

_MESSAGE = 200


def run_columns(task: Task, card: CardLike, identity: Identity, run_id: str, device: str) -> dict[str, Any]:
    """Return the columns that all rows of a run share; the card is the model's."""
    selection = task.selection
    return {
        "run_id": run_id,
        "masker": task.masker.card.name,
        "frame": FRAME,
        "mask_source": mask_source(task.masker),
        "prior_source": str(card.extra.get("prior_source", "none")),
        "track": track_of(task.masker),
        "model": identity.model,
        "checkpoint_sha256": identity.checkpoint_sha256,
        "adapter_version": identity.adapter_version,
        "dataset": selection.dataset,
        "dataset_revision": selection.revision,
        "split_sha256": selection.split_sha256,
        "cset_id": task.cset_id,
        "device": device,
        "robench_version": robench.__version__,
    }


def scored_rows(
    item: Prepared,
    outcome: Outcome,
    task: Task,
    columns: Mapping[str, Any],
    truths: Truths,
    penalties: Penalties,
    event: Event,
) -> list[dict[str, Any]]:
    """Return the rows of a cell that went the whole way.

    Args:
        item: The cell, its picture and mask.
        outcome: What the model made of it.
        task: The run's.
        columns: Those of `run_columns`, and the shard.
        truths: Ground truth, kept from cell to cell.
        penalties: What failures are given.
        event: Gets the traces.
    """
    sample, result = item.cell.sample, outcome.result
    failure = result if isinstance(result, Failure) else None
    try:
        truth, unmoved = _truths(item, truths)
    except Exception as error:
        truth = unmoved = None
        failure, trace = failure_of(error)
        event("failed", kind=failure.kind, message=failure.message, trace=trace, keys=[item.cell.key])
    scene = Scene(
        prediction=result.mesh if isinstance(result, Reconstruction) else None,
        truth=truth,
        mask=item.mask,
        true_mask=item.picture.true_mask if item.picture is not None else None,
        camera=item.picture.camera if item.picture is not None else sample.camera,
        truth_unmoved=unmoved,
    )
    shared = {**columns, **_cell(item.cell), **_made(item, outcome)}
    rows = []
    for metric in task.metrics:
        found = score(metric, scene, failure, has_mask=sample.mask is not None)
        penalty = None
        if found.status in FAILED:
            penalty = penalties.of(Inputs(sample), unmoved, sample.camera).get(metric.card.name)
        rows.append(shared | _measured(metric, found, penalty))
    return rows


def unable_rows(cell: Cell, task: Task, columns: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of a cell that was left out because its sample lacks what the corruption needs."""
    needs = " and ".join(sorted(task.needs.get(cell.corruption, ()))) or "something"
    skipped = Score("skipped", message=f"{cell.corruption} needs {needs}, which this sample does not have")
    shared = {**columns, **_cell(cell), **_NOT_MADE}
    return [shared | _measured(metric, skipped, None) for metric in task.metrics]


def lost_rows(
    item: Prepared, outcome: Outcome, task: Task, columns: Mapping[str, Any], message: str
) -> list[dict[str, Any]]:
    """Return the rows of a cell whose scoring ends its process: all metrics failed, and no penalty can be computed."""
    shared = {**columns, **_cell(item.cell), **_made(item, outcome)}
    return [shared | _measured(metric, Score("failed", message=message), None) for metric in task.metrics]


def _truths(item: Prepared, truths: Truths) -> tuple[Mesh | None, Mesh | None]:
    """Return the ground truth where the picture as corrupted shows it, and where the clean one does."""
    sample: Sample = item.cell.sample
    if sample.mesh is None or sample.camera is None:
        return None, None
    unmoved = truths.of(sample, sample.camera)
    return (truths.of(sample, item.picture.camera) if item.picture is not None else unmoved), unmoved


def _cell(cell: Cell) -> dict[str, Any]:
    sample = cell.sample
    return {
        "sample_id": sample.sample_id,
        "subject_id": sample.subject_id,
        "view_id": f"{sample.view:g}",
        "corruption": cell.corruption,
        "severity": cell.severity,
    }


_NOT_MADE = {
    "corruption_version": None,
    "image_sha256": None,
    "mask_sha256": None,
    "mesh_sha256": None,
    "time_s": None,
    "gpu_mem_mb": None,
    "attempt": 1,
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
        "attempt": outcome.attempt,
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
        "message": printable(found.message)[:_MESSAGE],
        "metric_version": known["version"],
        "n_points": known["n_points"],
        "metric_seed": known["seed"],
        "alignment": known["alignment"],
    }
