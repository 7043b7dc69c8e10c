"""What adaptation does to a model: its error on clean pictures and under each corruption, over batches learned from.

Source: figure 7 of Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D
Reconstruction", 2023, here with intervals, and with the change from the model before adaptation, paired subject by
subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.cells import cells
from robench.analysis.degradation import METRICS
from robench.analysis.intervals import MISSING, mean_interval
from robench.analysis.provenance import Run
from robench.analysis.rows import check_protocol, check_same_task, scored
from robench.errors import UsageError


def ordered_runs(runs: Sequence[Run], batches: Mapping[str, int]) -> list[tuple[int, Run]]:
    """Return runs with the number of batches that their checkpoints learned from, ascending.

    Args:
        runs: One for each checkpoint.
        batches: Number by the checkpoint's sha256.

    Raises:
        UsageError: If a run is of another checkpoint, two are of the same number, or there is one alone.
    """
    found: dict[int, Run] = {}
    for run in runs:
        if run.checkpoint not in batches:
            raise UsageError(
                f"{run.path} is not a run of this adaptation",
                got=f"checkpoint {run.checkpoint[:12] or 'unknown'}",
                expected="one of " + ", ".join(f"{sha[:12]} ({count} batches)" for sha, count in batches.items()),
            )
        count = batches[run.checkpoint]
        if count in found:
            raise UsageError(f"Two runs are of {count} batches", got=f"{found[count].path} and {run.path}")
        found[count] = run
    if len(found) < 2:
        raise UsageError("One run makes no curve", expected="runs of two numbers of batches or more")
    return sorted(found.items())


def adaptation_table(
    runs: Sequence[tuple[int, Run]],
    metrics: Sequence[str] = METRICS,
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return a row a metric, condition and number of batches.

    Args:
        runs: As `ordered_runs` returns them; the first is what the others are compared with.
        metrics: Metrics to tabulate; those that the rows lack are left out.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        Columns ``metric, unit, direction, corruption, severity, batches, run_id, n_subjects, value, lo, hi, change,
        change_lo, change_hi, failures``. ``change`` is the mean paired difference to the first run, over subjects;
        what has no value is NaN.

    Raises:
        UsageError: If the runs have none of the metrics, or several maskers.
        NotComparable: If protocols or data differ.
    """
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    check_protocol(pd.concat([run.rows for _, run in runs], ignore_index=True))
    maskers = sorted({str(name) for _, run in runs for name in run.rows["masker"].dropna()})
    if len(maskers) != 1:
        raise UsageError("A curve is of one masker", got=", ".join(maskers))
    first = runs[0][1]
    records = []
    for metric in metrics:
        if any(metric not in set(run.rows["metric"]) for _, run in runs):
            continue
        for count, run in runs:
            check_same_task(run.rows, first.rows)
            found = cells(scored(run.rows), metric, "corruption", scored(first.rows))
            facts = run.rows[run.rows["metric"] == metric].iloc[0]
            for index, (corruption, severity) in enumerate(found.conditions):
                error = found.error[:, index]
                change = found.compared[:, index] - found.reference[:, index]
                broken = bool(found.broken[index])
                value = MISSING if broken else mean_interval(error[np.isfinite(error)], **settings)
                moved = MISSING if broken or run is first else mean_interval(change[np.isfinite(change)], **settings)
                records.append(
                    {
                        "metric": metric,
                        "unit": str(facts["unit"]),
                        "direction": str(facts["direction"]),
                        "corruption": corruption,
                        "severity": severity,
                        "batches": count,
                        "run_id": run.run_id,
                        "n_subjects": value.n,
                        "value": value.value,
                        "lo": value.lo,
                        "hi": value.hi,
                        "change": moved.value,
                        "change_lo": moved.lo,
                        "change_hi": moved.hi,
                        "failures": int(found.failures[index]),
                    }
                )
    if not records:
        raise UsageError("The runs have none of the wanted metrics", expected=" or ".join(metrics))
    table = pd.DataFrame(records)
    clean = table["corruption"] != "clean"
    order = table.assign(rank=table["metric"].map({name: i for i, name in enumerate(metrics)}), clean=clean)
    keys = ["rank", "clean", "corruption", "batches"]
    table = table.loc[order.sort_values(keys, kind="stable").index].reset_index(drop=True)
    table.attrs = {"level": level, "resamples": resamples, "seed": seed}
    return table
