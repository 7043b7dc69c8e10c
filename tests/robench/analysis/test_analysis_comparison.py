"""Comparison of runs: pairs, effects, verdicts, the sharing of the level, and how often the whole errs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from robench.analysis.comparison import FAILURE_RATE, Endpoint, Margin, compare, default_endpoints
from robench.analysis.effects import Inference, detectable, infer, select, subject_effects, subjects_for
from robench.analysis.pairing import pairs_of
from robench.analysis.provenance import Run, rows_sha256
from robench.analysis.verdict import decide, holm, overall, shares
from robench.errors import NotComparable, UsageError

METRIC = "chamfer_cm"
WHOLE = Endpoint(METRIC, margin=Margin(0.03, True), primary=True)
Make = Callable[..., pd.DataFrame]


def as_run(rows: pd.DataFrame, **about: Any) -> Run:
    return Run(Path(str(rows["run_id"].iloc[0])), rows, about, rows_sha256(rows))


def people(make_rows: Make, n: int = 12, seed: int = 0, factor: float = 1.0, noise: float = 0.0, **columns: Any) -> Run:
    """A run of n subjects, two views, clean and two corruptions at two severities; errors times `factor`."""
    base, own = np.random.default_rng(0), np.random.default_rng([seed, 1])
    scores: dict[tuple[str, int, str], dict[str, list[float | None]]] = {}
    for corruption, severity in (("clean", 0), ("fog", 1), ("fog", 3), ("roll", 1), ("roll", 3)):
        values = (1 + severity) * base.lognormal(0, 0.3, (n, 2)) * factor * np.exp(own.normal(0, noise, (n, 2)))
        scores[corruption, severity, METRIC] = {f"p{i}": list(row) for i, row in enumerate(values)}
    return as_run(make_rows(scores, **{"mask_source": "gt", "track": "given-mask", **columns}))


def changed(run: Run, change: Callable[[pd.DataFrame], pd.DataFrame], **about: Any) -> Run:
    return as_run(change(run.rows.copy()), **about)


# --- pairs ---


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("dataset", "others"),
        ("cset_id", "ff" * 32),
        ("metric_version", "2"),
        ("n_points", 5.0),
        ("corruption_version", "2"),
        ("masker", "u2netp"),
        ("mask_source", "predicted:u2netp"),
        ("track", "image-only"),
        ("unit", "mm"),
    ],
)
def test_another_protocol_is_refused_by_the_name_of_what_differs(make_rows: Make, column: str, value: object) -> None:
    base = people(make_rows, cset_id="00" * 32)
    with pytest.raises(NotComparable, match=f"'{column}'.*differs"):
        compare(base, changed(base, lambda rows: rows.assign(**{column: value})), [WHOLE])


def test_another_penalty_in_the_protocol_is_refused(make_rows: Make) -> None:
    base = people(make_rows)
    ours, theirs = ({"protocol": {"penalty": {"model": name}, "model_options": {"a": name}}} for name in ("x", "y"))
    with pytest.raises(NotComparable, match=r"'protocol\.penalty\.model' differs"):
        compare(as_run(base.rows, **ours), as_run(base.rows, **theirs), [WHOLE])
    theirs["protocol"]["penalty"] = ours["protocol"]["penalty"]  # options are the model's own affair
    assert compare(as_run(base.rows, **ours), as_run(base.rows, **theirs), [WHOLE]).verdict == "pass"


def test_the_order_of_rows_does_not_matter(make_rows: Make) -> None:
    base, cand = people(make_rows), people(make_rows, seed=1, noise=0.1)
    one = compare(base, cand, [WHOLE])
    shuffled = changed(cand, lambda rows: rows.sample(frac=1, random_state=1))
    other = compare(base, shuffled, [WHOLE])
    assert one.lines[0].found == pytest.approx(other.lines[0].found)


def test_unequal_cells(make_rows: Make) -> None:
    base = people(make_rows)
    less = changed(base, lambda rows: rows[~((rows["severity"] == 3) & (rows["corruption"] == "fog"))])
    with pytest.raises(NotComparable, match=r"got 96 of 120 \(80 %\)"):
        compare(base, less, [WHOLE])
    found = compare(base, less, [WHOLE], min_coverage=0.8)
    assert found.coverage == 0.8
    assert found.verdict == "pass"
    assert any("80 %" in note for note in found.notes)
    gone = changed(base, lambda rows: rows[rows["corruption"] != "fog"])
    assert "x fog: only the base has it." in compare(base, gone, [WHOLE], min_coverage=0.5).notes


def test_a_run_with_another_sample_shares_no_cell(make_rows: Make) -> None:
    base = people(make_rows)
    with pytest.raises(NotComparable, match="share no cell"):
        compare(base, changed(base, lambda rows: rows.assign(sample_id=rows["sample_id"] + "x")), [WHOLE])


def test_metrics_that_no_run_has(make_rows: Make) -> None:
    base = people(make_rows)
    with pytest.raises(NotComparable, match="got chamfer_cm; expected iou_3d"):
        compare(base, base, [Endpoint("iou_3d", primary=True)])
    found = compare(base, base, [WHOLE, Endpoint("iou_3d")])
    assert (found.lines[1].marks, found.verdict) == ("x", "pass")


# --- effects ---


def test_effects_by_hand(make_rows: Make) -> None:
    """Views, then severities, then corruptions weigh the same within a subject."""
    ones = {"a": [1.0, 1.0], "b": [1.0]}
    base = {("fog", 1, METRIC): ones, ("fog", 2, METRIC): ones, ("roll", 1, METRIC): ones, ("clean", 0, METRIC): ones}
    cand = {
        ("clean", 0, METRIC): {"a": [9.0, 9.0], "b": [9.0]},
        ("fog", 1, METRIC): {"a": [np.e, np.e**3], "b": [1.0]},
        ("fog", 2, METRIC): {"a": [np.e**4, np.e**4], "b": [1.0]},
        ("roll", 1, METRIC): {"a": [1.0, 1.0], "b": [np.e**2]},
    }
    pairs = pairs_of(as_run(make_rows(base)), as_run(make_rows(cand)), METRIC)
    found = subject_effects(pairs, select(pairs.table))
    np.testing.assert_allclose(found.values, [((2 + 4) / 2 + 0) / 2, (0 + 2) / 2])
    np.testing.assert_allclose(subject_effects(pairs, select(pairs.table, ["fog"], [2])).values, [4, 0])
    np.testing.assert_allclose(subject_effects(pairs, select(pairs.table, ["clean"], [2])).values, np.log([9, 9]))
    assert found.base == 1.0


def test_a_score_is_compared_by_difference_and_less_is_worse(make_rows: Make) -> None:
    base, cand = ({("fog", 1, "iou_3d"): {"a": [v], "b": [v / 2]}} for v in (0.8, 0.6))
    runs = [as_run(make_rows(scores, direction="higher", unit="1")) for scores in (base, cand)]
    pairs = pairs_of(*runs, "iou_3d")
    np.testing.assert_allclose(subject_effects(pairs, pairs.table).values, [0.2, 0.1])
    with pytest.raises(UsageError, match="wrong kind; got 3%; expected such as 1pp"):
        compare(*runs, [Endpoint("iou_3d", margin=Margin(0.03, True), primary=True)])


def test_a_failure_enters_with_its_penalty_and_as_a_rate(make_rows: Make) -> None:
    base = {("fog", 1, METRIC): {"a": [5.0, 5.0], "b": [5.0, 5.0], "c": [5.0, 5.0]}}
    cand = {("fog", 1, METRIC): {"a": [5.0, None], "b": [5.0, 5.0], "c": [5.0, 5.0]}}
    ends = [WHOLE, Endpoint(FAILURE_RATE, margin=Margin(0.01, False), mode="safety")]
    found = compare(as_run(make_rows(base)), as_run(make_rows(cand)), ends)
    np.testing.assert_allclose(found.lines[0].effects.values, [np.log(2) / 2, 0, 0])
    np.testing.assert_allclose(found.lines[1].effects.values, [0.5, 0, 0])
    assert [line.marks for line in found.lines] == ["~!", "~!"]
    assert found.verdict == "not shown safe"
    back = compare(as_run(make_rows(cand)), as_run(make_rows(base)), ends)
    assert [line.marks for line in back.lines] == ["~*", "~*"]
    assert (back.lines[0].effects.newly, back.lines[0].effects.fixed) == (0, 1)


@pytest.mark.parametrize(
    ("value", "penalty", "reason"),
    [
        (None, np.nan, "every cell of the candidate failed, and no penalty"),
        (0.0, 10.0, "an error of the candidate is 0, which has no ratio"),
    ],
)
def test_what_has_no_ratio_is_not_comparable(make_rows: Make, value: float | None, penalty: float, reason: str) -> None:
    base = {("fog", 1, METRIC): {"a": [5.0], "b": [5.0]}}
    cand = {("fog", 1, METRIC): {"a": [value], "b": [value]}}
    runs = [as_run(make_rows(scores, failure_value=penalty)) for scores in (base, cand)]
    line = compare(*runs, [WHOLE]).lines[0]
    assert line.marks == "x"
    assert reason in line.effects.trouble
    assert line.decision.verdict == "not comparable"


def test_every_failure_of_both_costs_the_penalty_and_nothing_changes(make_rows: Make) -> None:
    run = as_run(make_rows({("fog", 1, METRIC): {"a": [None], "b": [None]}}))
    found = compare(run, run, [WHOLE, Endpoint(FAILURE_RATE)])
    assert found.lines[0].effects.base == 10.0
    assert found.lines[1].effects.base == 1.0
    assert found.verdict == "pass"


# --- verdicts ---


def shown(lo: float, value: float, hi: float, sd: float = 0.1, n: int = 25) -> Inference:
    return Inference(value, lo, hi, 0.01 if lo > 0 else 0.5, 0.5, sd, n)


@pytest.mark.parametrize(
    ("found", "harm", "safety"),
    [
        (shown(0.02, 0.05, 0.08), "regression", "regression"),
        (shown(0.01, 0.02, 0.05), "inconclusive", "regression"),  # shown, but less than the margin
        (shown(0.01, 0.02, 0.03), "pass", "pass"),  # shown to be small
        (shown(-0.02, 0.0, 0.02), "pass", "pass"),
        (shown(-0.05, -0.03, -0.01), "improved", "improved"),
        (shown(-0.06, 0.01, 0.08), "inconclusive", "not shown safe"),
        (shown(-0.03, 0.01, 0.05, sd=0.05), "pass", "not shown safe"),  # the margin would have been seen
        (shown(-0.03, 0.05, 0.13), "inconclusive", "not shown safe"),
    ],
)
def test_verdicts_of_both_modes(found: Inference, harm: str, safety: str) -> None:
    assert detectable(0.05, 25) < 0.03 < detectable(0.1, 25)
    assert decide(found, 0.03, "harm").verdict == harm
    assert decide(found, 0.03, "safety").verdict == safety


def test_a_harm_that_correction_takes_away_is_not_shown() -> None:
    assert decide(shown(0.02, 0.05, 0.08), 0.03, "harm", shown=False).verdict == "inconclusive"


def test_too_few_subjects_never_pass_but_may_be_accused() -> None:
    assert decide(shown(-0.01, 0, 0.01, n=5), 0.03, "harm", least=20)[:2] == ("inconclusive", 15)
    assert decide(shown(0.02, 0.05, 0.08, n=5), 0.03, "harm", least=20).verdict == "regression"
    assert decide(infer(np.array([0.5])), 0.03, "harm").verdict == "inconclusive"
    assert decide(infer(np.array([])), 0.03, "safety").more == 2


def test_detectable_effect_by_hand() -> None:
    # t(0.95, 24) = 1.710882, t(0.8, 24) = 0.856855: 2.567737 * 0.1 / 5
    assert detectable(0.1, 25) == pytest.approx(0.0513547, abs=1e-6)
    assert np.isnan(detectable(0.1, 1))


def test_detectable_effect_is_detected_as_often_as_it_says() -> None:
    n, rng = 20, np.random.default_rng(0)
    effects = rng.normal(detectable(1.0, n), 1.0, (3000, n))
    t = effects.mean(axis=1) / (effects.std(axis=1, ddof=1) / np.sqrt(n))
    assert np.mean(t > 1.729133) == pytest.approx(0.8, abs=0.025)


def test_subjects_that_are_needed() -> None:
    needed = subjects_for(0.03, 0.1)
    assert needed is not None
    # 1.645 * 0.1 / 0.03 squared is 30.1; Student-t asks for a little more.
    assert 31 <= needed <= 34
    assert subjects_for(0.0, 0.1) is None
    assert subjects_for(1e-9, 1.0) is None
    more = decide(shown(-0.06, 0.01, 0.08, sd=0.1), 0.03, "harm").more
    assert more is not None
    # The nearer of: upper bound at 3 % from 1 % (about 70 subjects), detectable effect of 3 % (about 71).
    assert 40 <= more <= 50


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    weighted = holm([0.04, 0.01], [0.8, 0.2])
    # 0.04 / 0.8 * 1 and 0.01 / 0.2 * 1 are equal: the first in order, then what is left of the weights.
    assert weighted == pytest.approx([0.05, 0.05])
    assert np.isnan(holm([np.nan, 0.01])[0])
    assert holm([np.nan, 0.01])[1] == 0.01
    assert holm([]) == []


def test_the_primary_endpoint_keeps_most_of_the_level() -> None:
    assert shares([True]) == [1.0]
    assert shares([True, False, False]) == pytest.approx([0.8, 0.1, 0.1])
    assert shares([False, False]) == [1.0, 1.0]


def test_any_endpoint_accuses_and_the_primary_acquits() -> None:
    assert overall([(True, "pass"), (False, "inconclusive")]) == "pass"
    assert overall([(True, "improved"), (False, "regression")]) == "regression"
    assert overall([(True, "inconclusive"), (False, "improved")]) == "inconclusive"
    assert overall([(True, "pass"), (False, "not shown safe")]) == "not shown safe"


# --- whole comparisons ---


def test_the_same_run_twice_passes_and_marks_nothing(make_rows: Make) -> None:
    run = people(make_rows)
    found = compare(run, run, default_endpoints(run, run, [METRIC], by="severity", margin=Margin(0.03, True)))
    assert found.verdict == "pass"
    assert {line.marks for line in found.lines} == {"~"}
    assert len(found.lines) == 1 + 1 + 4 + 1
    assert all(line.found.lo == line.found.hi == 0 for line in found.lines)


@pytest.mark.parametrize("mode", ["harm", "safety"])
def test_a_damaged_run_fails(make_rows: Make, mode: str) -> None:
    base, cand = people(make_rows), people(make_rows, seed=3, factor=1.2, noise=0.1)
    ends = default_endpoints(base, cand, [METRIC], margin=Margin(0.03, True), mode=mode)
    found = compare(base, cand, ends)
    assert found.verdict == "regression"
    assert found.lines[0].marks == "+"
    assert found.lines[0].shown(found.lines[0].found.value) == pytest.approx(0.2, abs=0.06)
    back = compare(cand, base, ends)
    assert back.verdict == "improved"
    assert back.lines[0].marks == "-"


def test_damage_to_one_corruption_is_found_where_it_is(make_rows: Make) -> None:
    base = people(make_rows)

    def damage(rows: pd.DataFrame) -> pd.DataFrame:
        noise = np.exp(np.random.default_rng(5).normal(0, 0.05, len(rows)))
        return rows.assign(value=rows["value"] * np.where(rows["corruption"] == "roll", 1.5, 1.0) * noise)

    cand = changed(base, damage)
    found = compare(base, cand, default_endpoints(base, cand, [METRIC]))
    assert {line.endpoint.where: line.marks for line in found.lines if line.endpoint.metric == METRIC} == {
        "all corruptions": "+",
        "clean": "~",
        "fog": "~",
        "roll": "+",
    }


def test_one_subject_only(make_rows: Make) -> None:
    run = people(make_rows, n=1)
    found = compare(run, run, [WHOLE])
    assert found.verdict == "inconclusive"
    assert found.lines[0].decision.more == 1


def test_a_margin_below_the_noise_floor_is_refused(make_rows: Make) -> None:
    base, again = people(make_rows), people(make_rows, seed=7, noise=0.05, metric_seed=1.0, run_id="again")
    base = changed(base, lambda rows: rows.assign(metric_seed=0.0))
    assert compare(base, base, [WHOLE], again=base).lines[0].noise == 0
    with pytest.raises(UsageError, match=r"below the noise floor.*got 0.5%; expected at least"):
        compare(base, base, [Endpoint(METRIC, margin=Margin(0.005, True), primary=True)], again=again)
    found = compare(base, base, [Endpoint(METRIC, margin=Margin(0.1, True), primary=True)], again=again)
    assert 0.005 < found.lines[0].noise < 0.1
    other = changed(again, lambda rows: rows.assign(checkpoint_sha256="cd" * 32))
    with pytest.raises(NotComparable, match="'checkpoint_sha256' differs"):
        compare(base, base, [WHOLE], again=other)
