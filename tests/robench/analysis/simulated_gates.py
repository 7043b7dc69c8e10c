"""Gates and intervals whose truth is known: how often they err. Tests run a little, `main` the tables of the docs.

    .venv/bin/python tests/robench/analysis/simulated_gates.py [GATES]

Many gates are judged at once: the same rules as `robench.analysis.comparison.answer`, over columns of a table. A test
holds both to the same verdicts.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

import numpy as np
from scipy.stats import t as student

from robench.analysis.bca import correction, jackknife_means, resampled_t, t_tail, tail
from robench.analysis.comparison import FAILURE_RATE, Endpoint, Margin
from robench.analysis.effects import detectable
from robench.analysis.intervals import mean_interval, ratio_interval, resampled_sums
from robench.analysis.verdict import holm, shares

ALPHA, CORRUPTIONS, LEVELS = 0.05, 12, 5
WHOLE = Endpoint("chamfer_cm", margin=Margin(0.03, True), primary=True)
ENDPOINTS = [
    WHOLE,
    Endpoint(FAILURE_RATE, margin=Margin(0.01, False)),
    *(Endpoint("p2s_pred_to_gt_cm", (f"c{i}",), margin=Margin(0.05, True)) for i in range(CORRUPTIONS)),
]
MARGINS = np.array([np.log1p(0.03), 0.01, *[np.log1p(0.05)] * CORRUPTIONS])
SHARES = shares([one.primary for one in ENDPOINTS])
PENALTY = np.log(4.0)
"""Log of a failure's penalty over the error that the cell would have had: 7.5 cm beside 1.8 cm."""


class Setting(NamedTuple):
    """What subjects are like.

    Attributes:
        n: Subjects.
        sd: Standard deviation of the primary's effect over subjects, as a log ratio, without failures.
        spread: 0 for normal effects; else the sigma of log-normal ones, 0.314 for a skewness of 1 and 0.7 for 2.9: few
            subjects are much worse, or, if it is negative, much better.
        penalties: Whether failures (2 % of the cells of both runs) enter the errors with a penalty; else they count
            for the failure rate alone.
    """

    n: int
    sd: float
    spread: float = 0.0
    penalties: bool = False


def standard(rng: np.random.Generator, spread: float, size: tuple[int, ...]) -> np.ndarray:
    """Return numbers of mean 0 and variance 1, normal or (mirrored) log-normal."""
    z = rng.normal(size=size)
    if not spread:
        return z
    square = spread**2
    skewed = (np.exp(abs(spread) * z) - np.exp(square / 2)) / np.sqrt(np.exp(2 * square) - np.exp(square))
    return np.asarray(np.sign(spread) * skewed)


def effects(rng: np.random.Generator, one: Setting, gates: int, shift: float) -> np.ndarray:
    """Return (gates, n, endpoints) effects of subjects whose candidate is worse by `shift` in every corruption.

    Half of the variance of a subject's mean effect is common to all corruptions. The mean over subjects is 0 where the
    shift is: failures come as often in both runs.
    """
    common = standard(rng, one.spread, (gates, one.n, 1)) * one.sd * np.sqrt(0.5)
    own = standard(rng, one.spread, (gates, one.n, CORRUPTIONS)) * one.sd * np.sqrt(0.5 * CORRUPTIONS)
    failures = rng.binomial(LEVELS, 0.02, (2, gates, one.n, CORRUPTIONS)) / LEVELS
    newly = failures[1] - failures[0]
    cells = shift + common + own + (newly * PENALTY if one.penalties else 0.0)
    return np.concatenate([cells.mean(axis=2, keepdims=True), newly.mean(axis=2, keepdims=True), cells], axis=2)


def p_values(values: np.ndarray, null: float = 0.0, *, resamples: int = 2000, upper: bool = False) -> np.ndarray:
    """Return one-sided p-values of columns, as `infer` has them: the largest of Student-t's and the two bootstraps'.

    Where Student-t's is above the level, a bootstrap's cannot bring it below, and is not computed.

    Args:
        values: (n, m), effects of n subjects at m endpoints.
        null: The value that is to be refuted.
        resamples: Of the bootstrap.
        upper: Refute that the mean is above the null, instead of below.
    """
    n = len(values)
    mean, sd = values.mean(axis=0), values.std(axis=0, ddof=1)
    flat = sd <= 1e-12
    sign = -1.0 if upper else 1.0
    away = (mean - null) / np.where(flat, 1.0, sd) * np.sqrt(n)
    p = student.sf(sign * away, n - 1)
    p[flat] = np.where(sign * (mean[flat] - null) > 1e-12, 0.5 / resamples, 1.0)
    asked = np.flatnonzero((p <= ALPHA) & ~flat)
    for start in range(0, len(asked), 2000):
        some = asked[start : start + 2000]
        drawn = np.asfortranarray(resampled_sums(values[:, some], resamples, 0) / n)
        squares = resampled_sums((values[:, some] - mean[some]) ** 2, resamples, 0) / n
        ts, left_out = np.asfortranarray(resampled_t(drawn - mean[some], squares, n)), jackknife_means(values[:, some])
        for i, column in enumerate(some):
            found = correction(drawn[:, i], float(mean[column]), left_out[:, i])
            worse = tail(drawn[:, i], found, null)
            by_t = t_tail(sign * ts[:, i], float(sign * away[column]))
            p[column] = max(p[column], 1 - worse if upper else worse, by_t)
    return p


def verdicts(table: np.ndarray, *, resamples: int = 2000) -> list[str]:
    """Return ``regression``, ``inconclusive`` or ``pass`` of every gate.

    Args:
        table: (gates, n, endpoints) of `effects`.
        resamples: Of the bootstrap.
    """
    gates, n, k = table.shape
    columns = table.transpose(1, 0, 2).reshape(n, gates * k)
    p = p_values(columns, resamples=resamples).reshape(gates, k)
    means = table.mean(axis=1)
    primary = table[:, :, 0].T
    below_margin = p_values(primary, float(MARGINS[0]), resamples=resamples, upper=True) <= ALPHA
    detected = primary.std(axis=0, ddof=1) * detectable(1.0, n)
    found = []
    for i in range(gates):
        shown = np.array(holm(list(p[i]), SHARES)) <= ALPHA
        if (shown & (means[i] >= MARGINS)).any():
            found.append("regression")
        elif below_margin[i] or (means[i, 0] < MARGINS[0] and p[i, 0] > ALPHA and detected[i] <= MARGINS[0]):
            found.append("pass")
        else:
            found.append("inconclusive")
    return found


def rates(one: Setting, shift: float, gates: int, *, resamples: int = 2000, seed: int = 0) -> tuple[float, float]:
    """Return the shares of regressions and of open verdicts among gates whose candidate is worse by a share `shift`."""
    rng = np.random.default_rng(
        [seed, one.n, *(round(1e4 * (x + 1)) for x in (one.sd, one.spread, one.penalties, shift))]
    )
    found: list[str] = []
    while len(found) < gates:
        found += verdicts(effects(rng, one, min(500, gates - len(found)), np.log1p(shift)), resamples=resamples)
    return found.count("regression") / gates, found.count("inconclusive") / gates


# --- intervals ---


def people(
    rng: np.random.Generator, n: int, repeats: int, failing: tuple[float, float], spread: float = 0.25
) -> tuple[np.ndarray, np.ndarray]:
    """Return clean errors (repeats, n) and errors (repeats, n, corruptions) of people with one view each.

    Errors are log-normal over people and over cells; corruptions multiply them by 1.1 to 3; severities are averaged.

    Args:
        rng: Source of chance.
        n: People.
        repeats: Runs.
        failing: Shares of the clean and of the corrupted cells that fail: their error is the mean body's, about four
            times the clean one, whatever the person.
        spread: Of cells, and of what is common to a person's corrupted cells.
    """
    clean = rng.lognormal(0, 0.35, (repeats, n))
    noise = rng.normal(0, spread, (repeats, n, 1, 1)) + rng.normal(0, spread, (repeats, n, CORRUPTIONS, LEVELS))
    cells = clean[:, :, None, None] * np.geomspace(1.1, 3.0, CORRUPTIONS)[:, None] * np.exp(noise)
    penalty = 4.0 * rng.lognormal(0, 0.2, (repeats, n))
    cells = np.where(rng.random(cells.shape) < failing[1], penalty[:, :, None, None], cells)
    return np.where(rng.random(clean.shape) < failing[0], penalty, clean), cells.mean(axis=3)


def held(n: int, repeats: int, failing: tuple[float, float], *, resamples: int = 1000) -> dict[str, float]:
    """Return how often 95 % intervals hold the truth: of clean and corrupted error, Δ and the geometric mean ratio."""
    rng = np.random.default_rng([n, *(round(1000 * x) for x in failing)])
    many = [people(rng, 1000, 50, failing) for _ in range(20)]
    true_clean, true_errors = (np.mean([x[i].mean(axis=(0, 1)) for x in many], axis=0) for i in (0, 1))
    truths = {
        "clean": true_clean,
        "corrupted": true_errors.mean(),
        "delta": true_errors.mean() - true_clean,
        "ratio": np.exp(np.mean(np.log(true_errors / true_clean))),
    }
    counts = dict.fromkeys(truths, 0)
    for clean, errors in zip(*people(rng, n, repeats, failing), strict=True):
        over = errors.mean(axis=1)
        found = {
            "clean": mean_interval(clean, resamples=resamples),
            "corrupted": mean_interval(over, resamples=resamples),
            "delta": mean_interval(over - clean, resamples=resamples),
            "ratio": ratio_interval(errors, clean, resamples=resamples),
        }
        for name, interval in found.items():
            counts[name] += bool(interval.lo <= truths[name] <= interval.hi)
    return {name: count / repeats for name, count in counts.items()}


def main(gates: int) -> None:
    """Print the tables of docs/ci.md and docs/compare.md, in per cent."""
    settings = [
        *(Setting(n, sd) for n, sd in [(24, 0.05), (24, 0.15), (60, 0.15), (20, 0.15), (20, 0.3)]),
        *(Setting(n, 0.15, spread, True) for n in (20, 60) for spread in (0.0, 0.314, -0.314, 0.7, -0.7)),
    ]
    for one in settings:
        cells = []
        for shift in (0.0, 0.03, 0.06, 0.1):
            bad, still_open = rates(one, shift, gates if not shift else gates // 20)
            cells.append(f"{100 * bad:.2f} / {100 * still_open:.1f} / {100 * (1 - bad - still_open):.1f}")
        shown = 100 * np.expm1(detectable(one.sd, one.n))
        say(f"{one}  detectable {shown:.1f} %  " + "  |  ".join(cells))
    for failing in ((0.0, 0.0), (0.0, 0.02), (0.02, 0.02)):
        for n in (10, 15, 20, 29, 30, 60):
            say(f"{n} {failing} { ({k: round(100 * v, 1) for k, v in held(n, gates // 10, failing).items()}) }")


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
