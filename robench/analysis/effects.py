"""From pairs of cells to one effect per subject, and what the subjects together show.

An effect is positive where the candidate is worse. For an error it is the mean over cells of ``log(cand / base)``, for
a bounded score (higher is better) the mean of ``base - cand``, for the failure rate that of ``cand - base``. Views are
averaged within a severity, severities within a corruption, corruptions within the subject, each with equal weight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.bca import bounds, correction, jackknife_means, resampled_t, t_tail, tail
from robench.analysis.intervals import resampled_sums
from robench.analysis.pairing import Pairs
from robench.analysis.rows import CLEAN

Array = NDArray[np.float64]
Scale = Literal["log", "difference"]
POWER = 0.8
"""Of the minimum detectable effect."""
_MOST = 1_000_000


class Effects(NamedTuple):
    """One effect per subject.

    Attributes:
        values: (n,) positive where the candidate is worse; subjects by name.
        scale: ``log`` (of a ratio) or ``difference``.
        base: Mean score of the base over subjects, weighted as the effect.
        cand: That of the candidate.
        cells: Pairs that it rests on.
        base_failures: Failed cells of the base.
        cand_failures: Failed cells of the candidate.
        newly: Cells that failed in the candidate only.
        fixed: Cells that failed in the base only.
        trouble: Why there is no effect, or an empty string.
    """

    values: Array
    scale: Scale
    base: float
    cand: float
    cells: int
    base_failures: int
    cand_failures: int
    newly: int
    fixed: int
    trouble: str


class Inference(NamedTuple):
    """What subjects show about a mean effect. Bounds are one-sided, each at level alpha.

    Attributes:
        value: Mean effect.
        lo: Lower bound.
        hi: Upper bound.
        p_worse: One-sided p-value of "not worse" (H0: effect <= 0).
        p_better: One-sided p-value of "not better".
        sd: Standard deviation over subjects.
        n: Subjects.
    """

    value: float
    lo: float
    hi: float
    p_worse: float
    p_better: float
    sd: float
    n: int


def select(
    table: pd.DataFrame, corruptions: Sequence[str] | None = None, severities: Sequence[int] | None = None
) -> pd.DataFrame:
    """Return the cells of some conditions; by default all but the clean ones.

    Args:
        table: Of `Pairs`.
        corruptions: Names, which may include ``clean``; None for all corruptions.
        severities: Of the corruptions; None for all.
    """
    is_clean = table["corruption"] == CLEAN
    kept = ~is_clean if corruptions is None else table["corruption"].isin(list(corruptions))
    if severities is not None:
        kept &= is_clean | table["severity"].isin(list(severities))
    return table[kept]


def subject_effects(pairs: Pairs, table: pd.DataFrame, *, of_failures: bool = False) -> Effects:
    """Return the effect of each subject over some cells.

    Args:
        pairs: Where the cells come from.
        table: Its cells, or some of them (`select`).
        of_failures: Compare the failure rates instead of the scores.
    """
    failed = table[["base_failed", "cand_failed"]].to_numpy(bool)
    counts = (len(table), int(failed[:, 0].sum()), int(failed[:, 1].sum()))
    changed = (int((failed[:, 1] & ~failed[:, 0]).sum()), int((failed[:, 0] & ~failed[:, 1]).sum()))
    base, cand = (table[name].to_numpy(np.float64) for name in ("base", "cand"))
    scale: Scale = "log" if pairs.direction == "lower" and not of_failures else "difference"
    trouble = "" if of_failures else _trouble(base, cand, failed, scale)
    if not len(table):
        trouble = "there is no such cell"
    if of_failures:
        base, cand = failed[:, 0].astype(np.float64), failed[:, 1].astype(np.float64)
    if trouble:
        return Effects(np.array([]), scale, np.nan, np.nan, *counts, *changed, trouble)
    each = np.log(cand / base) if scale == "log" else (cand - base) * (1.0 if of_failures else -1.0)
    cells = table[["subject_id", "corruption", "severity"]].assign(base=base, cand=cand, effect=each)
    by_severity = cells.groupby(["subject_id", "corruption", "severity"]).mean()
    by_subject = by_severity.groupby(["subject_id", "corruption"]).mean().groupby("subject_id").mean()
    means = by_subject.mean()
    values = by_subject["effect"].to_numpy(np.float64)
    return Effects(values, scale, float(means["base"]), float(means["cand"]), *counts, *changed, "")


def _trouble(base: Array, cand: Array, failed: NDArray[np.bool_], scale: Scale) -> str:
    """Return why scores cannot be compared, or an empty string."""
    for side, scores, failures in (("base", base, failed[:, 0]), ("candidate", cand, failed[:, 1])):
        if failures.all() and len(scores) and not np.isfinite(scores).any():
            return f"every cell of the {side} failed, and no penalty is declared"
        if not np.isfinite(scores).all():
            return f"a failure of the {side} has no declared penalty"
        if scale == "log" and not np.all(scores > 0):
            return f"an error of the {side} is {scores[~(scores > 0)][0]:g}, which has no ratio"
    return ""


def infer(values: Array, *, alpha: float = 0.05, resamples: int = 10_000, seed: int = 0) -> Inference:
    """Return the mean effect with one-sided bounds and p-values.

    Student-t, the BCa bootstrap and the bootstrap of t, both over subjects, are computed, and each bound and p-value is
    the most cautious of the three: below some 30 subjects BCa is too narrow, and Student-t is wrong by the skewness of
    the effects, most of all far out, where one of many endpoints has to convince.

    Args:
        values: (n,) one effect per subject, finite.
        alpha: Level of each bound.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Bounds and p-values are NaN for fewer than two subjects.
    """
    n = len(values)
    if n < 2:
        value = float(values[0]) if n else np.nan
        return Inference(value, np.nan, np.nan, np.nan, np.nan, np.nan, n)
    value, sd = float(np.mean(values)), float(np.std(values, ddof=1))
    if sd <= 1e-12 * max(1.0, abs(value)):  # the same effect in every subject, but for rounding
        shown = 0.5 / resamples
        p_worse, p_better = (shown if value > 1e-12 else 1.0), (shown if value < -1e-12 else 1.0)
        return Inference(value, value, value, p_worse, p_better, 0.0, n)
    from scipy.stats import t

    error = sd / np.sqrt(n)
    half = float(t.ppf(1 - alpha, n - 1)) * error
    p_t = float(t.sf(value / error, n - 1))
    sums = resampled_sums(np.stack([values, (values - value) ** 2], axis=1), resamples, seed) / n
    found = correction(sums[:, 0], value, jackknife_means(values[:, None])[:, 0])
    bca = bounds(sums[:, 0], found, alpha, 1 - alpha)
    p_bca = tail(sums[:, 0], found)
    ts = resampled_t(sums[:, 0] - value, sums[:, 1], n)
    beyond = np.quantile(ts[np.isfinite(ts)], [alpha, 1 - alpha])
    return Inference(
        value,
        float(min(value - half, bca[0], value - beyond[1] * error)),
        float(max(value + half, bca[1], value - beyond[0] * error)),
        max(p_t, p_bca, t_tail(ts, value / error)),
        max(1 - p_t, 1 - p_bca, t_tail(-ts, -value / error)),
        sd,
        n,
    )


def detectable(sd: float, n: int, alpha: float = 0.05, power: float = POWER) -> float:
    """Return the smallest mean effect that n subjects show with some power, at a one-sided level alpha.

    ``(t(1 - alpha) + t(power)) * sd / sqrt(n)`` with n - 1 degrees of freedom; NaN for fewer than two subjects.
    """
    if n < 2 or not np.isfinite(sd):
        return float("nan")
    from scipy.stats import t

    return float((t.ppf(1 - alpha, n - 1) + t.ppf(power, n - 1)) * sd / np.sqrt(n))


def subjects_for(distance: float, sd: float, alpha: float = 0.05, power: float | None = None) -> int | None:
    """Return how many subjects it takes for a bound to be at most `distance` from the mean effect.

    Args:
        distance: From the mean effect to where its bound must lie.
        sd: Standard deviation over subjects.
        alpha: One-sided level.
        power: Also leave room to show it with this power; None for the bound alone.

    Returns:
        A number >= 2, or None if no number of subjects does it (at most a million are tried).
    """
    if not (distance > 0 and np.isfinite(sd)):
        return None
    from scipy.stats import t

    def far(n: int) -> float:
        quantile = t.ppf(1 - alpha, n - 1) + (t.ppf(power, n - 1) if power is not None else 0.0)
        return float(quantile * sd / np.sqrt(n))

    low, high = 2, _MOST
    if far(high) > distance:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if far(middle) <= distance else (middle + 1, high)
    return low
