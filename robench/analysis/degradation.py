"""The degradation table: one row a condition and metric, clean first, and its headline."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.cells import UNALIGNED, Array, By, Cells, cells
from robench.analysis.intervals import MISSING, Interval, mean_interval, ratio_interval
from robench.analysis.provenance import rows_sha256
from robench.analysis.rows import CLEAN, check_protocol, check_same_task, is_skipped, scored
from robench.errors import NotComparable, UsageError

METRICS = ("chamfer_cm", "p2s_pred_to_gt_cm")
MASK_IOU = "mask_iou"


def degradation_table(
    rows: pd.DataFrame,
    metrics: Sequence[str] = METRICS,
    *,
    by: By = "corruption",
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    reference: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return how much each corruption costs, with intervals over subjects.

    Within a subject, views and then severities are averaged; over subjects every number is a mean, a mean paired
    difference to clean (`delta`), or a ratio of sums to the model's own clean error (`ratio`). Failures count with
    their declared penalty. What has no value (a failure without a penalty, a clean error of 0, fewer than two subjects
    for an interval) is NaN.

    Args:
        rows: Rows of one or more runs, as `read_rows` gives them.
        metrics: Metrics to tabulate; those that the rows lack are left out.
        by: One row a corruption (severities averaged) or one row a corruption and severity.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        reference: Rows of the reference run; adds `rce`, the ratio of sums to the reference under the same corruption.

    Returns:
        Columns ``run_id, model, masker, corruption, severity, metric, unit, direction, n_subjects, n_samples, value,
        lo, hi, delta, delta_lo, delta_hi, ratio, ratio_lo, ratio_hi, rce, rce_lo, rce_hi, method, failures,
        failure_rate, mask_iou, mask_iou_lo, mask_iou_hi``. ``attrs`` says how it was made.

    Raises:
        UsageError: If no row has one of the metrics.
        NotComparable: If protocols are mixed.
    """
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    records = []
    for key, run, other in _runs(rows, metrics, reference):
        iou = _mask_iou(run, by, settings)
        for metric in _present(run, metrics):
            found, facts = cells(run, metric, by, other), _facts(run, metric)
            for index, (corruption, severity) in enumerate(found.conditions):
                mask = iou.get((corruption.removesuffix(UNALIGNED), severity), MISSING)
                records.append(
                    {
                        **key,
                        "corruption": corruption,
                        "severity": severity,
                        **facts,
                        **_numbers(found, index, settings),
                        **_spread("mask_iou", mask),
                    }
                )
    return _with_attrs(pd.DataFrame(records), rows, by, settings, reference)


def summary(
    rows: pd.DataFrame,
    metrics: Sequence[str] = METRICS,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
    reference: pd.DataFrame | None = None,
) -> pd.DataFrame:
    """Return the headline of each run and metric.

    The headline is the geometric mean over corruptions of `ratio` (severities averaged inside), so that one explosive
    corruption does not own it, beside the worst corruption by name. Unaligned conditions do not enter.

    Args:
        rows: As in `degradation_table`.
        metrics: As in `degradation_table`.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
        reference: Rows of the reference run; adds `rce`, the geometric mean of the ratios to it.

    Returns:
        Columns ``run_id, model, masker, metric, unit, direction, n_subjects, n_samples, n_corruptions, clean, clean_lo,
        clean_hi, corrupted, corrupted_lo, corrupted_hi, ratio, ratio_lo, ratio_hi, rce, rce_lo, rce_hi,
        worst_corruption, worst_ratio, failures, failure_rate, mask_iou``.
    """
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    records = []
    for key, run, other in _runs(rows, metrics, reference):
        iou = cells(run, MASK_IOU, "corruption") if MASK_IOU in set(run["metric"]) else None
        for metric in _present(run, metrics):
            found, facts = cells(run, metric, "corruption", other), _facts(run, metric)
            records.append(
                {**key, **facts, **_headline(found, facts["direction"], settings), "mask_iou": _overall(iou)}
            )
    return _with_attrs(pd.DataFrame(records), rows, "corruption", settings, reference)


def _runs(
    rows: pd.DataFrame, metrics: Sequence[str], reference: pd.DataFrame | None
) -> Iterator[tuple[dict[str, str], pd.DataFrame, pd.DataFrame | None]]:
    check_protocol(rows)
    if not _present(rows, metrics):
        raise UsageError(
            "The rows have none of the wanted metrics",
            got=", ".join(sorted(set(rows["metric"]))) or "no row",
            expected=" or ".join(metrics),
        )
    if reference is not None:
        check_protocol(reference)
        check_same_task(rows, reference)
        reference = scored(reference)
    every = scored(rows)
    if not _present(every, metrics):
        reasons = {str(reason) for reason in rows["message"].dropna()} if "message" in rows else set()
        raise UsageError(
            "Every row of the wanted metrics was skipped, so there is nothing to tabulate",
            got="; ".join(sorted(reasons - {""})[:2]),
        )
    if "model" not in every:
        every["model"] = every["run_id"]
    names = ["model", "run_id", "masker"]
    every[names] = every[names].fillna("")
    for key, run in every.groupby(names, sort=True):
        other = None if reference is None else reference[reference["masker"] == key[2]]
        if other is not None and not len(other):
            maskers = ", ".join(sorted(set(reference["masker"]))) if reference is not None else ""
            raise NotComparable("The reference saw other masks", got=maskers, expected=str(key[2]))
        yield dict(zip(("model", "run_id", "masker"), map(str, key), strict=True)), run, other


def _present(rows: pd.DataFrame, metrics: Sequence[str]) -> list[str]:
    known = set(rows["metric"])
    return [metric for metric in metrics if metric in known]


def _facts(run: pd.DataFrame, metric: str) -> dict[str, str]:
    first = run[run["metric"] == metric].iloc[0]
    return {"metric": metric, "unit": str(first["unit"]), "direction": str(first["direction"])}


def _numbers(found: Cells, index: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Return one row's numbers."""
    clean_is_broken = bool(found.broken[found.conditions.index((CLEAN, "0"))]) if _has_clean(found) else False
    broken = bool(found.broken[index])
    error, paired, clean = found.error[:, index], found.paired[:, index], found.clean[:, index]
    compared, reference = found.compared[:, index], found.reference[:, index]
    is_clean = found.conditions[index][0] == CLEAN
    no_pair = broken or clean_is_broken or is_clean

    value = MISSING if broken else mean_interval(_known(error)[0], **settings)
    both = _known(paired, clean)
    delta = MISSING if no_pair else mean_interval(both[0] - both[1], **settings)
    ratio = MISSING if no_pair else _ratio(both, settings)
    rce = MISSING if broken else _ratio(_known(compared, reference), settings)
    return {
        "n_subjects": int(np.isfinite(error).sum()),
        "n_samples": int(found.samples[index]),
        "value": value.value,
        "lo": value.lo,
        "hi": value.hi,
        **_spread("delta", delta),
        **_spread("ratio", ratio),
        **_spread("rce", rce),
        "method": value.method,
        "failures": int(found.failures[index]),
        "failure_rate": float(found.failures[index] / found.samples[index]),
    }


def _headline(found: Cells, direction: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the numbers over all corruptions of one run and metric."""
    kept = [i for i, (name, _) in enumerate(found.conditions) if name != CLEAN and not name.endswith(UNALIGNED)]
    at = found.conditions.index((CLEAN, "0")) if _has_clean(found) else None
    broken = bool(found.broken[kept].any()) or (at is not None and bool(found.broken[at]))
    clean = mean_interval(_known(found.error[:, at])[0], **settings) if at is not None and not broken else MISSING
    corrupted = MISSING
    if kept and not broken:
        corrupted = mean_interval(_complete(found.error[:, kept])[0].mean(axis=1), **settings)
    ratio = MISSING if broken else ratio_interval(*_complete(found.paired[:, kept], found.clean[:, kept]), **settings)
    rce = (
        MISSING if broken else ratio_interval(*_complete(found.compared[:, kept], found.reference[:, kept]), **settings)
    )
    ratios = {
        found.conditions[i][0]: _ratio(_known(found.paired[:, i], found.clean[:, i]), settings).value for i in kept
    }
    ratios = {} if broken else {name: value for name, value in ratios.items() if np.isfinite(value)}
    worst = (max if direction == "lower" else min)(ratios, key=lambda name: ratios[name]) if ratios else ""
    counted = kept + ([at] if at is not None else [])
    failures, samples = int(found.failures[counted].sum()), int(found.samples[counted].sum())
    return {
        "n_subjects": len(found.subjects),
        "n_samples": samples,
        "n_corruptions": len(kept),
        **_spread("clean", clean),
        **_spread("corrupted", corrupted),
        **_spread("ratio", ratio),
        **_spread("rce", rce),
        "worst_corruption": worst,
        "worst_ratio": ratios.get(worst, np.nan),
        "failures": failures,
        "failure_rate": failures / samples,
    }


def _has_clean(found: Cells) -> bool:
    return (CLEAN, "0") in found.conditions


def _known(*columns: Array) -> tuple[Array, ...]:
    """Keep the subjects that every column has."""
    known = np.all(np.isfinite(np.stack(columns)), axis=0)
    return tuple(column[known] for column in columns)


def _complete(*tables: Array) -> tuple[Array, ...]:
    """Keep the subjects that every column of every (n, k) table has."""
    known = np.all(np.isfinite(np.concatenate(tables, axis=1)), axis=1)
    return tuple(table[known] for table in tables)


def _ratio(pair: tuple[Array, ...], settings: dict[str, Any]) -> Interval:
    return ratio_interval(pair[0][:, None], pair[1], **settings)


def _spread(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_lo": interval.lo, f"{name}_hi": interval.hi}


def _mask_iou(run: pd.DataFrame, by: By, settings: dict[str, Any]) -> dict[tuple[str, str], Interval]:
    """Return the mask IoU of each condition, where the run has it."""
    if MASK_IOU not in set(run["metric"]):
        return {}
    found = cells(run, MASK_IOU, by)
    return {
        condition: MISSING if found.broken[i] else mean_interval(_known(found.error[:, i])[0], **settings)
        for i, condition in enumerate(found.conditions)
    }


def _overall(iou: Cells | None) -> float:
    """Return the mask IoU over all corruptions, each weighing the same."""
    if iou is None:
        return float("nan")
    kept = [i for i, (name, _) in enumerate(iou.conditions) if name != CLEAN and not iou.broken[i]]
    means = [float(np.nanmean(iou.error[:, i])) for i in kept if np.isfinite(iou.error[:, i]).any()]
    return float(np.mean(means)) if means else float("nan")


def _with_attrs(
    table: pd.DataFrame, rows: pd.DataFrame, by: By, settings: dict[str, Any], reference: pd.DataFrame | None
) -> pd.DataFrame:
    """Say in ``attrs`` how the numbers were made, so that every export can print it."""
    protocol = {}
    for name in ("dataset", "dataset_revision", "cset_id", "track", "mask_source", "prior_source"):
        if name in rows:
            protocol[name] = ", ".join(sorted({str(v) for v in rows[name].dropna().unique()}))
    chosen = rows[rows["metric"].isin(set(table["metric"]))]
    for name in ("metric_version", "n_points", "metric_seed", "alignment"):
        if name in rows:
            values = sorted({f"{v:g}" if isinstance(v, float) else str(v) for v in chosen[name].dropna().unique()})
            protocol[name] = ", ".join(values)
    attrs: dict[Hashable, Any] = {
        "level": settings["level"],
        "resamples": settings["resamples"],
        "seed": settings["seed"],
        "by": by,
        "unit_of_inference": "subject",
        "interval": "Student-t below 30 subjects (ratios: on the logarithm), else BCa bootstrap over subjects",
        "skipped": int(is_skipped(chosen).sum()),
        "failures": "a failure counts with its declared penalty",
        "aggregation": "views, then severities, within a subject; ratio of sums over subjects",
        "protocol": {name: value for name, value in protocol.items() if value},
    }
    if reference is not None and "model" in reference:
        names = ", ".join(sorted({str(v) for v in reference["model"].dropna().unique()}))
        hashes = sorted(
            {str(v)[:8] for v in reference.get("checkpoint_sha256", pd.Series(dtype=object)).dropna().unique()}
        )
        attrs["reference"] = names + (f" ({', '.join(hashes)})" if hashes else "")
        attrs["reference_run_id"] = ", ".join(sorted(set(reference["run_id"])))
        attrs["reference_rows_sha256"] = rows_sha256(reference)
    table.attrs = attrs
    return table
