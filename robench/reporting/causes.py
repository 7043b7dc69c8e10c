"""Where losses come from, in words and tables: the same parts, names and notes in every format."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from robench.analysis.causes import PAIRED, READS_NONE, TRUE_MASKS, UNTOLD
from robench.analysis.decomposition import ALL
from robench.errors import printable
from robench.reporting import tables
from robench.reporting.labels import corruption_label, interval, metric_label, number, unit_label

LABELS = {
    "loss": "Loss",
    "mask": "Mask",
    "alignment": "Alignment",
    "shape": "Shape",
    "rest": "Alignment and shape",
    "camera": "Truth not moved",
}
LONG = {**LABELS, "alignment": "Alignment (pose, place, size)"}
INSIDE = "what the masks cost is inside: no run with true masks"
"""Said of a run whose mask part nothing tells."""
_SERIES = ["model", "run_id", "masker"]


def stacked(part: pd.DataFrame) -> tuple[str, ...]:
    """Return the parts that add up to the loss.

    Args:
        part: Rows of `robench.analysis.causes.cause_table` of one run and metric.
    """
    names = ("alignment", "shape") if part["shape"].notna().any() else ("rest",)
    return ("mask", *names) if part["mask_told"].iloc[0] == PAIRED else names


def has_camera(part: pd.DataFrame) -> bool:
    """True if a corruption of these rows moves the camera, so that an unmoved truth tells something else."""
    return bool((part["camera"].abs() > 0).any())


def where(name: str) -> str:
    """Return the label of a row: a corruption, or all of them."""
    return "All corruptions" if name == ALL else corruption_label(name)


def loss_label(metric: str, unit: str, *, long: bool = False) -> str:
    """Return ``Loss in Chamfer (cm)``."""
    return f"Loss in {metric_label(metric, long=long)}{f' ({unit_label(unit)})' if unit_label(unit) else ''}"


def cause_blocks(table: pd.DataFrame) -> Iterator[tables.Block]:
    """Yield the causes of each run, masker and metric as a block: a row a corruption, all together first.

    Args:
        table: What `robench.analysis.causes.cause_table` returns.
    """
    for (model, run, masker, metric), part in table.groupby([*_SERIES, "metric"], sort=False):
        counts = part["n_subjects"].tolist()
        columns, facts = [], ""
        if len(set(counts)) == 1:
            facts = f"; {counts[0]} subject{'' if counts[0] == 1 else 's'}"
        else:
            columns.append(tables.Column("", "Subjects", [tables.Cell(str(count)) for count in counts]))
        for name in ("loss", *stacked(part), *(["camera"] if has_camera(part) else [])):
            columns.append(tables.Column("", LABELS[name], [_cell(row, name) for _, row in part.iterrows()]))
        metric_name = loss_label(str(metric), str(part["unit"].iloc[0]))
        title = f"{metric_name}: {model} (masks: {masker}{facts})" + (f", run {run}" if run != model else "")
        names = [printable(tables.ALL if name == ALL else str(name)) for name in part["corruption"]]
        yield printable(title), names, columns


def _cell(row: pd.Series[float], name: str) -> tables.Cell:
    return tables.Cell(number(row[name], 2, sign=True), interval(row[f"{name}_lo"], row[f"{name}_hi"]))


def cause_notes(table: pd.DataFrame) -> list[str]:
    """Return the sentences that belong under a table of causes, `printable`."""
    told = table.drop_duplicates(["run_id", "masker"])
    stacks = {name for _, part in table.groupby([*_SERIES, "metric"]) for name in stacked(part)}
    lines = [
        "Loss: corrupted minus clean (of a score: clean minus corrupted), severities averaged. Its parts add up to it; "
        "a negative one makes it smaller.",
    ]
    if "mask" in stacks:
        paired = told[told["mask_told"] == PAIRED].drop_duplicates("given_run_id")
        pairs = zip(paired["given_run_id"], paired["given_rows_sha256"].astype(str), strict=True)
        runs = ", ".join(f"{run_id}, rows {sha256[:8]}" for run_id, sha256 in pairs)
        lines.append(f"Mask: how much less is lost with the true masks (run {runs}).")
    if "alignment" in stacks:
        lines.append(
            "Alignment: what the rotation, scale and shift that fit the prediction to the truth best take away of it; "
            "shape: what they leave."
        )
    for state, text in (
        (UNTOLD, "no run with true masks was given, so what the masks cost is inside the other parts"),
        (TRUE_MASKS, "got the true masks, so no part is the mask's"),
        (READS_NONE, "reads no mask, so no part is the mask's"),
    ):
        own = told[told["mask_told"] == state]
        if len(own):
            names = ", ".join(dict.fromkeys(own["model"] + " (" + own["masker"] + ")"))
            lines.append(f"{names}: {text}.")
    if has_camera(table):
        lines.append(
            "Truth not moved: how much larger the loss looks if the ground truth does not follow the camera, where a "
            "mesh that is merely rotated counts as wrong; it is not in the sum."
        )
    lines.append("A failure counts with its declared penalty.")
    if "level" in table.attrs:
        by = f"Student-t; from 30 on bootstrap, {table.attrs['resamples']:,} resamples, seed {table.attrs['seed']}"
        lines.append(f"In brackets: {100 * table.attrs['level']:g} % interval over subjects ({by}).")
    return [printable(line) for line in lines]


def whole(rows: pd.DataFrame, parts: tuple[str, ...]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Return which rows have every part: an incomplete stack would not end at the loss."""
    return np.asarray(rows[list(parts)].notna().all(axis=1), bool)
