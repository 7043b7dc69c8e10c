"""The figure of causes: for each corruption a bar of parts that add up to its loss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from robench.analysis.causes import READS_NONE, TRUE_MASKS, UNTOLD
from robench.analysis.decomposition import ALL
from robench.reporting.causes import INSIDE, LABELS, LONG, has_camera, loss_label, stacked, where, whole
from robench.reporting.labels import number
from robench.reporting.plots import NORMAL, ONE_COLUMN, SMALL, TWO_COLUMNS, new_figure, plain, series_of, wrapped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {"mask": "#E69F00", "alignment": "#56B4E9", "shape": "#0072B2", "rest": "#009E73"}
"""Of Okabe and Ito. Each part has a hatch of its own beside its colour."""
HATCHES = {"mask": "/////", "alignment": "....", "shape": "", "rest": "xxxxx"}
_GREY, _LIGHT = "#555555", "#DDDDDD"
_GAP = 0.35
_SAID = {
    UNTOLD: "masks inside the parts",
    TRUE_MASKS: "true masks",
    READS_NONE: "reads no mask",
}


def cause_bars(table: pd.DataFrame, metric: str) -> Figure:
    """Draw where losses come from: positive parts to the right of zero, negative ones to the left, a mark at the loss.

    Args:
        table: What `robench.analysis.causes.cause_table` returns.
        metric: A metric of it.

    Returns:
        A figure of one column's width; several runs have a panel each, in two columns' width. All corruptions together
        stand on top, then each, worst first. Whiskers are the interval of the loss, which a few subjects make longer
        than the panel. A row with a part that is missing has no bar. How much larger the loss looks when the truth does
        not follow the camera stands beside the panel, in numbers.
    """
    series = series_of(table, metric)
    rows = pd.concat([part for _, part in series])
    corrupted = rows[rows["corruption"] != ALL]
    order = corrupted.groupby("corruption")["loss"].mean().sort_values(na_position="first")
    names = [*map(str, order.index), ALL]
    at = np.arange(len(names), dtype=float)
    at[-1] += _GAP
    across = min(2, len(series))
    down = -(-len(series) // across)
    labels = [plain(where(ALL)) if name == ALL else wrapped(name) for name in names]
    lines = max(label.count("\n") + 1 for label in labels)
    height = 0.21 * max(1.0, 0.65 * lines) * (len(names) + _GAP) + 0.36 * (len(series) > 1)
    figure, axes = new_figure(ONE_COLUMN if across == 1 else TWO_COLUMNS, 0.95 + down * height, down, across)
    said = [_SAID.get(str(part["mask_told"].iloc[0]), "") for _, part in series]
    for index, ax in enumerate(axes):
        ax.set_visible(index < len(series))
        ax.tick_params(axis="y", length=0, labelsize=NORMAL, labelleft=index % across == 0)
        ax.tick_params(axis="x", labelbottom=index + across >= len(series))
    for ax, (name, part), words in zip(axes, series, said, strict=False):
        _panel(ax, part.set_index("corruption").reindex(names), at, stacked(part))
        if len(series) > 1:
            title = name + (f"\n({words})" if words else "\n" if any(said) else "")
            ax.set_title(title, loc="left", fontsize=NORMAL, pad=3, linespacing=1.1)
    axes[0].set_yticks(at, labels)
    axes[0].set_ylim(-0.6, at[-1] + 0.6)
    axes[0].set_xlim(*_limits(rows, [stacked(part) for _, part in series]))
    figure.supxlabel(plain(loss_label(metric, str(rows["unit"].iloc[0]), long=True)), fontsize=NORMAL)
    alone = str(series[0][1]["mask_told"].iloc[0]) if len(series) == 1 else ""
    _legend(figure, {name for _, part in series for name in stacked(part)}, INSIDE if alone == UNTOLD else None)
    return figure


def _panel(ax: Axes, rows: pd.DataFrame, at: Any, parts: tuple[str, ...]) -> None:
    complete = whole(rows, parts)
    ends = {True: np.zeros(len(rows)), False: np.zeros(len(rows))}
    for name in parts:
        values = np.where(complete, rows[name].to_numpy(float), 0.0)
        for positive in (True, False):
            piece = np.where((values > 0) == positive, values, 0.0)
            own = piece != 0
            # The edge is what the hatch is drawn in; an edge of its own width would eat thin parts.
            style: dict[str, Any] = {"edgecolor": "white", "linewidth": 0.0, "hatch": HATCHES[name], "zorder": 2}
            ax.barh(at[own], piece[own], 0.72, left=ends[positive][own], color=COLOURS[name], label=name, **style)
            ends[positive] += piece
    loss, lo, hi = (rows[name].to_numpy(float) for name in ("loss", "loss_lo", "loss_hi"))
    known = np.isfinite(lo) & np.isfinite(hi)
    spread = np.maximum(np.stack([loss - lo, hi - loss]), 0)[:, known]
    style = {"fmt": "none", "ecolor": "black", "elinewidth": 0.8, "capsize": 1.8, "capthick": 0.8, "zorder": 3}
    ax.errorbar(loss[known], at[known], xerr=spread, **style)
    ax.plot(loss, at, "D", color="black", markersize=3.2, markeredgecolor="white", markeredgewidth=0.6, zorder=4)
    ax.axvline(0, color="black", linewidth=0.8, zorder=2.5)
    ax.axhline(at[-1] - 0.5 - _GAP / 2, color=_GREY, linewidth=0.5)
    ax.grid(axis="x", color=_LIGHT, linewidth=0.6, zorder=0)
    if has_camera(rows):
        _camera(ax, rows, at)


def _camera(ax: Axes, rows: pd.DataFrame, at: Any) -> None:
    beside: dict[str, Any] = {
        "textcoords": "offset points",
        "annotation_clip": False,
        "color": _GREY,
        "fontsize": SMALL,
    }
    for height, value in zip(at, rows["camera"].to_numpy(float), strict=True):
        if np.isfinite(value) and value != 0:
            text = number(value, 2, sign=True)
            ax.annotate(text, (1, height), (3, 0), xycoords=("axes fraction", "data"), va="center", **beside)
    place: dict[str, Any] = {"xycoords": "axes fraction", "va": "bottom", "ha": "left", "linespacing": 0.95}
    ax.annotate(LABELS["camera"].replace(" ", "\n", 1), (1, 1), (3, 0), **place, **beside)


def _limits(rows: pd.DataFrame, stacks: list[tuple[str, ...]]) -> tuple[float, float]:
    """Return the ends of the axis: room for every bar, but not for every interval, which a few subjects make long."""
    names = sorted({name for parts in stacks for name in parts})
    parts = rows[names].fillna(0.0)
    low = min(0.0, float(parts.clip(upper=0).sum(axis=1).min()), float(np.nan_to_num(rows["loss"].min())))
    high = max(0.0, float(parts.clip(lower=0).sum(axis=1).max()), float(np.nan_to_num(rows["loss"].max())))
    room = 0.5 * (high - low) or 1.0
    low = min(low, max(float(np.nan_to_num(rows["loss_lo"].min())), low - room))
    high = max(high, min(float(np.nan_to_num(rows["loss_hi"].max())), high + room))
    if low == high:
        return -1.0, 1.0
    return low - 0.04 * (high - low), high + 0.04 * (high - low)


def _legend(figure: Figure, parts: set[str], title: str | None) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Patch(facecolor=colour, edgecolor="white", linewidth=0, hatch=HATCHES[name], label=LONG[name])
        for name, colour in COLOURS.items()
        if name in parts
    ]
    mark: dict[str, Any] = {"marker": "D", "markersize": 3.2, "markeredgecolor": "white", "markeredgewidth": 0.6}
    handles.append(Line2D([], [], color="black", linewidth=0.8, label=LABELS["loss"], **mark))
    place: dict[str, Any] = {"loc": "outside upper center", "frameon": False, "fontsize": SMALL}
    figure.legend(handles=handles, ncols=2, title=title, title_fontsize=SMALL, **place)
