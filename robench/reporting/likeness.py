"""The table of similarities as files and pictures: one row a corruption, then the views, as in the paper's Table I."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robench.analysis.likeness import SIDES
from robench.io.files import json_text, write_text_atomic
from robench.reporting.exports import plain_records, to_jsonl
from robench.reporting.labels import interval, number
from robench.reporting.plots import NORMAL, OKABE_ITO, ONE_COLUMN, SMALL, new_figure, save, wrapped
from robench.reporting.tables import Block, Cell, Column, markdown_of, to_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DIGITS = 4


def likeness_block(table: pd.DataFrame, facts: Mapping[str, Any]) -> Block:
    """Return the table for terminals and Markdown: corruptions with their severities, then left, right and back.

    Args:
        table: Of `robench.analysis.likeness.likeness_table`.
        facts: Of `robench.engine.likeness.Likeness`.
    """
    rows = shown(table)
    columns = [
        Column("", "Severity", [Cell(str(text)) for text in rows["severity"]]),
        Column(
            "Cosine similarity ↑",
            "value",
            [
                Cell(number(float(value), _DIGITS), interval(float(lo), float(hi), _DIGITS))
                for value, lo, hi in zip(rows["similarity"], rows["lo"], rows["hi"], strict=True)
            ],
        ),
        Column("", "Subjects", [Cell(str(count)) for count in rows["n_subjects"]]),
        Column("", "Pictures", [Cell(str(count)) for count in rows["n_pictures"]]),
    ]
    if rows["failures"].any():
        columns.append(Column("", "Without a picture", [Cell(str(count)) for count in rows["failures"]]))
    names = [
        f"view: {name}" if kind == "view" else name for kind, name in zip(rows["kind"], rows["condition"], strict=True)
    ]
    return f"{facts['encoder']['name']}: pictures as alike as the encoder finds them", [str(n) for n in names], columns


def shown(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that a reader sees: all corruptions, and of the views those that have a name."""
    return table[(table["kind"] == "corruption") | table["condition"].isin(list(SIDES))]


def likeness_notes(table: pd.DataFrame, facts: Mapping[str, Any], level: float) -> list[str]:
    """Return the sentences that belong under the table."""
    encoder = facts["encoder"]
    lines = [
        "Mean cosine between the embedding of a corrupted picture and that of the clean one; of views, between "
        "renderings of the ground-truth mesh in its own colours, unlit, from the front and from another side.",
        f"In brackets: {100 * level:g} % interval over subjects; views, then severities, are averaged within one.",
        f"Encoder {encoder['name']} {encoder['version']}, weights {encoder['weights_sha256'][:8]}; data "
        f"{facts['dataset']} (revision {facts['dataset_revision'][:8]}), pictures {facts['cset_id'][:8]}, "
        f"recipe {facts['recipe']}, seed {facts['seed']}.",
    ]
    if (table["kind"] == "view").any():
        lines.append("Left and right are the person's own: at 90° the camera stands at their left.")
    if table["failures"].any():
        lines.append("A picture that could not be made has no similarity and is in no mean.")
    return lines


def write_likeness(
    rows: Sequence[Mapping[str, Any]],
    table: pd.DataFrame,
    facts: Mapping[str, Any],
    out: Path,
    *,
    level: float = 0.95,
    formats: Sequence[str] = ("svg", "png"),
) -> list[Path]:
    """Write ``similarity.csv``, ``.md``, ``.json``, ``rows.jsonl`` and the plots; returns the paths.

    Args:
        rows: One a picture.
        table: Of `robench.analysis.likeness.likeness_table`.
        facts: What they rest on.
        out: Folder.
        level: Coverage of the table's intervals.
        formats: Of the plots.
    """
    notes = likeness_notes(table, facts, level)
    records = list(plain_records(table))
    texts = {
        "similarity.csv": to_csv(table),
        "similarity.md": markdown_of([likeness_block(table, facts)], notes),
        "similarity.json": json_text({"facts": dict(facts), "level": level, "table": records}),
        "rows.jsonl": to_jsonl(pd.DataFrame(rows)),
    }
    for name, text in texts.items():
        write_text_atomic(out / name, text)
    written = [out / name for name in texts]
    if len(shown(table)):
        written += save(likeness_bars(table), out / "similarity", formats)
    if (table["kind"] == "view").any():
        written += save(turn_curve(table), out / "views", formats)
    return written


def likeness_bars(table: pd.DataFrame) -> Figure:
    """Draw one dot a corruption and a named view with its interval, the least alike on top.

    Args:
        table: Of `robench.analysis.likeness.likeness_table`.
    """
    rows = shown(table)
    # Where a corruption has several severities, their mean stands for it.
    rows = rows[~rows.duplicated(["kind", "condition"])].sort_values("similarity", ascending=False, na_position="first")
    labels = [
        f"View: {name}" if kind == "view" else wrapped(name)
        for kind, name in zip(rows["kind"], rows["condition"], strict=True)
    ]
    figure, (ax,) = new_figure(ONE_COLUMN, 0.6 + 0.19 * max(len(rows), 2))
    at = np.arange(len(rows))
    values, lo, hi = (rows[name].to_numpy(float) for name in ("similarity", "lo", "hi"))
    colours = [OKABE_ITO[1 if kind == "view" else 0] for kind in rows["kind"]]
    known = np.isfinite(lo) & np.isfinite(hi)
    ax.hlines(at[known], lo[known], hi[known], color=np.array(colours)[known], linewidth=1.2)
    ax.scatter(values, at, color=colours, s=14, zorder=3)
    ax.set_yticks(at, labels, fontsize=NORMAL)
    ax.set_ylim(-0.6, len(rows) - 0.4)
    ax.set_xlim(right=1 + 0.02 * (1 - min(np.nanmin([*lo, *values, 0.99]), 0.99)))
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#DDDDDD", linewidth=0.6)
    ax.set_xlabel("Cosine similarity", fontsize=NORMAL)
    return figure


def turn_curve(table: pd.DataFrame) -> Figure:
    """Draw the similarity to the front over the whole turn, with its interval as a band.

    Args:
        table: Of `robench.analysis.likeness.likeness_table`.
    """
    rows = table[table["kind"] == "view"].sort_values("angle")
    first = rows.iloc[:1].assign(angle=360.0)
    rows = pd.concat([rows, first]) if float(rows["angle"].iloc[0]) == 0 else rows
    figure, (ax,) = new_figure(ONE_COLUMN, 2.2)
    at, values, lo, hi = (rows[name].to_numpy(float) for name in ("angle", "similarity", "lo", "hi"))
    ax.fill_between(at, lo, hi, color=OKABE_ITO[0], alpha=0.22, linewidth=0)
    ax.plot(at, values, color=OKABE_ITO[0], linewidth=1.2, marker="o", markersize=2.6)
    names = {0.0: "front", 360.0: "front"} | {angle: name.split("–")[1] for name, angle in SIDES.items()}
    ax.set_xticks(sorted(names), [f"{angle:g}°\n{names[angle]}" for angle in sorted(names)], fontsize=SMALL)
    ax.set_xlim(-6, 366)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.grid(color="#DDDDDD", linewidth=0.6)
    ax.set_ylabel("Cosine similarity to the front", fontsize=NORMAL)
    ax.set_xlabel("Camera around the person", fontsize=NORMAL)
    return figure
