"""Measures of robustness: by hand, against published tables, and from rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis.headline import measures
from robench.analysis.measures import (
    corruption_error,
    geometric_mean,
    relative_corruption_error,
    resilience,
    worst,
)
from robench.analysis.provenance import Run, rows_sha256
from robench.errors import NotComparable

# Mean top-1 errors of AlexNet, in the order of the 15 common corruptions of ImageNet-C, from gaussian_noise to
# jpeg_compression; beside them CEs in per cent with the published mean of ResNet-50 (ICLR 2019, table 1; mCE 76.7): the
# mean is what was checked against a source.
ALEXNET = np.concatenate(
    [
        [0.886428, 0.894468, 0.922640],  # noise
        [0.819880, 0.826268, 0.785948, 0.798360],  # blur
        [0.866816, 0.826572, 0.819324, 0.564592],  # weather
        [0.853204, 0.646056, 0.717840, 0.606500],  # digital
    ]
)
RESNET50 = np.array([80, 82, 83, 75, 89, 78, 80, 78, 75, 66, 57, 71, 85, 77, 77]) / 100

# RoboDepth, NYUDepth2-C: clean DEE, then DEE of the 15 corruptions, with the published mCE and mRR in per cent. The
# first is the baseline.
ADABINS = (
    "0.112 0.132 0.194 0.212 0.235 0.206 0.184 0.384 0.153 0.151 0.390 0.374 0.294 0.380 0.124 0.154",
    100.0,
    85.83,
)
DPT = "0.136 0.135 0.182 0.180 0.154 0.166 0.155 0.232 0.139 0.165 0.200 0.213 0.191 0.199 0.171 0.174", 83.22, 95.25
BTS = "0.122 0.149 0.269 0.265 0.337 0.262 0.231 0.372 0.182 0.180 0.442 0.512 0.392 0.474 0.139 0.175", 122.78, 80.63


def as_run(rows: pd.DataFrame) -> Run:
    return Run(Path("run"), rows, {}, rows_sha256(rows))


def test_corruption_error_is_a_ratio_of_sums() -> None:
    # (1 + 2 + 6) / (2 + 2 + 2), not the mean of 0.5, 1 and 3.
    assert corruption_error([1.0, 2.0, 6.0], [2.0, 2.0, 2.0]) == pytest.approx(1.5)
    assert corruption_error([[1.0, 3.0], [2.0, 2.0]], [[2.0, 2.0], [1.0, 1.0]]) == pytest.approx([1.0, 2.0])


def test_relative_corruption_error_by_hand() -> None:
    # Ours: mean 3, clean 1, worse by 2. The reference's: mean 5, clean 4, worse by 1.
    assert relative_corruption_error([2.0, 4.0], 1.0, [4.0, 6.0], 4.0) == pytest.approx(2.0)


@pytest.mark.parametrize("reference", [[4.0, 4.0], [3.0, 4.0], [4.03, 4.03]])
def test_a_reference_that_gets_no_worse_gives_no_relative_number(reference: list[float]) -> None:
    assert np.isnan(relative_corruption_error([2.0, 4.0], 1.0, reference, 4.0))


def test_what_cannot_be_divided_is_missing_never_zero_or_infinite() -> None:
    assert np.isnan(corruption_error([1.0, 2.0], [0.0, 0.0]))
    assert np.isnan(corruption_error([np.nan, 2.0], [1.0, 1.0]))
    assert np.isnan(resilience([0.5], 0.0))
    assert np.isnan(geometric_mean([1.0, 0.0]))
    assert np.isnan(geometric_mean([1.0, np.nan]))


def test_resilience_is_for_scores_between_zero_and_one() -> None:
    assert resilience([0.2, 0.4], 0.6) == pytest.approx(0.5)
    assert np.isnan(resilience([1 - 1.023], 0.8))  # RoboDepth's baseline in snow, by its first formula
    assert np.isnan(resilience([0.5], 1.2))


def test_geometric_mean_and_worst_by_hand() -> None:
    assert geometric_mean([1.0, 2.0, 4.0]) == pytest.approx(2.0)
    assert worst([1.0, 4.0, 4.0], ["a", "c", "b"]) == ("b", 4.0)
    assert worst([0.9, 0.4, np.nan], ["a", "b", "c"], higher_is_worse=False) == ("b", 0.4)
    assert worst([np.nan], ["a"])[0] == ""


def test_imagenet_c_as_published() -> None:
    """The table prints whole per cents: their mean is 76.87 where the paper's unrounded mCE is 76.7."""
    assert corruption_error(ALEXNET[:, None], ALEXNET[:, None]).mean() == pytest.approx(1.0)
    steps = np.array([0.6, 0.8, 1.0, 1.2, 1.4])  # severities whose mean is the published mean error
    ours, theirs = (RESNET50 * ALEXNET)[:, None] * steps, ALEXNET[:, None] * steps[::-1]
    found = corruption_error(ours, theirs)
    np.testing.assert_allclose(found, RESNET50, rtol=1e-12)
    assert 100 * found.mean() == pytest.approx(76.7, abs=0.5)


@pytest.mark.parametrize("row", [ADABINS, DPT, BTS], ids=["AdaBins", "DPT", "BTS"])
def test_robodepth_as_published(row: tuple[str, float, float]) -> None:
    ours, base = np.array(row[0].split(), float), np.array(ADABINS[0].split(), float)
    # The table has three digits: an error of 0.0005 in 0.13 is 0.4 % of a CE, and much less of their mean.
    assert 100 * corruption_error(ours[1:, None], base[1:, None]).mean() == pytest.approx(row[1], abs=0.12)
    assert 100 * resilience(1 - ours[1:, None], 1 - ours[0]).mean() == pytest.approx(row[2], abs=0.06)


ERRORS = {
    ("clean", 0, "chamfer_cm"): {"a": [1.0, 3.0], "b": [2.0]},
    ("fog", 1, "chamfer_cm"): {"a": [2.0, 4.0], "b": [4.0]},
    ("fog", 3, "chamfer_cm"): {"a": [4.0, 6.0], "b": [6.0]},
    ("roll", 1, "chamfer_cm"): {"a": [8.0, 8.0], "b": [8.0]},
}


def test_a_run_by_hand(make_rows: Callable[..., pd.DataFrame]) -> None:
    # Subject a: clean 2, fog (3 + 5) / 2 = 4, roll 8. Subject b: clean 2, fog 5, roll 8.
    reference = {key: {s: [4.0] * len(v) for s, v in subjects.items()} for key, subjects in ERRORS.items()}
    reference["fog", 3, "chamfer_cm"] = {"a": [8.0, 8.0], "b": [8.0]}
    other = as_run(make_rows(reference, run_id="ref", model="mean-body"))
    found = measures(as_run(make_rows(ERRORS)), "chamfer_cm", other)
    assert found["clean"].value == pytest.approx(2.0)
    assert found["corrupted"].value == pytest.approx((4.5 + 8) / 2)
    assert found["delta"].value == pytest.approx((4.5 + 8) / 2 - 2)
    assert found["ratio_gm"].value == pytest.approx(np.sqrt(2.25 * 4))
    table = found["corruptions"].set_index("corruption")
    assert table.loc["fog", "ce"] == pytest.approx(4.5 / 6)
    assert table.loc["roll", "ce"] == pytest.approx(2.0)
    assert found["mce"].value == pytest.approx((0.75 + 2) / 2)
    assert table.loc["fog", "relative_ce"] == pytest.approx(2.5 / 2)
    assert np.isnan(table.loc["roll", "relative_ce"])  # the reference does not mind
    assert np.isnan(found["relative_mce"].value)
    assert np.isnan(found["rr"].value)
    assert (found["worst_corruption"], found["worst_ratio"]) == ("roll", pytest.approx(4.0))
    assert found["reference"] == other.to_json()
    assert (found["reference"]["run_id"], len(found["reference"]["rows_sha256"])) == ("ref", 64)


def test_a_score_has_resilience_and_no_corruption_error(make_rows: Callable[..., pd.DataFrame]) -> None:
    scores = {
        ("clean", 0, "fscore_1cm"): {"a": [0.8], "b": [0.6]},
        ("fog", 1, "fscore_1cm"): {"a": [0.4], "b": [0.3]},
        ("roll", 1, "fscore_1cm"): {"a": [0.2], "b": [0.15]},
    }
    run = as_run(make_rows(scores, direction="higher", unit="1"))
    found = measures(run, "fscore_1cm", run)
    assert found["rr"].value == pytest.approx((0.5 + 0.25) / 2)
    assert np.isnan(found["mce"].value)
    assert found["worst_corruption"] == "roll"


def test_a_failure_counts_with_its_penalty_and_is_missing_without_one(make_rows: Callable[..., pd.DataFrame]) -> None:
    damaged = {**ERRORS, ("roll", 1, "chamfer_cm"): {"a": [8.0, None], "b": [8.0]}}
    found = measures(as_run(make_rows(damaged, failure_value=20.0)), "chamfer_cm")
    assert found["corruptions"].set_index("corruption").loc["roll", "error"] == pytest.approx((14 + 8) / 2)
    assert found["failure_rate"] == pytest.approx(1 / 12)
    found = measures(as_run(make_rows(damaged, failure_value=np.nan)), "chamfer_cm")
    assert np.isnan(found["corruptions"].set_index("corruption").loc["roll", "error"])
    assert np.isnan(found["ratio_gm"].value)
    assert np.isfinite(found["clean"].value)


def test_constant_zero_error_is_missing(make_rows: Callable[..., pd.DataFrame]) -> None:
    zero = {key: {s: [0.0] * len(v) for s, v in subjects.items()} for key, subjects in ERRORS.items()}
    run = as_run(make_rows(zero))
    found = measures(run, "chamfer_cm", run)
    assert found["corrupted"].value == 0.0
    assert np.isnan([found["ratio_gm"].value, found["mce"].value, found["worst_ratio"]]).all()


def test_a_reference_with_fewer_cells_is_refused(make_rows: Callable[..., pd.DataFrame]) -> None:
    rows = make_rows(ERRORS)
    less = as_run(rows[rows["severity"] != 3].assign(run_id="ref"))
    with pytest.raises(NotComparable, match="Too few cells"):
        measures(as_run(rows), "chamfer_cm", less)


def test_the_hash_of_rows_is_of_what_they_say(
    make_rows: Callable[..., pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = make_rows(ERRORS, time_s=1.0)
    same = rows_sha256(rows)
    monkeypatch.setattr("robench.analysis.provenance._CHUNK", 5)
    assert rows_sha256(rows.sample(frac=1, random_state=0)) == same
    assert rows_sha256(rows.assign(time_s=2.0, shard=3)) == same
    assert rows_sha256(rows.assign(value=rows["value"] + 1e-12)) != same
    assert rows_sha256(rows.iloc[1:]) != same
