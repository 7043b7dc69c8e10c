"""Where a loss comes from: the mask, where the person was put, or the shape.

The loss of a corruption is E(corrupted) - E(clean), with the masks that the model really got. The same loss with the
true masks takes the mask out of it; the same again, scored after a similarity transform that fits the prediction to the
truth (`robench.metrics.similarity`), takes pose, place and size out. What is left is shape:

* mask = loss - loss with true masks
* alignment = loss with true masks - its part after the similarity fit
* shape = loss with true masks, after the similarity fit

so that the three add up to the loss. Without a run with true masks, alignment and shape are of the masks that the model
got: they add up to the loss, and what a bad mask costs is in them. The mask has no part in a run that got the true
masks, nor in a model that reads none.

Where corruption moves the camera, ``camera`` tells how much larger the loss looks when the truth is not moved along
(metrics named ``..._unaligned``): the mesh is merely rotated. It is not in the sum.

Parts are differences cell by cell before anything is averaged, so that every part speaks of the same samples.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.intervals import MISSING, Interval, mean_interval
from robench.analysis.pairing import check_same_model, check_task
from robench.analysis.provenance import Run
from robench.analysis.rows import CLEAN, check_protocol, scored
from robench.errors import NotComparable

PARTS = ("loss", "mask", "alignment", "shape", "rest", "camera")
ALL = "all"
"""Stands for all corruptions together, each with the same weight."""
_SAMPLE = ["subject_id", "sample_id", "view_id"]
_CONDITION = ["corruption", "severity"]
_TRUE = frozenset({"gt"})


def fitted(metric: str) -> str:
    """Return the name of a metric's twin that is measured after the similarity fit."""
    return metric.removesuffix("_cm") + "_similarity_cm" if metric.endswith("_cm") else f"{metric}_similarity"


def unaligned(metric: str) -> str:
    """Return the name of a metric's twin whose truth does not follow the camera."""
    return metric.removesuffix("_cm") + "_unaligned_cm" if metric.endswith("_cm") else f"{metric}_unaligned"


def got_true_masks(run: Run) -> bool:
    """True if every row of a run says that the model was given the true mask."""
    sources = set(run.rows["mask_source"].dropna().astype(str)) if "mask_source" in run.rows else set()
    return bool(sources) and sources <= _TRUE


def reads_masks(run: Run) -> bool:
    """False if the card of a run's model says what the model reads, and masks are not among it."""
    found: Any = run.about
    for name in ("cards", "model", "extra", "inputs_used"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return not isinstance(found, list) or "mask" in found


def decompose(
    run: Run, given: Run | None, metric: str, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Split the loss of every corruption into mask, alignment and shape, with intervals over subjects.

    Args:
        run: A model with the masks that it got, under one masker.
        given: The same model on the same cells with the true masks; None if there is no such run.
        metric: A metric whose truth follows the camera, such as ``chamfer_cm``. The loss of a score (more is better)
            is clean minus corrupted, so that a loss is positive where corruption harms.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        A row a corruption (``all`` first, each corruption with the same weight, over the subjects that have every
        one): ``corruption, n_subjects`` and, for each of `PARTS`, the mean over subjects with ``_lo`` and ``_hi``, in
        the metric's unit. ``rest`` is alignment and shape together. NaN is a part that cannot be told: its metric is
        not in the runs, a failure in it has no penalty, or it is the mask's and there is no run with true masks (then
        it is inside the others). No row without a corrupted cell that has a clean one beside it.

    Raises:
        NotComparable: If the runs are not the same model on the same cells, the masks of `given` are not true ones, or
            `run` lacks the metric or has several maskers.
    """
    check_protocol(run.rows)
    if given is not None:
        check_protocol(given.rows)
        check_task(run, given)
        check_same_model(run, given)
        _check_true(given)
    losses = _losses(_scores(run, given, metric))
    by_definition = given is None and (got_true_masks(run) or not reads_masks(run))
    parts = pd.DataFrame(
        {
            "loss": losses["predicted"],
            "mask": losses["predicted"] - losses["given"] if given is not None or by_definition else np.nan,
            "alignment": losses["given"] - losses["fitted"],
            "shape": losses["fitted"],
            "rest": losses["given"],
            "camera": losses["moved"] - losses["predicted"],
        }
    )
    settings: dict[str, Any] = {"level": level, "resamples": resamples, "seed": seed}
    per_subject = {str(name): part.droplevel("corruption") for name, part in parts.groupby("corruption")}
    if not per_subject:
        return pd.DataFrame([_record(ALL, parts, settings)]).iloc[:0]
    complete = parts.groupby("subject_id").filter(lambda own: len(own) == len(per_subject))
    return pd.DataFrame(
        [
            _record(ALL, _means(complete, ["subject_id"]), settings),
            *(_record(name, part, settings) for name, part in sorted(per_subject.items())),
        ]
    )


def _check_true(given: Run) -> None:
    sources = given.rows["mask_source"].dropna().astype(str) if "mask_source" in given.rows else pd.Series(dtype=str)
    if not set(sources) <= _TRUE:
        got = ", ".join(sorted(set(sources)))
        raise NotComparable(f"'{given.run_id}' did not get the true masks", got=got, hint="--masker given")


def _scores(run: Run, given: Run | None, metric: str) -> pd.DataFrame:
    """Return a row a cell of the run, with its scores ``predicted, given, fitted, moved``; NaN where there is none."""
    own = run.rows[run.rows["metric"] == metric]
    if not len(own):
        got = ", ".join(sorted(set(run.rows["metric"])))
        raise NotComparable(f"'{run.run_id}' has no row of '{metric}'", got=got, hint="robench evaluate --metrics")
    for one in (run, given) if given is not None else (run,):
        maskers = sorted(set(one.rows["masker"]))
        if len(maskers) > 1:
            raise NotComparable(f"'{one.run_id}' has several maskers", got=", ".join(maskers), expected="one at a time")
    sign = -1.0 if own["direction"].iloc[0] == "higher" else 1.0
    truth = given if given is not None else run
    table = _column(run, metric, "predicted", sign)
    for name, source, twin in (
        ("given", truth, metric),
        ("fitted", truth, fitted(metric)),
        ("moved", run, unaligned(metric)),
    ):
        found = _column(source, twin, name, sign)
        table = table.merge(found, on=[*_SAMPLE, *_CONDITION], how="left", validate="one_to_one", indicator=True)
        if name == "given":
            _check_complete(table)
        table = table.drop(columns="_merge")
    return table


def _column(run: Run, metric: str, name: str, sign: float) -> pd.DataFrame:
    rows = scored(run.rows[run.rows["metric"] == metric])
    return rows.assign(**{name: sign * rows["score"]})[[*_SAMPLE, *_CONDITION, name]]


def _check_complete(table: pd.DataFrame) -> None:
    lone = table[table["_merge"] == "left_only"]
    if len(lone):
        sample, corruption, severity = lone.iloc[0][["sample_id", *_CONDITION]]
        raise NotComparable(
            "The run with true masks lacks cells",
            got=f"{len(table) - len(lone)} of {len(table)}, not {corruption} {severity} of {sample}",
            expected="every cell of the run",
            hint="robench resume it, or evaluate it on the same set",
        )


def _losses(table: pd.DataFrame) -> pd.DataFrame:
    """Return each subject's loss under each corruption: views paired with clean, then severities averaged."""
    names = ["predicted", "given", "fitted", "moved"]
    clean = table[table["corruption"] == CLEAN][[*_SAMPLE, *names]]
    paired = table[table["corruption"] != CLEAN].merge(clean, on=_SAMPLE, suffixes=("", "_clean"))
    for name in names:
        paired[name] -= paired[f"{name}_clean"]
    by_severity = _means(paired[["subject_id", *_CONDITION, *names]], ["subject_id", *_CONDITION])
    return _means(by_severity, ["subject_id", "corruption"])


def _means(table: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Average groups; a missing value makes its mean missing: without it, other cells would speak for it."""
    groups = table.groupby(keys)
    return groups.mean(numeric_only=True).where(groups.count().eq(groups.size(), axis=0))


def _record(name: str, part: pd.DataFrame, settings: dict[str, Any]) -> dict[str, object]:
    record: dict[str, object] = {"corruption": name, "n_subjects": len(part)}
    for column in PARTS:
        found = _interval(part[column], settings)
        record |= {column: found.value, f"{column}_lo": found.lo, f"{column}_hi": found.hi}
    return record


def _interval(values: pd.Series[float], settings: dict[str, Any]) -> Interval:
    if values.isna().any():  # over other subjects the parts would not add up
        return MISSING
    return mean_interval(np.asarray(values, np.float64), **settings)
