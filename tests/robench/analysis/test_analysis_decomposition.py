"""Where a loss comes from: by hand, and the sum of the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.decomposition import decompose, fitted, unaligned
from robench.analysis.provenance import Run, rows_sha256
from robench.errors import NotComparable

Make = Callable[..., pd.DataFrame]


def run_of(make_rows: Make, scores: Mapping[str, Mapping[str, list[float | None]]], **columns: object) -> Run:
    """A run from ``{metric: {condition: [value of subject a, b]}}``."""
    found = {
        (name, int(name != "clean"), metric): {s: [v] for s, v in zip("abc", values, strict=False)}
        for metric, conditions in scores.items()
        for name, values in conditions.items()
    }
    rows = make_rows(found, **columns)
    return Run(Path("run"), rows, {}, rows_sha256(rows))


PREDICTED = {
    "chamfer_cm": {"clean": [2.0, 2.0], "fog": [7.0, 5.0], "roll": [3.0, 3.0]},
    "chamfer_unaligned_cm": {"clean": [2.0, 2.0], "fog": [7.0, 5.0], "roll": [9.0, 9.0]},
}
GIVEN = {
    "chamfer_cm": {"clean": [1.0, 1.0], "fog": [4.0, 3.0], "roll": [2.0, 2.0]},
    "chamfer_similarity_cm": {"clean": [0.5, 0.5], "fog": [1.5, 1.5], "roll": [0.5, 0.5]},
}


def test_by_hand(make_rows: Make) -> None:
    run = run_of(make_rows, PREDICTED, masker="u2netp", mask_source="predicted:u2netp", run_id="p")
    given = run_of(make_rows, GIVEN, mask_source="gt", run_id="g")
    table = decompose(run, given, "chamfer_cm").set_index("corruption")
    # Fog: a loses 5 with its masks, 3 with true ones, 1 of it in shape; b loses 3, 2 and 1.
    assert table.loc["fog", ["loss", "mask", "alignment", "shape", "rest", "camera"]].tolist() == pytest.approx(
        [4.0, 1.5, 1.5, 1.0, 2.5, 0.0]
    )
    assert table.loc["roll", ["loss", "mask", "alignment", "shape", "camera"]].tolist() == pytest.approx(
        [1.0, 0.0, 1.0, 0.0, 6.0]
    )
    assert table.loc["all", "loss"] == pytest.approx(2.5)
    np.testing.assert_allclose(table["mask"] + table["alignment"] + table["shape"], table["loss"])
    # a and b: 4 -+ 12.706 * sqrt(2) / sqrt(2)
    assert table.loc["fog", "loss_hi"] == pytest.approx(4 + 12.7062, abs=1e-3)
    assert table.loc["fog", "n_subjects"] == 2


def test_parts_whose_metric_is_not_there_are_missing(make_rows: Make) -> None:
    only = {"chamfer_cm": GIVEN["chamfer_cm"]}
    given = run_of(make_rows, only, mask_source="gt")
    table = decompose(given, given, "chamfer_cm")
    assert table[["alignment", "shape", "camera"]].isna().all(axis=None)
    assert (table["mask"] == 0).all()
    np.testing.assert_allclose(table["rest"], table["loss"])


def test_a_failure_without_a_penalty_takes_its_corruption_away(make_rows: Make) -> None:
    broken = {"chamfer_cm": {**PREDICTED["chamfer_cm"], "fog": [7.0, None]}}
    given = run_of(make_rows, GIVEN, mask_source="gt")
    table = decompose(run_of(make_rows, broken, failure_value=np.nan), given, "chamfer_cm").set_index("corruption")
    assert np.isnan(table.loc["fog", "loss"])
    assert np.isnan(table.loc["all", "loss"])
    assert table.loc["roll", "loss"] == pytest.approx(1.0)


def test_only_the_same_model_with_true_masks_will_do(make_rows: Make) -> None:
    run = run_of(make_rows, PREDICTED, mask_source="predicted:u2netp")
    with pytest.raises(NotComparable, match="did not get the true masks"):
        decompose(run, run, "chamfer_cm")
    with pytest.raises(NotComparable, match="'checkpoint_sha256' differs"):
        decompose(run, run_of(make_rows, GIVEN, mask_source="gt", checkpoint_sha256="cd" * 32), "chamfer_cm")
    with pytest.raises(NotComparable, match="'dataset' differs"):
        decompose(run, run_of(make_rows, GIVEN, mask_source="gt", dataset="others"), "chamfer_cm")
    less = {"chamfer_cm": {name: GIVEN["chamfer_cm"][name] for name in ("clean", "fog")}}
    with pytest.raises(NotComparable, match="lacks corruptions"):
        decompose(run, run_of(make_rows, less, mask_source="gt"), "chamfer_cm")


def test_names_of_twins() -> None:
    assert (fitted("chamfer_cm"), unaligned("p2s_pred_to_gt_cm")) == (
        "chamfer_similarity_cm",
        "p2s_pred_to_gt_unaligned_cm",
    )
