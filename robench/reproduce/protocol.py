"""The paper's way of measuring, to be set beside robench's own.

The paper: five pictures, one level a corruption, 500 points of each surface, the ground truth where the clean picture
has it (camera roll turns the person, not the truth), a missing distance counted as 0, and no interval. robench: all
people, 10,000 points, the truth moved with the picture, a failure at the error of the mean body, an interval.

Both are in centimetres here. The paper's numbers are in the unit of its rescaled meshes; only ratios to the clean
picture can be set beside each other.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023, and
its published code.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from robench.contracts import Degenerate, Mesh, Sample
from robench.data.ids import safe_id
from robench.engine.pieces import open_pieces
from robench.engine.scoring import Truths
from robench.errors import Mismatch, RobenchError
from robench.io.files import read_json, safe_join
from robench.metrics.distance import chamfer_cm, point_to_surface_cm
from robench.reproduce.published import CHAMFER, P2S
from robench.reproduce.settings import METRICS

PICTURES = 5
"""The paper evaluates so many; the first ones here."""
POINTS = 500
"""Sampled by area on each surface."""
CLEAN = "clean"


def paper_distances(
    prediction: Mesh | None, truth: Mesh | None, points: int = POINTS, seed: int = 0, device: str = "cpu"
) -> dict[str, float | None]:
    """Return the paper's Chamfer and P2S of one picture, in centimetres.

    Args:
        prediction: In the view frame of the picture as corrupted; None if there is none.
        truth: The ground truth where the clean picture has it, in that frame.
        points: Sampled on each surface.
        seed: Of the points; the paper has none.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        ``chamfer`` and ``p2s`` (prediction to truth); None where there is no distance.
    """
    found = {
        CHAMFER: chamfer_cm(prediction, truth, points, seed, device),
        P2S: point_to_surface_cm(prediction, truth, points, seed, device),
    }
    return {name: None if isinstance(value, Degenerate) else value for name, value in found.items()}


def paper_mean(values: Iterable[float | None]) -> float:
    """Return the mean as the paper takes it: a distance that is missing or not a number counts as 0.

    So a failure makes the mean better. NaN of nothing at all.
    """
    counted = [0.0 if value is None or not math.isfinite(value) else value for value in values]
    return float(np.mean(counted)) if counted else math.nan


def paper_table(measured: pd.DataFrame) -> pd.DataFrame:
    """Return the paper's numbers of one run.

    Args:
        measured: Of `measure_run`.

    Returns:
        ``corruption, metric`` (the paper's), ``value`` in cm, ``ratio`` to clean (NaN where there is no clean error),
        ``pictures``, ``missing`` (distances counted as 0); clean first, else in the order of `measured`.
    """
    records = []
    for metric in (CHAMFER, P2S):
        means = {str(name): paper_mean(part[metric]) for name, part in measured.groupby("corruption", sort=False)}
        clean = means.get(CLEAN, math.nan)
        for name, part in measured.groupby("corruption", sort=False):
            ratio = means[str(name)] / clean if clean > 0 else math.nan
            missing = int((~np.isfinite(part[metric])).sum())
            records.append([str(name), metric, means[str(name)], ratio, len(part), missing])
    columns = ["corruption", "metric", "value", "ratio", "pictures", "missing"]
    table = pd.DataFrame(records, columns=columns)
    return table.sort_values("corruption", key=lambda names: names != CLEAN, kind="stable", ignore_index=True)


def measure_run(
    run: Path, rows: pd.DataFrame, samples: Sequence[Sample], out: Path, *, device: str = "cpu"
) -> pd.DataFrame:
    """Measure the kept meshes of a run's first pictures the paper's way; what was measured before is not again.

    Args:
        run: Its folder, with meshes.
        rows: Its rows.
        samples: The data's; the first `PICTURES` are taken.
        out: Folder of what was measured.
        device: Of the distances.

    Returns:
        ``sample_id, corruption, severity, chamfer, p2s``, centimetres, NaN for a distance that is missing. Pictures
        that the data could not give (no depth) have no row.

    Raises:
        Mismatch: If a mesh is gone or damaged.
    """
    scored = rows[(rows["metric"] == METRICS[0]) & (rows["status"] != "skipped")].sort_values("severity", kind="stable")
    truths, records = Truths(), []
    identity = {"format": 1, "run": run.name, "points": POINTS, "seed": 0}
    with open_pieces(out, identity) as pieces:
        for sample in samples[:PICTURES]:
            for row in scored[scored["sample_id"] == sample.sample_id].to_dict("records"):
                place = (sample.sample_id, str(row["corruption"]), int(row["severity"]))
                piece = "|".join([*map(str, place), str(row["mesh_sha256"])])
                if piece not in pieces.done:
                    truth = truths.of(sample, sample.camera) if sample.camera is not None else None
                    # What is no surface or was never made has no row that is ok, and no distance.
                    prediction = _prediction(run, *place) if row["status"] == "ok" else None
                    pieces.add(piece, paper_distances(prediction, truth, device=device))
                values = pieces.done[piece]
                records.append([*place, values[CHAMFER], values[P2S]])
    measured = pd.DataFrame(records, columns=["sample_id", "corruption", "severity", CHAMFER, P2S])
    return measured.astype({CHAMFER: "float64", P2S: "float64"})


def _prediction(run: Path, sample_id: str, corruption: str, severity: int) -> Mesh:
    from robench.io.meshes import read_mesh

    place = run / "examples" / safe_id(corruption) / str(severity) / f"{safe_id(sample_id)}.json"
    try:
        return read_mesh(safe_join(run, str(read_json(place)["mesh"])))
    except (RobenchError, KeyError, TypeError) as error:
        what = f"The mesh of '{sample_id}' under {corruption} is not kept in {run}"
        raise Mismatch(what, got=str(error)[:160], hint="--fresh to make it again") from error
