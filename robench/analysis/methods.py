"""Several models side by side under every condition: errors with intervals, and paired changes from the first.

Source of the layout: figures 6, 7 and 10 of Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of
Ill-Posed 3D Reconstruction", 2023, here with intervals, and paired subject by subject.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from robench.analysis.cells import cells
from robench.analysis.degradation import METRICS
from robench.analysis.intervals import MISSING, mean_interval
from robench.analysis.provenance import Run
from robench.analysis.rows import check_protocol, check_same_task, scored
from robench.errors import UsageError

Name = TypeVar("Name", bound=Hashable)


def paired_table(
    runs: Sequence[tuple[Name, Run]],
    key: str = "method",
    metrics: Sequence[str] = METRICS,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row a metric, condition and run.

    Args:
        runs: What each is called, and the run; the first is what the others are compared with.
        key: Column of what they are called.
        metrics: Metrics to tabulate; those that the rows lack are left out.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Columns ``metric, unit, direction, corruption, severity, KEY, run_id, n_subjects, value, lo, hi, change,
        change_lo, change_hi, failures, n_samples``, clean first, runs in their order. ``change`` is the mean paired
        difference to the first run, over subjects; what has no value is NaN. ``attrs`` has level, resamples and seed.

    Raises:
        UsageError: If there is no run, they have none of the metrics, or several maskers.
        NotComparable: If protocols or data differ.
    """
    if not runs:
        raise UsageError("There is no run to tabulate")
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    check_protocol(pd.concat([run.rows for _, run in runs], ignore_index=True))
    maskers = sorted({str(name) for _, run in runs for name in run.rows["masker"].dropna()})
    if len(maskers) != 1:
        raise UsageError("Models are compared under one masker", got=", ".join(maskers))
    first = runs[0][1]
    for _, run in runs:
        check_same_task(run.rows, first.rows)
    every = [scored(run.rows) for _, run in runs]
    records: list[tuple[tuple[Any, ...], dict[str, Any]]] = []
    for rank, metric in enumerate(metrics):
        if any(metric not in set(run.rows["metric"]) for _, run in runs):
            continue
        for place, ((name, run), rows) in enumerate(zip(runs, every, strict=True)):
            found = cells(rows, metric, "corruption", every[0])
            facts = run.rows[run.rows["metric"] == metric].iloc[0]
            for index, (corruption, severity) in enumerate(found.conditions):
                error = found.error[:, index]
                change = found.compared[:, index] - found.reference[:, index]
                broken = bool(found.broken[index])
                value = MISSING if broken else mean_interval(error[np.isfinite(error)], **settings)
                moved = MISSING if broken or not place else mean_interval(change[np.isfinite(change)], **settings)
                record = {
                    "metric": metric,
                    "unit": str(facts["unit"]),
                    "direction": str(facts["direction"]),
                    "corruption": corruption,
                    "severity": severity,
                    key: name,
                    "run_id": run.run_id,
                    "n_subjects": value.n,
                    "value": value.value,
                    "lo": value.lo,
                    "hi": value.hi,
                    "change": moved.value,
                    "change_lo": moved.lo,
                    "change_hi": moved.hi,
                    "failures": int(found.failures[index]),
                    "n_samples": int(found.samples[index]),
                }
                records.append(((rank, corruption != "clean", corruption, place), record))
    if not records:
        raise UsageError("The runs have none of the wanted metrics", expected=" or ".join(metrics))
    table = pd.DataFrame([record for _, record in sorted(records, key=lambda pair: pair[0])])
    table.attrs = {"level": level, "resamples": resamples, "seed": seed}
    return table


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows whose interval of the paired change excludes 0: where a difference is shown, not just seen."""
    return table[(table["change_lo"] > 0) | (table["change_hi"] < 0)]
