"""How alike an encoder finds pictures: a clean one and its corruptions, and a person's front and other sides.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023,
Table I.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.analysis.likeness import TURN
from robench.contracts import Camera, Encoder, Sample
from robench.engine.encoder_choice import OpenEncoder, open_encoder
from robench.engine.failures import failure_of
from robench.engine.picture_plan import PictureOptions, PicturePlan, plan_pictures
from robench.engine.pieces import Pieces, open_pieces
from robench.engine.progress import progress
from robench.errors import UsageError, printable

RECIPE = "2d-priors"
"""The recipe of the paper, where the user names no other."""
LARGEST = 512
"""Longer side of rendered views in pixels; every encoder sees less."""


@dataclass(frozen=True)
class LikenessOptions:
    """What the user asked of ``robench similarity``.

    Attributes:
        encoder: ``NAME`` or ``NAME:FOLDER``.
        pictures: Which pictures.
        out: Folder of the results.
        step: Degrees between views of the curve, a divisor of 90; 0 for no views.
        device: ``cpu``, ``cuda`` or ``auto``.
        fresh: Forget what is done.
        quiet: Show no progress.
        json_events: Tell progress as JSON lines.
    """

    encoder: str
    pictures: PictureOptions
    out: Path
    step: int = 15
    device: str = "auto"
    fresh: bool = False
    quiet: bool = False
    json_events: bool = False


@dataclass(frozen=True)
class Likeness:
    """What was measured.

    Attributes:
        rows: One a picture compared: ``sample_id``, ``subject_id``, ``view``, ``condition``, ``severity``, ``angle``,
            ``similarity``, ``status``, ``message``. A corruption has its severity, a view the condition ``turn`` and
            its angle; what does not apply is None. The similarity is a cosine; None where the status is not ``ok``.
        facts: What it rests on: encoder, data, recipe, seed.
        made: Rows made now; the others were there.
    """

    rows: list[dict[str, Any]]
    facts: dict[str, Any] = field(default_factory=dict)
    made: int = 0


def measure_likeness(options: LikenessOptions) -> Likeness:
    """Compare every corrupted picture with its clean one, and a person's front with the other sides.

    Resumes what lies in the folder. A picture that cannot be made is a row with a status.

    Raises:
        UsageError: If an option is wrong, or the data lacks what corruptions need.
        NotComparable: If the folder holds other work.
        EnvironmentNotReady: If the encoder's weights, library or device are not there.
    """
    _check(options)
    plan = plan_pictures(options.pictures, RECIPE)
    turns = front_samples(plan.selection.samples) if options.step else []
    opened = open_encoder(options.encoder, options.device)
    try:
        facts = _facts(plan, opened, options.step if turns else 0)
        with open_pieces(options.out, facts, fresh=options.fresh) as pieces:
            made = _work(plan, turns, opened.encoder, options, pieces)
            order = [*map(_corrupted_name, plan.selection.samples), *map(_turn_name, turns)]
            return Likeness([row for name in order for row in pieces.done[name]], facts, made)
    finally:
        opened.encoder.close()


def _check(options: LikenessOptions) -> None:
    if options.step and (options.step < 0 or 90 % options.step):
        raise UsageError(
            "The angle between views must divide 90, so that left, back and right are among them",
            got=f"{options.step} degrees",
            expected="such as 5, 10, 15 or 30; 0 for no views",
        )


def plan_likeness(options: LikenessOptions) -> dict[str, Any]:
    """Return what `measure_likeness` would do; opens no encoder and touches nothing.

    Raises:
        UsageError: If an option is wrong, or the data lacks what corruptions need.
    """
    _check(options)
    plan = plan_pictures(options.pictures, RECIPE)
    turns = front_samples(plan.selection.samples) if options.step else []
    compared = sum(len(list(plan.cells(sample))) - 1 for sample in plan.selection.samples)
    return {
        "encoder": options.encoder,
        **plan.facts(),
        "comparisons_of_pictures": compared,
        "subjects_with_views": len(turns),
        "comparisons_of_views": len(turns) * (360 // options.step if options.step else 0),
        "out": str(options.out),
    }


def _facts(plan: PicturePlan, opened: OpenEncoder, step: int) -> dict[str, Any]:
    return {
        "format": 1,
        "encoder": opened.identity(),
        **plan.identity(),
        "step_deg": step,
    }


def front_samples(samples: Sequence[Sample]) -> list[Sample]:
    """Return, of each subject with a ground-truth mesh and a camera, the sample that sees it most from the front."""
    from robench.rendering.turntable import azimuth

    found: dict[str, Sample] = {}
    for sample in samples:
        if sample.mesh is None or sample.camera is None:
            continue
        before = found.get(sample.subject_id)
        if before is None or before.camera is None or abs(azimuth(sample.camera)) < abs(azimuth(before.camera)):
            found[sample.subject_id] = sample
    return list(found.values())


def _corrupted_name(sample: Sample) -> str:
    return f"sample {sample.sample_id}"


def _turn_name(sample: Sample) -> str:
    return f"{TURN} {sample.subject_id}"


def _work(
    plan: PicturePlan, turns: Sequence[Sample], encoder: Encoder, options: LikenessOptions, pieces: Pieces
) -> int:
    samples = [s for s in plan.selection.samples if _corrupted_name(s) not in pieces.done]
    around = [s for s in turns if _turn_name(s) not in pieces.done]
    total, made = len(samples) + len(around), 0
    with progress("compare", total, "pieces", quiet=options.quiet, json_lines=options.json_events) as advance:
        for sample in samples:
            rows = corrupted_rows(plan, sample, encoder)
            pieces.add(_corrupted_name(sample), rows)
            made += len(rows)
            advance(1, sum(row["status"] != "ok" for row in rows))
        for sample in around:
            rows = turn_rows(sample, encoder, options.step)
            pieces.add(_turn_name(sample), rows)
            made += len(rows)
            advance(1, sum(row["status"] != "ok" for row in rows))
    return made


def corrupted_rows(plan: PicturePlan, sample: Sample, encoder: Encoder) -> list[dict[str, Any]]:
    """Return a row for each corruption and severity of a sample: its picture compared with the clean one.

    Args:
        plan: Where pictures come from.
        sample: The sample.
        encoder: Open.
    """
    clean_cell, *cells = plan.cells(sample)
    rows = [_row(sample, cell.corruption, severity=cell.severity) for cell in cells]
    try:
        clean = encoder.embed([plan.source.picture(clean_cell).image])[0]
    except Exception as error:
        return [_failed(row, error) for row in rows]
    found = []
    for cell, row in zip(cells, rows, strict=True):
        try:
            # One by one: a large photograph has dozens of corrupted copies.
            found.append(_compared(row, cosines(clean, encoder.embed([plan.source.picture(cell).image]))[0]))
        except Exception as error:
            found.append(_failed(row, error))
    return found


def turn_rows(sample: Sample, encoder: Encoder, step: int) -> list[dict[str, Any]]:
    """Return a row for each view around a subject: a rendering of its mesh compared with that from the front.

    Args:
        sample: With mesh and camera; the camera walks around from the front.
        encoder: Open.
        step: Degrees between views.
    """
    from robench.io.meshes import read_mesh
    from robench.rendering.turntable import azimuth, turn_pictures, turned

    assert sample.mesh is not None
    assert sample.camera is not None
    angles = [float(angle) for angle in range(0, 360, step)]
    rows = [_row(sample, TURN, angle=angle) for angle in angles]
    try:
        front = turned(smaller(sample.camera, LARGEST), -azimuth(sample.camera))
        vectors = encoder.embed(turn_pictures(read_mesh(sample.mesh), front, angles))
    except Exception as error:
        return [_failed(row, error) for row in rows]
    return [_compared(row, value) for row, value in zip(rows, cosines(vectors[0], vectors), strict=True)]


def smaller(camera: Camera, longest: int) -> Camera:
    """Return the camera of the same picture with a longer side of at most so many pixels."""
    ratio = min(1.0, longest / max(camera.width, camera.height))
    return camera.resized(round(camera.width * ratio), round(camera.height * ratio)) if ratio < 1 else camera


def cosines(one: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (N,) cosines between a (D,) vector and (N, D) others, whatever their lengths, in [-1, 1].

    NaN where one has the length 0 and so no direction.
    """
    a, b = np.asarray(one, np.float64), np.asarray(others, np.float64)
    with np.errstate(invalid="ignore"):
        found = b @ a / (np.linalg.norm(a) * np.linalg.norm(b, axis=1))
    return np.asarray(np.clip(found, -1, 1))


def _row(sample: Sample, condition: str, severity: int | None = None, angle: float | None = None) -> dict[str, Any]:
    return {
        "sample_id": sample.sample_id,
        "subject_id": sample.subject_id,
        "view": float(sample.view),
        "condition": condition,
        "severity": severity,
        "angle": angle,
        "similarity": None,
        "status": "ok",
        "message": "",
    }


def _compared(row: dict[str, Any], value: float) -> dict[str, Any]:
    if not math.isfinite(value):
        return row | {"status": "degenerate", "message": "the encoder gave a vector without a direction"}
    return row | {"similarity": float(value)}


def _failed(row: dict[str, Any], error: Exception) -> dict[str, Any]:
    failure, _ = failure_of(error)
    return row | {"status": failure.kind, "message": printable(failure.message)}
