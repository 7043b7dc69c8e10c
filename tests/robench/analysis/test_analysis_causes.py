"""Causes of several runs: which run with true masks belongs to which, and what can be told of whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from robench.analysis.causes import COLUMNS, cause_table, true_masks_of
from robench.analysis.decomposition import PARTS, decompose
from robench.analysis.provenance import Run, rows_sha256
from robench.errors import UsageError

Make = Callable[..., pd.DataFrame]
ERRORS = {"clean": 2.0, "fog": 5.0}


def one(make_rows: Make, name: str, factor: float = 1.0, *, twin: bool = True, **columns: object) -> Run:
    """A run of two subjects, whose similarity takes a fifth of every error away."""
    metrics = {"chamfer_cm": 1.0, "p2s_pred_to_gt_cm": 0.5} | ({"chamfer_similarity_cm": 0.8} if twin else {})
    rows = make_rows(
        {
            (corruption, int(corruption != "clean"), metric): {s: [error * share * factor] for s in "ab"}
            for metric, share in metrics.items()
            for corruption, error in ERRORS.items()
        },
        **{"run_id": name, "masker": "u2netp", "mask_source": "predicted:u2netp", **columns},
    )
    return Run(Path(name), rows, {}, rows_sha256(rows))


GIVEN = {"masker": "given", "mask_source": "gt"}
OTHER = {"model": "other", "checkpoint_sha256": "cd" * 32}


def with_options(run: Run, resolution: int) -> Run:
    return replace(run, about={"protocol": {"model_options": {"resolution": resolution}}})


def test_runs_find_their_own(make_rows: Make) -> None:
    mine, theirs = one(make_rows, "mine"), one(make_rows, "theirs", **OTHER)
    again = one(make_rows, "again", masker="u2net", mask_source="predicted:u2net")
    true, others = one(make_rows, "true", **GIVEN), one(make_rows, "others", **GIVEN, **OTHER)
    assert true_masks_of([theirs, mine, again], [true, others]) == [others, true, true]
    assert true_masks_of([mine, theirs], [others]) == [None, others]
    assert true_masks_of([true, mine], [true]) == [None, true], "a run with true masks needs none"
    blind = replace(mine, about={"cards": {"model": {"extra": {"inputs_used": ["image"]}}}})
    assert true_masks_of([blind], [true]) == [None]
    coarse, fine = with_options(mine, 64), with_options(mine, 256)
    pair = [with_options(true, 256), with_options(replace(true, path=Path("64")), 64)]
    assert true_masks_of([coarse, fine], pair) == pair[::-1]


def test_a_run_of_no_reported_model_is_a_mistake(make_rows: Make) -> None:
    mine, others = one(make_rows, "mine"), one(make_rows, "others", **GIVEN, **OTHER)
    with pytest.raises(UsageError, match=r"'others' is of no model.*got other \(cdcdcdcd\); expected toy \(abababab\)"):
        true_masks_of([mine], [others])
    true = one(make_rows, "true", **GIVEN)
    with pytest.raises(UsageError, match="Two runs with true masks are of the same model"):
        true_masks_of([mine], [true, replace(true, path=Path("copy"))])


def test_the_table_has_the_parts_of_each_run_that_can_be_split(make_rows: Make) -> None:
    mine, theirs = one(make_rows, "mine", 2.0), one(make_rows, "theirs", **OTHER)
    old = one(make_rows, "old", twin=False, model="old", checkpoint_sha256="ef" * 32)
    true = one(make_rows, "true", **GIVEN)
    table = cause_table([theirs, old, mine], [true], ["chamfer_cm", "p2s_pred_to_gt_cm", "beauty"])
    assert list(table.columns[: len(COLUMNS)]) == list(COLUMNS)
    found = table.groupby(["model", "metric"], sort=False)["mask_told"].first().to_dict()
    # P2S has no twin, so that only a run with true masks splits it; the old run has neither.
    assert found == {
        ("other", "chamfer_cm"): "no",
        ("toy", "chamfer_cm"): "paired",
        ("toy", "p2s_pred_to_gt_cm"): "paired",
    }
    chamfer = table[(table["model"] == "toy") & (table["metric"] == "chamfer_cm")].reset_index(drop=True)
    pd.testing.assert_frame_equal(
        chamfer[["corruption", "n_subjects", *PARTS]],
        decompose(mine, true, "chamfer_cm")[["corruption", "n_subjects", *PARTS]],
    )
    fog = chamfer.set_index("corruption").loc["fog"]
    assert fog[["loss", "mask", "alignment", "shape"]].tolist() == pytest.approx([6.0, 3.0, 0.6, 2.4])
    assert (fog["given_run_id"], fog["given_rows_sha256"], fog["unit"]) == ("true", true.sha256, "cm")
    assert table.attrs == {"level": 0.95, "resamples": 10_000, "seed": 0}


def test_what_is_told_of_the_mask(make_rows: Make) -> None:
    true = one(make_rows, "true", **GIVEN)
    blind = replace(one(make_rows, "blind"), about={"cards": {"model": {"extra": {"inputs_used": ["image"]}}}})
    table = cause_table([true, blind], [], ["chamfer_cm"])
    assert table.groupby("run_id")["mask_told"].first().to_dict() == {"true": "true masks", "blind": "reads none"}
    assert (table["mask"] == 0).all()


def test_maskers_of_one_run_are_split_apart_and_nothing_to_split_is_no_row(make_rows: Make) -> None:
    mine = one(make_rows, "mine")
    both = replace(mine, rows=pd.concat([mine.rows, mine.rows.assign(masker="u2net", value=mine.rows["value"] * 3)]))
    losses = cause_table([both], [], ["chamfer_cm"]).set_index(["masker", "corruption"])["loss"]
    assert losses.to_dict() == pytest.approx(
        {("u2net", "all"): 9.0, ("u2net", "fog"): 9.0, ("u2netp", "all"): 3.0, ("u2netp", "fog"): 3.0}
    )
    nothing = cause_table([one(make_rows, "old", twin=False)], [], ["chamfer_cm"])
    assert not len(nothing)
    assert {"mask_told", "shape_hi"} <= set(nothing.columns)
