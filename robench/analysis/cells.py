"""From rows to one number per subject and condition: the only thing that statistics are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from robench.analysis.rows import CLEAN

Array = NDArray[np.float64]
By = Literal["corruption", "severity"]

UNALIGNED = " (unaligned)"
"""Ends the name of the condition that scores against the ground truth of the clean picture, as the paper does."""

_CELL = ["subject_id", "view_id", "sample_id", "masker"]


@dataclass(frozen=True)
class Cells:
    """One metric of one run under one masker.

    Attributes:
        conditions: ``(corruption, severity label)``, clean first, then by name.
        subjects: Names, sorted.
        error: (n, k) mean score of each subject under each condition; NaN where it has none.
        paired: (n, k) the same over samples that also have a clean score, and
        clean: (n, k) that clean score.
        compared: (n, k) the same over samples that the reference has too, and
        reference: (n, k) the reference's score there; all NaN without a reference.
        broken: (k,) True where a failure has no declared penalty, so that the condition has no value.
        samples: (k,) number of rows.
        failures: (k,) number of failed rows.
    """

    conditions: list[tuple[str, str]]
    subjects: list[str]
    error: Array
    paired: Array
    clean: Array
    compared: Array
    reference: Array
    broken: NDArray[np.bool_]
    samples: NDArray[np.int64]
    failures: NDArray[np.int64]


def conditions_of(rows: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Return a metric's rows, with the unaligned twin of a metric added as conditions of their own.

    A twin (``chamfer_unaligned_cm`` of ``chamfer_cm``) makes a condition ``NAME (unaligned)`` for each corruption in
    which it differs, that is, which moves the person in the picture.

    Args:
        rows: Scored rows of one run and masker.
        metric: Name of the aligned metric.
    """
    own = rows[rows["metric"] == metric]
    twin = rows[(rows["metric"] != metric) & (rows["metric"].str.replace("_unaligned", "") == metric)]
    cell = [*_CELL, "corruption", "severity"]
    both = own.merge(twin[[*cell, "score"]], on=cell, suffixes=("", "_twin"))
    differs = ~np.isclose(both["score"], both["score_twin"], rtol=1e-6, atol=0, equal_nan=True)
    moved = sorted(set(both.loc[differs, "corruption"]) - {CLEAN})
    extra = twin[twin["corruption"].isin(moved)]
    return pd.concat([own, extra.assign(corruption=extra["corruption"] + UNALIGNED)], ignore_index=True)


def cells(rows: pd.DataFrame, metric: str, by: By, reference: pd.DataFrame | None = None) -> Cells:
    """Average views, then severities, within a subject.

    Args:
        rows: Scored rows of one run and masker.
        metric: Metric to take.
        by: ``corruption`` puts all severities of a corruption in one condition, ``severity`` keeps them apart.
        reference: Scored rows of the reference, any masker of the same name.
    """
    all_rows = conditions_of(rows, metric)
    table = all_rows[[*_CELL, "corruption", "severity", "score", "failed"]]
    clean = table.loc[table["corruption"] == CLEAN, [*_CELL, "score"]].rename(columns={"score": "clean"})
    table = table.merge(clean, on=_CELL, how="left")
    table["reference"] = np.nan
    if reference is not None:
        cell = [*_CELL, "corruption", "severity"]
        other = conditions_of(reference, metric)[[*cell, "score"]].rename(columns={"score": "reference"})
        table = table.drop(columns="reference").merge(other, on=cell, how="left")
    table["label"] = _labels(table) if by == "corruption" else table["severity"].astype(str)

    order = sorted({*zip(table["corruption"], table["label"], strict=True)}, key=lambda c: (c[0] != CLEAN, *c))
    subjects = sorted(set(table["subject_id"]))
    columns = pd.MultiIndex.from_tuples(order, names=["corruption", "label"])

    def wide(frame: pd.DataFrame, name: str) -> Array:
        per_severity = frame.groupby(["subject_id", "corruption", "label", "severity"])[name].mean()
        means = per_severity.groupby(["subject_id", "corruption", "label"]).mean().unstack(["corruption", "label"])
        return means.reindex(index=subjects, columns=columns).to_numpy(np.float64)

    # A pair is a sample that has both; unpaired samples must move neither side of a difference or ratio.
    paired = table.dropna(subset=["score", "clean"])
    compared = table.dropna(subset=["score", "reference"])
    grouped = table.assign(missing=table["score"].isna()).groupby(["corruption", "label"])
    return Cells(
        conditions=order,
        subjects=subjects,
        error=wide(table, "score"),
        paired=wide(paired, "score"),
        clean=wide(paired, "clean"),
        compared=wide(compared, "score"),
        reference=wide(compared, "reference"),
        broken=np.asarray(grouped["missing"].max().reindex(columns), bool),
        samples=np.asarray(grouped["missing"].size().reindex(columns), np.int64),
        failures=np.asarray(grouped["failed"].sum().reindex(columns), np.int64),
    )


def _labels(table: pd.DataFrame) -> pd.Series[str]:
    """Return ``3`` for one severity of a corruption, ``1-5`` for a run of them, ``1,3`` for others."""
    found = {name: sorted(set(group)) for name, group in table.groupby("corruption")["severity"]}
    return table["corruption"].map({str(name): _label(severities) for name, severities in found.items()})


def _label(severities: Sequence[int]) -> str:
    first, last = severities[0], severities[-1]
    if len(severities) > 2 and list(severities) == list(range(first, last + 1)):
        return f"{first}-{last}"
    return ",".join(map(str, severities))
