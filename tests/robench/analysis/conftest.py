"""Rows made from a plain table of numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd
import pytest

Scores = Mapping[tuple[str, int, str], Mapping[str, list[float | None]]]


def build(scores: Scores, **columns: Any) -> pd.DataFrame:
    """Rows from ``{(corruption, severity, metric): {subject: [value of view 0, view 1, ...]}}``; None is a failure."""
    records = []
    for (corruption, severity, metric), subjects in scores.items():
        for subject, values in subjects.items():
            for view, value in enumerate(values):
                records.append(
                    {
                        "run_id": "run",
                        "sample_id": f"{subject}_{view}",
                        "subject_id": subject,
                        "view_id": str(view),
                        "corruption": corruption,
                        "severity": severity,
                        "masker": "given",
                        "metric": metric,
                        "value": float("nan") if value is None else value,
                        "unit": "1" if metric == "mask_iou" else "cm",
                        "direction": "higher" if metric == "mask_iou" else "lower",
                        "status": "failed" if value is None else "ok",
                        "failure_value": 10.0,
                        "model": "toy",
                        "checkpoint_sha256": "ab" * 32,
                        "dataset": "toys",
                        "metric_version": "1",
                        "n_points": 1000.0,
                        "corruption_version": "1",
                        **columns,
                    }
                )
    return pd.DataFrame(records)


@pytest.fixture
def make_rows() -> Callable[..., pd.DataFrame]:
    return build
