"""Where the losses of several runs come from, each beside the run of its model with the true masks, if there is one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pandas as pd

from robench.analysis.decomposition import PARTS, decompose, got_true_masks, reads_masks
from robench.analysis.pairing import MODEL
from robench.analysis.provenance import Run
from robench.errors import UsageError

COLUMNS = (
    "model",
    "run_id",
    "masker",
    "metric",
    "unit",
    "mask_told",
    "given_run_id",
    "given_rows_sha256",
    "corruption",
    "n_subjects",
)
PAIRED, TRUE_MASKS, READS_NONE, UNTOLD = "paired", "true masks", "reads none", "no"
"""What is known of the mask's part (`mask_told`): it comes from a run with true masks; it is none, as the run itself
got the true masks, or as its model reads no mask; or it is not known, and inside the other parts."""


def true_masks_of(runs: Sequence[Run], given: Sequence[Run]) -> list[Run | None]:
    """Find each run's counterpart with the true masks: the same model, weights and options.

    Args:
        runs: Runs that are reported.
        given: Runs with the true masks; one may serve several runs of its model under different maskers.

    Returns:
        For each of `runs` one of `given`, or None: where there is none of its model, or where the mask has no part
        anyway (`robench.analysis.decomposition`).

    Raises:
        UsageError: If one of `given` is of no model that is reported, or two are the same.
    """
    for index, one in enumerate(given):
        if not any(_weights(run) == _weights(one) for run in runs):
            raise UsageError(
                f"The run with true masks '{one.run_id}' is of no model that is reported",
                got=_named(one),
                expected=" or ".join(dict.fromkeys(map(_named, runs))),
            )
        if any(_weights(one) == _weights(other) and _options(one) == _options(other) for other in given[:index]):
            raise UsageError("Two runs with true masks are of the same model", got=_named(one), expected="one a model")
    found: list[Run | None] = []
    for run in runs:
        candidates = [one for one in given if _weights(one) == _weights(run)]
        # Of several, the one with the run's options; one alone is taken, so that decompose says what differs.
        same = [one for one in candidates if _options(one) == _options(run)]
        needed = reads_masks(run) and not got_true_masks(run)
        found.append((same or candidates)[0] if candidates and needed else None)
    return found


def _weights(run: Run) -> tuple[str, ...]:
    return tuple(", ".join(sorted(set(run.rows[n].dropna().astype(str)))) if n in run.rows else "" for n in MODEL)


def _options(run: Run) -> Any:
    protocol = run.about.get("protocol")
    return protocol.get("model_options") if isinstance(protocol, Mapping) else None


def _named(run: Run) -> str:
    return f"{run.model} ({run.checkpoint[:8]})" if run.checkpoint else run.model


def cause_table(
    runs: Sequence[Run],
    given: Sequence[Run],
    metrics: Sequence[str],
    *,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> pd.DataFrame:
    """Return where the losses of runs come from, for every metric whose loss can be split.

    A loss can be split where the run has the metric's twin after the similarity fit (into alignment and shape), or
    where there is a run with true masks (into mask and the rest).

    Args:
        runs: Runs that are reported.
        given: Runs with the true masks, found by model (`true_masks_of`).
        metrics: Names; those that a run lacks are left out for it.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        A row a run, masker, metric and corruption (``all`` first): the columns `COLUMNS`, then each of
        `robench.analysis.decomposition.PARTS` with ``_lo`` and ``_hi``; runs by name. ``mask_told`` is one of `PAIRED`,
        `TRUE_MASKS`, `READS_NONE`, `UNTOLD`. ``attrs`` has the level, the resamples and the seed.

    Raises:
        UsageError: As `true_masks_of`.
        NotComparable: If a run and its counterpart do not belong together.
    """
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    tables = []
    pairs = sorted(zip(runs, true_masks_of(runs, given), strict=True), key=lambda pair: (pair[0].model, pair[0].run_id))
    for run, truth in pairs:
        for masker, rows in run.rows.groupby("masker", sort=True):
            own = replace(run, rows=rows)
            for metric in metrics:
                if not (rows["metric"] == metric).any():
                    continue
                parts = decompose(own, truth, metric, **settings)
                if not _is_split(parts, paired=truth is not None):
                    continue
                about = {
                    "model": run.model,
                    "run_id": run.run_id,
                    "masker": str(masker),
                    "metric": metric,
                    "unit": str(rows.loc[rows["metric"] == metric, "unit"].iloc[0]),
                    "mask_told": _told(own, truth),
                    "given_run_id": truth.run_id if truth is not None else "",
                    "given_rows_sha256": truth.sha256 if truth is not None else "",
                }
                tables.append(parts.assign(**about))
    columns = [*COLUMNS, *(f"{part}{end}" for part in PARTS for end in ("", "_lo", "_hi"))]
    table = pd.concat(tables, ignore_index=True)[columns] if tables else pd.DataFrame(columns=columns)
    table.attrs = {"level": level, "resamples": resamples, "seed": seed}
    return table


def _is_split(parts: pd.DataFrame, *, paired: bool) -> bool:
    return bool(parts["shape"].notna().any() or (paired and parts["mask"].notna().any()))


def _told(run: Run, truth: Run | None) -> str:
    if truth is not None:
        return PAIRED
    if got_true_masks(run):
        return TRUE_MASKS
    return UNTOLD if reads_masks(run) else READS_NONE
