"""Verifying: each way to make a board say what its rows do not is found and named, and no file is obeyed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from synthetic_runs import SyntheticRun

from robench.analysis.provenance import rows_sha256
from robench.analysis.rows import read_rows
from robench.errors import UsageError
from robench.io.files import sha256_file
from robench.leaderboard import stale
from robench.leaderboard.columns import MAIN_COLUMNS, PER_CORRUPTION_COLUMNS, names
from robench.leaderboard.stored_rows import encode, publishable
from robench.leaderboard.verify import Finding, verify
from tests.robench.leaderboard.conftest import Board, edit_json

Place = tuple[Board, SyntheticRun]
CLEAN = names(MAIN_COLUMNS).index("clean")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Place:
    board = Board(tmp_path_factory.mktemp("sound"))
    run, other = board.run("toy", fails={("fog_3d", 5): 1}), board.run("other", clean_cm=2.0)
    board.publish(other, run, reference=other.run_id)
    assert verify(board.root).findings == []
    return board, run


@pytest.fixture
def place(sound: Place, tmp_path: Path) -> Place:
    """A copy of two sound entries, to be damaged."""
    board, run = sound
    mine = Board(tmp_path)
    shutil.copytree(board.root, mine.root)
    return mine, run


def mismatches(board: Board) -> list[Finding]:
    verdict = verify(board.root)
    assert verdict.sound == (not [f for f in verdict.findings if f.kind == "mismatch"])
    return [f for f in verdict.findings if f.kind == "mismatch"]


def test_counts_what_it_recomputed(sound: Place) -> None:
    verdict = verify(sound[0].root)
    assert (verdict.boards, verdict.entries, verdict.sound) == (1, 2, True)
    assert verdict.values == 2 * (len(MAIN_COLUMNS) + 5 * len(PER_CORRUPTION_COLUMNS))  # five conditions


def test_an_empty_folder_is_sound_and_none_is_a_mistake(tmp_path: Path) -> None:
    (tmp_path / "leaderboards").mkdir()
    (tmp_path / "leaderboards" / ".gitkeep").touch()
    verdict = verify(tmp_path / "leaderboards")
    assert (verdict.sound, verdict.boards, verdict.findings) == (True, 0, [])
    with pytest.raises(UsageError, match="no folder"):
        verify(tmp_path / "nothing")


def test_an_edited_value_is_named_by_file_line_and_column(place: Place) -> None:
    board, _ = place
    path = board.folder / "main.csv"
    right = board.line("toy")["ratio_gm"]
    path.write_text(path.read_text().replace(f",{right},", ",1.00001,"))
    (found,) = mismatches(board)
    assert (found.path, found.column) == ("given-mask/synthetic-people/main.csv", "ratio_gm")
    assert (found.got, found.expected) == ("1.00001", right)
    assert "toy@" in found.row
    assert "line 3" in found.row


@pytest.mark.parametrize(
    ("name", "change", "match"),
    [
        ("main.csv", lambda lines: lines[:-1], "the line is missing"),
        ("main.csv", lambda lines: [*lines, lines[-1]], "occurs twice"),
        ("main.csv", lambda lines: [lines[0], *reversed(lines[1:])], "order, quotes or line ends"),
        ("main.csv", lambda lines: [line.replace("\n", "\r\n") for line in lines], "order, quotes or line ends"),
        ("main.csv", lambda lines: [lines[0].replace("rce,", "RCE,"), *lines[1:]], "other columns"),
        ("main.csv", lambda lines: [*lines, "1,2,3\n"], "another number of fields"),
        ("main.csv", lambda lines: [*lines, lines[-1].replace("toy@", "../../toy@")], "no published row makes"),
        ("main.csv", lambda lines: [], "other columns"),
        ("main.csv", lambda lines: [*lines, '"'], "no table"),
        ("per_corruption.csv", lambda lines: [line.replace(",fog_3d,", ",=fog(),") for line in lines], "=fog"),
        ("per_corruption.csv", lambda lines: lines[:3] + lines[4:], "the line is missing"),
    ],
)
def test_an_edited_table_is_found(place: Place, name: str, change: Callable[..., list[str]], match: str) -> None:
    board, _ = place
    path = board.folder / name
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    path.write_bytes("".join(change(lines)).encode())
    assert match in "\n".join(map(str, mismatches(board)))


def forge(board: Board, run: SyntheticRun, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the rows of an entry, and every hash with them, as a careful forger would."""
    folder = board.entry(run)
    rows = publishable(change(read_rows(folder / "rows.parquet")))
    (folder / "rows.parquet").write_bytes(encode(rows))
    again = read_rows(folder / "rows.parquet")

    def tell(record: dict[str, Any]) -> None:
        told = {"file_sha256": sha256_file(folder / "rows.parquet"), "rows_sha256": rows_sha256(again)}
        record["rows"] |= {**told, "count": len(again)}

    edit_json(folder / "submission.json", tell)


def better(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(value=rows["value"].where(rows["corruption"] != "camera_roll", rows["value"] / 2))


def set_column(name: str, value: object) -> Callable[[pd.DataFrame], pd.DataFrame]:
    return lambda rows: rows.assign(**{name: value})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (better, "corrupted: is not what the rows say; got "),
        (lambda rows: rows[rows["status"] == "ok"], "Rows are missing"),
        (lambda rows: rows[rows["corruption"] != "camera_roll"], "claim the same pictures"),
        (lambda rows: rows[rows["subject_id"] != "p001"], "not of all samples"),
        (lambda rows: rows[rows["severity"] != 0], "no clean picture"),
        (set_column("model", "pifu"), "another 'model'"),
        (set_column("track", "image-only"), "another 'track'"),
        (set_column("mask_source", "predicted:u2net"), "masks do not belong to the track"),
        (set_column("run_id", "toy@00000000-00000000-00000000"), "another 'run_id'"),
        (set_column("dataset_revision", "ab" * 32), "another 'dataset_revision'"),
        (set_column("metric_version", "0"), "'metric_version' of 'chamfer_cm'"),
        (set_column("n_points", 10.0), "'n_points' of 'chamfer_cm'"),
        (lambda rows: rows.assign(failure_value=None), "without a declared penalty"),
        (lambda rows: rows.assign(metric="rmse_cm"), "does not know the metric 'rmse_cm'"),
        (set_column("corruption_version", None), "version of 'camera_roll' is not known"),
    ],
)
def test_forged_rows_do_not_fit_together(
    place: Place, change: Callable[[pd.DataFrame], pd.DataFrame], match: str
) -> None:
    board, run = place
    forge(board, run, change)
    assert match in "\n".join(map(str, mismatches(board)))


def test_changed_rows_do_not_have_their_hash(place: Place) -> None:
    board, run = place
    path = board.entry(run) / "rows.parquet"
    path.write_bytes(encode(publishable(better(read_rows(path)))))
    found = mismatches(board)
    assert "another file than its record says" in found[0].message
    # What cannot be read makes no line, and what another entry says is still compared.
    assert len(found) == 1
    main = board.folder / "main.csv"
    main.write_text(main.read_text().replace(board.line("other")["clean"], "0.1"))
    assert {f.column for f in mismatches(board)} >= {"clean"}


def replaced(*keys: str, by: object) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        inner = record
        for key in keys[:-1]:
            inner = inner[key]
        inner[keys[-1]] = by

    return change


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (replaced("submission", "licence", by="do what you want"), "licence is not understood"),
        (replaced("submission", "licence", by="apache-2.0"), "canonical"),
        (replaced("submission", "licence", by="MIT"), "licence: is not what the rows say; got Apache-2.0"),
        (replaced("submission", "code_url", by="javascript:alert(1)"), "'code_url' is no link"),
        (replaced("submission", "verified", by="yes"), "'verified'"),
        (replaced("submission", "more", by="x"), "submission is damaged"),
        (replaced("schema_version", by=2), "another schema"),
        (replaced("run_id", by="toy@00000000-00000000-00000000"), "does not hash to its own id"),
        (replaced("run", "threads", by=3), "does not hash to its own id"),
        (replaced("run", "protocol", "metrics", by=[]), "does not hash to its own id"),
        (replaced("run", "track", by="image-only"), "lies on another board"),
        (replaced("run", "track", by="../.."), "no such track"),
        (replaced("run", "model", by="../../toy"), "does not hash"),
        (replaced("run", "recipe", "name", by="/srv/me/recipe"), "path of a machine"),
        (replaced("run", "parameters", by=-1), "another type"),
        (replaced("run", "parameters", by=5_000_000), "params_m"),
        (replaced("run", "row_schema", by=99), "another schema"),
        (replaced("rows", "rows_sha256", by="ab" * 32), "other things than its record"),
        (replaced("rows", "count", by=3), "another number of rows"),
        (replaced("rows", "url", by="https://example.org"), "lines of the record are damaged"),
        (replaced("reference", by=None), "rce: is not what the rows say"),
        (replaced("reference", "rows_sha256", by="ab" * 32), "reference of toy@"),
        (replaced("unknown", by=1), "unknown field"),
        (replaced("lines", by={}), "lines of the record are damaged"),
    ],
)
def test_an_edited_record_is_found(place: Place, change: Callable[[dict[str, Any]], None], match: str) -> None:
    board, run = place
    edit_json(board.entry(run) / "submission.json", change)
    assert match in "\n".join(map(str, mismatches(board)))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "record is damaged"),
        (b"\xff\xfe", "no JSON"),
        (b'{"schema_version": 1}', "record is damaged"),
        (b'{"schema_version": 1' + b"0" * 5000 + b"}", "no JSON"),
    ],
)
def test_a_record_that_is_none(place: Place, data: bytes, match: str) -> None:
    board, run = place
    (board.entry(run) / "submission.json").write_bytes(data)
    assert match in "\n".join(map(str, mismatches(board)))


def as_dictionary(rows: pa.Table, text: str) -> pa.Table:
    at = rows.column_names.index("message")
    return rows.set_column(at, "message", pa.array([text] * len(rows)).dictionary_encode())


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda table: table.drop_columns("status"), "columns of the row schema"),
        (lambda table: table.append_column("more", pa.array([1] * len(table))), "columns of the row schema"),
        (lambda table: table.set_column(5, "severity", pa.array(["1"] * len(table))), "columns of the row schema"),
        (lambda table: table.replace_schema_metadata({"schema_version": "99"}), "another row schema"),
        (lambda table: table.replace_schema_metadata({}), "another row schema"),
        (lambda table: table.slice(0, 0), "too many rows, or none"),
        (lambda table: as_dictionary(table, "x" * 20_000_000), "too long"),
    ],
)
def test_rows_that_nothing_of_ours_wrote(place: Place, make: Callable[[pa.Table], pa.Table], match: str) -> None:
    board, run = place
    path = board.entry(run) / "rows.parquet"
    table = pq.read_table(path)
    pq.write_table(make(table), path, compression="zstd")
    edit_json(board.entry(run) / "submission.json", replaced("rows", "file_sha256", by=sha256_file(path)))
    assert match in "\n".join(map(str, mismatches(board)))


def test_rows_that_are_no_parquet(place: Place) -> None:
    board, run = place
    path = board.entry(run) / "rows.parquet"
    path.write_bytes(b"PAR1 and nothing more")
    edit_json(board.entry(run) / "submission.json", replaced("rows", "file_sha256", by=sha256_file(path)))
    assert "is damaged" in mismatches(board)[0].message


def test_more_rows_than_an_entry_may_have_are_not_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = place
    monkeypatch.setattr("robench.leaderboard.stored_rows.MOST_ROWS", 3)
    assert "too many rows" in mismatches(board)[0].message
    monkeypatch.setattr("robench.leaderboard.stored_rows.MOST_BYTES", 100)
    assert "too large" in mismatches(board)[0].message


@pytest.mark.parametrize(
    "name",
    [
        "notes.txt",
        "given-mask/synthetic-people/site.html",
        "given-mask/synthetic-people/rows/toy@1/submission.json",
        "given-mask/synthetic-people/rows/toy@00000000-00000000-00000000/x.py",
        "all-inputs/synthetic-people/main.csv",
        "given-mask/.hidden/main.csv",
    ],
)
def test_what_does_not_belong_is_named(place: Place, name: str) -> None:
    board, _ = place
    (board.root / name).parent.mkdir(parents=True, exist_ok=True)
    (board.root / name).write_text("x")
    found = mismatches(board)
    assert any(name.startswith(f.path) for f in found), found


def test_links_are_named_and_not_followed(place: Place, tmp_path: Path) -> None:
    board, run = place
    outside = tmp_path / "outside.json"
    shutil.move(board.entry(run) / "submission.json", outside)
    (board.entry(run) / "submission.json").symlink_to(outside)
    (board.root / "image-only").symlink_to(tmp_path)
    text = "\n".join(map(str, mismatches(board)))
    assert "submission.json is a link" in text
    assert "mismatch image-only: is a link" in text
    assert verify(board.root).boards == 1


def test_an_entry_without_lines_is_found(place: Place) -> None:
    board, run = place
    for name in ("main.csv", "per_corruption.csv"):
        path = board.folder / name
        kept = [line for line in path.read_text().splitlines(keepends=True) if run.run_id not in line]
        path.write_text("".join(kept))
    found = mismatches(board)
    assert {f.message for f in found} == {"the line is missing"}
    assert len(found) == 1 + 5


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: "# no head\n", "no head"),
        (lambda text: text.replace("track: given-mask", "track: image-only"), "another track"),
        (lambda text: text.replace("schema_version: 1", "schema_version: 7"), "not understood"),
        (lambda text: text.replace("  - revision: ", "  - revision: ab"), "does not take runs on these data"),
        (lambda text: text.replace("subjects: 4", "subjects: many"), "damaged"),
        (lambda text: text.replace("licence:", "license:"), "unknown key"),
        (lambda text: text.replace("licence: ", "licence: &a [*a, "), "damaged"),
    ],
)
def test_a_card_that_declares_something_else(place: Place, change: Callable[[str], str], match: str) -> None:
    board, _ = place
    card = board.folder / "CARD.md"
    card.write_text(change(card.read_text()))
    assert match in "\n".join(map(str, mismatches(board)))


def test_a_missing_card_or_table_is_named(place: Place) -> None:
    board, _ = place
    (board.folder / "CARD.md").unlink()
    (board.folder / "main.csv").unlink()
    found = mismatches(board)
    assert [f.path.rpartition("/")[2] for f in found] == ["CARD.md", "main.csv"]


def test_older_metrics_and_corruptions_are_stale_and_sound(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    board, _ = place
    now = {"chamfer_cm": "2", "fog_3d": "3", "camera_roll": "1"}
    monkeypatch.setattr(stale, "installed_version", lambda kind, name: now.get(name))
    verdict = verify(board.root)
    assert verdict.sound
    assert [f.kind for f in verdict.findings] == ["stale", "stale"]
    assert verdict.findings[0].message.endswith("chamfer_cm 1, now 2, fog_3d 1, now 3")
    assert stale.is_stale("chamfer_cm", "1")
    assert not stale.is_stale("unknown_metric", "1")


def test_nothing_that_a_stranger_wrote_is_obeyed_in_a_message(place: Place) -> None:
    board, run = place
    main = board.folder / "main.csv"
    main.write_text(main.read_text().replace(f",{run.run_id},", ",\x1b[31mred\u202e,"))
    for finding in verify(board.root).findings:
        assert "\x1b" not in str(finding)
        assert "\u202e" not in str(finding)
    assert json.dumps([f.to_json() for f in mismatches(board)])


def test_a_table_that_is_all_wrong_is_not_told_a_million_times(place: Place) -> None:
    board, _ = place
    path = board.folder / "per_corruption.csv"
    head, *lines = path.read_text().splitlines(keepends=True)
    path.write_text(head + "".join(lines[0].replace(",clean,", f",c{i},") for i in range(1000)))
    found = mismatches(board)
    assert len(found) == 201
    assert "more differences" in found[-1].message


def linked(board: Board, tmp_path: Path) -> tuple[SyntheticRun, Path]:
    run, out = board.run("far"), tmp_path / "far.parquet"
    board.publish(run, rows_url="https://example.org/far.parquet", rows_out=out)
    return run, out


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda lines: lines["main.csv"][0].__setitem__(names(MAIN_COLUMNS).index("cset_id"), "x" * 64), "cset_id"),
        (lambda lines: lines["main.csv"][0].pop(), "other columns"),
        (lambda lines: lines["main.csv"][0].__setitem__(CLEAN, "=1+1"), "another 'clean'"),
        (
            lambda lines: lines["main.csv"][0].__setitem__(names(MAIN_COLUMNS).index("recipe_sha"), "=cmd()"),
            "another 'recipe_sha'",
        ),
        (lambda lines: lines["main.csv"][0].__setitem__(CLEAN, "nan"), "another 'clean'"),
        (lambda lines: lines["main.csv"][0].__setitem__(CLEAN, "0.1"), "clean: is not what the rows say"),
        (lambda lines: lines.pop("main.csv"), "no lines of its own"),
    ],
)
def test_recorded_lines_are_held_to_their_record(
    place: Place, tmp_path: Path, change: Callable[[Any], object], match: str
) -> None:
    board, _ = place
    run, _ = linked(board, tmp_path)

    def tell(record: dict[str, Any]) -> None:
        change(record["lines"])

    edit_json(board.entry(run) / "submission.json", tell)
    assert match in "\n".join(map(str, mismatches(board)))


def test_recorded_lines_are_compared_with_rows_that_are_brought(place: Place, tmp_path: Path) -> None:
    board, _ = place
    run, out = linked(board, tmp_path)
    edit_json(board.entry(run) / "submission.json", lambda r: r["lines"]["main.csv"][0].__setitem__(CLEAN, "0.1"))
    assert "its lines are not what its rows say" in "\n".join(map(str, verify(board.root, [out]).findings))
