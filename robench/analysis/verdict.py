"""From what subjects show to a decision: verdicts with a margin, and the sharing of the level among endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from robench.analysis.effects import POWER, Inference, detectable, subjects_for

Mode = Literal["harm", "safety"]
Verdict = Literal["pass", "improved", "regression", "not shown safe", "inconclusive", "not comparable"]
MODES: tuple[Mode, ...] = ("harm", "safety")
PRIMARY_SHARE = 0.8
"""Of the level, where the primary endpoint has others beside it."""


class Decision(NamedTuple):
    """A verdict and what it takes to reach another.

    Attributes:
        verdict: What is shown.
        more: How many more subjects are needed to decide; None if no number of them does, or none is needed.
        detectable: Minimum detectable effect at 80 % power.
    """

    verdict: Verdict
    more: int | None
    detectable: float


def decide(
    found: Inference, margin: float, mode: Mode, *, alpha: float = 0.05, shown: bool | None = None, least: int = 2
) -> Decision:
    """Return the verdict on an effect (positive is worse).

    ``harm`` puts the burden of proof on the accuser: *regression* if the lower bound is above 0 and the effect at least
    the margin; *pass* if the upper bound is at most the margin, or the effect is below it, the lower bound not above 0
    and the minimum detectable effect at most the margin; else *inconclusive*. ``safety`` puts it on the change: *pass*
    if the upper bound is at most the margin; else *regression* if the lower bound is above 0, and *not shown safe* if
    not. A pass whose upper bound is below 0 is *improved*. Fewer subjects than `least` never pass.

    Args:
        found: What the subjects show.
        margin: >= 0, on the scale of the effect.
        mode: ``harm`` or ``safety``.
        alpha: Level of the bounds.
        shown: Whether a harm is shown after correction for the number of endpoints; None for the lower bound alone.
        least: Subjects that a pass needs.
    """
    mde = detectable(found.sd, found.n, alpha)
    if found.n < 2:
        return Decision("inconclusive", max(2, least) - found.n, mde)
    worse = found.lo > 0 and shown is not False
    verdict: Verdict
    if mode == "safety":
        verdict = "pass" if found.hi <= margin else "regression" if worse else "not shown safe"
    elif worse and found.value >= margin:
        verdict = "regression"
    elif found.hi <= margin or (found.value < margin and found.lo <= 0 and mde <= margin):
        verdict = "pass"
    else:
        verdict = "inconclusive"
    if verdict == "pass":
        if found.n < least:
            return Decision("inconclusive", least - found.n, mde)
        return Decision("improved" if found.hi < 0 else "pass", None, mde)
    if verdict == "regression":
        return Decision(verdict, None, mde)
    return Decision(verdict, _more(found, margin, mode, alpha, least), mde)


def _more(found: Inference, margin: float, mode: Mode, alpha: float, least: int) -> int | None:
    """Return how many more subjects decide, if these are typical: to the nearest bound that can still move."""
    to_pass = subjects_for(margin - found.value, found.sd, alpha)
    if mode == "harm" and found.value >= margin:
        needed = [subjects_for(found.value, found.sd, alpha)]
    elif mode == "harm" and found.lo <= 0:
        needed = [to_pass, subjects_for(margin, found.sd, alpha, POWER)]
    else:
        needed = [to_pass]
    known = [max(n, least) for n in needed if n is not None]
    # The t bound says that n is enough where the bootstrap's, or the correction, does not: then at least one more.
    return max(1, min(known) - found.n) if known else None


def holm(p_values: Sequence[float], weights: Sequence[float] | None = None) -> list[float]:
    """Return p-values adjusted by Holm's step-down procedure, weighted.

    Rejecting what is at most alpha errs with probability at most alpha over the whole family, whatever the dependence.
    Source: Holm, A simple sequentially rejective multiple test procedure, Scand. J. Statist. 6 (1979), also section 5.

    Args:
        p_values: Of the family; NaN (no test) stays NaN and costs nothing.
        weights: > 0, how the level is shared; equal if left out.

    Returns:
        Adjusted p-values in the same order, at most 1.
    """
    p = np.asarray(p_values, np.float64)
    w = np.ones(len(p)) if weights is None else np.asarray(weights, np.float64)
    order = [int(i) for i in np.argsort(np.where(np.isfinite(p), p / w, np.inf), kind="stable") if np.isfinite(p[i])]
    adjusted = np.full(len(p), np.nan)
    left, least = float(sum(w[i] for i in order)), 0.0
    for i in order:
        least = max(least, min(1.0, float(p[i] / w[i] * left)))
        adjusted[i] = least
        left -= float(w[i])
    return [float(value) for value in adjusted]


def shares(primary: Sequence[bool]) -> list[float]:
    """Return the weights of a family for `holm`: the primary endpoint gets `PRIMARY_SHARE`, the others share the rest.

    So the whole family keeps the level, and the primary endpoint loses little of it however many others there are.
    """
    others = len(primary) - sum(primary)
    if not others or not any(primary):
        return [1.0] * len(primary)
    return [PRIMARY_SHARE / sum(primary) if one else (1 - PRIMARY_SHARE) / others for one in primary]


def overall(verdicts: Sequence[tuple[bool, Verdict]]) -> Verdict:
    """Return the verdict of a family from ``(is primary, verdict)`` of each.

    Any endpoint can accuse: what has no value, a regression, or what is not shown safe stands for the whole. Whether
    the whole passes, improves or stays open is for the primary endpoint to say: many secondary ones, each of fewer
    cells, could not all acquit.
    """
    found = [verdict for _, verdict in verdicts]
    accusing: tuple[Verdict, ...] = ("not comparable", "regression", "not shown safe")
    for one in accusing:
        if one in found:
            return one
    return next((verdict for primary, verdict in verdicts if primary), "pass")
