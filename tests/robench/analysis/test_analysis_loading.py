"""`robench.load`, and the same files read by programs that know nothing of robench."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from synthetic_runs import PENALTY_CM, SyntheticRun, write_run

import robench
from robench.errors import Mismatch, UsageError
from robench.schema import SCHEMA


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SyntheticRun]:
    folder = tmp_path_factory.mktemp("runs")
    return [
        write_run(folder, "one", subjects=3, views=2),
        write_run(folder, "two", subjects=4, fails={("fog_3d", 5): 2}, state="running", partial=True),
    ]


def test_a_run_is_a_tidy_table_of_known_types(runs: list[SyntheticRun]) -> None:
    rows = robench.load(runs[1].folder)
    assert list(rows.columns) == list(SCHEMA)
    kinds = {"string": "str", "int64": "Int64", "float64": "float64"}
    for name, column in SCHEMA.items():
        assert str(rows[name].dtype) == ("int64" if name == "severity" else kinds[column.kind]), name
    assert not rows.duplicated([name for name, column in SCHEMA.items() if column.group == "Key"]).any()
    lost = rows[rows["status"] != "ok"]
    assert len(lost) == 2 * 3
    assert lost["value"].isna().all()
    assert set(lost.loc[lost["unit"] == "cm", "failure_value"]) == {PENALTY_CM}
    assert rows["corruption_version"].isna().equals(rows["severity"] == 0)


def test_its_numbers_are_the_truth(runs: list[SyntheticRun]) -> None:
    rows = robench.load(runs[0].folder)
    for metric, scores in runs[0].scores.items():
        one = rows[rows["metric"] == metric]
        table = one.pivot_table("value", "subject_id", ["corruption", "severity"], aggfunc="mean", sort=True)
        np.testing.assert_allclose(table[runs[0].conditions].to_numpy(), scores, rtol=1e-12)


def test_it_says_where_rows_come_from(runs: list[SyntheticRun]) -> None:
    both = robench.load([one.folder for one in runs])
    assert both.attrs["schema_version"] == 1
    assert both.attrs["runs"] == [
        {
            "path": str(one.folder),
            "run_id": one.run_id,
            "rows": rows,
            "state": state,
            "partial": partial,
        }
        for one, rows, state, partial in zip(
            runs, (3 * 2 * 16 * 4, 4 * 16 * 4), ("complete", "running"), (False, True), strict=True
        )
    ]
    assert both.groupby("model").size().to_dict() == {"one": 384, "two": 256}
    pd.testing.assert_frame_equal(
        both[both["model"] == "two"].reset_index(drop=True), robench.load(str(runs[1].folder)), check_like=True
    )


def test_a_published_run_is_its_folder_or_its_file(runs: list[SyntheticRun], tmp_path: Path) -> None:
    folder = tmp_path / "rows" / runs[0].run_id
    folder.mkdir(parents=True)
    shutil.copy(runs[0].rows, folder / "rows.parquet")
    expected = robench.load(runs[0].folder)
    for path in (folder, folder / "rows.parquet"):
        found = robench.load(path)
        pd.testing.assert_frame_equal(found, expected)
        assert found.attrs["runs"][0] == expected.attrs["runs"][0] | {
            "path": str(path),
            "state": None,
            "partial": None,
        }


def test_columns_of_others_are_kept_and_those_that_are_missing_are_empty(
    runs: list[SyntheticRun], tmp_path: Path
) -> None:
    rows = pd.read_parquet(runs[0].rows)
    rows.drop(columns=["device", "n_points"]).assign(note="mine").to_parquet(tmp_path / "rows.parquet")
    found = robench.load(tmp_path)
    assert list(found.columns) == [*SCHEMA, "note"]
    assert found["device"].isna().all()
    assert str(found["n_points"].dtype) == "Int64"


def test_what_is_no_run(tmp_path: Path) -> None:
    for wrong, what in ((tmp_path / "none", "no such folder"), (tmp_path, "no folder 'rows'"), ([], "no run to load")):
        with pytest.raises(UsageError, match=what):
            robench.load(wrong)
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(Mismatch, match="damaged"):
        robench.load(tmp_path / "x.parquet")


def test_importing_robench_imports_no_pandas() -> None:
    script = "import sys, robench; robench.load; assert 'pandas' not in sys.modules and 'numpy' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_pandas_and_arrow_read_the_parts_of_a_real_run(runs: list[SyntheticRun]) -> None:
    folder = Path(__file__).parents[1] / "rows_v1"
    ours = robench.load(folder)
    pandas = pd.concat(map(pd.read_parquet, sorted((folder / "rows").glob("part-*.parquet"))))
    for name, column in SCHEMA.items():
        plain = "str" if column.kind == "string" else column.kind
        assert str(pandas[name].dtype) == plain, name
        assert pandas[name].isna().tolist() == ours[name].isna().tolist()
        known = pandas[name].notna()
        assert pandas[name][known].tolist() == ours[name][known].tolist()
    arrow = ds.dataset(folder / "rows", format="parquet")
    assert [str(kind) for kind in arrow.schema.types] == [
        {"float64": "double"}.get(column.kind, column.kind) for column in SCHEMA.values()
    ]
    assert arrow.count_rows() == len(ours)
    is_ok = pc.field("status") == "ok"
    mean = arrow.to_table(["value"], filter=is_ok & (pc.field("metric") == "chamfer_cm"))["value"].to_numpy().mean()
    assert mean == pytest.approx(ours[(ours["status"] == "ok") & (ours["metric"] == "chamfer_cm")]["value"].mean())
    several = ds.dataset([str(one.rows) for one in runs], format="parquet")
    assert several.count_rows() == 384 + 256, "rows of runs are one table"
