"""Reading rows: what a crash leaves behind, what is damaged, what may not be mixed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis import check_protocol, read_rows, scored
from robench.analysis.rows import check_same_task
from robench.errors import Mismatch, NotComparable, UsageError

SCORES = {
    ("clean", 0, "chamfer_cm"): {"a": [1.0], "b": [2.0]},
    ("fog", 1, "chamfer_cm"): {"a": [2.0], "b": [None]},
}


def write(run: Path, name: str, rows: pd.DataFrame, tail: str = "") -> Path:
    path = run / "rows" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        rows.to_parquet(path)
    else:
        lines = [json.dumps({k: None if v != v else v for k, v in row.items()}) for row in rows.to_dict("records")]
        path.write_text("".join(line + "\n" for line in lines) + tail)
    return path


def test_parquet_and_unfinished_lines_are_one_table(make_rows, tmp_path: Path) -> None:
    rows = make_rows(SCORES)
    write(tmp_path, "part-0.parquet", rows.iloc[:2])
    write(tmp_path, "part-1.wip.jsonl", rows.iloc[2:], tail='{"run_id": "run", "samp')
    found = read_rows(tmp_path)
    pd.testing.assert_frame_equal(
        found.reset_index(drop=True), read_rows_of(tmp_path / "whole", rows), check_dtype=True
    )
    assert found["value"].dtype == np.float64
    assert found["value"].isna().tolist() == [False, False, False, True]


def read_rows_of(run: Path, rows: pd.DataFrame) -> pd.DataFrame:
    write(run, "part-0.parquet", rows)
    return read_rows(run)


def test_a_line_may_hold_all_rows_of_a_sample(make_rows, tmp_path: Path) -> None:
    rows = make_rows({("clean", 0, "chamfer_cm"): {"a": [1.0]}, ("clean", 0, "p2s_pred_to_gt_cm"): {"a": [3.0]}})
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows" / "part-0.wip.jsonl").write_text(json.dumps(rows.to_dict("records")) + "\n")
    assert read_rows(tmp_path)["value"].tolist() == [1.0, 3.0]


def test_last_of_a_duplicate_key_wins(make_rows, tmp_path: Path) -> None:
    rows = make_rows(SCORES)
    write(tmp_path, "part-0.parquet", rows)
    write(tmp_path, "part-0.wip.jsonl", rows.iloc[[0, 3]].assign(value=[7.0, 8.0], status="ok"))
    assert read_rows(tmp_path)["value"].tolist() == [2.0, 2.0, 7.0, 8.0]


@pytest.mark.parametrize("fault", ["no folder", "no rows folder", "empty", "half a line"])
def test_no_rows_is_a_users_mistake_in_one_sentence(fault: str, tmp_path: Path) -> None:
    run = tmp_path / "run"
    if fault != "no folder":
        run.mkdir()
    if fault in ("empty", "half a line"):
        (run / "rows").mkdir()
    if fault == "half a line":
        (run / "rows" / "part-0.wip.jsonl").write_text('{"run_id": ')
    with pytest.raises(UsageError, match=r"is not a run|has no finished rows yet") as caught:
        read_rows(run)
    assert "\n" not in str(caught.value)


def test_damage_is_named(make_rows, tmp_path: Path) -> None:
    rows = make_rows(SCORES)
    path = write(tmp_path / "middle", "part-0.wip.jsonl", rows)
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:20] + "\n", *lines[2:]]))
    with pytest.raises(Mismatch, match=r"part-0\.wip\.jsonl.*line 2"):
        read_rows(tmp_path / "middle")

    path = write(tmp_path / "cut", "part-0.parquet", rows)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(Mismatch, match=r"part-0\.parquet"):
        read_rows(tmp_path / "cut")

    write(tmp_path / "column", "part-0.parquet", rows.drop(columns=["status"]))
    with pytest.raises(Mismatch, match="no column status"):
        read_rows(tmp_path / "column")


def test_a_failure_scores_its_penalty_and_never_0(make_rows) -> None:
    rows = make_rows(SCORES)
    assert scored(rows)["score"].tolist() == [1.0, 2.0, 2.0, 10.0]
    assert scored(rows)["failed"].tolist() == [False, False, False, True]
    assert np.isnan(scored(rows.assign(failure_value=np.nan))["score"].iloc[3])
    broken = rows.assign(value=[np.inf, np.nan, 2.0, 3.0], failure_value=np.nan)
    assert scored(broken)["score"].isna().tolist() == [True, True, False, True]  # a failed row's value is not believed
    assert len(rows.columns) + 2 == len(scored(rows).columns)


@pytest.mark.parametrize(
    ("column", "where"),
    [
        ("dataset", "'dataset' differs"),
        ("metric_version", "'metric_version' of metric 'chamfer_cm' differs"),
        ("n_points", "'n_points' of metric 'chamfer_cm' differs"),
        ("unit", "'unit' of metric 'chamfer_cm' differs"),
        ("corruption_version", "'corruption_version' of corruption 'fog' differs"),
        ("checkpoint_sha256", "'checkpoint_sha256' of run_id 'run' masker 'given' differs"),
    ],
)
def test_mixed_protocols_are_refused_by_name(make_rows, column: str, where: str) -> None:
    rows = make_rows(SCORES)
    check_protocol(rows)
    rows[column] = rows[column].astype(object)
    rows.loc[3, column] = "other"
    with pytest.raises(NotComparable, match=where):
        check_protocol(rows)
    rows.loc[3, column] = None  # unknown agrees with anything: a failed row may not know its points
    check_protocol(rows)


def test_a_reference_may_be_another_model_but_not_another_task(make_rows) -> None:
    rows, other = make_rows(SCORES), make_rows(SCORES, model="mean-body", checkpoint_sha256="cd" * 32, track="x")
    check_same_task(rows, other)
    with pytest.raises(NotComparable, match="'dataset' differs"):
        check_same_task(rows, other.assign(dataset="others"))
    with pytest.raises(NotComparable, match="'n_points'"):
        check_same_task(rows, other.assign(n_points=5.0))
