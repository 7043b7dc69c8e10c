"""Plots: what is drawn is what the table says; files are whole, seeded and touch no global state."""

from __future__ import annotations

import sys

import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest

from robench.analysis import degradation_table
from robench.reporting.plots import ONE_COLUMN, TWO_COLUMNS, bar_plot, save, series_of, severity_curves


def test_bars_are_the_tables_numbers_worst_on_top(toy_rows) -> None:
    table = degradation_table(toy_rows())
    figure = bar_plot(table, "chamfer_cm")
    (ax,) = figure.axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    values = [patch.get_width() for patch in ax.patches if patch.get_height() < 1 and patch.get_x() == 0]
    expected = table[table["metric"] == "chamfer_cm"].set_index("corruption")["value"]
    wanted = {"Fog 3D": expected["fog_3d"], "Camera roll": expected["camera_roll"]}
    assert dict(zip(names, values, strict=True)) == pytest.approx(wanted)
    assert values == sorted(values)  # the first bar is at the bottom
    (clean,) = [line for line in ax.lines if len(line.get_xdata()) == 2 and line.get_xdata()[0] == line.get_xdata()[1]]
    assert clean.get_xdata()[0] == pytest.approx(expected["clean"])
    whiskers = [c for c in ax.collections if hasattr(c, "get_segments") and len(c.get_segments())]
    drawn = sorted(tuple(segment[:, 0]) for c in whiskers for segment in c.get_segments())
    rows = table[(table["metric"] == "chamfer_cm") & table["corruption"].isin(["fog_3d", "camera_roll"])]
    np.testing.assert_allclose(drawn, sorted(zip(rows["lo"], rows["hi"], strict=True)))
    assert [t.get_text() for t in ax.texts] == ["clean", "12 % failed"]
    assert figure.get_figwidth() == ONE_COLUMN


def test_curves_are_the_tables_numbers_from_clean_on(toy_rows) -> None:
    table = degradation_table(toy_rows(), by="severity")
    figure = severity_curves(table, "chamfer_cm")
    panels = {ax.get_title(): ax for ax in figure.axes}
    assert list(panels) == ["Fog 3D", "Camera roll"]  # the penalty of its failure makes fog's worst value the worst
    (line,) = panels["Fog 3D"].lines
    np.testing.assert_array_equal(line.get_xdata(), [0, 1, 3])
    rows = table[table["metric"] == "chamfer_cm"]
    fog = rows[rows["corruption"].isin(["clean", "fog_3d"])]
    np.testing.assert_allclose(line.get_ydata(), fog["value"])
    assert panels["Fog 3D"].get_ylim()[0] == 0
    assert figure.get_figwidth() <= TWO_COLUMNS


def test_two_runs_have_two_colours_and_a_legend(toy_rows) -> None:
    rows = pd.concat([toy_rows(), toy_rows(model="other", scale=2.0)])
    for figure in (
        bar_plot(degradation_table(rows), "chamfer_cm"),
        severity_curves(degradation_table(rows, by="severity"), "chamfer_cm"),
    ):
        labels = [text.get_text() for text in figure.legends[0].get_texts()]
        assert labels[:2] == ["other", "toy"]
    masks = pd.concat([toy_rows(), toy_rows(masker="u2net")])
    assert [name for name, _ in series_of(degradation_table(masks), "chamfer_cm")] == ["toy, given", "toy, u2net"]


@pytest.mark.parametrize("case", ["one subject", "missing", "only clean", "higher is better"])
def test_odd_tables_still_draw(toy_rows, case: str, tmp_path) -> None:
    rows, metric = toy_rows(1 if case == "one subject" else 4), "chamfer_cm"
    if case == "missing":
        rows["failure_value"] = np.nan
    if case == "only clean":
        rows = rows[rows["corruption"] == "clean"]
    if case == "higher is better":
        metric = "mask_iou"
    table, fine = degradation_table(rows, [metric]), degradation_table(rows, [metric], by="severity")
    bars, curves = bar_plot(table, metric), severity_curves(fine, metric)
    for index, figure in enumerate((bars, curves)):
        (path,) = save(figure, tmp_path / f"{case}{index}", ["png"])
        assert path.stat().st_size > 5_000
    if case == "higher is better":
        widths = [patch.get_width() for patch in bars.axes[0].patches if patch.get_x() == 0]
        assert widths == sorted(widths, reverse=True)
        assert "higher is better" in bars.axes[0].get_xlabel()


def test_files_are_whole_repeatable_and_leave_settings_alone(toy_rows, tmp_path) -> None:
    table = degradation_table(toy_rows())
    before = dict(mpl.rcParams)
    first = save(bar_plot(table, "chamfer_cm"), tmp_path / "a" / "bars")
    second = save(bar_plot(table, "chamfer_cm"), tmp_path / "b" / "bars")
    assert dict(mpl.rcParams) == before
    assert [path.name for path in first] == ["bars.svg", "bars.png", "bars.pdf"]
    for one, other in zip(first, second, strict=True):
        assert one.read_bytes() == other.read_bytes()
    starts = [path.read_bytes()[:5] for path in first]
    assert starts == [b"<?xml", b"\x89PNG\r", b"%PDF-"]
    assert b"Type3" not in first[2].read_bytes()
    assert "matplotlib.pyplot" not in sys.modules or not sys.modules["matplotlib.pyplot"].get_fignums()
