"""What refinement did over subjects: whole turns, means within subjects, paired changes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from robench.analysis.refinement import iteration_log, refinement_changes, refinement_curves


def cell(subject, values, mode="sequential", view=0, status="ok", corruption="clean", before=None, after=None):
    log = [{"iteration": i, "view": i % 4, "loss": v, "psnr": 20 - v} for i, v in enumerate(values)]
    about = {
        "mode": mode,
        "sample_id": f"{subject}_{view}",
        "subject_id": subject,
        "corruption": corruption,
        "severity": 0,
        "status": status,
        "message": "",
    }
    measures = {"before": {"loss": before}, "after": {"loss": after}} if before is not None else {}
    return about | ({"log": log, "before": {}, "after": {}} | measures if status == "ok" else {})


def test_a_sequential_curve_is_the_mean_of_a_whole_turn() -> None:
    saw = [4.0, 1.0, 3.0, 0.0] * 3
    curves = refinement_curves(iteration_log([cell("a", saw), cell("b", [v + 2 for v in saw])]))
    loss = curves[curves["measure"] == "loss"]
    assert list(loss["iteration"]) == list(range(3, 12))
    assert loss["value"].to_numpy() == pytest.approx(3)
    assert set(loss["n_subjects"]) == {2}
    half = stats.t.ppf(0.975, 1) * stats.sem([2, 4])
    assert loss["hi"].to_numpy() == pytest.approx(3 + half)
    assert curves[curves["measure"] == "psnr"]["value"].to_numpy() == pytest.approx(17)


def test_an_averaged_curve_has_every_iteration_and_samples_do_not_run_into_each_other() -> None:
    cells = [cell("a", [5.0, 4.0, 3.0, 2.0, 1.0], mode) for mode in ("average", "sequential")]
    cells += [cell("a", [7.0, 6.0, 5.0, 4.0, 3.0], mode, view=30) for mode in ("average", "sequential")]
    curves = refinement_curves(iteration_log(cells))
    by_mode = {m: p[p["measure"] == "loss"]["value"].tolist() for m, p in curves.groupby("mode")}
    assert by_mode["average"] == pytest.approx([6, 5, 4, 3, 2]), "views are averaged within a subject"
    assert by_mode["sequential"] == pytest.approx([4.5, 3.5])
    assert set(curves["n_subjects"]) == {1}


def test_changes_are_paired_over_subjects() -> None:
    cells = [
        cell("a", [1.0], before=0.5, after=0.3),
        cell("a", [1.0], view=30, before=0.7, after=0.1),
        cell("b", [1.0], before=0.9, after=0.6),
        cell("c", [1.0], status="no_detection"),
    ]
    (record,) = refinement_changes(cells).to_dict("records")
    # a: 0.6 to 0.2; b: 0.9 to 0.6
    assert (record["before"], record["after"]) == (pytest.approx(0.75), pytest.approx(0.4))
    assert record["change"] == pytest.approx(-0.35)
    half = stats.t.ppf(0.975, 1) * stats.sem([-0.4, -0.3])
    assert record["change_lo"] == pytest.approx(-0.35 - half)
    assert (record["n_subjects"], record["n_samples"], record["failures"]) == (2, 4, 1)


def test_where_nothing_was_refined_failures_are_counted() -> None:
    cells = [cell("c", [], status="degenerate")]
    (record,) = refinement_changes(cells).to_dict("records")
    assert (record["failures"], record["n_subjects"]) == (1, 0)
    assert np.isnan(record["change"])
    assert refinement_curves(iteration_log(cells)).empty
    assert refinement_changes([]).empty


def test_conditions_stay_apart() -> None:
    cells = [cell("a", [1.0], before=0.5, after=0.4), cell("a", [1.0], corruption="fog", before=0.9, after=0.4)]
    table = refinement_changes(cells)
    assert list(table["corruption"]) == ["clean", "fog"]
    assert list(table["change"]) == pytest.approx([-0.1, -0.5])
