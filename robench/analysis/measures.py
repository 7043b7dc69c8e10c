"""How robust a model is: corruption errors against a named reference, resilience, and the headline of a run.

All take errors (or scores) per corruption, averaged over subjects first: a ratio is a ratio of sums, never a mean of
ratios of samples. What has no value (no reference, a clean score of 0, a reference that does not get worse) is NaN.

Sources: Hendrycks and Dietterich, Benchmarking neural network robustness to common corruptions and perturbations, ICLR
2019, section 4.2 (CE, relative CE); Kong et al., RoboDepth, NeurIPS 2023 datasets and benchmarks (resilience).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
LEAST_HARM = 0.01
"""Share of its clean error by which a reference must get worse for a relative corruption error to mean anything."""


def quotient(top: ArrayLike, bottom: ArrayLike) -> Array:
    """Return a quotient that is NaN where the bottom is not positive or either is not finite."""
    top, bottom = np.broadcast_arrays(np.asarray(top, np.float64), np.asarray(bottom, np.float64))
    found = np.full(top.shape, np.nan)
    sound = np.isfinite(top) & np.isfinite(bottom) & (bottom > 0)
    found[sound] = top[sound] / bottom[sound]
    return found


def corruption_error(errors: ArrayLike, reference: ArrayLike) -> Array:
    """Return CE: the sum of errors over the last axis (severities) by the reference's.

    Args:
        errors: (..., S) errors >= 0 of the model.
        reference: (..., S) those of the reference.

    Returns:
        (...) ratios; NaN where the reference's sum is not positive.
    """
    return quotient(np.asarray(errors).sum(axis=-1), np.asarray(reference).sum(axis=-1))


def relative_corruption_error(
    errors: ArrayLike, clean: ArrayLike, reference: ArrayLike, reference_clean: ArrayLike, least: float = LEAST_HARM
) -> Array:
    """Return relative CE: how much worse the model gets, by how much worse the reference gets.

    Args:
        errors: (..., S) errors of the model, last axis severities.
        clean: (...) its clean error.
        reference: (..., S) errors of the reference.
        reference_clean: (...) its clean error.
        least: The reference must get worse by at least this share of its clean error.

    Returns:
        (...) ratios; NaN where the reference does not get worse, where the number would explode or change its sign.
    """
    worse = np.asarray(errors).mean(axis=-1) - np.asarray(clean, np.float64)
    base = np.asarray(reference_clean, np.float64)
    harm = np.asarray(reference).mean(axis=-1) - base
    return quotient(worse, np.where(harm >= least * np.abs(base), harm, np.nan))


def resilience(scores: ArrayLike, clean: ArrayLike) -> Array:
    """Return RR: the mean score over the last axis (severities) by the clean score; 1 is no loss.

    For scores in [0, 1], such as an F-score or an IoU: of an unbounded error it says nothing.

    Returns:
        (...) ratios; NaN where a score lies outside [0, 1] or the clean one is 0.
    """
    mean, base = np.asarray(scores).mean(axis=-1), np.asarray(clean, np.float64)
    inside = np.all((np.asarray(scores) >= 0) & (np.asarray(scores) <= 1), axis=-1) & (base <= 1)
    return quotient(np.where(inside, mean, np.nan), base)


def geometric_mean(ratios: ArrayLike, axis: int = -1) -> Array:
    """Return the geometric mean, which one explosive corruption does not own; NaN where a ratio is not positive."""
    values = np.asarray(ratios, np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.exp(np.mean(np.log(values), axis=axis))
    return np.asarray(np.where(np.all(values > 0, axis=axis), found, np.nan))


def worst(ratios: ArrayLike, names: Sequence[str], *, higher_is_worse: bool = True) -> tuple[str, float]:
    """Return the corruption with the worst ratio, and the ratio; ``""`` and NaN if none is known."""
    known = sorted((n, float(r)) for n, r in zip(names, np.asarray(ratios, np.float64), strict=True) if np.isfinite(r))
    if not known:
        return "", float("nan")
    return (max if higher_is_worse else min)(known, key=lambda pair: pair[1])
