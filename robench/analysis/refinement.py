"""What refinement did, over subjects: measures at every iteration, and before against after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robench.analysis.intervals import mean_interval

VIEWS = 4
MEASURES = ("loss", "psnr", "ssim", "truth_distance", "comparison", "psnr_as_coded", "ssim_as_coded")
"""In the order of tables."""
_CELL = ["mode", "sample_id", "subject_id", "corruption", "severity"]
CURVE_COLUMNS = ["mode", "measure", "iteration", "value", "lo", "hi", "method", "n_subjects"]
CHANGE_COLUMNS = [
    "mode",
    "corruption",
    "severity",
    "measure",
    "before",
    "before_lo",
    "before_hi",
    "after",
    "after_lo",
    "after_hi",
    "change",
    "change_lo",
    "change_hi",
    "method",
    "n_subjects",
    "n_samples",
    "failures",
]


def iteration_log(cells: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return a row an iteration of each cell that was refined, its measures as columns.

    Args:
        cells: As `robench.engine.refine.Refined` has them.
    """
    rows = [{k: cell[k] for k in _CELL} | dict(row) for cell in cells if cell["status"] == "ok" for row in cell["log"]]
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=[*_CELL, "iteration", "view"])


def refinement_curves(log: pd.DataFrame, *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return each measure over the iterations: the mean over subjects with its interval.

    A sequential refinement looks from another camera at each iteration, so its values jump: they are averaged over the
    last four iterations, a whole turn, and begin with the first whole one.

    Args:
        log: Of `iteration_log`.
        level: Coverage of the intervals.
        seed: Of the bootstrap.

    Returns:
        `CURVE_COLUMNS`.
    """
    records = []
    measures = [name for name in MEASURES if name in log]
    for mode, part in log.groupby("mode", sort=False) if len(log) else []:
        wide = part.sort_values("iteration")
        if mode == "sequential":
            keys = [k for k in _CELL if k != "mode"]
            turns = wide.groupby(keys, sort=False)[measures].rolling(VIEWS, min_periods=VIEWS).mean()
            wide = wide.assign(**turns.reset_index(level=keys, drop=True)[measures])
        for measure in measures:
            known = wide.dropna(subset=[measure])
            means = known.groupby(["iteration", "subject_id"])[measure].mean()
            for iteration, values in means.groupby("iteration"):
                found = mean_interval(values.to_numpy(float), level=level, seed=seed)
                records.append(
                    dict(
                        zip(
                            CURVE_COLUMNS,
                            (mode, measure, int(str(iteration)), *found[:3], found.method, found.n),
                            strict=True,
                        )
                    )
                )
    return pd.DataFrame(records, columns=CURVE_COLUMNS)


def refinement_changes(cells: Sequence[Mapping[str, Any]], *, level: float = 0.95, seed: int = 0) -> pd.DataFrame:
    """Return each measure before and after, and the paired change, over all four views: means over subjects.

    Args:
        cells: As `robench.engine.refine.Refined` has them.
        level: Coverage of the intervals.
        seed: Of the bootstrap.

    Returns:
        `CHANGE_COLUMNS`; a condition and way of embedding of which nothing was refined has a row with its failures.
    """
    records: list[dict[str, Any]] = []
    table = pd.DataFrame([{k: cell[k] for k in [*_CELL, "status"]} | {"cell": cell} for cell in cells])
    if table.empty:
        return pd.DataFrame(columns=CHANGE_COLUMNS)
    for (mode, corruption, severity), part in table.groupby(["mode", "corruption", "severity"], sort=False):
        good = [cell for cell in part["cell"] if cell["status"] == "ok"]
        about = {"mode": mode, "corruption": corruption, "severity": severity, "n_samples": len(part)}
        about["failures"] = len(part) - len(good)
        for measure in [name for name in MEASURES if any(name in cell["before"] for cell in good)] or ["loss"]:
            pairs = pd.DataFrame(
                [(c["subject_id"], c["before"].get(measure), c["after"].get(measure)) for c in good],
                columns=["subject_id", "before", "after"],
            ).dropna()
            means = pairs.astype({"before": float, "after": float}).groupby("subject_id")[["before", "after"]].mean()
            means["change"] = means["after"] - means["before"]
            record: dict[str, Any] = about | {"measure": measure}
            for name in ("before", "after", "change"):
                found = mean_interval(means[name].to_numpy(float), level=level, seed=seed)
                record |= {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}
                record |= {"method": found.method, "n_subjects": found.n}
            records.append(record)
    return pd.DataFrame(records, columns=CHANGE_COLUMNS)
