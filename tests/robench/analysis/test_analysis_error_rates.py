"""How often a gate errs, and bounds and intervals do, where the truth is known."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import simulated_gates as simulated
from scipy.stats import t as student
from simulated_gates import Setting

from robench.analysis.bca import resampled_t, t_tail
from robench.analysis.comparison import Endpoint, Line, answer
from robench.analysis.effects import Effects, detectable, infer
from robench.analysis.intervals import resampled_sums
from robench.analysis.verdict import overall


def errors(alpha: float, gates: int) -> float:
    """Three and a half standard errors of a rate alpha."""
    return float(3.5 * np.sqrt(alpha * (1 - alpha) / gates))


def lines(effects: np.ndarray, endpoints: list[Endpoint], resamples: int = 1000) -> list[Line]:
    """What `answer` says of (n, endpoints) effects."""
    scales = ["difference" if one.metric == "failure_rate" else "log" for one in endpoints]
    found = [
        Effects(effects[:, i], scale, 1, 1, len(effects), 0, 0, 0, 0, "")  # type: ignore[arg-type]
        for i, scale in enumerate(scales)
    ]
    return answer(endpoints, found, functools.partial(infer, resamples=resamples))


@pytest.mark.parametrize(("one", "shift"), [(Setting(24, 0.1), 0.05), (Setting(20, 0.1, -0.7, True), 0.03)])
def test_the_simulated_gates_are_those_of_the_suite(one: Setting, shift: float) -> None:
    table = simulated.effects(np.random.default_rng(1), one, 40, np.log1p(shift))
    quick = simulated.verdicts(table, resamples=1000)
    slow = []
    for effects in table:
        found = lines(effects, simulated.ENDPOINTS)
        slow.append(overall([(line.endpoint.primary, line.decision.verdict) for line in found]))
    assert [("pass" if one == "improved" else one) for one in slow] == quick
    assert len(set(quick)) > 1


@pytest.mark.parametrize(
    "one",
    [
        Setting(24, 0.05),
        Setting(24, 0.15),
        Setting(20, 0.3),
        Setting(20, 0.15, 0.0, True),
        Setting(20, 0.15, 0.7, True),
    ],
    ids=str,
)
def test_a_gate_raises_a_false_alarm_in_at_most_five_per_cent(one: Setting) -> None:
    """Fourteen endpoints; with noise so large that the margins do not protect, the level alone does."""
    assert simulated.rates(one, 0.0, 4000)[0] <= 0.05 + errors(0.05, 4000)


def test_effects_skewed_towards_the_better_are_what_the_gate_bears_worst() -> None:
    """Of a few people much better and many slightly worse, it accuses more often; the bootstrap of t is what helps."""
    one = Setting(20, 0.15, -0.314, True)
    assert simulated.rates(one, 0.0, 4000)[0] <= 0.055 + errors(0.055, 4000)
    values = simulated.standard(np.random.default_rng(2), -0.7, (20, 4000))
    by_table = student.sf(values.mean(axis=0) / values.std(axis=0, ddof=1) * np.sqrt(20), 19) <= 0.01
    by_all = simulated.p_values(values) <= 0.01
    assert by_table.mean() > 0.03
    assert by_all.mean() < 0.75 * by_table.mean()


@pytest.mark.parametrize("shift", [0.03, 0.06, 0.1])
def test_a_gate_finds_what_is_there(shift: float) -> None:
    accused, _ = simulated.rates(Setting(24, 0.05), shift, 400)
    assert accused > {0.03: 0.5, 0.06: 0.97, 0.1: 0.99}[shift]


def test_a_gate_finds_what_it_says_that_it_can_detect() -> None:
    n, sd, gates = 24, 0.1, 800
    effects = np.random.default_rng(3).normal(detectable(sd, n), sd, (n, gates))
    assert np.mean(simulated.p_values(effects) <= 0.05) == pytest.approx(0.8, abs=0.06)


def test_no_accusation_that_student_t_would_not_make() -> None:
    """For normal effects Student-t errs in exactly 5 %, so that a gate errs in at most as many."""
    rng = np.random.default_rng(8)
    for _ in range(200):
        effects = rng.normal(0, 0.1, 24)
        t = effects.mean() / (effects.std(ddof=1) / np.sqrt(24))
        assert not (infer(effects, resamples=500).p_worse <= 0.05 and t < 1.713871)


def test_the_bootstrap_of_t_by_hand() -> None:
    """The resample (1, 1, 3) of (1, 2, 3): mean 5/3 and standard error sqrt(4/3) / sqrt(3), so t = -1/3 / (2/3)."""
    squares = ((np.array([1, 1, 3]) - 2.0) ** 2).mean()
    assert resampled_t(np.array(5 / 3 - 2), np.array(squares), 3) == pytest.approx(-0.5)
    assert np.isnan(resampled_t(np.array(-1.0), np.array(1.0), 3))  # (1, 1, 1) has no spread
    assert t_tail(np.array([-1.0, 0.0, 2.0, np.nan]), 0.0) == pytest.approx(2.5 / 4)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bounds_are_the_widest_and_meet_their_p_values(seed: int) -> None:
    effects = np.random.default_rng(seed).lognormal(0, 0.8, 25) - 1.2
    n, found = 25, infer(effects, resamples=4000)
    error = effects.std(ddof=1) / np.sqrt(n)
    sums = resampled_sums(np.stack([effects, (effects - effects.mean()) ** 2], axis=1), 4000, 0) / n
    ts = resampled_t(sums[:, 0] - effects.mean(), sums[:, 1], n)
    assert found.lo <= effects.mean() - np.quantile(ts, 0.95) * error + 1e-12
    assert found.hi >= effects.mean() - np.quantile(ts, 0.05) * error - 1e-12
    for bound, p in ((found.lo, "p_worse"), (found.hi, "p_better")):
        shifted = infer(effects - bound, resamples=4000)
        assert getattr(shifted, p) == pytest.approx(0.05, abs=0.002)


def test_effects_of_one_subject_alone_have_bounds() -> None:
    """Most resamples of one failure among 24 people repeat it or lack it; those without spread count for nothing."""
    found = infer(np.eye(24)[0] / 60)
    assert np.isfinite(found[:6]).all()
    assert found.lo < 0 < found.value < found.hi
    assert found.p_worse > 0.1


@pytest.mark.parametrize(("n", "failing", "least"), [(10, 0.0, 0.93), (20, 0.0, 0.93), (20, 0.02, 0.9)])
def test_intervals_of_few_people(n: int, failing: float, least: float) -> None:
    """Failures that are rare and dear are missing from many small samples: those hold less than they say."""
    found = simulated.held(n, 800, (0.0, failing))
    assert min(found["delta"], found["ratio"]) > least - errors(0.07, 800) / 2
