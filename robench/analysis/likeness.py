"""How alike an encoder finds pictures, over subjects: the table and the curve of `robench similarity`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.intervals import Interval, smooth_interval

Array = NDArray[np.float64]
TURN = "turn"
"""What rows of views have as their condition."""
SIDES = {"front–left": 90.0, "front–back": 180.0, "front–right": 270.0}
"""Views of the table, by their angles; left and right are the person's own."""


def likeness_table(
    rows: Sequence[Mapping[str, Any]], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Return the mean similarity of each corruption, of each of its severities, and of each view.

    Within a subject, views and then severities are averaged; over subjects the number is a mean with its interval.
    Pictures that could not be made have no similarity: they are counted, and are in no mean.

    Args:
        rows: As `robench.engine.likeness.Likeness` has them.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples, from 30 subjects on.
        seed: Of the bootstrap.

    Returns:
        `COLUMNS`: ``kind`` is ``corruption`` or ``view``; ``severity`` is ``all``, a digit, or empty for views; the
        ``angle`` is in degrees, NaN for corruptions. Conditions in the order of their rows, the mean over severities
        first where there are several; views in the order of their angles, those in `SIDES` by name, others ``view``.
    """
    table = pd.DataFrame(rows)
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    records = []
    if not table.empty:
        corrupted = table[(table["condition"] != TURN) & table["severity"].notna()]
        for name, part in corrupted.groupby("condition", sort=False):
            severities = sorted(part["severity"].unique())
            if len(severities) > 1:
                records.append(_record("corruption", str(name), "all", part, settings))
            for severity in severities:
                one = part[part["severity"] == severity]
                records.append(_record("corruption", str(name), str(int(severity)), one, settings))
        named = {angle: name for name, angle in SIDES.items()}
        for angle, part in table[table["condition"] == TURN].groupby("angle"):
            degrees = float(str(angle))
            name = named.get(degrees, "view")
            records.append(_record("view", name, "", part, settings) | {"angle": degrees})
    return pd.DataFrame(records, columns=COLUMNS)


COLUMNS = [
    "kind",
    "condition",
    "severity",
    "angle",
    "similarity",
    "lo",
    "hi",
    "method",
    "n_subjects",
    "n_pictures",
    "failures",
]


def cosine_interval(x: Array, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval:
    """Return the mean over subjects of cosines, with an interval that stays within [-1, 1].

    Below 30 subjects it is Student-t on the logarithm of the distance 1 - mean: cosines crowd below 1, and a symmetric
    interval would reach beyond it.

    Args:
        x: (n,) one cosine per subject.
        level: Coverage.
        resamples: Bootstrap resamples, from 30 subjects on.
        seed: Of the bootstrap.
    """
    away: Array = 1 - x[:, None]
    found = smooth_interval(away, lambda means: means[:, 0], scale="log", level=level, resamples=resamples, seed=seed)
    return Interval(1 - found.value, float(np.maximum(-1.0, 1 - found.hi)), 1 - found.lo, found.n, found.method)


def _record(kind: str, name: str, severity: str, part: pd.DataFrame, settings: dict[str, Any]) -> dict[str, Any]:
    good = part[part["status"] == "ok"]
    # Views first, then severities.
    by_severity = good.assign(level=good["severity"].fillna(0)).groupby(["subject_id", "level"])["similarity"].mean()
    of_subjects = by_severity.groupby("subject_id").mean()
    found = cosine_interval(of_subjects.to_numpy(float), **settings)
    return {
        "kind": kind,
        "condition": name,
        "severity": severity,
        "angle": float("nan"),
        "similarity": found.value,
        "lo": found.lo,
        "hi": found.hi,
        "method": found.method,
        "n_subjects": found.n,
        "n_pictures": len(part),
        "failures": len(part) - len(good),
    }
