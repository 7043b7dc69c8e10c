"""The curve of an adaptation, as a figure and as a Markdown table: figure 7 of the 2D-priors paper, with intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from robench.reporting.labels import interval, metric_label, number, unit_label
from robench.reporting.plots import NORMAL, OKABE_ITO, ONE_COLUMN, SMALL, TWO_COLUMNS, new_figure, plain, wrapped
from robench.reporting.tables import escape_markdown

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_UNALIGNED = " (unaligned)"
_LIGHT = "#DDDDDD"


def adaptation_plot(table: pd.DataFrame, metric: str) -> Figure:
    """Draw one panel a condition, clean first: the error over the number of batches.

    The band is the interval of the error over subjects, the whiskers that of its paired change from the first number of
    batches. Every panel has a scale of its own.

    Args:
        table: Of `robench.analysis.adaptation.adaptation_table`.
        metric: Metric to draw.
    """
    rows = table[(table["metric"] == metric) & ~table["corruption"].str.endswith(_UNALIGNED)]
    names = list(dict.fromkeys(rows["corruption"]))
    across = min(4, len(names))
    down = -(-len(names) // across)
    figure, axes = new_figure(TWO_COLUMNS if across > 2 else ONE_COLUMN, 0.6 + 1.3 * down, down, across, share_y=False)
    counts = sorted(set(rows["batches"]))
    for index, ax in enumerate(axes):
        if index >= len(names):
            ax.set_visible(False)
            continue
        part = rows[rows["corruption"] == names[index]].sort_values("batches")
        at, value, lo, hi = (part[name].to_numpy(float) for name in ("batches", "value", "lo", "hi"))
        colour = OKABE_ITO[0]
        ax.fill_between(at, lo, hi, color=colour, alpha=0.18, linewidth=0)
        ax.plot(at, value, color=colour, linewidth=1.2, marker="o", markersize=3)
        change, low, high = (part[name].to_numpy(float) for name in ("change", "change_lo", "change_hi"))
        known = np.isfinite(low) & np.isfinite(high)
        if known.any():
            spread = np.maximum(np.stack([change - low, high - change])[:, known], 0)
            ax.errorbar(at[known], value[known], yerr=spread, fmt="none", ecolor="black", elinewidth=0.8, capsize=1.8)
        if np.isfinite(value[0]):
            ax.axhline(value[0], color="#555555", linewidth=0.8, linestyle=(0, (3, 1.5)))
        severity = str(part["severity"].iloc[0])
        title = wrapped(names[index]) + ("" if names[index] == "clean" else f" {plain(severity)}")
        ax.set_title(title, fontsize=NORMAL, pad=3)
        ax.set_xticks(counts)
        ax.grid(color=_LIGHT, linewidth=0.6)
        # A column's last panel tells the batches, wherever the grid ends.
        ax.tick_params(labelbottom=index + across >= len(names), labelsize=SMALL)
    _explain(figure, counts[0], f"{100 * table.attrs['level']:g} %")
    unit = unit_label(str(rows["unit"].iloc[0]))
    better = "lower is better" if rows["direction"].iloc[0] == "lower" else "higher is better"
    figure.supxlabel("Batches adapted on", fontsize=NORMAL)
    figure.supylabel(f"{metric_label(metric, long=True)}{f' ({unit})' if unit else ''}, {better}", fontsize=NORMAL)
    return figure


def _explain(figure: Figure, first: int, level: str) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        Patch(color=OKABE_ITO[0], alpha=0.18, linewidth=0, label=f"{level} over subjects"),
        Line2D(
            [], [], color="black", marker="|", linewidth=0.8, label=f"{level} of the paired change from {first} batches"
        ),
        Line2D([], [], color="#555555", linewidth=0.8, linestyle=(0, (3, 1.5)), label=f"{first} batches"),
    ]
    figure.legend(handles=handles, loc="outside upper center", ncols=3, fontsize=SMALL, frameon=False)


def adaptation_markdown(table: pd.DataFrame) -> str:
    """Return a Markdown table a metric: a row a condition, a column a number of batches, changes with intervals."""
    parts = []
    for metric in dict.fromkeys(table["metric"]):
        rows = table[table["metric"] == metric]
        counts = sorted(set(rows["batches"]))
        unit = unit_label(str(rows["unit"].iloc[0]))
        head = ["condition", "severity", *(f"{count} batches" for count in counts)]
        lines = [f"### {metric_label(metric, long=True)}{f' ({unit})' if unit else ''}", ""]
        lines += ["| " + " | ".join(head) + " |", "| --- | ---: |" + " ---: |" * len(counts)]
        for (corruption, severity), part in rows.groupby(["corruption", "severity"], sort=False):
            cells = [escape_markdown(str(corruption)), escape_markdown(str(severity))]
            by_count = {int(row["batches"]): row for _, row in part.iterrows()}
            for count in counts:
                row = by_count.get(count)
                text = "" if row is None else number(row["value"])
                if row is not None and np.isfinite(row["change"]):
                    spread = interval(row["change_lo"], row["change_hi"])
                    text += f" ({number(row['change'], sign=True)} {spread})".replace(" )", ")")
                cells.append(text)
            lines.append("| " + " | ".join(cells) + " |")
        parts.append("\n".join(lines) + "\n")
    subjects, first = int(table["n_subjects"].max()), int(table["batches"].min())
    level = f"{100 * table.attrs['level']:g} %"
    foot = f"In brackets the paired change from {first} batches, with its {level} interval over {subjects} subjects."
    return "\n".join(parts) + f"\n{foot} Failures count with their penalty.\n"
