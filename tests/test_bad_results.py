"""Runs that somebody damaged, edited, mixed up or made up, under every verb that reads runs.

Each case ends in one clear sentence on stderr and the right exit code, or in honest numbers; never in a traceback, and
a command that refuses has written nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import robench
from robench import cli
from robench.errors import RobenchError

sys.path.insert(0, str(Path(__file__).parent / "robench"))
from synthetic_runs import SyntheticRun, write_run  # lies beside the tests of the package

VERBS = ("report", "compare", "gate", "status", "load")
LOOKING = ("compare", "status", "load")  # enough where a number cannot change
POLICY = "version: 1\nprimary: {metric: chamfer_cm, margin: 3%}\nmin_subjects: 2\nresamples: 100\n"
OK, USAGE, REGRESSION, APART, DAMAGED = 0, 2, 4, 6, 8
SMALL: dict[str, Any] = {
    "subjects": 4,
    "severities": (1, 3),
    "metrics": ("chamfer_cm", "fscore_1cm", "mask_iou"),
}


class Place(NamedTuple):
    """A sound base, and a candidate of the same model's next checkpoint that a fault may spoil."""

    base: SyntheticRun
    cand: SyntheticRun
    policy: Path
    out: Path


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> list[SyntheticRun]:
    folder = tmp_path_factory.mktemp("sound")
    return [write_run(folder, "toy", **SMALL), write_run(folder, "toy", checkpoint="next", **SMALL)]


@pytest.fixture
def place(sound: list[SyntheticRun], tmp_path: Path) -> Place:
    folder = tmp_path / "runs"
    shutil.copytree(sound[0].folder.parent, folder)
    (tmp_path / "gate.yaml").write_text(POLICY)
    base, cand = (replace(one, folder=folder / one.run_id) for one in sound)
    return Place(base, cand, tmp_path / "gate.yaml", tmp_path / "out")


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Act = Callable[..., Done]


@pytest.fixture
def act(place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Act:
    """Run a verb on the candidate (or another path), as a user does."""
    before = signal.getsignal(signal.SIGTERM)

    def run(verb: str, cand: Path | None = None, *more: object, base: Path = place.base.folder) -> Done:
        path = str(cand if cand is not None else place.cand.folder)
        if verb == "load":
            try:
                robench.load(path)
            except RobenchError as error:
                return Done(int(error.exit_code), "", str(error))
            return Done(0, "", "")
        words: list[object] = {
            "report": ["report", path, "--format", "md,csv", "--out", place.out, "--resamples", "100"],
            "compare": ["compare", base, path, "--format", "md,json,junit", "--out", place.out],
            "gate": ["gate", base, path, "--policy", place.policy, "--format", "json", "--out", place.out],
            "status": ["status", path],
            "publish": ["publish", path, "--to", place.out, "--reference", "none"],
        }[verb]
        words += {"report": ["--no-plots"], "compare": ["--resamples", "100"]}.get(verb, [])
        monkeypatch.setattr(sys, "argv", ["robench", *map(str, [*words, *more])])
        capfd.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        return Done(int(caught.value.code or 0), *capfd.readouterr())

    return run


def check(done: Done, code: int, words: str, place: Place) -> None:
    """Check the end of a command: its code, one sentence, nothing written half."""
    said = done.out + done.err
    assert "Traceback" not in said
    assert "bug in robench" not in said
    assert done.code == code, said
    if code in (USAGE, APART, DAMAGED):
        lines = done.err.strip().splitlines()
        assert len(lines) == 1, done.err
        assert len(done.err) < 1500, "a sentence, not a file"
        assert words in done.err
        assert not place.out.exists()
    assert "\x1b" not in said
    assert not [path for path in place.out.parent.rglob(".tmp-*")]


# --- Ways to spoil a run. Each changes the candidate's folder. ---


def table_of(run: SyntheticRun) -> pd.DataFrame:
    return pd.read_parquet(run.rows)


def save(run: SyntheticRun, rows: pd.DataFrame) -> None:
    """Save rows as somebody with pandas does, who forgets the version in the metadata."""
    rows.to_parquet(run.rows)


def edit(**columns: Any) -> Callable[[SyntheticRun], None]:
    """Set columns of the third row (an ``ok`` of chamfer_cm or so) to values, whatever their types become."""

    def spoil(run: SyntheticRun) -> None:
        table = pq.read_table(run.rows)
        for name, value in columns.items():
            column = table[name].to_pylist()
            column[2] = value
            kind = pa.array([value]).type if value is not None else table[name].type
            if kind != table[name].type and not (pa.types.is_integer(kind) and pa.types.is_floating(table[name].type)):
                column = [
                    one if isinstance(one, type(value)) else type(value)([one] if isinstance(value, list) else one)
                    for one in column
                ]
            table = table.set_column(table.column_names.index(name), name, pa.array(column))
        pq.write_table(table, run.rows)

    return spoil


def about(**facts: Any) -> Callable[[SyntheticRun], None]:
    """Set facts of ``run.json``."""

    def spoil(run: SyntheticRun) -> None:
        path = run.folder / "run.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))

    return spoil


def text(content: str | bytes, name: str = "run.json") -> Callable[[SyntheticRun], None]:
    """Replace a file."""
    data = content if isinstance(content, bytes) else content.encode()
    return lambda run: void((run.folder / name).write_bytes(data))


def void(_: object) -> None:
    pass


def cut(run: SyntheticRun) -> None:
    run.rows.write_bytes(run.rows.read_bytes()[:-100])


def flip(run: SyntheticRun) -> None:
    data = bytearray(run.rows.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 64] = os.urandom(64)
    data[4:68] = bytes(64)
    run.rows.write_bytes(bytes(data))


def folder_of_that_name(run: SyntheticRun) -> None:
    run.rows.unlink()
    run.rows.mkdir()


def pipe(run: SyntheticRun) -> None:
    run.rows.unlink()
    os.mkfifo(run.rows)


def pipes_of_journal_and_facts(run: SyntheticRun) -> None:
    os.mkfifo(run.rows.with_name("part-0001.wip.jsonl"))


def no_rows(run: SyntheticRun) -> None:
    run.rows.unlink()


def no_rows_folder(run: SyntheticRun) -> None:
    shutil.rmtree(run.folder / "rows")


def without(*columns: str) -> Callable[[SyntheticRun], None]:
    return lambda run: save(run, table_of(run).drop(columns=list(columns)))


def a_row_twice(run: SyntheticRun) -> None:
    rows = table_of(run)
    save(run, pd.concat([rows, rows.iloc[[2]]], ignore_index=True))


def two_answers(run: SyntheticRun) -> None:
    rows = table_of(run)
    save(run, pd.concat([rows, rows.iloc[[2]].assign(value=rows["value"].iloc[2] / 2)], ignore_index=True))


def rows_of_another_run(run: SyntheticRun) -> None:
    rows = table_of(run)
    save(run, pd.concat([rows, rows.assign(run_id="another@1")], ignore_index=True))


def newer_part(run: SyntheticRun) -> None:
    pq.write_table(pq.read_table(run.rows).replace_schema_metadata({"schema_version": "7"}), run.rows)


def nonsense_version(run: SyntheticRun) -> None:
    pq.write_table(pq.read_table(run.rows).replace_schema_metadata({"schema_version": "new\x1b[31m"}), run.rows)


class Fault(NamedTuple):
    """How to spoil the candidate, what is said, the exit code (and that of status), and the verbs that are tried."""

    spoil: Callable[[SyntheticRun], None]
    words: str
    code: int
    status: int = DAMAGED
    verbs: tuple[str, ...] = VERBS

    def of(self, verb: str) -> int:
        return self.status if verb == "status" else self.code


FAULTS = {
    # The folder.
    "rows/ is gone": Fault(no_rows_folder, "no folder 'rows'", USAGE, OK),
    "rows/ is empty": Fault(no_rows, "has no finished rows yet", USAGE, OK),
    "a part is a folder": Fault(folder_of_that_name, "part-0000.parquet' is damaged", DAMAGED),
    "a part is a pipe": Fault(pipe, "part-0000.parquet' is damaged; got no regular file", DAMAGED),
    "a journal is a pipe": Fault(pipes_of_journal_and_facts, "is damaged", DAMAGED, OK),
    # run.json.
    "run.json is cut": Fault(text('{"state": "comp'), "run.json' is damaged", DAMAGED),
    "run.json is empty": Fault(text(""), "run.json' is damaged", DAMAGED),
    "run.json is a list": Fault(text("[]"), "run.json' is damaged; got list", DAMAGED),
    "run.json is binary": Fault(text(b"\xff\xfe\x00"), "run.json' is damaged", DAMAGED),
    "run.json is deep": Fault(text("[" * 99_999), "run.json' is damaged", DAMAGED),
    "run.json is of version 7": Fault(about(schema_version=7), "schema version 7", APART, APART),
    "run.json is of version x": Fault(about(schema_version="x"), "schema version 'x'", DAMAGED),
    "run.json is of version 1.5": Fault(about(schema_version=1.5), "schema version '1.5'", DAMAGED),
    "run.json has nonsense": Fault(
        about(dataset=3, recipe=["x"], protocol="?", cards=None, device=[1], options=7, versions=[]), "", OK
    ),
    "run.json lacks counts": Fault(about(dataset={}, recipe={}, options="x"), "", OK, verbs=LOOKING),
    "run.json has odd counts": Fault(
        about(dataset={"samples": "many"}, recipe={"conditions": 5}), "", OK, verbs=LOOKING
    ),
    "events are others'": Fault(text('[1]\n"x"\n{"event": "started"}\n{"eve', "events.jsonl"), "", OK, OK, LOOKING),
    "events are damaged": Fault(text("x\ny\n", "events.jsonl"), "", OK, verbs=LOOKING),
    # Parts.
    "a part is empty": Fault(text(b"", "rows/part-0000.parquet"), "part-0000.parquet' is damaged", DAMAGED),
    "a part is a page": Fault(text("<html>", "rows/part-0000.parquet"), "part-0000.parquet' is damaged", DAMAGED),
    "a part is cut": Fault(cut, "part-0000.parquet' is damaged", DAMAGED),
    "a part is of version 7": Fault(newer_part, "schema version 7", APART, APART),
    "a part is of a nonsense version": Fault(nonsense_version, "part-0000.parquet' is damaged", DAMAGED),
    "no column value": Fault(without("value"), "no column value", DAMAGED, OK),
    "no column status": Fault(without("status"), "no column status", DAMAGED),
    "no column dataset": Fault(without("dataset"), "no column dataset", DAMAGED, OK),
    # Values.
    "value is text": Fault(edit(value="1.5"), "column 'value' of type string", DAMAGED, OK),
    "value is a list": Fault(edit(value=[1.0]), "column 'value' of type list", DAMAGED, OK),
    "value is NaN": Fault(edit(value=float("nan")), "'ok' with the value nan", DAMAGED, OK),
    "value is missing": Fault(edit(value=None), "'ok' with the value nan", DAMAGED, OK),
    "value is infinite": Fault(edit(value=float("inf")), "'ok' with the value inf", DAMAGED, OK),
    "a length is negative": Fault(edit(value=-0.5, unit="cm", direction="lower"), "the length -0.5 cm", DAMAGED, OK),
    "a penalty is infinite": Fault(edit(failure_value=float("inf")), "the penalty inf", DAMAGED, OK),
    "status is nonsense": Fault(edit(status="fine"), "fine", DAMAGED),
    "status is missing": Fault(edit(status=None), "damaged", DAMAGED),
    "direction is nonsense": Fault(edit(direction="up"), "the direction 'up'", DAMAGED, OK),
    "severity is 99": Fault(edit(severity=99), "severity 99", DAMAGED, OK),
    "severity is -1": Fault(edit(severity=-1), "severity -1", DAMAGED, OK),
    "severity is 1.5": Fault(edit(severity=1.5), "severity", DAMAGED),
    "severity is missing": Fault(edit(severity=None), "damaged", DAMAGED),
    "a corruption at severity 0": Fault(edit(severity=0, corruption="fog_3d"), "severity 0", DAMAGED, OK),
    "run_id is missing": Fault(edit(run_id=None), "'run_id' is not always a text", DAMAGED, OK),
    "subject_id is a number": Fault(
        lambda run: save(run, table_of(run).assign(subject_id=1)), "'subject_id'", DAMAGED, OK
    ),
    "a text of 10 MB": Fault(edit(message="x" * 10**7), "more than 10000 characters", DAMAGED),
    "a name of 10 MB": Fault(edit(corruption="x" * 10**7), "more than 10000 characters", DAMAGED),
    "a row twice": Fault(a_row_twice, "", OK, OK),
    "two answers": Fault(two_answers, "differ", DAMAGED, OK),
    "rows of two runs": Fault(rows_of_another_run, "of several runs", DAMAGED, OK),
}


@pytest.mark.parametrize(("verb", "fault"), [(verb, name) for name, fault in FAULTS.items() for verb in fault.verbs])
def test_a_spoilt_run(place: Place, act: Act, verb: str, fault: str) -> None:
    spoilt = FAULTS[fault]
    spoilt.spoil(place.cand)
    before = sorted(place.cand.folder.rglob("*"))
    check(act(verb), spoilt.of(verb), spoilt.words if verb != "status" else "", place)
    assert sorted(place.cand.folder.rglob("*")) == before


# --- Runs that are sound, each for itself, but odd or not of one kind. ---


def other(place: Place, **how: Any) -> Path:
    """Write a candidate of another kind."""
    return write_run(place.cand.folder.parent, "toy", **{**SMALL, "checkpoint": "odd", **how}).folder


def edited(place: Place, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    save(place.cand, change(table_of(place.cand)))
    return place.cand.folder


def lost(rows: pd.DataFrame, penalty: float) -> pd.DataFrame:
    """Return rows that all failed."""
    failed = {"value": np.nan, "status": "failed", "message": "the network saw nobody", "failure_value": penalty}
    return rows.assign(**failed)


class Odd(NamedTuple):
    """How to write a candidate, the code of each verb, and what each of them says (or must have written)."""

    make: Callable[[Place], Path]
    report: int | None
    compare: int
    gate: int
    words: str = ""


ODD = {
    "another data set": Odd(lambda p: other(p, dataset="others"), None, APART, APART, "'dataset' differs"),
    "other pictures": Odd(lambda p: other(p, severities=(2, 4)), None, APART, APART, "'cset_id' differs"),
    "another metric version": Odd(
        lambda p: other(p, columns={"metric_version": "2"}), None, APART, APART, "'metric_version' of metric"
    ),
    "other points": Odd(lambda p: other(p, columns={"n_points": 99}), None, APART, APART, "'n_points' of metric"),
    "another masker": Odd(lambda p: other(p, masker="u2netp"), None, APART, APART, "'masker' differs"),
    "another metric": Odd(lambda p: other(p, metrics=("p2s_pred_to_gt_cm",)), None, APART, USAGE, "metric"),
    "fewer subjects": Odd(lambda p: other(p, subjects=3), None, APART, APART, "Too few cells of 'chamfer_cm'"),
    "fewer cells": Odd(
        lambda p: edited(p, lambda rows: rows[(rows["severity"] != 3) | (rows["subject_id"] != "p001")]),
        OK,
        APART,
        APART,
        "Too few cells of 'chamfer_cm' are in both runs; got 25 of 28",
    ),
    "no clean cells": Odd(
        lambda p: edited(p, lambda rows: rows[rows["severity"] > 0]), OK, APART, APART, "Too few cells"
    ),
    "clean cells alone": Odd(lambda p: edited(p, lambda rows: rows[rows["severity"] == 0]), OK, APART, APART, ""),
    "not finished": Odd(lambda p: other(p, state="running"), OK, OK, APART, "is not finished"),
    "partial": Odd(lambda p: other(p, partial=True), None, OK, APART, "is partial"),
    "all failed": Odd(lambda p: edited(p, lambda rows: lost(rows, 9.0)), OK, OK, REGRESSION),
    "all failed without a penalty": Odd(
        lambda p: edited(p, lambda rows: lost(rows, np.nan)), OK, OK, APART, "every cell of the candidate failed"
    ),
    "no error at all": Odd(
        lambda p: edited(p, lambda rows: rows.assign(value=0.0)), OK, OK, APART, "an error of the candidate is 0"
    ),
    "all skipped": Odd(
        lambda p: edited(p, lambda rows: rows.assign(value=np.nan, status="skipped")), USAGE, APART, APART, "no"
    ),
    "errors of 1e300": Odd(
        lambda p: edited(p, lambda rows: rows.assign(value=rows["value"] * 1e300)), OK, OK, REGRESSION
    ),
}


@pytest.mark.parametrize(
    ("verb", "odd"),
    [
        (verb, name)
        for name, case in ODD.items()
        for verb in ("report", "compare", "gate")
        if getattr(case, verb) is not None
    ],
)
def test_an_odd_run(place: Place, act: Act, verb: str, odd: str) -> None:
    case = ODD[odd]
    code = getattr(case, verb)
    check(act(verb, case.make(place)), code, case.words, place)
    if code in (OK, REGRESSION):
        assert [path.suffix for path in place.out.iterdir()], "it wrote what it was asked for"


@pytest.mark.parametrize("odd", ["another data set", "other pictures", "another metric version", "other points"])
def test_runs_of_different_protocols_stand_in_no_report(place: Place, act: Act, odd: str) -> None:
    done = act("report", ODD[odd].make(place), place.base.folder)
    check(done, APART, "These rows cannot stand in one table: ", place)


@pytest.mark.parametrize("option", ["--reference", "--aa", "--true-masks"])
@pytest.mark.parametrize("fault", ["a part is cut", "run.json is a list", "status is nonsense", "rows/ is gone"])
def test_other_runs_that_are_named_are_read_as_carefully(place: Place, act: Act, option: str, fault: str) -> None:
    FAULTS[fault].spoil(place.cand)
    check(act("compare", place.base.folder, option, place.cand.folder), FAULTS[fault].code, FAULTS[fault].words, place)


def test_one_subject_has_numbers_and_no_intervals(place: Place, act: Act) -> None:
    runs = place.out.parent / "lone"
    base, cand = (write_run(runs, "toy", checkpoint=name, **{**SMALL, "subjects": 1}).folder for name in "ab")
    check(act("report", cand), OK, "", place)
    table = pd.read_csv(place.out / "degradation.csv").query("metric == 'chamfer_cm'").set_index("corruption")
    assert table.loc["camera_roll", "ratio"] == pytest.approx(2.0)
    assert table[["lo", "hi", "delta_lo", "ratio_lo"]].isna().all(axis=None)
    for verb in ("compare", "gate"):
        check(act(verb, cand, base=base), OK, "", place)
        found = json.loads((place.out / f"{verb}.json").read_text())
        line = found["lines"][0]
        assert (line["effect"], line["lo"], line["hi"]) == (0.0, None, None)
    assert found["verdict"] == "inconclusive", "one subject shows nothing"


@pytest.mark.parametrize(
    ("path", "words"), [("nowhere", "no such folder"), ("gate.yaml", "a file"), ("runs", "no folder")]
)
@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_run(place: Place, act: Act, verb: str, path: str, words: str) -> None:
    check(act(verb, place.out.parent / path), USAGE, words if verb != "status" else "is not a run", place)


@pytest.mark.parametrize("fault", [name for name in FAULTS if name != "a row twice" and "events" not in name])
def test_no_spoilt_run_is_published(place: Place, act: Act, fault: str) -> None:
    spoilt = FAULTS[fault]
    spoilt.spoil(place.cand)
    done = act("publish")
    assert done.code in (USAGE, APART, DAMAGED)
    check(done, done.code, spoilt.words, place)


@pytest.mark.parametrize("odd", ["not finished", "partial", "no clean cells", "fewer cells", "all skipped"])
def test_no_odd_run_is_published(place: Place, act: Act, odd: str) -> None:
    done = act("publish", ODD[odd].make(place))
    assert done.code in (USAGE, APART, DAMAGED)
    check(done, done.code, "", place)


# --- Names that somebody chose with care. ---

NAMES = {
    "formula, markup": '=HYPERLINK("http://x")<script>alert(1)</script><img src=x>[red]x[/red]{{ 7*7 }}',
    "formula, escapes, direction": "+1+cmd|' /C calc'!A0\x1b[2J\x1b[31mred\x07\u202egnp.exe\u2066\u200f\u061c",
    "path": "../../../evil",
    "absolute path": "/tmp/evil",
    "lines, entities, latex": "@a\\input{/etc/passwd}$\\frac{$%#&_~^\n::error::b\r\n| c |\u2028b\u2029\x85"
    "]]>&lt;<!ENTITY x SYSTEM 'file:///etc/passwd'>\x00\x0b",
    "empty": "",
}
NAMED = ("run_id", "model", "corruption", "masker", "sample_id", "message", "device")


def named(run: SyntheticRun, name: str) -> None:
    """Put a name wherever a stranger may put one."""
    rows = table_of(run)
    for column in NAMED:
        if column == "corruption":
            rows[column] = rows[column].replace({"fog_3d": name})
        else:
            rows[column] = rows[column] + name if column == "sample_id" else name
    rows.loc[rows["severity"] == 3, ["status", "value", "failure_value"]] = ["failed", np.nan, 1.0]
    save(run, rows)
    facts = json.loads((run.folder / "run.json").read_text())
    facts |= {"model": name, "run_id": name, "dataset": facts["dataset"] | {"name": name, "root": name}}
    (run.folder / "run.json").write_text(json.dumps(facts))


def is_shown(text: str) -> bool:
    """True if a text is lines of characters that a terminal shows and does not obey."""
    return all(line.isprintable() for line in text.replace("\t", " ").split("\n"))


@pytest.mark.parametrize("kind", NAMES)
def test_names_are_shown_and_not_obeyed(place: Place, act: Act, kind: str) -> None:
    for run in (place.base, place.cand):
        named(run, NAMES[kind])
    outside = place.out.parent
    before = sorted(path for path in outside.rglob("*") if place.out not in path.parents)
    for verb in ("report", "gate", "status"):
        done = act(verb)
        check(done, OK, "", place)
        assert is_shown(done.out + done.err), verb
    done = act("compare", None, "--format", "github,md,json,junit")
    assert not [line for line in done.out.splitlines() if line.startswith("::error::b")]
    ElementTree.fromstring((place.out / "compare.xml").read_text("utf-8"))
    json.loads((place.out / "compare.json").read_text())
    for path in place.out.iterdir():
        text = path.read_text("utf-8")
        assert is_shown(text), path.name
        if path.suffix == ".csv":
            cells = pd.read_csv(path, dtype=str, keep_default_na=False)
            bad = [cell for cell in cells.to_numpy().ravel() if cell.startswith(("=", "@", "+"))]
            assert not bad
        if path.suffix == ".md":
            assert not re.search(r"(?<!\\)<", text), "markup is escaped"
    after = sorted(path for path in outside.rglob("*") if place.out not in path.parents and path != place.out)
    assert after == before, "nothing is written beside the folder that was named"
