"""Two bootstraps for means over subjects: the bias-corrected and accelerated one (BCa), and the one of t (bootstrap-t).

Source: Efron, Better bootstrap confidence intervals, JASA 82 (1987); Efron and Tibshirani, An introduction to the
bootstrap (1993), sections 14.2 and 14.3 (BCa) and 12.5 (bootstrap-t).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Correction(NamedTuple):
    """What turns percentiles into BCa bounds.

    Attributes:
        bias: z0, the normal quantile of the share of resamples below the estimate.
        acceleration: From the skewness of the jackknife.
    """

    bias: float
    acceleration: float


def correction(resampled: Array, value: float, jackknife: Array) -> Correction:
    """Return bias and acceleration of a statistic.

    Args:
        resampled: (B,) the statistic in every resample.
        value: The statistic of the sample.
        jackknife: (n,) the statistic without each subject.
    """
    from scipy.special import ndtri

    share = _share_below(resampled, value)
    away = jackknife.mean() - jackknife
    squares = float(np.sum(away**2))
    # Equal but for rounding: there is no skewness to correct for.
    flat = squares <= len(away) * (1e-12 * max(abs(value), 1e-300)) ** 2
    return Correction(float(ndtri(share)), 0.0 if flat else float(np.sum(away**3) / (6 * squares**1.5)))


def _share_below(resampled: Array, value: float) -> float:
    """Return the share of resamples below a value, ties by half, kept off 0 and 1 by half a resample."""
    below = np.count_nonzero(resampled < value) + 0.5 * np.count_nonzero(resampled == value)
    return float(np.clip(below, 0.5, len(resampled) - 0.5) / len(resampled))


def bounds(resampled: Array, found: Correction, lower: float, upper: float) -> tuple[float, float]:
    """Return the BCa bounds at two tail probabilities.

    Args:
        resampled: (B,) the statistic in every resample.
        found: Bias and acceleration.
        lower: Probability below the lower bound, such as 0.025.
        upper: Probability below the upper bound, such as 0.975.
    """
    from scipy.special import ndtr, ndtri

    levels = []
    for probability in (lower, upper):
        shifted = found.bias + float(ndtri(probability))
        scale = 1 - found.acceleration * shifted
        # Beyond the pole of the correction lies the end of the distribution.
        levels.append(float(ndtr(found.bias + shifted / scale)) if scale > 0 else float(shifted > 0))
    lo, hi = np.quantile(resampled, levels)
    return float(lo), float(hi)


def expanded(probability: float, n: int) -> float:
    """Return the lower tail probability whose bound is as far out as Student-t with n - 1 degrees of freedom asks.

    Resampling n subjects has a variance that is too small by (n - 1) / n, and normal tails: without this, 95 %
    intervals held 92.9 % for 30 and 93.3 % for 60 and 100 subjects in a simulation with log-normal errors.
    Source: Hesterberg, What teachers should know about the bootstrap, The American Statistician 69 (2015), section 4.

    Args:
        probability: Nominal, below 0.5.
        n: Subjects, at least 2.
    """
    from scipy.special import ndtr
    from scipy.stats import t

    return float(ndtr(np.sqrt(n / (n - 1)) * t.ppf(probability, n - 1)))


def tail(resampled: Array, found: Correction, null: float = 0.0) -> float:
    """Return the one-sided p-value of "the truth is at most `null`": the level at which the lower bound meets it.

    The p-value of the other side is 1 minus this. It is never below half a resample.

    Args:
        resampled: (B,) the statistic in every resample.
        found: Bias and acceleration.
        null: The value that is to be refuted.
    """
    from scipy.special import ndtr, ndtri

    away = float(ndtri(_share_below(resampled, null))) - found.bias
    scale = 1 + found.acceleration * away
    level = float(ndtr(away / scale - found.bias)) if scale > 0 else float(away > 0)
    return float(np.clip(level, 0.5 / len(resampled), 1 - 0.5 / len(resampled)))


def resampled_t(shifts: Array, squares: Array, n: int) -> Array:
    """Return Student's t of every resample about the sample's mean: how a t of these subjects is really distributed.

    Of skewed effects it is skewed the other way, which Student's table does not know: of a few much better subjects and
    many slightly worse ones, large t are more frequent than it says.

    Args:
        shifts: (B,) or (B, m) mean of every resample minus that of the sample.
        squares: Mean square distance of every resample from the mean of the sample, of the same shape.
        n: Subjects, at least 2.

    Returns:
        The t; NaN for a resample without spread, which has none.
    """
    spread = (squares - shifts**2) / (n - 1)
    return np.asarray(shifts / np.sqrt(np.where(spread > 1e-12 * squares, spread, np.nan)))


def t_tail(resampled: Array, found: float) -> float:
    """Return the share of resampled t at or above the one found, counting the sample itself by half: never 0 or 1."""
    return (np.count_nonzero(resampled >= found) + 0.5) / (np.count_nonzero(np.isfinite(resampled)) + 1)


def jackknife_means(columns: Array) -> Array:
    """Return (n, k) means of the columns of an (n, k) table without each row, for n >= 2."""
    n = len(columns)
    return np.asarray((columns.sum(axis=0) - columns) / (n - 1))


Statistic = Callable[[Array], Array]
"""From (m, k) means of columns over subjects to (m,) numbers."""
