"""The curve of an adaptation: analytic runs, whose changes are known to the digit, and what is refused."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from PIL import Image

from robench.analysis.adaptation import adaptation_table, ordered_runs
from robench.analysis.provenance import open_run
from robench.errors import Mismatch, UsageError
from robench.io.adaptation_files import CURVE, RECORD, read_curve, write_curve
from robench.io.files import write_json_atomic
from robench.reporting.report import write_report

FACTORS = {0: 1.0, 2: 0.9, 3: 0.75}


@pytest.fixture(scope="module")
def curve(tmp_path_factory):
    """Runs of a base and of checkpoints that shrink every error by a factor, and the adaptation that they are of."""
    parent = tmp_path_factory.mktemp("runs")
    runs = {
        count: synthetic_runs.write_run(parent, checkpoint=f"c{count}", clean_cm=factor, severities=(3,), subjects=8)
        for count, factor in FACTORS.items()
    }
    folder = tmp_path_factory.mktemp("adapted")
    opened = {count: open_run(run.folder) for count, run in runs.items()}
    points = [{"batches": n, "checkpoint": f"batches-{n}/m", "sha256": run.checkpoint} for n, run in opened.items()]
    write_curve(folder, "toy", 7e-4, "ba5e" * 16, points)
    return folder, opened


def test_values_and_paired_changes_are_the_analytic_ones(curve):
    folder, opened = curve
    # In whatever order they are given.
    table = adaptation_table(ordered_runs([opened[3], opened[0], opened[2]], read_curve(folder)), ["chamfer_cm"])
    assert list(table["batches"].iloc[:3]) == [0, 2, 3]
    assert list(dict.fromkeys(table["corruption"])) == ["clean", *sorted(synthetic_runs.EFFECTS)]
    by = table.set_index(["corruption", "batches"])
    effects = {"clean": 1.0, **synthetic_runs.EFFECTS}
    rows = opened[0].rows
    chamfer = rows[rows["metric"] == "chamfer_cm"]
    for corruption in effects:
        errors = chamfer[chamfer["corruption"] == corruption].groupby("subject_id")["value"].mean().to_numpy()
        for count, factor in FACTORS.items():
            row = by.loc[corruption, count]
            assert row["value"] == pytest.approx(factor * errors.mean())
            assert row["n_subjects"] == 8
            if count == 0:
                assert np.isnan(row["change"])
                continue
            change = (factor - 1) * errors
            assert row["change"] == pytest.approx(change.mean())
            # Student-t with seven degrees of freedom, by its table.
            half = 2.364624 * change.std(ddof=1) / np.sqrt(8)
            assert row["change_hi"] - row["change"] == pytest.approx(half, rel=1e-5)


def test_the_report_writes_table_and_plots(curve, tmp_path):
    folder, opened = curve
    runs = [run.path for run in opened.values()]
    report = write_report(runs, tmp_path, ("md", "csv", "jsonl", "png"), adaptation=folder, metrics=["chamfer_cm"])
    names = {path.relative_to(tmp_path).as_posix() for path in report.files}
    assert {"adaptation.md", "adaptation.csv", "adaptation.jsonl", "plots/adaptation_chamfer_cm.png"} <= names
    table = pd.read_csv(tmp_path / "adaptation.csv", comment="#")
    assert len(table) == 3 * (1 + len(synthetic_runs.EFFECTS))
    text = (tmp_path / "adaptation.md").read_text()
    assert "| condition | severity | 0 batches | 2 batches | 3 batches |" in text
    assert "95 % interval over 8 subjects" in text
    clean = float(table[(table["corruption"] == "clean") & (table["batches"] == 0)]["value"].iloc[0])
    assert f"| clean | 0 | {clean:.2f} | {0.9 * clean:.2f} (−{0.1 * clean:.2f} [" in text
    picture = np.asarray(Image.open(tmp_path / "plots" / "adaptation_chamfer_cm.png").convert("RGB"))
    blue = (picture[..., 2] > 150) & (picture[..., 0] < 30)
    assert blue.sum() > 500


def test_a_report_without_an_adaptation_has_none(curve, tmp_path):
    _, opened = curve
    report = write_report([opened[0].path, opened[2].path], tmp_path, ("md",), plots=False, metrics=["chamfer_cm"])
    assert not [path for path in report.files if "adaptation" in path.name]


def test_a_single_adaptation_is_a_curve_from_its_base(tmp_path):
    record = {"format": "robench-adaptation/1", "batches": 2, "base_sha256": "b" * 64, "checkpoint_sha256": "c" * 64}
    write_json_atomic(tmp_path / RECORD, record)
    assert read_curve(tmp_path) == {"b" * 64: 0, "c" * 64: 2}


def test_what_is_no_adaptation_is_refused(tmp_path):
    with pytest.raises(UsageError, match="holds no adaptation"):
        read_curve(tmp_path)
    write_json_atomic(tmp_path / RECORD, {"format": "robench-adaptation/1", "asked": {}})
    with pytest.raises(UsageError, match="not finished"):
        read_curve(tmp_path)
    for text in ('{"format": "other/1"}', '{"format": "robench-adaptation/1"}', "[]"):
        (tmp_path / CURVE).write_text(text)
        with pytest.raises(Mismatch, match="is damaged"):
            read_curve(tmp_path)


def test_runs_that_do_not_belong_are_refused(curve):
    folder, opened = curve
    known = read_curve(folder)
    other = {sha: count for sha, count in known.items() if count != 2}
    with pytest.raises(UsageError, match=r"is not a run of this adaptation; got checkpoint [0-9a-f]{12}"):
        ordered_runs([opened[0], opened[2]], other)
    with pytest.raises(UsageError, match="Two runs are of 2 batches"):
        ordered_runs([opened[2], opened[2]], known)
    with pytest.raises(UsageError, match="One run makes no curve"):
        ordered_runs([opened[2]], known)
    with pytest.raises(UsageError, match="none of the wanted metrics"):
        adaptation_table(ordered_runs(list(opened.values()), known), ["no_such_metric"])


def test_the_training_writes_what_the_report_reads(curve):
    folder, opened = curve
    said = json.loads((folder / CURVE).read_text())
    assert [point["batches"] for point in said["points"]] == [0, 2, 3]
    assert read_curve(folder)[opened[3].checkpoint] == 3
    assert read_curve(folder)["ba5e" * 16] == 0
