"""Where losses come from, in a report: bars and tables say the parts that the runs were made of."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console
from typer.testing import CliRunner

from robench.analysis.causes import cause_table
from robench.analysis.provenance import Run, open_run
from robench.cli import app
from robench.errors import NotComparable, UsageError
from robench.reporting.cause_bars import COLOURS, HATCHES, cause_bars
from robench.reporting.causes import cause_blocks, cause_notes
from robench.reporting.labels import number
from robench.reporting.plots import ONE_COLUMN, TWO_COLUMNS, save
from robench.reporting.report import write_report
from robench.reporting.tables import latex_of, markdown_of, print_blocks
from tests.robench.reporting.cause_runs import PARTS, cause_rows, write_pair, write_run

METRICS = ["chamfer_cm", "p2s_pred_to_gt_cm"]


def run(**options: Any) -> Run:
    return Run(Path("run"), cause_rows(**options), {}, "ab" * 32)


@pytest.fixture(scope="module")
def paired() -> pd.DataFrame:
    return cause_table([run()], [run(true_masks=True)], METRICS)


def drawn(ax: Any) -> dict[str, dict[str, tuple[float, float]]]:
    """Return the start and width of every piece of every bar: ``{corruption: {part: (left, width)}}``."""
    labels = dict(zip(ax.get_yticks(), [text.get_text() for text in ax.get_yticklabels()], strict=True))
    found: dict[str, dict[str, tuple[float, float]]] = {label: {} for label in labels.values()}
    for container in ax.containers:
        if container.get_label() in COLOURS:
            for patch in container.patches:
                centre = patch.get_y() + patch.get_height() / 2
                label = labels[min(labels, key=lambda place: abs(place - centre))]
                found[label][container.get_label()] = (patch.get_x(), patch.get_width())
    return found


def test_bars_are_made_of_the_parts_and_end_at_the_loss(paired: pd.DataFrame) -> None:
    figure = cause_bars(paired, "chamfer_cm")
    (ax,) = figure.axes
    assert figure.get_figwidth() == ONE_COLUMN
    assert [text.get_text() for text in ax.get_yticklabels()] == [
        "Fog 3D", "ISO noise", "Camera roll", "All corruptions",
    ]  # fmt: skip
    bars = drawn(ax)
    for label, name in (("Camera roll", "camera_roll"), ("Fog 3D", "fog_3d"), ("ISO noise", "iso_noise")):
        widths = {part: width for part, (_, width) in bars[label].items()}
        assert widths == pytest.approx({part: PARTS[name][part] for part in ("mask", "alignment", "shape")})
        # Positive pieces lie end to end from 0 to the right, negative ones to the left.
        for sign in (1, -1):
            pieces = sorted((abs(left), abs(width)) for left, width in bars[label].values() if width * sign > 0)
            starts = np.cumsum([0.0, *(width for _, width in pieces)])[:-1]
            np.testing.assert_allclose([left for left, _ in pieces], starts, atol=1e-12)
    (marks,) = [line for line in ax.lines if line.get_marker() == "D"]
    losses = {name: sum(PARTS[name][part] for part in ("mask", "alignment", "shape")) for name in PARTS}
    wanted = [losses["fog_3d"], losses["iso_noise"], losses["camera_roll"], np.mean(list(losses.values()))]
    np.testing.assert_allclose(marks.get_xdata(), wanted)
    assert [text.get_text() for text in ax.texts] == ["+3.00", "+1.00", "Truth\nnot moved"]
    low, high = ax.get_xlim()
    assert low < -0.4
    assert high > 3.0


def test_parts_differ_in_colour_and_in_hatch(paired: pd.DataFrame) -> None:
    figure = cause_bars(paired, "chamfer_cm")
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels == ["Mask", "Alignment (pose, place, size)", "Shape", "Loss"]
    assert len(set(HATCHES.values())) == len(set(COLOURS.values())) == 4
    # P2S has no twin: two parts.
    labels = [text.get_text() for text in cause_bars(paired, "p2s_pred_to_gt_cm").legends[0].get_texts()]
    assert labels == ["Mask", "Alignment and shape", "Loss"]


def test_without_true_masks_the_legend_says_where_the_mask_is() -> None:
    table = cause_table([run()], [], METRICS)
    assert set(table["metric"]) == {"chamfer_cm"}, "nothing tells the parts of P2S"
    figure = cause_bars(table, "chamfer_cm")
    assert figure.legends[0].get_title().get_text() == "what the masks cost is inside: no run with true masks"
    roll = {part: width for part, (_, width) in drawn(figure.axes[0])["Camera roll"].items()}
    assert roll == pytest.approx({"alignment": 2.0 - 0.4 + 0.1, "shape": 1.0 - 0.1})
    assert any("inside the other parts" in line for line in cause_notes(table))


def test_runs_have_panels_of_their_own_on_one_axis(tmp_path: Path) -> None:
    runs = [run(), run(model="other", scale=2.0), run(true_masks=True)]
    table = cause_table(runs, [run(true_masks=True)], ["chamfer_cm"])
    figure = cause_bars(table, "chamfer_cm")
    assert figure.get_figwidth() == TWO_COLUMNS
    shown = [ax for ax in figure.axes if ax.get_visible()]
    assert [ax.get_title(loc="left") for ax in shown] == [
        "other, u2netp\n(masks inside the parts)", "toy, u2netp\n", "toy, given\n(true masks)",
    ]  # fmt: skip
    assert len({ax.get_xlim() for ax in shown}) == 1
    assert set(drawn(shown[2])["Fog 3D"]) == {"alignment", "shape"}
    notes = cause_notes(table)
    assert any(line.startswith("other (u2netp): no run with true masks") for line in notes)
    assert any(line.startswith("toy (given): got the true masks") for line in notes)
    (path,) = save(figure, tmp_path / "three", ["pdf"])
    assert b"Type3" not in path.read_bytes()


def test_a_bar_that_lacks_a_part_is_not_drawn(tmp_path: Path) -> None:
    rows = cause_rows(true_masks=True)
    lost = (rows["metric"] == "chamfer_similarity_cm") & (rows["corruption"] == "fog_3d") & (rows["subject_id"] == "s2")
    rows.loc[lost, ["value", "status"]] = [np.nan, "failed"]
    table = cause_table([run()], [replace(run(true_masks=True), rows=rows)], ["chamfer_cm"])
    figure = cause_bars(table, "chamfer_cm")
    bars = drawn(figure.axes[0])
    assert bars["Fog 3D"] == bars["All corruptions"] == {}, "two of three parts would not end at the loss"
    assert set(bars["Camera roll"]) == {"mask", "alignment", "shape"}
    assert save(figure, tmp_path / "bars", ["png"])[0].stat().st_size > 5_000
    text = markdown_of(cause_blocks(table), cause_notes(table))
    fog = next(line for line in text.splitlines() if line.startswith("| fog_3d")).split("|")
    assert [cell.strip().split(" ")[0] for cell in fog[2:6]] == ["+1.75", "+1.00", "–", "–"]
    assert "nan" not in text


@pytest.mark.parametrize("case", ["one subject", "no value", "no loss at all"])
def test_odd_runs_still_draw(case: str, tmp_path: Path) -> None:
    rows = cause_rows(scale=0.0 if case == "no loss at all" else 1.0)
    if case == "one subject":
        rows = rows[rows["subject_id"] == "s0"]
    if case == "no value":
        keep = rows["subject_id"] != "s1"
        rows = rows.assign(value=rows["value"].where(keep), status=np.where(keep, "ok", "oom"))
    table = cause_table([replace(run(), rows=rows)], [], ["chamfer_cm"])
    if case == "no value":
        assert not len(table), "no part is known under any corruption"
        return
    assert save(cause_bars(table, "chamfer_cm"), tmp_path / "bars", ["png"])[0].stat().st_size > 5_000
    if case == "one subject":
        assert "[" not in markdown_of(cause_blocks(table), [])


def test_tables_say_the_parts_in_every_format(paired: pd.DataFrame) -> None:
    text = markdown_of(cause_blocks(paired), cause_notes(paired))
    assert text.startswith("### Loss in Chamfer (cm): toy (masks: u2netp; 5 subjects), run toy-found\n")
    assert "| Corruption | Loss | Mask | Alignment | Shape | Truth not moved |" in text
    roll = next(line for line in text.splitlines() if line.startswith("| camera_roll"))
    numbers = [cell.strip().split(" ")[0] for cell in roll.split("|")[2:-1]]
    assert numbers == [number(value, 2, sign=True) for value in (2.6, -0.4, 2.0, 1.0, 3.0)]
    assert f"(run toy-true, rows {'ab' * 4})" in text
    latex = latex_of(cause_blocks(paired), cause_notes(paired))
    assert latex.count("\\begin{table*}") == 2
    assert "Corruption & Loss & Mask & Alignment & Shape & Truth not moved \\\\" in latex
    assert "All corruptions & +2.28 &" in latex
    assert latex.count("\\midrule") == 4, "all corruptions stand apart from each"
    for width in (80, 160):
        shown = io.StringIO()
        print_blocks(cause_blocks(paired), cause_notes(paired), Console(file=shown, width=width))
        lines = shown.getvalue().splitlines()
        assert max(map(len, lines)) <= width
        assert any(line.split()[:4] == ["camera_roll", "+2.60", "−0.40", "+2.00"] for line in lines)
        assert any(line.startswith(" all corruptions") for line in lines)


def test_names_of_models_are_text_in_tables() -> None:
    table = cause_table([run(model="=a|b_\\input{x} $1$ \x1b[2J")], [], ["chamfer_cm"])
    blocks, notes = list(cause_blocks(table)), cause_notes(table)
    assert "\x1b" not in markdown_of(blocks, notes) + latex_of(blocks, notes)
    assert "\\input{" not in latex_of(blocks, notes)
    assert "a\\|b" in markdown_of(blocks, notes)


def test_verb_takes_runs_with_true_masks(tmp_path: Path) -> None:
    toy, toy_true = write_pair(tmp_path / "toy")
    other, other_true = write_pair(tmp_path / "other", "other", scale=2.0)
    command = ["report", toy, other, "--true-masks", other_true, "--true-masks", toy_true, "--out", tmp_path / "out"]
    more = ["--format", "md,csv,latex", "--plots", "--image-format", "svg"]
    result = CliRunner().invoke(app, [*map(str, command), *more])
    assert result.exit_code == 0, result.output
    assert "Loss in Chamfer (cm): other" in result.stdout
    written = {str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("decomposition*")}
    assert written == {
        "decomposition.md",
        "decomposition.csv",
        "decomposition.tex",
        "plots/decomposition_chamfer_cm.svg",
        "plots/decomposition_p2s_pred_to_gt_cm.svg",
    }
    table = pd.read_csv(tmp_path / "out" / "decomposition.csv").set_index(["model", "metric", "corruption"])
    for model, scale in (("toy", 1.0), ("other", 2.0)):
        for name, parts in PARTS.items():
            row = table.loc[(model, "chamfer_cm", name)]
            assert {part: row[part] for part in parts} == pytest.approx({k: scale * v for k, v in parts.items()})
            assert row["mask_lo"] <= row["mask"] <= row["mask_hi"]
            assert (row["mask_told"], row["given_run_id"]) == ("paired", f"{model}-true")
            assert row["given_rows_sha256"] == open_run(tmp_path / model / "true").sha256


def test_runs_alone_tell_what_they_can_and_old_ones_nothing(tmp_path: Path) -> None:
    new, _ = write_pair(tmp_path / "new")
    files = {path.name for path in write_report([new], formats=["md", "csv"], plots=False).files}
    assert {"decomposition.md", "decomposition.csv"} <= files
    assert "inside the other parts" in (new / "report" / "decomposition.md").read_text()
    old, old_true = write_pair(tmp_path / "old", twin=False)
    report = write_report([old], formats=["md", "csv"], plots=False)
    assert (len(report.causes), [path for path in report.files if "decomposition" in path.name]) == (0, [])
    report = write_report([old], true_masks=[old_true], formats=["md"], plots=False)
    assert report.causes["rest"].notna().all()
    assert "Alignment and shape" in (old / "report" / "decomposition.md").read_text()
    clean = write_run(tmp_path / "clean", cause_rows().query("severity == 0"))
    warnings = write_report([clean], true_masks=[tmp_path / "new/true"], formats=["md"], plots=False).warnings
    assert any("No loss can be told apart" in text for text in warnings)


def test_mistakes_with_true_masks_are_one_sentence(tmp_path: Path) -> None:
    toy, toy_true = write_pair(tmp_path / "toy")
    other, other_true = write_pair(tmp_path / "other", "other")
    out = tmp_path / "out"
    with pytest.raises(UsageError, match="'other-true' is of no model that is reported"):
        write_report([toy], out, true_masks=[other_true])
    with pytest.raises(NotComparable, match="'toy-found' did not get the true masks"):
        write_report([toy, other], out, true_masks=[toy])
    elsewhere = write_run(tmp_path / "elsewhere", cause_rows(true_masks=True, dataset="others"))
    with pytest.raises(NotComparable, match="'dataset' differs"):
        write_report([toy], out, true_masks=[elsewhere])
    short = write_run(tmp_path / "short", cause_rows(true_masks=True).query("corruption != 'fog_3d'"))
    with pytest.raises(NotComparable, match=r"lacks cells; got 25 of 35, not fog_3d 1 of s0_0"):
        write_report([toy], out, true_masks=[short])
    with pytest.raises(UsageError, match="is not a run"):
        write_report([toy], out, true_masks=[tmp_path / "gone"])
    assert not out.exists()
    report = write_report([toy], out, ["csv"], true_masks=[toy_true], metrics=["chamfer_cm"], plots=False)
    assert set(report.causes["metric"]) == {"chamfer_cm"}
