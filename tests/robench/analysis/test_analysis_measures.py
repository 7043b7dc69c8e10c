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

GOLDENS = Path(__file__).resolve().parents[2] / "goldens"  # tables of published figures, each with its source


def published(name: str) -> pd.DataFrame:
    return pd.read_csv(GOLDENS / name, comment="#", index_col=0)


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
    """AlexNet's error is the mean of its severities; the others' CE and mCE follow from it to the digits printed."""
    table = published("imagenet_c.csv")
    means, table = table.loc["mean"], table.drop("mean")
    alexnet = table[["s1", "s2", "s3", "s4", "s5"]].to_numpy()
    assert len(table) == 15
    np.testing.assert_allclose(alexnet.mean(axis=1), table["alexnet"], atol=1e-9)
    np.testing.assert_allclose(corruption_error(alexnet, alexnet), 1.0)
    steps = np.array([0.6, 0.8, 1.0, 1.2, 1.4])  # severities whose mean is the published mean error
    for model in ("clean", "ant", "ant_sin"):
        errors = (1 - table[model].to_numpy() / 100)[:, None] * steps
        found = 100 * corruption_error(errors, alexnet)
        np.testing.assert_allclose(found, table[f"{model}_ce"], atol=0.013)  # accuracies have two digits, 0.005 / 0.56
        assert found.mean() == pytest.approx(means[f"{model}_ce"], abs=0.0085)
        assert table[model].mean() == pytest.approx(means[model], abs=0.01)


@pytest.mark.parametrize(("table", "rows"), [("KITTI-C", 8), ("NYUDepth2-C", 10)])
def test_robodepth_as_published(table: str, rows: int) -> None:
    """mCE and mRR follow from the DEE of three digits to the two printed, as the table was made from them."""
    found = published("robodepth.csv").loc[table].set_index("model")
    dee = {model: np.array(row["dee"].split(), float) for model, row in found.iterrows()}
    (base,) = [values for model, values in dee.items() if model.startswith("*")]
    assert len(dee) == rows
    for model, row in found.iterrows():
        ours = dee[model]
        assert 100 * corruption_error(ours[1:, None], base[1:, None]).mean() == pytest.approx(row["mce"], abs=0.0055)
        slip = 0.1 if model == "MonoViT MPViT M+S" else 0.0
        assert 100 * resilience(1 - ours[1:, None], 1 - ours[0]).mean() == pytest.approx(row["mrr"] + slip, abs=0.0055)


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
