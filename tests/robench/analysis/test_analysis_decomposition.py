"""Where a loss comes from: by hand, and the sum of the parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis import degradation_table
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
    with pytest.raises(NotComparable, match=r"lacks cells; got 4 of 6, not roll 1 of a_0"):
        decompose(run, run_of(make_rows, less, mask_source="gt"), "chamfer_cm")


def test_without_true_masks_alignment_and_shape_add_up_to_the_loss(make_rows: Make) -> None:
    run = run_of(make_rows, GIVEN | {"chamfer_unaligned_cm": GIVEN["chamfer_cm"]}, mask_source="predicted:u2netp")
    table = decompose(run, None, "chamfer_cm").set_index("corruption")
    # Fog: a loses 3, 1 of it in shape; b loses 2, 1 of it in shape.
    assert table.loc["fog", ["loss", "alignment", "shape", "camera"]].tolist() == pytest.approx([2.5, 1.5, 1.0, 0.0])
    assert table["mask"].isna().all(), "nothing tells it"
    np.testing.assert_allclose(table["alignment"] + table["shape"], table["loss"])


def test_the_mask_has_no_part_in_true_masks_nor_in_a_model_that_reads_none(make_rows: Make) -> None:
    true = run_of(make_rows, GIVEN, mask_source="gt")
    blind = run_of(make_rows, GIVEN, mask_source="predicted:u2netp")
    cards = {"cards": {"model": {"extra": {"inputs_used": ["image", "camera"]}}}}
    for run in (true, replace(blind, about=cards)):
        table = decompose(run, None, "chamfer_cm")
        assert (table[["mask", "mask_lo", "mask_hi"]] == 0).all(axis=None)
        np.testing.assert_allclose(table["alignment"] + table["shape"], table["loss"])
    cards = {"cards": {"model": {"extra": {"inputs_used": ["image", "mask"]}}}}
    assert decompose(replace(blind, about=cards), None, "chamfer_cm")["mask"].isna().all()


def drawn(make_rows: Make, rng: np.random.Generator, metrics: list[str], **columns: object) -> Run:
    """Six subjects with one to three views, two corruptions at severities 1, 3 and 2, 4, 5; all numbers random."""
    conditions = [("clean", 0), ("fog", 1), ("fog", 3), ("roll", 2), ("roll", 4), ("roll", 5)]
    views = {f"s{i}": 1 + i % 3 for i in range(6)}
    scores = {
        (name, severity, metric): {subject: [float(v) for v in rng.uniform(1, 9, n)] for subject, n in views.items()}
        for name, severity in conditions
        for metric in metrics
    }
    rows = make_rows(scores, **columns)
    return Run(Path("run"), rows, {}, rows_sha256(rows))


TWINS = ["chamfer_cm", "chamfer_similarity_cm", "chamfer_unaligned_cm"]


@pytest.mark.parametrize("seed", range(4))
def test_parts_add_up_and_the_loss_is_that_of_the_degradation_table(make_rows: Make, seed: int) -> None:
    rng = np.random.default_rng(seed)
    run = drawn(make_rows, rng, TWINS, mask_source="predicted:u2netp")
    given = drawn(make_rows, rng, TWINS, mask_source="gt")
    delta = degradation_table(run.rows, ["chamfer_cm"]).set_index("corruption")
    for truth, parts in ((given, ["mask", "alignment", "shape"]), (None, ["alignment", "shape"])):
        table = decompose(run, truth, "chamfer_cm").set_index("corruption")
        np.testing.assert_allclose(table[parts].sum(axis=1), table["loss"], atol=1e-12)
        np.testing.assert_allclose(table["alignment"] + table["shape"], table["rest"], atol=1e-12)
        for end in ("", "_lo", "_hi"):
            wanted = delta.loc[["fog", "roll"], f"delta{end}"]
            np.testing.assert_allclose(table.loc[["fog", "roll"], f"loss{end}"], wanted)
        assert table.loc["all", "loss"] == pytest.approx(table.loc[["fog", "roll"], "loss"].mean())


def test_laws(make_rows: Make) -> None:
    rng = np.random.default_rng(9)
    run = drawn(make_rows, rng, TWINS, mask_source="predicted:u2netp")
    given = drawn(make_rows, rng, TWINS, mask_source="gt")
    table = decompose(run, given, "chamfer_cm").drop(columns=["corruption", "n_subjects"])

    def with_values(one: Run, change: Callable[[pd.DataFrame], pd.Series[float]]) -> Run:
        return replace(one, rows=one.rows.assign(value=change(one.rows)))

    # Another unit multiplies every part.
    inches = [with_values(one, lambda rows: rows["value"] / 2.54) for one in (run, given)]
    scaled = decompose(inches[0], inches[1], "chamfer_cm").drop(columns=["corruption", "n_subjects"])
    np.testing.assert_allclose(scaled, table / 2.54)
    # What is worse by a constant, clean and corrupted, loses as before.
    offset = with_values(run, lambda rows: rows["value"] + 3)
    moved = decompose(offset, given, "chamfer_cm").drop(columns=["corruption", "n_subjects"])
    np.testing.assert_allclose(moved, table)
    # A score that is one minus the error loses as much as the error: a loss is positive where corruption harms.
    names = {"chamfer_cm": "iou_3d", "chamfer_similarity_cm": "iou_3d_similarity"}
    scores = [
        replace(
            one,
            rows=one.rows.assign(
                value=1 - one.rows["value"], direction="higher", metric=one.rows["metric"].replace(names)
            ),
        )
        for one in (run, given)
    ]
    flipped = decompose(*scores, "iou_3d")
    for part in ("loss", "mask", "alignment", "shape"):
        np.testing.assert_allclose(flipped[part], table[part])
    # The order of rows means nothing.
    shuffled = [replace(one, rows=one.rows.sample(frac=1, random_state=1)) for one in (run, given)]
    again = decompose(*shuffled, "chamfer_cm").drop(columns=["corruption", "n_subjects"])
    np.testing.assert_allclose(again, table)


def test_every_part_speaks_of_the_cells_of_the_run(make_rows: Make) -> None:
    rng = np.random.default_rng(2)
    run = drawn(make_rows, rng, TWINS, mask_source="predicted:u2netp")
    given = drawn(make_rows, rng, TWINS, mask_source="gt")
    # The run with true masks has severities and subjects that the run lacks: they are in no part.
    fewer = run.rows[(run.rows["severity"] != 5) & (run.rows["subject_id"] != "s0")]
    same = given.rows[(given.rows["severity"] != 5) & (given.rows["subject_id"] != "s0")]
    part = decompose(replace(run, rows=fewer), given, "chamfer_cm")
    pd.testing.assert_frame_equal(part, decompose(replace(run, rows=fewer), replace(given, rows=same), "chamfer_cm"))
    with pytest.raises(NotComparable, match=r"lacks cells; got 55 of 72, not clean 0 of s0_0"):
        decompose(run, replace(given, rows=same), "chamfer_cm")
    # A corruption that a subject does not have is told over the others; all together over those that have every one.
    rows = run.rows[~((run.rows["subject_id"] == "s1") & (run.rows["corruption"] == "fog"))]
    table = decompose(replace(run, rows=rows), given, "chamfer_cm").set_index("corruption")
    assert table["n_subjects"].to_dict() == {"all": 5, "fog": 5, "roll": 6}
    assert table["loss"].notna().all()


def test_a_part_that_one_cell_cannot_tell_is_missing_alone(make_rows: Make) -> None:
    rng = np.random.default_rng(3)
    run = drawn(make_rows, rng, TWINS, mask_source="predicted:u2netp")
    given = drawn(make_rows, rng, TWINS, mask_source="gt", failure_value=np.nan)
    broken = given.rows.copy()
    twin = (broken["metric"] == "chamfer_similarity_cm") & (broken["corruption"] == "fog")
    broken.loc[broken.index[twin][0], ["value", "status"]] = [np.nan, "failed"]
    table = decompose(run, replace(given, rows=broken), "chamfer_cm").set_index("corruption")
    whole = decompose(run, given, "chamfer_cm").set_index("corruption")
    assert table.loc[["all", "fog"], ["alignment", "shape"]].isna().all(axis=None)
    pd.testing.assert_frame_equal(table[["loss", "mask", "rest", "camera"]], whole[["loss", "mask", "rest", "camera"]])
    pd.testing.assert_series_equal(table.loc["roll"], whole.loc["roll"])


def test_nothing_corrupted_or_nothing_clean_is_no_row(make_rows: Make) -> None:
    run = run_of(make_rows, GIVEN, mask_source="gt")
    for kept in (run.rows["severity"] == 0, run.rows["severity"] > 0):
        table = decompose(replace(run, rows=run.rows[kept]), None, "chamfer_cm")
        assert not len(table)
        assert "shape_hi" in table
    with pytest.raises(NotComparable, match="has no row of 'beauty'"):
        decompose(run, None, "beauty")
    both = pd.concat([run.rows, run.rows.assign(masker="u2netp")])
    with pytest.raises(NotComparable, match="several maskers; got given, u2netp"):
        decompose(replace(run, rows=both), None, "chamfer_cm")


def test_other_options_are_another_model(make_rows: Make) -> None:
    run = run_of(make_rows, PREDICTED, masker="u2netp", mask_source="predicted:u2netp")
    given = run_of(make_rows, GIVEN, mask_source="gt")
    about = [{"protocol": {"model_options": {"resolution": n}, "penalty": {"model": "mean-body"}}} for n in (64, 256)]
    with pytest.raises(NotComparable, match=r"model_options.resolution' differs; got 64 and 256"):
        decompose(replace(run, about=about[0]), replace(given, about=about[1]), "chamfer_cm")
    same = decompose(replace(run, about=about[0]), replace(given, about=about[0]), "chamfer_cm")
    pd.testing.assert_frame_equal(same, decompose(run, given, "chamfer_cm"))


def test_names_of_twins() -> None:
    assert (fitted("chamfer_cm"), unaligned("p2s_pred_to_gt_cm")) == (
        "chamfer_similarity_cm",
        "p2s_pred_to_gt_unaligned_cm",
    )
