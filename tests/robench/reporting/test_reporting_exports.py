"""Tables and rows for other programs: nothing is lost, nothing is run, nothing breaks a line."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import write_run

import robench
from robench.errors import UsageError
from robench.reporting.exports import rows_text, to_jsonl
from robench.reporting.profile import write_profile
from robench.reporting.report import write_report
from robench.schema import SCHEMA

EVIL = '=HYPERLINK("http://x")\n\x1b[31m\u202e\u2028,\'"<b>'


def test_jsonl_keeps_every_digit_and_has_null_for_what_is_missing() -> None:
    table = pd.DataFrame(
        {
            "name": ["a", None],
            "x": [0.1 + 0.2, np.nan],
            "n": pd.array([3, None], dtype="Int64"),
            "big": np.array([2**53 + 1, -1]),
            "inf": [np.inf, -np.inf],
            "yes": [True, False],
        }
    )
    lines = to_jsonl(table).splitlines()
    assert json.loads(lines[0]) == {"name": "a", "x": 0.1 + 0.2, "n": 3, "big": 2**53 + 1, "inf": None, "yes": True}
    assert json.loads(lines[1]) == {"name": None, "x": None, "n": None, "big": -1, "inf": None, "yes": False}
    assert to_jsonl(table.iloc[:0]) == ""


def test_a_line_is_a_row_whatever_it_is_called() -> None:
    text = to_jsonl(pd.DataFrame({"name": [EVIL, EVIL], EVIL: [1, 2]}))
    assert len(text.splitlines()) == 2
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text.splitlines()[1]) == {"name": EVIL, EVIL: 2}


def test_rows_as_csv_are_the_rows_and_no_formula(tmp_path: Path) -> None:
    run = write_run(tmp_path, subjects=2, fails={("fog_3d", 5): 1}, columns={"model": EVIL, "device": "+1"})
    rows = robench.load(run.folder)
    text = rows_text(rows, "rows.csv")
    assert len(text.splitlines()) == len(rows) + 1
    found = list(csv.DictReader(io.StringIO(text)))
    assert list(found[0]) == list(SCHEMA)
    for line, (_, row) in zip(found, rows.iterrows(), strict=True):
        assert line["value"] == ("" if pd.isna(row["value"]) else repr(float(row["value"]))), "every digit"
        assert line["model"].startswith("'=HYPERLINK")
        assert line["device"] == "'+1"
        assert line["n_points"] == str(row["n_points"])
        assert not any(cell.startswith(("=", "+", "@", "-")) for cell in line.values())
    assert text.replace("\n", "").isprintable()


def test_rows_as_jsonl_come_back_whole(tmp_path: Path) -> None:
    run = write_run(tmp_path, subjects=2, fails={("fog_3d", 5): 1}, columns={"model": EVIL})
    rows = robench.load(run.folder)
    back = pd.DataFrame([json.loads(line) for line in rows_text(rows, "rows.jsonl").splitlines()])
    for name in rows.columns:
        assert back[name].isna().equals(rows[name].isna()), name
        assert back[name].dropna().tolist() == rows[name].dropna().tolist(), name


def test_a_report_writes_the_formats_it_is_asked_for(tmp_path: Path) -> None:
    run = write_run(tmp_path, subjects=3)
    made = write_report(
        [run.folder], tmp_path / "out", ["csv", "jsonl", "rows.csv", "rows.jsonl"], plots=False, resamples=100
    )
    assert sorted(path.name for path in made.files) == sorted(path.name for path in (tmp_path / "out").iterdir())
    for name in ("degradation", "degradation_by_severity", "summary"):
        table = pd.read_csv(tmp_path / "out" / f"{name}.csv", dtype={"severity": str, "masker": str})
        lines = [json.loads(line) for line in (tmp_path / "out" / f"{name}.jsonl").read_text().splitlines()]
        assert [list(line) for line in lines] == [list(table.columns)] * len(table)
        for number in table.select_dtypes("number"):
            told = pd.Series([line[number] for line in lines], dtype=float)
            np.testing.assert_allclose(table[number], told, rtol=1e-9)
    by_name = {json.loads(line)["corruption"]: json.loads(line) for line in (tmp_path / "out/degradation.jsonl").open()}
    assert by_name["camera_roll"]["ratio"] == pytest.approx(2.0)
    assert by_name["clean"]["ratio"] is None


@pytest.mark.parametrize("formats", [["jsonl"], ["rows.csv", "rows.jsonl"]])
def test_formats_for_programs_draw_no_plots(tmp_path: Path, formats: list[str]) -> None:
    run = write_run(tmp_path, subjects=2, severities=(1,), metrics=("chamfer_cm",))
    write_report([run.folder], None, formats, resamples=100)
    assert not (run.folder / "report" / "plots").exists()


def test_a_report_of_a_published_run_needs_a_folder_of_its_own(tmp_path: Path) -> None:
    run = write_run(tmp_path, subjects=2, severities=(1,), metrics=("chamfer_cm",))
    (tmp_path / "published").mkdir()
    run.rows.rename(tmp_path / "published" / "rows.parquet")
    for path in (tmp_path / "published", tmp_path / "published" / "rows.parquet"):
        with pytest.raises(UsageError, match="--out FOLDER"):
            write_report([path], None, ["csv"], plots=False, resamples=100)
    assert [path.name for path in (tmp_path / "published").iterdir()] == ["rows.parquet"]
    made = write_report([tmp_path / "published"], tmp_path / "out", ["csv"], plots=False, resamples=100)
    assert [path.name for path in made.files] == ["degradation.csv", "degradation_by_severity.csv", "summary.csv"]


def test_a_stage_that_a_model_names_is_no_formula(tmp_path: Path) -> None:
    event = {"event": "shard", "made": 2, "wall_s": 1.0, "seconds": {"model": 1.0, "=1+1": 0.5}}
    (tmp_path / "events.jsonl").write_text(json.dumps(event) + "\n")
    write_profile(tmp_path)
    assert sorted(pd.read_csv(tmp_path / "profile.csv")["stage"]) == ["'=1+1", "model"]
