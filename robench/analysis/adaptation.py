"""What adaptation does to a model: its error on clean pictures and under each corruption, over batches learned from.

Source: figure 7 of Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D
Reconstruction", 2023, here with intervals, and with the change from the model before adaptation, paired subject by
subject.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from robench.analysis.degradation import METRICS
from robench.analysis.methods import paired_table
from robench.analysis.provenance import Run
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
        As `robench.analysis.methods.paired_table`, with the column ``batches``.

    Raises:
        UsageError: If the runs have none of the metrics, or several maskers.
        NotComparable: If protocols or data differ.
    """
    return paired_table(runs, "batches", metrics, level=level, resamples=resamples, seed=seed)
