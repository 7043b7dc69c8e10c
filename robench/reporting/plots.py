"""Figures of the degradation table: bars with intervals, and curves over severity with bands.

Figures are objects of their own (no pyplot, no global state), drawn with Agg, sized for one or two columns of a paper,
in the Okabe-Ito colours, which readers with any common colour blindness can tell apart.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robench.errors import printable
from robench.reporting.labels import corruption_label, metric_label, unit_label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OKABE_ITO = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
ONE_COLUMN, TWO_COLUMNS = 3.4, 7.0
"""Widths of figures in inches."""
SMALL, NORMAL = 6.5, 7.5
"""Font sizes in points, as printed."""
FORMATS = ("svg", "png", "pdf")
_GREY, _LIGHT = "#555555", "#DDDDDD"
_UNALIGNED = " (unaligned)"
_LINE = 26
"""Characters of a chain's label in a line."""


def series_of(table: pd.DataFrame, metric: str) -> list[tuple[str, pd.DataFrame]]:
    """Return one metric's rows for each run and masker, with the shortest name that tells them apart.

    Unaligned conditions are left out: they are ten times larger by construction and stay in the table.
    """
    rows = table[(table["metric"] == metric) & ~table["corruption"].str.endswith(_UNALIGNED)]
    parts = list(rows.groupby(["model", "run_id", "masker"], sort=False))
    names: list[str] = []
    for fields in ((0,), (0, 2), (0, 2, 1)):
        names = [plain(", ".join(str(key[field]) for field in fields)) for key, _ in parts]
        if len(set(names)) == len(names):
            break
    return [(name, part) for name, (_, part) in zip(names, parts, strict=True)]


def bar_plot(table: pd.DataFrame, metric: str) -> Figure:
    """Draw one bar a corruption with its interval, worst on top, against the line of the clean score.

    Args:
        table: ``degradation_table(..., by="corruption")``.
        metric: Metric to draw.

    Returns:
        A figure of one column's width; several runs stand beside each other, each with its own clean line.
    """
    series = series_of(table, metric)
    corrupted = pd.concat([part for _, part in series])
    corrupted = corrupted[corrupted["corruption"] != "clean"]
    lower_is_better = corrupted["direction"].iloc[0] == "lower" if len(corrupted) else True
    order = corrupted.groupby("corruption")["value"].mean().sort_values(ascending=lower_is_better, na_position="first")
    names = [str(name) for name in order.index]
    thickness = 0.8 / len(series)
    labels = [wrapped(name) for name in names]
    lines = max((label.count("\n") + 1 for label in labels), default=1)
    figure, axes = new_figure(ONE_COLUMN, 0.75 + 0.2 * max(len(names), 2) * max(1.0, 0.55 * len(series), 0.65 * lines))
    ax = axes[0]
    for index, (label, part) in enumerate(series):
        colour = OKABE_ITO[index % len(OKABE_ITO)]
        _clean_line(ax, part, _darker(colour) if len(series) > 1 else "black", alone=len(series) == 1)
        rows = part.set_index("corruption").reindex(names)
        at = np.arange(len(names)) + (len(series) - 1 - 2 * index) / 2 * thickness
        values = rows["value"].to_numpy(float)
        ax.barh(at, values, thickness * 0.92, color=colour, label=label, zorder=2)
        # A bar without an interval (one subject) has no whisker, rather than one of length 0.
        spread = np.stack([values - rows["lo"].to_numpy(float), rows["hi"].to_numpy(float) - values])
        known = np.isfinite(spread).all(axis=0)
        style: dict[str, Any] = {"fmt": "none", "ecolor": "black", "elinewidth": 0.8, "capsize": 1.8, "capthick": 0.8}
        ax.errorbar(values[known], at[known], xerr=np.maximum(spread[:, known], 0), zorder=3, **style)
        _mark_failures(ax, rows, at)
    ax.set_yticks(np.arange(len(names)), labels, fontsize=NORMAL)
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.set_xlim(left=0)
    ax.margins(x=0.12)
    ax.set_xlabel(_axis_label(corrupted if len(corrupted) else series[0][1], metric), fontsize=NORMAL)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color=_LIGHT, linewidth=0.6, zorder=0)
    _legend(figure, ax, series, clean=True)
    return figure


def severity_curves(table: pd.DataFrame, metric: str) -> Figure:
    """Draw one panel a corruption: the score over severity, from clean (0) on, with its interval as a band.

    Args:
        table: ``degradation_table(..., by="severity")``.
        metric: Metric to draw.

    Returns:
        A figure of two columns' width; panels share both axes and stand in the order of their worst value.
    """
    series = series_of(table, metric)
    rows = pd.concat([part for _, part in series])
    corrupted = rows[rows["corruption"] != "clean"]
    lower_is_better = rows["direction"].iloc[0] == "lower"
    worst = corrupted.groupby("corruption")["value"].agg("max" if lower_is_better else "min")
    names = [str(name) for name in worst.sort_values(ascending=not lower_is_better).index] or ["clean"]
    across = min(4, len(names))
    down = -(-len(names) // across)
    width = TWO_COLUMNS if across > 2 else ONE_COLUMN
    figure, axes = new_figure(width, 0.55 + 1.15 * down, down, across)
    for ax, name in zip(axes, names, strict=False):
        for index, (label, part) in enumerate(series):
            _curve(ax, part, name, label, index)
        ax.set_title(wrapped(name), fontsize=NORMAL, pad=3)
        ax.grid(color=_LIGHT, linewidth=0.6)
    top = max(int(s) for s in rows["severity"])
    for index, ax in enumerate(axes):
        ax.set_visible(index < len(names))
        ax.set_xlim(-0.2, top + 0.2)
        ax.set_xticks(range(top + 1), ["clean", *map(str, range(1, top + 1))])
        ax.set_ylim(bottom=0)
        ax.tick_params(labelbottom=index + across >= len(names), labelleft=index % across == 0)
    figure.supxlabel("Severity", fontsize=NORMAL)
    figure.supylabel(_axis_label(rows, metric), fontsize=NORMAL)
    _legend(figure, axes[0], series)
    return figure


def save(figure: Figure, stem: Path, formats: Sequence[str] = FORMATS) -> list[Path]:
    """Write a figure as ``stem.FORMAT`` each; the bytes depend on the figure alone.

    Args:
        figure: What the functions above return.
        stem: Path without a suffix; its folder is made.
        formats: Of ``svg``, ``png`` (300 dpi), ``pdf``.

    Returns:
        The files written.
    """
    import matplotlib as mpl

    from robench.io.files import write_bytes_atomic

    written = []
    fixed = {"svg": {"Date": None}, "pdf": {"CreationDate": None, "ModDate": None}, "png": {"Software": None}}
    for suffix in formats:
        buffer = io.BytesIO()
        # TrueType in PDF (publishers refuse Type 3), outlines in SVG (the same on every machine), fixed ids.
        with mpl.rc_context({"pdf.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "robench"}):
            figure.savefig(buffer, format=suffix, dpi=300, metadata=fixed[suffix])
        path = stem.with_name(f"{stem.name}.{suffix}")
        write_bytes_atomic(path, buffer.getvalue())
        written.append(path)
    return written


def new_figure(
    width: float, height: float, down: int = 1, across: int = 1, *, share_x: bool = True, share_y: bool = True
) -> tuple[Figure, list[Axes]]:
    """Return an empty figure of a size in inches in this project's style, and its axes, row by row."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_1d(figure.subplots(down, across, sharex=share_x, sharey=share_y)).ravel().tolist()
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.spines[["left", "bottom"]].set_linewidth(0.6)
        ax.tick_params(labelsize=SMALL, width=0.6, length=2.5)
    return figure, axes


def wrapped(name: str) -> str:
    """Return the label of a corruption, that of a chain in lines that break between its parts."""
    lines, line = [], ""
    for part in corruption_label(name).split(" + "):
        if line and len(line) + len(part) > _LINE:
            lines.append(f"{line} +")
            line = part
        else:
            line = f"{line} + {part}" if line else part
    return "\n".join(plain(text) for text in [*lines, line])


def plain(text: str) -> str:
    """Return a text that Matplotlib draws as it is: dollars are no formula, control characters are shown."""
    return printable(text).replace("$", r"\$")


def _clean_line(ax: Axes, part: pd.DataFrame, colour: str, *, alone: bool) -> None:
    """Draw the clean score over the bars, darker than they are so that it shows on a bar of its own colour."""
    clean = part[part["corruption"] == "clean"]
    if not len(clean) or not np.isfinite(clean["value"].iloc[0]):
        return
    value, lo, hi = (float(clean[name].iloc[0]) for name in ("value", "lo", "hi"))
    if np.isfinite(lo) and np.isfinite(hi):
        ax.axvspan(lo, hi, color=colour, alpha=0.14, linewidth=0, zorder=1)
    ax.axvline(value, color=colour, linewidth=1.0, linestyle=(0, (3, 1.5)), zorder=2.5)
    if alone:
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points"}
        ax.annotate("clean", (value, 1.0), (0, 1.5), ha="center", va="bottom", fontsize=SMALL, **place)


def _darker(colour: str) -> str:
    from matplotlib.colors import to_hex, to_rgb

    return str(to_hex([0.45 * channel for channel in to_rgb(colour)]))


def _mark_failures(ax: Axes, rows: pd.DataFrame, at: Any) -> None:
    """Say how many reconstructions failed: such a bar is partly made of the penalty."""
    for height, (_, row) in zip(at, rows.iterrows(), strict=True):
        if row["failures"] > 0 and np.isfinite(row["value"]):
            end = row["hi"] if np.isfinite(row["hi"]) else row["value"]
            text = f"{100 * row['failure_rate']:.0f} % failed" if row["failure_rate"] >= 0.005 else "<1 % failed"
            style: dict[str, Any] = {"textcoords": "offset points", "va": "center", "fontsize": SMALL - 0.5}
            style["bbox"] = {"facecolor": "white", "edgecolor": "none", "pad": 0.5}
            ax.annotate(text, (end, height), (4, 0), color=_GREY, **style)


def _curve(ax: Axes, part: pd.DataFrame, name: str, label: str, index: int) -> None:
    rows = part[part["corruption"].isin(["clean", name])].copy()
    rows["at"] = rows["severity"].astype(int)
    rows = rows.sort_values("at")
    colour = OKABE_ITO[index % len(OKABE_ITO)]
    at, lo, hi = (rows[column].to_numpy(float) for column in ("at", "lo", "hi"))
    ax.fill_between(at, lo, hi, color=colour, alpha=0.22, linewidth=0)
    ax.plot(
        at,
        rows["value"],
        color=colour,
        linewidth=1.2,
        marker=MARKERS[index % len(MARKERS)],
        markersize=2.8,
        label=label,
    )


def _axis_label(rows: pd.DataFrame, metric: str) -> str:
    unit = unit_label(str(rows["unit"].iloc[0]))
    better = "lower is better" if rows["direction"].iloc[0] == "lower" else "higher is better"
    return f"{metric_label(metric, long=True)}{f' ({unit})' if unit else ''}, {better}"


def _legend(figure: Figure, ax: Axes, series: Sequence[Any], *, clean: bool = False) -> None:
    from matplotlib.lines import Line2D

    if len(series) == 1:
        return
    handles, labels = ax.get_legend_handles_labels()
    if clean:
        handles.append(Line2D([], [], color=_GREY, linewidth=1.0, linestyle=(0, (3, 1.5))))
        labels.append("clean")
    place = "outside upper center"
    figure.legend(handles, labels, loc=place, ncols=min(3, len(handles)), fontsize=SMALL, frameon=False)
