"""The verb `robench report`: files, warnings, and mistakes in one sentence."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from robench.cli import app
from robench.errors import NotComparable, UsageError
from robench.io.files import write_json_atomic
from robench.reporting.report import write_report


def run_with(path: Path, rows: pd.DataFrame) -> Path:
    (path / "rows").mkdir(parents=True)
    rows.to_parquet(path / "rows" / "part-0000.parquet")
    write_json_atomic(path / "run.json", {"state": "complete"})
    return path


def test_verb_prints_the_table_and_writes_everything(toy_run: Path) -> None:
    command = ["report", str(toy_run), "--format", "md,csv,latex", "--image-format", "png"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "camera_roll" in result.stdout
    assert "Wrote" in result.stderr
    written = {str(path.relative_to(toy_run / "report")) for path in (toy_run / "report").rglob("*") if path.is_file()}
    assert written == {
        "degradation.md",
        "degradation.tex",
        "paper.tex",
        "degradation.csv",
        "degradation_by_severity.csv",
        "summary.csv",
        "plots/bars_chamfer_cm.png",
        "plots/bars_p2s_pred_to_gt_cm.png",
        "plots/severity_chamfer_cm.png",
        "plots/severity_p2s_pred_to_gt_cm.png",
        "plots/qualitative.png",
    }
    summary = pd.read_csv(toy_run / "report" / "summary.csv")
    table = pd.read_csv(toy_run / "report" / "degradation.csv")
    worst = table[~table["corruption"].str.contains("unaligned")].groupby("metric")["ratio"].max()
    assert summary.set_index("metric")["worst_ratio"].to_dict() == pytest.approx(worst.to_dict())


def test_no_plots_and_another_folder(toy_run: Path, tmp_path: Path) -> None:
    report = write_report([toy_run], tmp_path / "elsewhere", ["md"], plots=False)
    assert report.files == [tmp_path / "elsewhere" / "degradation.md"]
    assert not (toy_run / "report").exists()
    again = write_report([toy_run], tmp_path / "again", ["md"], plots=False)
    assert again.files[0].read_bytes() == report.files[0].read_bytes()


def test_several_runs_and_a_reference(toy_rows, tmp_path: Path) -> None:
    first = run_with(tmp_path / "first", toy_rows())
    second = run_with(tmp_path / "second", toy_rows(model="other", scale=2.0))
    reference = run_with(tmp_path / "reference", toy_rows(model="mean-body", scale=4.0))
    with pytest.raises(UsageError, match="--out"):
        write_report([first, second])
    report = write_report([first, second], tmp_path / "out", plots=True, reference=reference, image_formats=["png"])
    assert report.table["model"].unique().tolist() == ["other", "toy"]
    clean = report.table[(report.table["corruption"] == "clean") & (report.table["metric"] == "chamfer_cm")]
    assert clean["rce"].tolist() == pytest.approx([0.5, 0.25])
    assert sum("kept no examples" in text for text in report.warnings) == 2


def test_unfinished_and_partial_runs_say_so(toy_run: Path) -> None:
    about = {"state": "running", "dataset": {"name": "folder", "root": "gone", "partial": True}}
    write_json_atomic(toy_run / "run.json", about)
    warnings = write_report([toy_run], formats=["md"], plots=False).warnings
    assert ["not finished" in warnings[0], "partial" in warnings[1]] == [True, True]
    (toy_run / "run.json").unlink()
    assert "no run.json" in write_report([toy_run], formats=["md"], plots=False).warnings[0]


def test_damaged_example_costs_the_grid_and_not_the_report(toy_run: Path) -> None:
    (toy_run / "examples/clean/0/s0_0.png").write_bytes(b"no picture")
    report = write_report([toy_run], formats=["md"], image_formats=["png"])
    assert any("No qualitative grid" in text for text in report.warnings)
    assert any(path.name == "bars_chamfer_cm.png" for path in report.files)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["gone"], "is not a run"),
        (["{run}", "--format", "docx"], "no such format"),
        (["{run}", "--image-format", "gif"], "no such format"),
        (["{run}", "--metrics", "beauty"], "none of the wanted metrics"),
        (["{run}", "--level", "95"], "between 0 and 1"),
    ],
)
def test_mistakes_are_one_sentence(toy_run: Path, arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["report", *(a.format(run=toy_run) for a in arguments)])
    assert isinstance(result.exception, UsageError)
    assert message in str(result.exception)
    assert not (toy_run / "report").exists()


def test_empty_run_and_mixed_protocols(toy_rows, tmp_path: Path) -> None:
    (tmp_path / "empty" / "rows").mkdir(parents=True)
    with pytest.raises(UsageError, match="has no finished rows yet"):
        write_report([tmp_path / "empty"])
    first = run_with(tmp_path / "first", toy_rows())
    second = run_with(tmp_path / "second", toy_rows(model="other", cset_id="ef" * 32))
    with pytest.raises(NotComparable, match="'cset_id' differs"):
        write_report([first, second], tmp_path / "out")


def test_nothing_to_tabulate_says_why(toy_rows, tmp_path: Path) -> None:
    rows = toy_rows()
    rows = rows[rows["metric"] != "mask_iou"].assign(
        status="skipped", value=float("nan"), failure_value=float("nan"), message="the data set has no ground truth"
    )
    run = run_with(tmp_path / "photos", rows)
    with pytest.raises(UsageError, match="the data set has no ground truth"):
        write_report([run])
