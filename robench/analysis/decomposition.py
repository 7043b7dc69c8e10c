"""Where a loss comes from: the mask, where the person was put, or the shape.

The loss of a corruption is E(corrupted) - E(clean), with the masks that the model really got. The same loss with the
true masks takes the mask out of it; the same again, scored after a similarity transform that fits the prediction to the
truth (`robench.metrics.similarity`), takes pose, place and size out. What is left is shape:

* mask = loss - loss with true masks
* alignment = loss with true masks - its part after the similarity fit
* shape = loss with true masks, after the similarity fit

so that the three add up to the loss. Where corruption moves the camera, ``camera`` tells how much larger the loss looks
when the truth is not moved along (metrics named ``..._unaligned``): the mesh is merely rotated. It is not in the sum.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.intervals import MISSING, Interval, mean_interval
from robench.analysis.pairing import check_task
from robench.analysis.provenance import Run
from robench.analysis.rows import CLEAN, check_protocol, scored
from robench.errors import NotComparable

Array = NDArray[np.float64]
PARTS = ("loss", "mask", "alignment", "shape", "rest", "camera")
_CELL = ["subject_id", "sample_id", "view_id"]
_TRUE = frozenset({"gt"})


def fitted(metric: str) -> str:
    """Return the name of a metric's twin that is measured after the similarity fit."""
    return metric.removesuffix("_cm") + "_similarity_cm" if metric.endswith("_cm") else f"{metric}_similarity"


def unaligned(metric: str) -> str:
    """Return the name of a metric's twin whose truth does not follow the camera."""
    return metric.removesuffix("_cm") + "_unaligned_cm" if metric.endswith("_cm") else f"{metric}_unaligned"


def decompose(
    run: Run, given: Run, metric: str, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> pd.DataFrame:
    """Split the loss of every corruption into mask, alignment and shape, with intervals over subjects.

    Args:
        run: A model with the masks that it got.
        given: The same model on the same cells with the true masks.
        metric: An error whose truth follows the camera, such as ``chamfer_cm``.
        level: Coverage of the intervals.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        A row a corruption (``all`` first, each corruption with the same weight): ``corruption, n_subjects`` and, for
        each of `PARTS`, the mean over subjects with ``_lo`` and ``_hi``, in the metric's unit. ``rest`` is alignment
        and shape together. A part whose metric the runs lack is NaN, and so is what rests on a failure without a
        penalty.

    Raises:
        NotComparable: If the runs are not the same model on the same cells, or the masks of `given` are not true ones.
    """
    for one in (run, given):
        check_protocol(one.rows)
    check_task(run, given)
    for name in ("model", "checkpoint_sha256", "adapter_version"):
        ours, theirs = (set(one.rows[name].dropna().astype(str)) if name in one.rows else set() for one in (run, given))
        if ours != theirs:
            raise NotComparable(
                f"The run with true masks is of another model: '{name}' differs",
                got=", ".join(sorted(theirs)),
                expected=", ".join(sorted(ours)),
            )
    sources = set(given.rows["mask_source"].dropna().astype(str)) if "mask_source" in given.rows else set()
    if not sources <= _TRUE:
        got = ", ".join(sorted(sources))
        raise NotComparable(f"'{given.run_id}' did not get the true masks", got=got, hint="--masker given")
    tables = {
        "predicted": _errors(run, metric),
        "given": _errors(given, metric),
        "fitted": _errors(given, fitted(metric)),
        "moved": _errors(run, unaligned(metric)),
    }
    losses = {name: _losses(table) for name, table in tables.items()}
    per_subject = _parts(losses)
    corruptions = list(losses["predicted"].columns)
    if not corruptions or not set(corruptions) <= set(losses["given"].columns):
        raise NotComparable("The run with true masks lacks corruptions", expected=", ".join(map(str, corruptions)))
    settings = {"level": level, "resamples": resamples, "seed": seed}
    records = []
    for name in ["all", *corruptions]:
        chosen = corruptions if name == "all" else [name]
        record: dict[str, object] = {"corruption": str(name)}
        for part in PARTS:
            found = _interval(per_subject[part], chosen, settings)
            if part == "loss":
                record["n_subjects"] = found.n
            record |= {part: found.value, f"{part}_lo": found.lo, f"{part}_hi": found.hi}
        records.append(record)
    return pd.DataFrame(records)


def _errors(run: Run, metric: str) -> pd.DataFrame:
    """Return the scores of a metric, a row a cell; none if the run lacks it."""
    rows = scored(run.rows[run.rows["metric"] == metric])
    return rows[[*_CELL, "corruption", "severity", "score"]]


def _losses(table: pd.DataFrame) -> pd.DataFrame:
    """Return each subject's loss under each corruption: views paired with clean, then severities averaged."""
    clean = table[table["corruption"] == CLEAN][[*_CELL, "score"]].rename(columns={"score": "clean"})
    paired = table[table["corruption"] != CLEAN].merge(clean, on=_CELL)
    loss = paired.assign(loss=paired["score"] - paired["clean"])
    # A missing loss makes its mean missing: without it, other cells would speak for it.
    keys = ["subject_id", "corruption"]
    by_severity = loss.groupby([*keys, "severity"])["loss"].agg(lambda values: values.mean(skipna=False))
    by_corruption = by_severity.groupby(keys).agg(lambda values: values.mean(skipna=False))
    return by_corruption.unstack("corruption")


def _parts(losses: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    predicted = losses["predicted"]
    like = {name: table.reindex(index=predicted.index, columns=predicted.columns) for name, table in losses.items()}
    return {
        "loss": predicted,
        "mask": predicted - like["given"],
        "alignment": like["given"] - like["fitted"],
        "shape": like["fitted"],
        "rest": like["given"],
        "camera": like["moved"] - predicted,
    }


def _interval(table: pd.DataFrame, corruptions: list[str], settings: dict[str, float]) -> Interval:
    values = table[corruptions].to_numpy(np.float64).mean(axis=1)
    known = values[np.isfinite(values)]
    if len(known) < len(values):  # over other subjects the parts would not add up
        return MISSING
    return mean_interval(known, **settings)  # type: ignore[arg-type]
