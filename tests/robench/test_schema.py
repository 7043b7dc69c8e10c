"""The row schema: its page, its versions, and that rows of every version can be read."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from robench import load, schema
from robench.analysis import read_rows
from robench.engine.rows import COLUMNS, COST, FAILED, read_cells, write_rows
from robench.engine.run_folder import read_run
from robench.engine.status import run_status
from robench.errors import Mismatch, NotComparable
from robench.io.row_files import read_table
from robench.schema import SCHEMA, SCHEMA_VERSION, STATUSES, check_version, of_group, upgraded

ROOT = Path(__file__).parents[2]
V1 = Path(__file__).parent / "rows_v1"


def test_the_page_has_the_columns_of_the_schema() -> None:
    done = subprocess.run(
        [sys.executable, "tools/rows_docs.py", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    page = (ROOT / "docs" / "rows.md").read_text("utf-8")
    for name, kind in COLUMNS.items():
        assert f"| `{name}` | {kind} |" in page
    assert f"schema version {SCHEMA_VERSION}:" in page


def test_groups_cover_the_columns() -> None:
    assert [name for group in ("Key", "Value", "Protocol", "Identity", "Cost") for name in of_group(group)] == list(
        SCHEMA
    )
    assert of_group("Cost") == COST
    assert set(STATUSES) == FAILED | {"ok", "skipped"}
    assert all(1 <= column.since <= SCHEMA_VERSION for column in SCHEMA.values())


def test_the_page_tells_the_truth_about_nulls() -> None:
    """On a real run: a column said never to be null is not, and the others are null exactly where the page says."""
    rows = pq.read_table(V1 / "rows" / "part-0000.parquet").to_pandas()
    for name, column in SCHEMA.items():
        if not column.null:
            assert rows[name].notna().all(), name
    assert rows["value"].isna().equals(rows["status"] != "ok")
    assert rows.loc[rows["status"].isin(["ok", "skipped"]), "failure_value"].isna().all()
    assert rows["message"].eq("").equals(rows["status"] == "ok")
    is_clean = (rows["severity"] == 0) | rows["image_sha256"].isna()
    assert rows["corruption_version"].isna().equals(is_clean)
    assert rows["mesh_sha256"].isna().equals(~rows["sample_id"].isin(["anna", "ben", "carl"]) | rows["time_s"].isna())


def test_a_run_of_version_1_reads_as_it_was_written() -> None:
    assert pq.read_schema(V1 / "rows" / "part-0000.parquet").metadata[b"schema_version"] == b"1"
    assert json.loads((V1 / "run.json").read_text())["schema_version"] == 1
    rows = load(V1)
    assert list(rows.columns) == list(SCHEMA)
    assert rows["status"].value_counts().to_dict() == {"ok": 43, "skipped": 25, "failed": 12}
    is_one = (rows["sample_id"] == "anna") & (rows["corruption"] == "camera_roll") & (rows["severity"] == 3)
    one = rows[is_one].set_index("metric")
    expected = {"chamfer_cm": 11.0014, "fscore_1cm": 0.037694, "mask_iou": 1.0, "p2s_pred_to_gt_cm": 9.04755}
    assert one["value"].to_dict() == pytest.approx(expected, rel=1e-5)
    assert one["unit"].to_dict() == {"chamfer_cm": "cm", "fscore_1cm": "1", "mask_iou": "1", "p2s_pred_to_gt_cm": "cm"}
    (why,) = set(rows.loc[rows["status"] == "failed", "message"])
    assert why == "dora.png cannot be used because it is empty (0 bytes)"
    assert run_status(V1).statuses == {"ok": 13, "skipped": 4, "failed": 3}


# --- A version 3, made for these tests: 2 renames ``masker``, 3 adds a column. ---


def renamed(row: schema.Row) -> schema.Row:
    rest = {name: value for name, value in row.items() if name != "masker"}
    return {**rest, "segmenter": row["masker"]}


def added(row: schema.Row) -> schema.Row:
    return {**row, "masker": row["segmenter"], "frame": f"{row['frame']}/3"}


@pytest.fixture
def third(monkeypatch: pytest.MonkeyPatch) -> None:
    """A robench whose schema is version 3."""
    from robench.analysis import loading, rows
    from robench.io import row_files

    for module in (schema, rows, row_files, loading):
        monkeypatch.setattr(module, "SCHEMA_VERSION", 3)
    monkeypatch.setattr(schema, "UPGRADES", {1: renamed, 2: added})


def test_upgrades_go_step_by_step_and_change_no_row_in_place(third: None) -> None:
    row = {"masker": "given", "frame": "view"}
    assert upgraded(row, 1) == {"segmenter": "given", "masker": "given", "frame": "view/3"}
    assert upgraded({"segmenter": "none", "frame": "view"}, 2)["masker"] == "none"
    assert upgraded(row, 3) is row
    assert row == {"masker": "given", "frame": "view"}
    with pytest.raises(Mismatch, match=r"none of schema version 1.*masker"):
        upgraded({"frame": "view"}, 1)


def test_files_of_version_1_are_read_as_version_3(third: None, tmp_path: Path) -> None:
    rows = load(V1)
    assert set(rows["frame"]) == {"view/3"}
    assert set(rows["segmenter"]) == {"given"}
    assert rows.attrs["schema_version"] == 3
    assert read_cells(V1 / "rows" / "part-0000.parquet")[("anna", "clean", 0)] == "ok"
    journal = tmp_path / "rows" / "part-0001.wip.jsonl"
    journal.parent.mkdir()
    (tmp_path / "run.json").write_text('{"schema_version": 1}')
    stored = pq.read_table(V1 / "rows" / "part-0000.parquet").to_pylist()
    journal.write_text(json.dumps(stored) + "\n")
    pd.testing.assert_frame_equal(
        load(tmp_path).sort_values(list(of_group("Key")), ignore_index=True),
        rows.sort_values(list(of_group("Key")), ignore_index=True),
    )


def test_a_file_of_version_2_takes_only_the_last_step(third: None, tmp_path: Path) -> None:
    rows = [dict(renamed(row)) for row in pq.read_table(V1 / "rows" / "part-0000.parquet").to_pylist()]
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"schema_version": "2"})
    (tmp_path / "rows").mkdir()
    pq.write_table(table, tmp_path / "rows" / "part-0000.parquet")
    assert set(read_rows(tmp_path)["frame"]) == {"view/3"}


def test_a_gap_in_the_chain_is_told(third: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "UPGRADES", {2: added})
    with pytest.raises(NotComparable, match="version 1, which nothing upgrades; got 1; expected 2 to 3"):
        load(V1)


def test_every_version_before_this_one_has_an_upgrade() -> None:
    assert sorted(schema.UPGRADES) == list(range(1, SCHEMA_VERSION))


# --- Versions that are not known, and what is none. ---


@pytest.mark.parametrize("version", ["1", 1, str(SCHEMA_VERSION)])
def test_a_known_version(version: object) -> None:
    assert check_version(version, "it") == int(str(version))


@pytest.mark.parametrize("version", ["", "0", "-1", "1.0", "one", "²", "9" * 10, True, None, [1], 1.0])
def test_what_is_no_version(version: object) -> None:
    with pytest.raises(Mismatch, match="it is damaged; got schema version"):
        check_version(version, "it")


@pytest.mark.parametrize("where", ["run.json", "part"])
def test_a_newer_version_is_told_with_what_to_do(tmp_path: Path, where: str) -> None:
    (tmp_path / "rows").mkdir()
    table, about = pq.read_table(V1 / "rows" / "part-0000.parquet"), json.loads((V1 / "run.json").read_text())
    table = table.replace_schema_metadata({"schema_version": "2" if where == "part" else "1"})
    pq.write_table(table, tmp_path / "rows" / "part-0000.parquet")
    (tmp_path / "run.json").write_text(json.dumps(about | {"schema_version": 2 if where == "run.json" else 1}))
    for read in (read_rows, load, run_status, *([read_run] if where == "run.json" else [])):
        with pytest.raises(NotComparable) as told:
            read(tmp_path)
        assert "schema version 2, which this robench does not know; got 2; expected 1 or older" in str(told.value)
        assert "pip install -U robench" in str(told.value)
        assert "\n" not in str(told.value)


# --- Types: what other programs make of a file of rows when they save it, and what nobody should. ---


def resaved(tmp_path: Path, table: pa.Table, metadata: bool = True) -> Path:
    path = tmp_path / "part-0000.parquet"
    pq.write_table(table.replace_schema_metadata({"schema_version": "1"} if metadata else None), path)
    return path


def part() -> pa.Table:
    return pq.read_table(V1 / "rows" / "part-0000.parquet")


def replaced(name: str, values: pa.Array) -> pa.Table:
    table = part()
    return table.set_column(table.column_names.index(name), name, values)


def test_wider_types_of_other_programs_are_the_same_rows(tmp_path: Path) -> None:
    table = part()
    wide = [pa.field(f.name, pa.large_string() if pa.types.is_string(f.type) else f.type) for f in table.schema]
    for same in (
        table.cast(pa.schema(wide)),
        table.set_column(2, "subject_id", table["subject_id"].dictionary_encode()),
        replaced("n_points", table["n_points"].cast("float64")),
        replaced("severity", table["severity"].cast("int8")),
        replaced("gpu_mem_mb", pa.nulls(len(table))),
    ):
        read = read_table(resaved(tmp_path, same))
        assert read.cast(table.schema).equals(table)
    resaved(tmp_path, table)
    table.to_pandas().to_parquet(tmp_path / "part-0000.parquet")  # which forgets the version
    assert read_table(tmp_path / "part-0000.parquet").cast(table.schema).equals(table)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        (lambda: replaced("value", part()["value"].cast("string")), "column 'value' of type string, expected float64"),
        (lambda: replaced("severity", pa.array([1.5] * 80)), "column 'severity': Float value 1.500000 was truncated"),
        (lambda: replaced("severity", pa.array([True] * 80)), "column 'severity' of type bool, expected int64"),
        (lambda: replaced("model", pa.array(range(80))), "column 'model' of type int64, expected string"),
        (lambda: replaced("unit", pa.array([["cm"]] * 80)), "column 'unit' of type list"),
        (
            lambda: replaced("message", pa.array(["x" * 10**7, *[""] * 79])),
            "more than 10000 characters in the column 'message'",
        ),
        (lambda: part().drop_columns(["track", "cset_id"]), "no column cset_id, track"),
    ],
)
def test_other_types_are_damage(tmp_path: Path, table: object, told: str) -> None:
    with pytest.raises(Mismatch, match=r"part-0000\.parquet' is damaged") as caught:
        read_table(resaved(tmp_path, table()))  # type: ignore[operator]
    assert told in str(caught.value)


def test_a_file_that_does_not_say_its_version_may_lack_columns_unless_the_run_says_it(tmp_path: Path) -> None:
    path = resaved(tmp_path, part().drop_columns(["track"]), metadata=False)
    assert "track" not in read_table(path).column_names
    with pytest.raises(Mismatch, match="no column track"):
        read_table(path, stated=1)


def test_what_is_written_is_what_the_page_says(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.parquet", part().to_pylist())
    written = pq.read_table(tmp_path / "a.parquet")
    assert {field.name: pa.type_for_alias(str(field.type)) for field in written.schema} == {
        n: pa.type_for_alias(k) for n, k in COLUMNS.items()
    }
    assert written.equals(part())
    write_rows(tmp_path / "b.parquet", [dict(row, gpu_mem_mb=None) for row in part().slice(0, 1).to_pylist()])
    assert pq.read_schema(tmp_path / "b.parquet").field("gpu_mem_mb").type == pa.float64(), "never of no type"
