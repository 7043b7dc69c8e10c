"""The degradation table, by hand and by law."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from robench.analysis import degradation_table, summary
from robench.analysis.provenance import rows_sha256
from robench.errors import NotComparable, UsageError

CHAMFER, P2S = "chamfer_cm", "p2s_pred_to_gt_cm"
BY_HAND = {
    ("clean", 0, CHAMFER): {"a": [1.0, 3.0], "b": [4.0, 4.0], "c": [3.0, 3.0]},  # 2, 4, 3
    ("fog", 1, CHAMFER): {"a": [2.0, 4.0], "b": [5.0, 5.0], "c": [4.0, 4.0]},  # 3, 5, 4
    ("fog", 2, CHAMFER): {"a": [4.0, 6.0], "b": [9.0, 7.0], "c": [6.0, None]},  # 5, 8, (6+10)/2 = 8
}


def row(table: pd.DataFrame, corruption: str, metric: str = CHAMFER, severity: str | None = None) -> pd.Series:
    chosen = table[(table["corruption"] == corruption) & (table["metric"] == metric)]
    if severity is not None:
        chosen = chosen[chosen["severity"] == severity]
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_by_hand(make_rows) -> None:
    table = degradation_table(make_rows(BY_HAND))
    assert list(zip(table["corruption"], table["severity"], strict=True)) == [("clean", "0"), ("fog", "1,2")]
    clean, fog = row(table, "clean"), row(table, "fog")
    assert (clean.value, clean.n_subjects, clean.n_samples, clean.failures) == (3.0, 3, 6, 0)
    assert np.isnan([clean.delta, clean.ratio]).all()
    # Subjects: (3+5)/2 = 4, (5+8)/2 = 6.5, (4+8)/2 = 6; differences to clean 2, 2.5, 3; ratio 16.5 / 9.
    assert fog.value == pytest.approx(16.5 / 3)
    assert fog.delta == pytest.approx(2.5)
    assert (fog.delta_lo, fog.delta_hi) == pytest.approx((2.5 - 4.302653 * 0.5 / 3**0.5, 2.5 + 4.302653 * 0.5 / 3**0.5))
    assert fog.ratio == pytest.approx(16.5 / 9)
    assert (fog.failures, fog.n_samples, fog.failure_rate) == (1, 12, pytest.approx(1 / 12))
    assert (fog.unit, fog.direction, fog.method) == ("cm", "lower", "t")
    assert table.attrs["protocol"]["n_points"] == "1000"


def test_by_severity(make_rows) -> None:
    table = degradation_table(make_rows(BY_HAND), by="severity")
    assert [(r.corruption, r.severity) for r in table.itertuples()] == [("clean", "0"), ("fog", "1"), ("fog", "2")]
    assert row(table, "fog", severity="1").value == pytest.approx(4.0)
    assert row(table, "fog", severity="1").delta == pytest.approx(1.0)
    assert (row(table, "fog", severity="1").delta_lo, row(table, "fog", severity="1").delta_hi) == (1.0, 1.0)
    assert row(table, "fog", severity="2").value == pytest.approx(7.0)


def test_a_failure_makes_a_model_worse_and_a_missing_penalty_makes_the_number_missing(make_rows) -> None:
    good = {**BY_HAND, ("fog", 2, CHAMFER): {"a": [4.0, 6.0], "b": [9.0, 7.0], "c": [6.0, 6.0]}}
    assert (
        row(degradation_table(make_rows(BY_HAND)), "fog").value > row(degradation_table(make_rows(good)), "fog").value
    )
    table = degradation_table(make_rows(BY_HAND, failure_value=np.nan))
    fog = row(table, "fog")
    assert np.isnan([fog.value, fog.lo, fog.delta, fog.ratio]).all()
    assert (fog.failures, row(table, "clean").value) == (1, 3.0)
    head = summary(make_rows(BY_HAND, failure_value=np.nan)).iloc[0]
    assert np.isnan(head.ratio)
    assert head.worst_corruption == ""


def test_a_clean_failure_without_penalty_makes_every_comparison_missing(make_rows) -> None:
    scores = {**BY_HAND, ("clean", 0, CHAMFER): {"a": [None, 3.0], "b": [4.0, 4.0], "c": [3.0, 3.0]}}
    fog = row(
        degradation_table(make_rows(scores, failure_value=np.nan).assign(failure_value=[np.nan] * 17 + [10.0])), "fog"
    )
    assert np.isfinite(fog.value)
    assert np.isnan([fog.delta, fog.ratio]).all()


@pytest.mark.parametrize("n", [6, 40])
def test_order_and_names_of_rows_do_not_matter(make_rows, n: int) -> None:
    rng = np.random.default_rng(n)
    scores = {
        (name, severity, metric): {f"s{i:02d}": list(rng.lognormal(size=2)) for i in range(n)}
        for name, severity in (("clean", 0), ("fog", 1), ("fog", 2), ("roll", 1))
        for metric in (CHAMFER, P2S)
    }
    rows = make_rows(scores)
    shuffled = rows.sample(frac=1, random_state=1).reset_index(drop=True)
    pd.testing.assert_frame_equal(degradation_table(shuffled), degradation_table(rows), rtol=1e-12)
    pd.testing.assert_frame_equal(summary(shuffled), summary(rows), rtol=1e-12)
    # The name that the data set gives its clean pictures is its own business.
    renamed = rows.assign(corruption=rows["corruption"].replace("clean", "none"))
    pd.testing.assert_frame_equal(degradation_table(renamed), degradation_table(rows))


def test_units_scale_values_and_not_ratios(make_rows) -> None:
    a, b = make_rows(BY_HAND), make_rows(BY_HAND)
    b[["value", "failure_value"]] *= 10
    a, b = degradation_table(a), degradation_table(b)
    for name in ("value", "lo", "hi", "delta", "delta_lo", "delta_hi"):
        np.testing.assert_allclose(b[name], 10 * a[name])
    for name in ("ratio", "ratio_lo", "ratio_hi"):
        np.testing.assert_allclose(b[name], a[name])


def test_views_do_not_narrow_an_interval(make_rows) -> None:
    """Eight copies of a view are no more evidence than one."""
    one = {key: {s: v[:1] for s, v in values.items()} for key, values in BY_HAND.items()}
    eight = {key: {s: v[:1] * 8 for s, v in values.items()} for key, values in BY_HAND.items()}
    columns = ["value", "lo", "hi", "delta", "delta_lo", "delta_hi", "ratio", "ratio_lo", "ratio_hi"]
    a, b = degradation_table(make_rows(one)), degradation_table(make_rows(eight))
    np.testing.assert_allclose(a[columns], b[columns])


def test_uneven_views_and_severities_weigh_subjects_the_same(make_rows) -> None:
    scores = {
        ("clean", 0, CHAMFER): {"a": [1.0] * 5, "b": [3.0]},
        ("fog", 1, CHAMFER): {"a": [2.0] * 5, "b": [6.0]},
        ("fog", 2, CHAMFER): {"a": [4.0], "b": [10.0]},  # an unfinished run
    }
    table = degradation_table(make_rows(scores))
    assert row(table, "clean").value == 2.0
    assert row(table, "fog").value == pytest.approx((3.0 + 8.0) / 2)


def test_pairs_are_samples_that_have_both(make_rows) -> None:
    scores = {
        ("clean", 0, CHAMFER): {"a": [1.0, 5.0], "b": [2.0]},
        ("fog", 1, CHAMFER): {"a": [2.0], "b": [4.0], "c": [100.0]},
    }
    fog = row(degradation_table(make_rows(scores)), "fog")
    assert fog.delta == pytest.approx(1.5)  # (2-1, 4-2); view 1 of a and the whole of c have no pair
    assert fog.ratio == pytest.approx(2.0)
    assert fog.n_subjects == 3


def test_unaligned_is_a_row_of_its_own_where_pixels_moved(make_rows) -> None:
    clean = {"a": [2.0], "b": [4.0]}
    scores = {
        ("clean", 0, CHAMFER): clean,
        ("clean", 0, "chamfer_unaligned_cm"): clean,
        ("camera_roll", 1, CHAMFER): {"a": [3.0], "b": [5.0]},
        ("camera_roll", 1, "chamfer_unaligned_cm"): {"a": [20.0], "b": [40.0]},
        ("fog", 1, CHAMFER): {"a": [3.0], "b": [5.0]},
        ("fog", 1, "chamfer_unaligned_cm"): {"a": [3.0], "b": [5.0]},
        ("camera_roll", 1, "mask_iou"): {"a": [0.9], "b": [0.7]},
    }
    table = degradation_table(make_rows(scores))
    assert table["corruption"].tolist() == ["clean", "camera_roll", "camera_roll (unaligned)", "fog"]
    assert row(table, "camera_roll").ratio == pytest.approx(8 / 6)
    unaligned = row(table, "camera_roll (unaligned)")
    assert (unaligned.value, unaligned.delta, unaligned.ratio) == pytest.approx((30.0, 27.0, 10.0))
    assert (unaligned.metric, unaligned.mask_iou) == (CHAMFER, pytest.approx(0.8))
    head = summary(make_rows(scores)).iloc[0]
    assert (head.worst_corruption, head.n_corruptions) == ("camera_roll", 2)


def test_mask_iou_stands_beside_every_metric(make_rows) -> None:
    iou = {
        ("clean", 0, "mask_iou"): {"a": [1.0, 1.0], "b": [1.0, 0.9], "c": [1.0, 1.0]},
        ("fog", 1, "mask_iou"): {"a": [0.8, 0.6], "b": [0.5, 0.5], "c": [0.6, 0.6]},
        ("fog", 2, "mask_iou"): {"a": [0.4, 0.2], "b": [0.1, 0.1], "c": [0.2, 0.2]},
    }
    both = {(c, s, m): values for (c, s, _), values in BY_HAND.items() for m in (CHAMFER, P2S)}
    table = degradation_table(make_rows({**both, **iou}))
    for metric in (CHAMFER, P2S):
        assert row(table, "fog", metric).mask_iou == pytest.approx((0.5 + 0.3 + 0.4) / 3)
    assert summary(make_rows({**both, **iou})).iloc[0].mask_iou == pytest.approx(0.4)
    assert set(table["metric"]) == {CHAMFER, P2S}
    alone = degradation_table(make_rows({**both, **iou}), metrics=["mask_iou"])
    assert set(alone["direction"]) == {"higher"}


def test_clean_error_of_0_has_no_ratio(make_rows) -> None:
    scores = {("clean", 0, CHAMFER): {"a": [0.0], "b": [0.0]}, ("fog", 1, CHAMFER): {"a": [1.0], "b": [2.0]}}
    fog = row(degradation_table(make_rows(scores)), "fog")
    assert fog.delta == 1.5
    assert np.isnan([fog.ratio, fog.ratio_lo, fog.ratio_hi]).all()


def test_without_clean_there_are_values_and_nothing_relative(make_rows) -> None:
    table = degradation_table(make_rows({("fog", 1, CHAMFER): {"a": [1.0], "b": [2.0]}}))
    assert row(table, "fog").value == 1.5
    assert np.isnan(row(table, "fog").ratio)
    only_clean = summary(make_rows({("clean", 0, CHAMFER): {"a": [1.0], "b": [2.0]}})).iloc[0]
    assert only_clean.clean == 1.5
    assert np.isnan([only_clean.corrupted, only_clean.ratio]).all()


def test_headline_is_the_geometric_mean(make_rows) -> None:
    clean = {"a": [1.0], "b": [3.0]}
    scores = {
        ("clean", 0, CHAMFER): clean,
        ("fog", 1, CHAMFER): {s: [2 * v[0]] for s, v in clean.items()},
        ("roll", 1, CHAMFER): {s: [8 * v[0]] for s, v in clean.items()},
    }
    head = summary(make_rows(scores)).iloc[0]
    assert head.ratio == pytest.approx(4.0)
    assert (head.worst_corruption, head.worst_ratio) == ("roll", pytest.approx(8.0))
    assert (head.clean, head.corrupted) == (2.0, pytest.approx(10.0))


def test_against_the_named_reference(make_rows) -> None:
    reference = {key: {s: [20.0] * len(v) for s, v in values.items()} for key, values in BY_HAND.items()}
    ref = make_rows(reference, model="mean-body", run_id="ref", checkpoint_sha256="cd" * 32)
    table = degradation_table(make_rows(BY_HAND), reference=ref)
    assert row(table, "clean").rce == pytest.approx(9 / 60)
    assert row(table, "fog").rce == pytest.approx(16.5 / 60)
    assert table.attrs["reference"] == "mean-body (cdcdcdcd)"
    assert table.attrs["reference_rows_sha256"] == rows_sha256(ref)
    assert table.attrs["reference_run_id"] == "ref"
    head = summary(make_rows(BY_HAND), reference=ref).iloc[0]
    assert head.rce == pytest.approx(16.5 / 60)
    assert np.isnan(degradation_table(make_rows(BY_HAND))["rce"]).all()
    with pytest.raises(NotComparable, match="'dataset' differs"):
        degradation_table(make_rows(BY_HAND), reference=ref.assign(dataset="others"))


def test_runs_and_maskers_stay_apart(make_rows) -> None:
    other = {
        key: {s: [None if v is None else 2 * v for v in vs] for s, vs in values.items()}
        for key, values in BY_HAND.items()
    }
    rows = pd.concat(
        [
            make_rows(BY_HAND),
            make_rows(BY_HAND, masker="u2net"),
            make_rows(other, run_id="second", model="bigger", checkpoint_sha256="ef" * 32),
        ]
    )
    table = degradation_table(rows)
    assert table[["model", "masker"]].drop_duplicates().to_numpy().tolist() == [
        ["bigger", "given"],
        ["toy", "given"],
        ["toy", "u2net"],
    ]
    assert table.loc[table["corruption"] == "clean", "value"].tolist() == [6.0, 3.0, 3.0]


def test_mixed_protocols_and_unknown_metrics_are_refused(make_rows) -> None:
    rows = make_rows(BY_HAND)
    rows.loc[0, "n_points"] = 7
    with pytest.raises(NotComparable, match="n_points"):
        degradation_table(rows)
    with pytest.raises(UsageError, match="none of the wanted metrics"):
        degradation_table(make_rows(BY_HAND), metrics=["beauty"])


def test_bootstrap_from_30_subjects_on_and_seeded(make_rows) -> None:
    rng = np.random.default_rng(0)
    scores = {
        (name, severity, CHAMFER): {f"s{i:03d}": [float(v)] for i, v in enumerate(rng.lognormal(size=30))}
        for name, severity in (("clean", 0), ("fog", 1))
    }
    rows = make_rows(scores)
    table = degradation_table(rows)
    assert set(table["method"]) == {"bootstrap"}
    pd.testing.assert_frame_equal(table, degradation_table(rows))
    assert not degradation_table(rows, seed=1).equals(table)
    wider = degradation_table(rows, level=0.99)
    assert (wider["hi"] - wider["lo"] > table["hi"] - table["lo"]).all()
