"""Several models under every condition: dots with intervals, paired changes from the first, the table, sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robench.analysis.cells import UNALIGNED
from robench.analysis.methods import shown
from robench.analysis.rows import CLEAN
from robench.errors import printable
from robench.reporting.labels import corruption_label, failures, interval, metric_label, number, unit_label
from robench.reporting.plots import (
    MARKERS,
    NORMAL,
    OKABE_ITO,
    ONE_COLUMN,
    SMALL,
    TWO_COLUMNS,
    new_figure,
    plain,
    wrapped,
)
from robench.reporting.tables import Block, Cell, Column

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LOG_FROM = 6.0
"""Errors that differ by more than this factor stand on a logarithmic scale."""
_LIGHT, _GREY = "#DDDDDD", "#555555"


def methods_plot(table: pd.DataFrame, metric: str) -> Figure:
    """Draw a line a condition, clean on top, then the worst of the first model: a dot a model with its interval.

    Beside it, where there are several models, their paired changes from the first, with intervals. Conditions named
    unaligned are left out: they are ten times larger by construction and stay in the table.

    Args:
        table: Of `robench.analysis.methods.paired_table`, with the column ``method``.
        metric: Metric to draw.

    Returns:
        A figure two columns wide, or one where there is one model.
    """
    rows = table[(table["metric"] == metric) & ~table["corruption"].str.endswith(UNALIGNED)]
    methods = list(dict.fromkeys(rows["method"]))
    first = rows[rows["method"] == methods[0]].set_index("corruption")
    lower = str(rows["direction"].iloc[0]) == "lower"
    rank = first["value"].drop(CLEAN, errors="ignore").sort_values(ascending=not lower, na_position="last")
    names = [name for name in (CLEAN,) if name in first.index] + [str(name) for name in rank.index]
    alone = len(methods) == 1
    height = 0.8 + len(names) * max(0.19, 0.085 * len(methods) + 0.06) + 0.17 * -(-len(methods) // 3)
    figure, axes = new_figure(ONE_COLUMN if alone else TWO_COLUMNS, height, across=1 if alone else 2, share_x=False)
    step = 0.76 / max(len(methods), 3)
    for index, method in enumerate(methods):
        part = rows[rows["method"] == method].set_index("corruption").reindex(names)
        at = np.arange(len(names)) + (index - (len(methods) - 1) / 2) * step
        _dots(axes[0], part, at, ("value", "lo", "hi"), index, method)
        if index:
            _dots(axes[1], part, at, ("change", "change_lo", "change_hi"), index, method)
    unit = unit_label(str(rows["unit"].iloc[0]))
    suffix = f" ({unit})" if unit else ""
    better = "lower is better" if lower else "higher is better"
    axes[0].set_yticks(range(len(names)), [wrapped(name) for name in names], fontsize=NORMAL)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    axes[0].set_xlabel(f"{metric_label(metric)}{suffix}, {better}{_scale(axes[0], rows)}", fontsize=NORMAL)
    if not alone:
        axes[1].axvline(0, color=_GREY, linewidth=0.8)
        axes[1].set_xlabel(plain(f"Paired change from {methods[0]}{suffix}"), fontsize=NORMAL)
    for ax in axes:
        ax.tick_params(axis="y", length=0)
        ax.grid(axis="x", color=_LIGHT, linewidth=0.6)
        for line in np.arange(len(names) - 1) + 0.5:
            ax.axhline(line, color=_LIGHT, linewidth=0.5, zorder=0)
    if not alone:
        handles, labels = axes[0].get_legend_handles_labels()
        place = "outside upper center"
        figure.legend(handles, labels, loc=place, ncols=min(3, len(handles)), fontsize=SMALL, frameon=False)
    return figure


def _dots(ax: Axes, part: pd.DataFrame, at: Any, names: tuple[str, str, str], index: int, method: str) -> None:
    value, lo, hi = (part[name].to_numpy(float) for name in names)
    colour, marker = OKABE_ITO[index % len(OKABE_ITO)], MARKERS[(index + index // len(OKABE_ITO)) % len(MARKERS)]
    known = np.isfinite(lo) & np.isfinite(hi)
    style: dict[str, Any] = {"fmt": "none", "ecolor": colour, "elinewidth": 0.9, "capsize": 1.5, "capthick": 0.9}
    spread = np.maximum(np.stack([value - lo, hi - value])[:, known], 0)
    ax.errorbar(value[known], at[known], xerr=spread, **style)
    ax.plot(value, at, linestyle="none", marker=marker, markersize=3.2, color=colour, label=plain(method))


def _scale(ax: Axes, rows: pd.DataFrame) -> str:
    """Make the axis of errors begin at 0, or logarithmic where one condition would flatten the others; says which."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    values = rows["value"].to_numpy(float)
    lows = rows["lo"].to_numpy(float)
    values, lows = values[np.isfinite(values)], lows[np.isfinite(lows)]
    if len(values) and values.min() > 0 and (lows > 0).all() and values.max() > _LOG_FROM * values.min():
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(10, (1, 2, 5)))
        ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.xaxis.set_minor_formatter(NullFormatter())
        return ", logarithmic"
    ax.set_xlim(left=min(0.0, *lows) if len(lows) else 0.0)
    return ""


def methods_blocks(table: pd.DataFrame, metric: str) -> Iterator[Block]:
    """Yield the table for terminals and Markdown: a row a condition, a model's error and its change from the first.

    Args:
        table: Of `robench.analysis.methods.paired_table`, with the column ``method``.
        metric: Metric to tabulate.
    """
    rows = table[table["metric"] == metric]
    methods = list(dict.fromkeys(rows["method"]))
    keys = list(dict.fromkeys(zip(rows["corruption"], rows["severity"], strict=True)))
    unit = unit_label(str(rows["unit"].iloc[0]))
    columns = [Column("", "Severity", [Cell("" if name == CLEAN else str(severity)) for name, severity in keys])]
    for index, method in enumerate(methods):
        found = rows[rows["method"] == method].set_index(["corruption", "severity"])
        own = [found.loc[key] if key in found.index else None for key in keys]
        columns.append(Column(printable(method), "value", [_cell(row, ("value", "lo", "hi")) for row in own]))
        if index:
            names = ("change", "change_lo", "change_hi")
            columns.append(Column(printable(method), "change", [_cell(row, names, sign=True) for row in own]))
        if any(row is not None and row["failures"] for row in own):
            failed = [Cell("" if row is None else failures(int(row["failures"]), int(row["n_samples"]))) for row in own]
            columns.append(Column(printable(method), "failures", failed))
    subjects = int(rows["n_subjects"].max())
    title = f"{metric_label(metric, long=True)}{f' ({unit})' if unit else ''}, {subjects} subjects"
    yield title, [printable(str(name)) for name, _ in keys], columns


def _cell(row: Any, names: tuple[str, str, str], *, sign: bool = False) -> Cell:
    value, lo, hi = (float("nan") if row is None else float(row[name]) for name in names)
    return Cell(number(value, sign=sign), interval(lo, hi))


def methods_notes(table: pd.DataFrame, metric: str) -> list[str]:
    """Return what belongs under the table: how it was made, and who is better or worse than the first, where shown.

    Args:
        table: Of `robench.analysis.methods.paired_table`, with the column ``method``.
        metric: Its metric.
    """
    rows = table[(table["metric"] == metric) & ~table["corruption"].str.endswith(UNALIGNED)]
    methods = list(dict.fromkeys(map(str, rows["method"])))
    level = f"{100 * table.attrs['level']:g} %"
    lines = [f"In brackets: {level} interval over subjects. A failure counts with its declared penalty."]
    if len(methods) > 1:
        lines.append(f"Change: difference to {methods[0]}, paired by subject.")
        lines += [change_sentence(rows[rows["method"] == method], method, methods[0]) for method in methods[1:]]
        count = int(rows["change_lo"].notna().sum())
        if count:
            by_chance = (1 - table.attrs["level"]) * count
            lines.append(
                f"Each interval stands for itself: were there no difference at all, about {by_chance:.1f} of these "
                f"{count} would exclude 0 by chance."
            )
    return [printable(line) for line in lines]


def change_sentence(rows: pd.DataFrame, method: str, base: str) -> str:
    """Return where a model is better or worse than another, and where no difference is shown.

    Args:
        rows: The model's rows of one metric.
        method: What it is called.
        base: What the other is called.
    """
    lower = str(rows["direction"].iloc[0]) == "lower"
    unit = unit_label(str(rows["unit"].iloc[0]))
    found = shown(rows)
    worse = found["change"] > 0 if lower else found["change"] < 0
    parts = []
    for word, part in (("better", found[~worse]), ("worse", found[worse])):
        if len(part):
            named = [
                f"{corruption_label(str(row['corruption']))} ({change_text(row, unit)})" for _, row in rows_of(part)
            ]
            parts.append(f"{word} under {', '.join(named)}")
    open_ = int(rows["change_lo"].notna().sum()) - len(found)
    if not int(rows["change_lo"].notna().sum()):
        return f"{method} against {base}: too few subjects for an interval."
    if not parts:
        return f"{method} against {base}: no difference is shown under any of {open_} conditions."
    rest = f"; no difference is shown under the other {open_}" if open_ else ""
    return f"{method} against {base}: {'; '.join(parts)}{rest}."


def rows_of(table: pd.DataFrame) -> Sequence[tuple[Any, Any]]:
    """Return a table's rows, clean first, then by the size of the change."""
    order = table.assign(clean=table["corruption"] != CLEAN, size=-table["change"].abs())
    return list(order.sort_values(["clean", "size"], kind="stable").iterrows())


def change_text(row: Any, unit: str) -> str:
    """Return a paired change with its interval: ``+0.31 cm [0.12, 0.50]``; a bound beside 0 gets more digits."""
    bounds = [float(row[name]) for name in ("change_lo", "change_hi")]
    small = min((abs(bound) for bound in bounds if np.isfinite(bound) and bound), default=1.0)
    digits = next((digits for digits in (2, 3) if small >= 0.5 * 10.0**-digits), 4)
    value = number(float(row["change"]), digits, sign=True)
    return f"{value}{f' {unit}' if unit else ''} {interval(bounds[0], bounds[1], digits)}".strip()
