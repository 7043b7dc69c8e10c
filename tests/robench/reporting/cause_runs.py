"""Runs whose losses are made of known parts, with and without true masks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robench.io.files import write_json_atomic

PARTS = {
    # corruption: what mask, alignment and shape cost, and an unmoved truth beside them; means over severities
    "camera_roll": {"mask": -0.4, "alignment": 2.0, "shape": 1.0, "camera": 3.0},
    "fog_3d": {"mask": 1.0, "alignment": 0.5, "shape": 0.25, "camera": 0.0},
    "iso_noise": {"mask": 2.6, "alignment": -0.2, "shape": 0.1, "camera": 0.0},
}
SUBJECTS = 5


def cause_rows(
    model: str = "toy", *, true_masks: bool = False, twin: bool = True, scale: float = 1.0, **columns: Any
) -> pd.DataFrame:
    """Rows of a run; its losses are `PARTS` times `scale` on average over subjects and over severities 1 and 3.

    Args:
        model: Its name, which also names its weights.
        true_masks: The run got the true masks: the mask's part is not in its errors.
        twin: The run has ``chamfer_similarity_cm``.
        scale: Of all parts.
        columns: Of every row.
    """
    own = 1 + np.linspace(-0.5, 0.5, SUBJECTS)  # how much each subject suffers
    records = []
    for corruption, severity in [("clean", 0), *((name, level) for name in PARTS for level in (1, 3))]:
        part = PARTS.get(corruption, dict.fromkeys(("mask", "alignment", "shape", "camera"), 0.0))
        for subject, factor in enumerate(own):
            mask, alignment, shape, camera = (
                scale * factor * (severity / 2) * part[name] for name in ("mask", "alignment", "shape", "camera")
            )
            mask = 0.0 if true_masks else mask
            error = 2.0 + 0.1 * subject + mask + alignment + shape
            values = {
                "chamfer_cm": error,
                "p2s_pred_to_gt_cm": 0.5 * error,
                "chamfer_unaligned_cm": error + camera,
                **({"chamfer_similarity_cm": 1.0 + shape + 0.25 * mask} if twin else {}),
            }
            for metric, value in values.items():
                records.append(
                    {
                        "run_id": f"{model}-{'true' if true_masks else 'found'}",
                        "sample_id": f"s{subject}_0",
                        "subject_id": f"s{subject}",
                        "view_id": "0",
                        "corruption": corruption,
                        "severity": severity,
                        "masker": "given" if true_masks else "u2netp",
                        "mask_source": "gt" if true_masks else "predicted:u2netp",
                        "metric": metric,
                        "value": value,
                        "unit": "cm",
                        "direction": "lower",
                        "status": "ok",
                        "failure_value": np.nan,
                        "message": "",
                        "model": model,
                        "checkpoint_sha256": model.encode().hex().ljust(64, "0")[:64],
                        "dataset": "toys",
                        **columns,
                    }
                )
    return pd.DataFrame(records)


def write_run(folder: Path, rows: pd.DataFrame) -> Path:
    """Write rows as a run."""
    (folder / "rows").mkdir(parents=True)
    rows.to_parquet(folder / "rows" / "part-0000.parquet")
    write_json_atomic(folder / "run.json", {"state": "complete"})
    return folder


def write_pair(folder: Path, model: str = "toy", **options: Any) -> tuple[Path, Path]:
    """Write a run and its counterpart with the true masks."""
    return (
        write_run(folder / "found", cause_rows(model, **options)),
        write_run(folder / "true", cause_rows(model, true_masks=True, **options)),
    )
