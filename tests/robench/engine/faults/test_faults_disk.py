"""A disk that is full, read-only or damaged: the run stops cleanly, and the same command goes on with what is there."""

from __future__ import annotations

import errno
import json
import os
import resource
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from fault_harness import assert_same, assert_tidy, run_folder, science

from robench.engine import journal
from robench.engine import run_folder as folders
from robench.engine.evaluate import evaluate
from robench.engine.rows import FAILED
from robench.errors import EnvironmentNotReady, Mismatch


class Full:
    """A disk that is full from the n-th write on, after half of that."""

    def __init__(self, after: int) -> None:
        self.left = after

    def spent(self) -> bool:
        self.left -= 1
        return self.left < 0

    def refuse(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def file(self, handle):
        """Return a file whose writes go wrong."""
        real = handle.write

        class Handle:
            def __getattr__(_, name):
                return getattr(handle, name)

            def __enter__(_):
                return _

            def __exit__(_, *error):
                handle.close()

            def write(_, data):
                if self.spent():
                    real(data[: len(data) // 2])
                    handle.flush()
                    self.refuse()
                return real(data)

        return Handle()


def fill_journal(monkeypatch, after: int) -> None:
    disk, real = Full(after), journal.Journal.__init__

    def init(self, *args, **kwargs):
        real(self, *args, **kwargs)
        self._handle = disk.file(self._handle)

    monkeypatch.setattr(journal.Journal, "__init__", init)


def fill_events(monkeypatch, after: int) -> None:
    disk = Full(after)
    monkeypatch.setattr(folders, "open", lambda *a: disk.file(open(*a)), raising=False)  # noqa: SIM115


def fill_parts(monkeypatch, after: int) -> None:
    disk, real = Full(after), pq.ParquetWriter.write_table

    def write(self, *args, **kwargs):
        real(self, *args, **kwargs)
        if disk.spent():
            disk.refuse()

    monkeypatch.setattr(pq.ParquetWriter, "write_table", write)


def fill_files(monkeypatch, after: int) -> None:
    """``run.json``, pictures, masks and meshes."""
    disk, real = Full(after), Path.write_bytes

    def write(self, data):
        if disk.spent():
            real(self, data[: len(data) // 2])
            disk.refuse()
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", write)


def fill_renames(monkeypatch, after: int) -> None:
    """A file system may say only at the end, when data are flushed, that they had no room."""
    disk, real = Full(after), os.fsync

    def fsync(handle):
        if disk.spent():
            disk.refuse()
        return real(handle)

    monkeypatch.setattr(os, "fsync", fsync)


PLACES = {
    "journal": (fill_journal, (0, 7)),
    "events": (fill_events, (0, 1, 2)),
    "rows": (fill_parts, (0,)),
    "files": (fill_files, (0, 1, 9)),
    "flush": (fill_renames, (0, 2, 4)),
}


@pytest.mark.parametrize(("place", "after"), [(place, n) for place, (_, counts) in PLACES.items() for n in counts])
def test_a_full_disk_stops_the_run_and_a_freed_one_goes_on(toy_options, tmp_path: Path, place: str, after: int) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean", keep="all"))
    with pytest.MonkeyPatch.context() as patch:
        PLACES[place][0](patch, after)
        with pytest.raises(EnvironmentNotReady, match="disk is full"):
            evaluate(toy_options(keep="all"))
    result = evaluate(toy_options(keep="all"))
    assert_same(result.folder, clean.folder)
    assert_tidy(result.folder)
    for line in (result.folder / "events.jsonl").read_text().splitlines():
        json.loads(line)
    kept = (
        {p.relative_to(run.folder) for d in ("examples", "meshes") for p in (run.folder / d).rglob("*")}
        for run in (clean, result)
    )
    assert next(kept) == next(kept)


@pytest.mark.parametrize("options", [[], ["-j", "1"], ["--workers", "2"]], ids=["alone", "crew", "workers"])
def test_a_file_that_may_not_grow_stops_the_run(
    commands, toy_command, toy_options, tmp_path: Path, options: list[str]
) -> None:
    """The real thing, by the operating system, in whichever process writes."""
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    head = commands.start(*toy_command, *options, TOY_MS="30")
    resource.prlimit(head.pid, resource.RLIMIT_FSIZE, (14_000, 14_000))
    done = commands.done(head)
    assert done.code == 7, done
    assert "part-000" in done.err
    assert "file too large" in done.err
    assert commands.leftover(5.0) == {}
    result = evaluate(toy_options())
    assert 0 < result.made < 15, "what was stored before is kept"
    assert_same(result.folder, clean.folder)
    assert_tidy(result.folder)


def test_a_read_only_disk(toy_options, monkeypatch) -> None:
    def refuse(self, *args, **kwargs):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(Path, "mkdir", refuse)
        with pytest.raises(EnvironmentNotReady, match="read-only file system"):
            evaluate(toy_options())
    assert evaluate(toy_options()).made == 15


def test_a_crew_that_may_not_write_stops_the_run(commands, toy_command, toy_options) -> None:
    run = evaluate(toy_options(limit=1)).folder
    for part in (run / "rows").iterdir():
        part.unlink()
    (run / "examples").write_text("in the way")
    command = [*toy_command, "--limit", "1", "--keep-meshes", "all", "-j", "1"]
    done = commands.run(*command)
    assert done.code == 2
    assert "examples" in done.err
    (run / "examples").unlink()
    evaluate(toy_options(limit=1, keep="all"))
    assert len(list((run / "meshes").rglob("*.ply.gz"))) == 5


def test_inputs_that_break_while_the_run_reads_them(
    commands, toy_command, toy_options, people: Path, tmp_path: Path
) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    whole = {path: path.read_bytes() for path in (people / "images/s2_0.png", people / "meshes/s1_0.ply")}
    made = commands.count("calls")
    head = commands.start(*toy_command, TOY_MS="60")
    while commands.count("calls") < made + 1:
        assert head.poll() is None
        time.sleep(0.005)
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
    done = commands.done(head)
    assert done.code == 0, done
    run = run_folder(tmp_path / "runs")
    rows, theirs = science(run), science(clean.folder)
    heights = rows[rows["metric"] == "toy_height_cm"]
    assert heights.groupby("sample_id")["status"].agg(set).to_dict() == {
        "s0_0": {"ok"},
        "s1_0": {"failed"},
        "s2_0": {"failed"},
    }
    well = rows["sample_id"] == "s0_0"
    assert rows[well].equals(theirs[well])
    for path, data in whole.items():
        path.write_bytes(data)
    assert evaluate(toy_options(redo=("failed",))).made == 10
    assert_same(run, clean.folder)
    assert_tidy(run)


def torn_part(run: Path) -> None:
    path = run / "rows" / "part-0000.parquet"
    path.write_bytes(path.read_bytes()[:-100])


def empty_part(run: Path) -> None:
    (run / "rows" / "part-0000.parquet").write_bytes(b"")


def strange_part(run: Path) -> None:
    path = run / "rows" / "part-0000.parquet"
    table = pq.read_table(path)
    pq.write_table(
        table.set_column(table.schema.get_field_index("sample_id"), "sample_id", [["who"] * len(table)]), path
    )


def part_of_another_name(run: Path) -> None:
    (run / "rows" / "part-0000.parquet").rename(run / "rows" / "part-0000 (copy).parquet")


def torn_run_json(run: Path) -> None:
    path = run / "run.json"
    path.write_bytes(path.read_bytes()[:200])


def empty_run_json(run: Path) -> None:
    (run / "run.json").write_bytes(b"")


def list_run_json(run: Path) -> None:
    (run / "run.json").write_bytes(b"[1]")


def damaged_journal(run: Path) -> None:
    (run / "rows" / "part-0001.wip.jsonl").write_bytes(b'[{"half\n[]\n')


def strange_journal(run: Path) -> None:
    (run / "rows" / "part-0001.wip.jsonl").write_bytes(b'[{"half": 1}]\n{"a": 2}\n')


DAMAGES = (
    torn_part,
    empty_part,
    strange_part,
    part_of_another_name,
    torn_run_json,
    empty_run_json,
    list_run_json,
    damaged_journal,
    strange_journal,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_damage_is_told_and_fresh_starts_over(toy_options, tmp_path: Path, damage) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    run = evaluate(toy_options()).folder
    damage(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "events.jsonl"}
    with pytest.raises(Mismatch, match="--fresh"):
        evaluate(toy_options())
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.name != "events.jsonl"}
    assert before == after, "nothing is lost that a human might mend"
    result = evaluate(toy_options(fresh=True))
    assert result.made == 15
    assert_same(result.folder, clean.folder)
    assert_tidy(result.folder)


def test_a_half_written_event_is_cut_off(toy_options) -> None:
    run = evaluate(toy_options(limit=1)).folder
    with open(run / "events.jsonl", "ab") as handle:
        handle.write(b'{"time": "2')
    evaluate(toy_options(limit=1))
    events = [json.loads(line)["event"] for line in (run / "events.jsonl").read_text().splitlines()]
    assert events == ["started", "shard", "finished", "started", "finished"]


@pytest.mark.parametrize("statuses", [{"failed"}, FAILED])
def test_redo_of_every_cell(toy_options, faults, tmp_path: Path, statuses) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    faults(s0_0=("raises", -1), s1_0=("raises", -1), s2_0=("raises", -1))
    assert evaluate(toy_options()).failed == 15
    faults()
    result = evaluate(toy_options(redo=tuple(statuses)))
    assert (result.made, result.failed) == (15, 0)
    assert_same(result.folder, clean.folder)
    assert_tidy(result.folder)
