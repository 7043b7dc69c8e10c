"""The measures of a run: each with its interval over subjects, and against a reference that is named and hashed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.cells import UNALIGNED, Cells, cells
from robench.analysis.intervals import MISSING, Interval, mean_interval, smooth_interval
from robench.analysis.measures import (
    corruption_error,
    geometric_mean,
    quotient,
    relative_corruption_error,
    resilience,
    worst,
)
from robench.analysis.pairing import check_coverage, pairs_of
from robench.analysis.provenance import Run
from robench.analysis.rows import CLEAN, check_protocol, check_same_task, scored
from robench.errors import NotComparable

Array = NDArray[np.float64]
Table = Literal["error", "clean", "reference", "reference_clean"]
MASK_IOU = "mask_iou"


def measures(
    run: Run,
    metric: str,
    reference: Run | None = None,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> dict[str, Any]:
    """Return the headline of a run in one metric, with intervals over subjects, and its corruptions one by one.

    Severities are averaged within a corruption and weigh the same. Only subjects that have every corruption count. A
    failure counts with its declared penalty; without one, what needs it is missing.

    Args:
        run: One model, one masker.
        metric: Its name.
        reference: Run of the reference model, usually mean-body, on the same cells.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        ``clean, corrupted, delta, ratio_gm, rr, mce, relative_mce`` (each an `Interval`), ``worst_corruption,
        worst_ratio, failure_rate, mask_iou, n_subjects``, ``corruptions`` (a table with ``error, delta, ratio, rr, ce,
        relative_ce, failure_rate``) and ``reference`` (its run id, model and hash of rows, or None). Ratios and CE of a
        score (higher is better) that only an error has, and RR of an error, are missing.

    Raises:
        NotComparable: If the run lacks the metric, or the reference did another task or lacks cells.
    """
    check_protocol(run.rows)
    if metric not in set(run.rows["metric"]):
        raise NotComparable(f"'{run.run_id}' has no row of '{metric}'", got=", ".join(sorted(set(run.rows["metric"]))))
    rows = scored(run.rows)
    found = cells(rows, metric, "corruption")
    lower = str(rows.loc[rows["metric"] == metric, "direction"].iloc[0]) == "lower"
    at = [i for i, (name, _) in enumerate(found.conditions) if name != CLEAN and not name.endswith(UNALIGNED)]
    names = [found.conditions[i][0] for i in at]
    counted = [i for i, (name, _) in enumerate(found.conditions) if not name.endswith(UNALIGNED)]
    other = _reference(run, reference, metric) if reference is not None else None
    tables = _tables(found, at, other)
    own_clean = _own_clean(found)
    means = {name: _column_means(table) for name, table in tables.items()}

    def interval(formula: Callable[..., Array], *of: Table, scale: Literal["identity", "log"] = "log") -> Interval:
        known = np.all([np.isfinite(tables[name]).all(axis=1) for name in of], axis=0)
        k = len(at)
        if not k or not known.any():
            return MISSING
        return smooth_interval(
            np.concatenate([tables[name][known] for name in of], axis=1),
            lambda m: formula(*(m[:, i * k : (i + 1) * k] for i in range(len(of)))),
            scale=scale,
            level=level,
            resamples=resamples,
            seed=seed,
        )

    e, c, r, rc = (means[name] for name in ("error", "clean", "reference", "reference_clean"))
    by_corruption = pd.DataFrame(
        {
            "corruption": names,
            "error": e,
            "delta": e - c,
            "ratio": quotient(e, c),
            "rr": resilience(e[:, None], c) if not lower else np.nan,
            "ce": corruption_error(e[:, None], r[:, None]) if lower else np.nan,
            "relative_ce": relative_corruption_error(e[:, None], c, r[:, None], rc) if lower else np.nan,
            "failure_rate": found.failures[at] / found.samples[at],
        }
    )
    name, ratio = worst(by_corruption["ratio"], names, higher_is_worse=lower)
    return {
        "clean": mean_interval(own_clean[np.isfinite(own_clean)], level=level, resamples=resamples, seed=seed),
        "corrupted": interval(lambda e: e.mean(axis=1), "error", scale="identity"),
        "delta": interval(lambda e, c: (e - c).mean(axis=1), "error", "clean", scale="identity"),
        "ratio_gm": interval(lambda e, c: geometric_mean(quotient(e, c)), "error", "clean"),
        "rr": MISSING if lower else interval(_mean_resilience, "error", "clean"),
        "mce": interval(lambda e, r: quotient(e, r).mean(axis=1), "error", "reference") if lower else MISSING,
        "relative_mce": interval(_mean_relative, *tables, scale="identity") if lower else MISSING,
        "worst_corruption": name,
        "worst_ratio": ratio,
        "failure_rate": float(found.failures[counted].sum() / found.samples[counted].sum()),
        "mask_iou": _mask_iou(rows),
        "n_subjects": len(found.subjects),
        "corruptions": by_corruption,
        "reference": None if reference is None else reference.to_json(),
    }


def _mean_resilience(error: Array, clean: Array) -> Array:
    return np.asarray(resilience(error[..., None], clean).mean(axis=1))


def _mean_relative(error: Array, clean: Array, reference: Array, reference_clean: Array) -> Array:
    each = relative_corruption_error(error[..., None], clean, reference[..., None], reference_clean)
    return np.asarray(each.mean(axis=1))


def _reference(run: Run, reference: Run, metric: str) -> Cells:
    check_protocol(reference.rows)
    check_same_task(run.rows, reference.rows)
    check_coverage([pairs_of(run, reference, metric)], 1.0)
    return cells(scored(reference.rows), metric, "corruption")


def _tables(found: Cells, at: list[int], other: Cells | None) -> dict[Table, Array]:
    """Return (n, k) tables, subjects by corruptions; NaN where there is no value, all NaN for a broken condition."""
    nothing = np.full((len(found.subjects), len(at)), np.nan)
    tables: dict[Table, Array] = {
        "error": _whole(found, found.error)[:, at],
        "clean": _clean(found, at),
        "reference": nothing,
        "reference_clean": nothing,
    }
    if other is not None:
        where = [other.conditions.index(found.conditions[i]) for i in at]
        index = [other.subjects.index(name) for name in found.subjects]
        tables["reference"] = _whole(other, other.error)[np.ix_(index, where)]
        tables["reference_clean"] = _clean(other, where)[index]
    return tables


def _own_clean(found: Cells) -> Array:
    """Return each subject's clean score; empty where the run has none, or a failure of it has no penalty."""
    at = found.conditions.index((CLEAN, "0")) if (CLEAN, "0") in found.conditions else None
    return np.array([]) if at is None or found.broken[at] else found.error[:, at]


def _whole(found: Cells, values: Array) -> Array:
    return np.where(found.broken, np.nan, values)


def _clean(found: Cells, at: list[int]) -> Array:
    """Return the clean score that goes with each condition."""
    clean = _whole(found, found.clean)[:, at]
    return clean if len(_own_clean(found)) else np.full_like(clean, np.nan)


def _column_means(table: Array) -> Array:
    """Return each column's mean over the subjects that have it; NaN where none has."""
    known = np.isfinite(table)
    return quotient(np.where(known, table, 0.0).sum(axis=0), known.sum(axis=0))


def _mask_iou(rows: pd.DataFrame) -> float:
    """Return the mean mask IoU over corruptions, each weighing the same; NaN without one."""
    if MASK_IOU not in set(rows["metric"]):
        return float("nan")
    found = cells(rows, MASK_IOU, "corruption")
    kept = [i for i, (name, _) in enumerate(found.conditions) if name != CLEAN and not name.endswith(UNALIGNED)]
    return float(np.mean(_column_means(_whole(found, found.error)[:, kept]))) if kept else float("nan")
