"""What refinement did, as files and pictures: the table of changes, curves over iterations, before and after."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from robench.contracts import Image
from robench.io.files import json_text, safe_join, write_text_atomic
from robench.io.images import read_image, write_png
from robench.reporting.exports import plain_records
from robench.reporting.labels import interval, number
from robench.reporting.plots import MARKERS, NORMAL, OKABE_ITO, ONE_COLUMN, SMALL, TWO_COLUMNS, plain, save
from robench.reporting.tables import Block, Cell, Column, markdown_of, to_csv

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LABELS = {
    "loss": "Distance to the input's embedding ↓",
    "psnr": "PSNR to the true views (dB) ↑",
    "ssim": "SSIM to the true views ↑",
    "truth_distance": "Distance to the true views' embeddings ↓",
    "comparison": "Comparison as published",
    "psnr_as_coded": "PSNR as coded (dB)",
    "ssim_as_coded": "SSIM as coded",
}
"""Measures as people read them."""
CURVES = ("loss", "psnr", "ssim", "truth_distance")
_SHEETS = 3


def refinement_blocks(changes: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[Block]:
    """Yield a table a measure, for terminals and Markdown: a row a condition and way of embedding.

    Args:
        changes: Of `robench.analysis.refinement.refinement_changes`.
        facts: Of `robench.engine.refine.Refined`.
    """
    settings = facts["settings"]
    start = f"{facts['model']['name']} refined by {facts['encoder']['name']}, {settings['iterations']} iterations, "
    start += f"{settings['protocol']}. "
    for measure, rows in changes.groupby("measure", sort=False):
        records = rows.to_dict("records")
        columns = [
            Column("", "Severity", [Cell(str(r["severity"])) for r in records]),
            Column("", "Embeddings", [Cell(str(r["mode"])) for r in records]),
        ]
        # Distances of an encoder that hardly tells pictures apart need more digits.
        large = float(rows[["before", "after"]].abs().max().max())
        digits = 2 if str(measure).startswith("psnr") else 4 if not large < 0.01 else 6
        for title in ("before", "after", "change"):
            columns.append(Column("", title, [_cell(record, title, digits) for record in records]))
        columns.append(Column("", "Subjects", [Cell(str(r["n_subjects"])) for r in records]))
        if rows["failures"].any():
            columns.append(Column("", "Not refined", [Cell(f"{r['failures']}/{r['n_samples']}") for r in records]))
        yield start + LABELS[str(measure)], [str(r["corruption"]) for r in records], columns
        start = ""


def _cell(record: Mapping[Hashable, Any], title: str, digits: int) -> Cell:
    value, lo, hi = (float(record[name]) for name in (title, f"{title}_lo", f"{title}_hi"))
    return Cell(number(value, digits, sign=title == "change"), interval(lo, hi, digits))


def refinement_notes(facts: Mapping[str, Any], level: float) -> list[str]:
    """Return the sentences that belong under the table."""
    settings, model, encoder = facts["settings"], facts["model"], facts["encoder"]
    return [
        "Means over four views 90° apart, before the first and after the last iteration. Distance: 1 − cosine.",
        f"In brackets: {100 * level:g} % interval over subjects; the change is paired.",
        f"Model {model['name']} {model['version']}, weights {model['weights_sha256'][:8]}; encoder {encoder['name']} "
        f"{encoder['version']}, weights {encoder['weights_sha256'][:8]}; masks {facts['masker']['name']}; data "
        f"{facts['dataset']} (revision {facts['dataset_revision'][:8]}); learning rate {settings['rate']:g}; "
        f"renderings of {settings['size']} pixels.",
    ]


def write_refinement(
    cells: Sequence[Mapping[str, Any]],
    log: pd.DataFrame,
    curves: pd.DataFrame,
    changes: pd.DataFrame,
    facts: Mapping[str, Any],
    out: Path,
    *,
    level: float = 0.95,
    formats: Sequence[str] = ("svg", "png"),
) -> list[Path]:
    """Write ``log.csv``, ``curves.csv``, ``changes.csv``, ``refinement.md``, ``.json`` and the pictures; returns paths.

    Args:
        cells: Of `robench.engine.refine.Refined`.
        log: A row an iteration of each cell.
        curves: Means over subjects, by iteration.
        changes: Before and after.
        facts: What they rest on.
        out: Folder, in which the cells' pictures are.
        level: Coverage of the intervals.
        formats: Of the plots.
    """
    failed = [
        {name: cell[name] for name in ("mode", "sample_id", "corruption", "severity", "status", "message")}
        for cell in cells
        if cell["status"] != "ok"
    ]
    records = list(plain_records(changes))
    texts = {
        "log.csv": to_csv(log),
        "curves.csv": to_csv(curves),
        "changes.csv": to_csv(changes),
        "refinement.md": markdown_of(refinement_blocks(changes, facts), refinement_notes(facts, level)),
        "refinement.json": json_text({"facts": dict(facts), "level": level, "changes": records, "failed": failed}),
    }
    for name, text in texts.items():
        write_text_atomic(out / name, text)
    written = [out / name for name in texts]
    if len(curves):
        written += save(curve_plot(curves), out / "curves", formats)
    shown = before_after(cells, out)
    if shown is not None:
        write_png(out / "before_after.png", shown)
        written.append(out / "before_after.png")
    return written


def curve_plot(curves: pd.DataFrame) -> Figure:
    """Draw a panel a measure over the iterations, a line with its band for each way of embedding.

    Args:
        curves: Of `robench.analysis.refinement.refinement_curves`.
    """
    names = [name for name in CURVES if name in set(curves["measure"])]
    figure, axes = _panels(-(-len(names) // 2), min(2, len(names)))
    modes = list(dict.fromkeys(curves["mode"]))
    for ax, name in zip(axes, names, strict=False):
        _panel(ax, curves[curves["measure"] == name], name, modes)
    for ax in axes[len(names) :]:
        ax.set_visible(False)
    if len(modes) > 1:
        axes[0].legend(fontsize=NORMAL, frameon=False)
    return figure


def protocol_plot(curves: Mapping[str, pd.DataFrame], measures: Sequence[str]) -> Figure:
    """Draw a row a measure and a column a protocol; a row has one scale.

    Args:
        curves: Title of a column → curves of `robench.analysis.refinement.refinement_curves`.
        measures: Of `CURVES`.
    """
    figure, axes = _panels(len(measures), len(curves), share="row")
    modes = list(dict.fromkeys(mode for part in curves.values() for mode in part["mode"]))
    for row, name in enumerate(measures):
        for column, part in enumerate(curves.values()):
            ax = axes[row * len(curves) + column]
            _panel(ax, part[part["measure"] == name], name, modes)
            if column:
                ax.set_ylabel("")
    if len(curves) > 1:
        for ax, title in zip(axes, curves, strict=False):
            ax.set_title(plain(title), fontsize=NORMAL, pad=3)
    if len(modes) > 1:
        axes[0].legend(fontsize=SMALL, frameon=False)
    return figure


def _panels(down: int, across: int, share: Literal["none", "row"] = "none") -> tuple[Figure, list[Axes]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = TWO_COLUMNS if across > 1 else ONE_COLUMN
    figure = Figure(figsize=(width, 2.1 * down + 0.3), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, np.atleast_1d(figure.subplots(down, across, sharey=share)).ravel().tolist()


def _panel(ax: Axes, curves: pd.DataFrame, name: str, modes: Sequence[str]) -> None:
    """Draw one measure: a line with its band for each way of embedding."""
    for index, mode in enumerate(modes):
        rows = curves[curves["mode"] == mode].sort_values("iteration")
        at, values, lo, hi = (rows[column].to_numpy(float) for column in ("iteration", "value", "lo", "hi"))
        colour = OKABE_ITO[index]
        ax.fill_between(at, lo, hi, color=colour, alpha=0.2, linewidth=0)
        every = max(1, len(at) // 8)
        style: dict[str, Any] = {"marker": MARKERS[index], "markersize": 3, "markevery": every, "linewidth": 1.1}
        ax.plot(at, values, color=colour, label=str(mode), **style)
    ax.set_ylabel(LABELS[name], fontsize=SMALL)
    ax.set_xlabel("Iteration", fontsize=SMALL)
    ax.tick_params(labelsize=SMALL, width=0.6, length=2.5)
    ax.ticklabel_format(axis="y", useOffset=False)
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(color="#DDDDDD", linewidth=0.6)


def before_after(cells: Sequence[Mapping[str, Any]], out: Path) -> Image | None:
    """Return the pictures of the first subjects under each other, one of each way of embedding; None if there is none.

    Args:
        cells: Of `robench.engine.refine.Refined`.
        out: Folder in which their pictures are.
    """
    seen: dict[tuple[str, str], str] = {}
    for cell in cells:
        if cell["status"] == "ok":
            seen.setdefault((cell["subject_id"], cell["mode"]), cell["sheet"])
    subjects = list(dict.fromkeys(subject for subject, _ in seen))[:_SHEETS]
    pictures = [read_image(safe_join(out, name)) for (subject, _), name in seen.items() if subject in subjects]
    if not pictures:
        return None
    wide = max(picture.shape[1] for picture in pictures)
    gap = np.full((8, wide, 3), 255, np.uint8)
    rows: list[Image] = []
    for picture in pictures:
        rows += [np.pad(picture, ((0, 0), (0, wide - picture.shape[1]), (0, 0))), gap]
    return np.concatenate(rows[:-1], axis=0)
