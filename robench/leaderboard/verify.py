"""``robench leaderboard verify``: is every published value what the published rows say?"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from robench.errors import Mismatch, NotComparable, RobenchError, UsageError, printable
from robench.leaderboard.board import (
    CARD,
    RECORD,
    ROWS,
    Place,
    Tables,
    csv_bytes,
    entry_ids,
    files_by_sha,
    lines_of,
    merged,
    places,
    read_bytes,
    read_entry,
    strays,
)
from robench.leaderboard.card import check_declared, read_card
from robench.leaderboard.checks import contradictions, problems
from robench.leaderboard.columns import TABLES, names
from robench.leaderboard.entry import Entry
from robench.leaderboard.stale import stale_parts

if TYPE_CHECKING:
    from robench.leaderboard.rerun import Means

Kind = Literal["mismatch", "stale", "note"]
_MANY = 200
"""Fields that are named one by one in a table; whoever changed more changed the file."""


@dataclass(frozen=True)
class Finding:
    """Something that is not as it should be (``mismatch``), or that is worth knowing (``stale``, ``note``).

    Attributes:
        kind: Only a ``mismatch`` makes the boards unsound.
        path: The file or folder, relative to the boards' folder.
        message: What is wrong.
        row: Which line of a table, in words; empty for what is no field.
        column: Its column.
        got: What was found.
        expected: What the rows say.
    """

    kind: Kind
    path: str
    message: str
    row: str = ""
    column: str = ""
    got: str = ""
    expected: str = ""

    def __str__(self) -> str:
        """Return one line."""
        where = ", ".join(part for part in (self.path, self.row, self.column) if part)
        text = f"{self.kind} {where}: {self.message}"
        if self.got or self.expected:
            text += f"; got {self.got or 'nothing'}, expected {self.expected or 'nothing'}"
        return printable(text)

    def to_json(self) -> dict[str, str]:
        """Return plain values."""
        return asdict(self)


@dataclass
class Verdict:
    """What `verify` found.

    Attributes:
        boards: Boards looked at.
        entries: Entries looked at.
        values: Fields that were recomputed from rows and compared.
        findings: What is not as it should be, and what is worth knowing.
    """

    boards: int = 0
    entries: int = 0
    values: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def sound(self) -> bool:
        """True if nothing is a mismatch."""
        return not any(finding.kind == "mismatch" for finding in self.findings)


def verify(root: Path, rows: Sequence[Path] = ()) -> Verdict:
    """Recompute every value of every board from the published rows, and check everything else that can be.

    Args:
        root: Folder of the boards.
        rows: Files of rows of entries whose rows lie elsewhere.

    Returns:
        The verdict; whatever is damaged is a finding.

    Raises:
        UsageError: If there is no such folder.
        Mismatch: If a file of `rows` cannot be read.
    """
    if not root.is_dir() or root.is_symlink():
        raise UsageError(f"There is no folder {root}", expected="one that robench publish --to writes")
    elsewhere, verdict = files_by_sha(rows), Verdict()
    verdict.findings += [_stray(root, path, why) for path, why in strays(root)]
    for board in places(root):
        verdict.boards += 1
        _verify_board(board, elsewhere, verdict)
    return verdict


def readable_entries(root: Path, elsewhere: Mapping[str, Path]) -> Iterator[tuple[Place, Entry]]:
    """Yield the entries that can be read, board by board; `verify` says what is wrong with the others."""
    for board in places(root):
        for run_id in entry_ids(board):
            try:
                yield board, read_entry(board, run_id, elsewhere)
            except Mismatch:
                continue  # `verify` names it


def verify_by_rerun(root: Path, means: Means, rows: Sequence[Path] = ()) -> list[Finding]:
    """Run samples of every entry again, and return what came of it; an entry that cannot be run here is a note.

    Args:
        root: Folder of the boards.
        means: How many samples, and what they are run with.
        rows: As in `verify`.
    """
    from robench.leaderboard.rerun import NotRerun, rerun  # brings the engine, which verifying alone does not need

    found = []
    for board, entry in readable_entries(root, files_by_sha(rows)):
        path = board.name(board.entry(entry.record.run_id))
        try:
            made = rerun(entry, means)
        except NotRerun as error:
            found.append(Finding("note", path, f"not run again: {error}"))
            continue
        told = f"run again: {made.values} values, the largest difference {100 * made.largest:.3g} %"
        found.append(Finding("note", path, told))
        every = [
            Finding("mismatch", path, "comes out otherwise", one.cell, one.what, one.got, one.expected)
            for one in made.differences
        ]
        found += _few(every, path)
    return found


def _stray(root: Path, path: Path, why: str) -> Finding:
    return Finding("mismatch", path.relative_to(root).as_posix(), f"is {why}; remove it")


def _verify_board(board: Place, elsewhere: Mapping[str, Path], verdict: Verdict) -> None:
    found = verdict.findings
    entries: dict[str, Entry] = {}
    for run_id in entry_ids(board):
        verdict.entries += 1
        try:
            entries[run_id] = read_entry(board, run_id, elsewhere)
        except Mismatch as error:
            found.append(_finding(board, board.entry(run_id), error))
    _verify_card(board, list(entries.values()), found)
    found += [_finding(board, board.folder / ROWS, error) for error in contradictions(list(entries.values()))]
    lines = []
    for run_id, entry in entries.items():
        folder = board.entry(run_id)
        if entry.run is None:
            found.append(
                Finding("note", board.name(folder), f"not recomputed: its rows lie at {entry.record.rows.url}")
            )
        else:
            bad = list(problems(entry.run, entry.record.run))
            found += [_finding(board, folder, error) for error in bad]
            if bad:
                continue
            old = ", ".join(stale_parts(entry.run.rows))
            if old:
                found.append(Finding("stale", board.name(folder), f"measured by older versions: {old}"))
        try:
            lines.append(lines_of(entry, list(entries.values())))
            if entry.run is not None and entry.record.lines is not None:
                _verify_recorded(board, entry, lines[-1], found)
        except (Mismatch, NotComparable) as error:
            found.append(_finding(board, folder, error))
    _verify_tables(board, merged(lines), len(lines) == len(entry_ids(board)), verdict)


def _verify_card(board: Place, entries: Sequence[Entry], found: list[Finding]) -> None:
    path = board.folder / CARD
    try:
        declared = read_card(read_bytes(path).decode("utf-8", "replace"), path)
    except Mismatch as error:
        found.append(_finding(board, path, error))
        return
    if declared.track != board.track:
        found.append(Finding("mismatch", board.name(path), "is of another track", "", "", declared.track, board.track))
    for entry in entries:
        try:
            check_declared(declared, entry.record.run)
        except NotComparable as error:
            found.append(_finding(board, board.entry(entry.record.run_id), error))


def _verify_recorded(board: Place, entry: Entry, lines: Tables, found: list[Finding]) -> None:
    """Compare what was recorded of rows that lie elsewhere with what they say, now that they are at hand."""
    if entry.record.lines != lines:
        path = board.name(board.entry(entry.record.run_id) / RECORD)
        found.append(Finding("mismatch", path, "its lines are not what its rows say"))


def _verify_tables(board: Place, wanted: Tables, whole: bool, verdict: Verdict) -> None:
    """Compare the tables with what the rows make of them, field by field."""
    for name in TABLES:
        path = board.folder / name
        try:
            data = read_bytes(path)
            there = _lines(data, name, path)
        except Mismatch as error:
            verdict.findings.append(_finding(board, path, error))
            continue
        count = len(verdict.findings)
        verdict.values += sum(map(len, wanted[name]))
        differences = _differences(board.name(path), name, there, wanted[name], whole)
        verdict.findings += _few(list(differences), board.name(path))
        if whole and len(verdict.findings) == count and data != csv_bytes(name, wanted[name]):
            what = "has the right values, but not in the order, quotes or line ends that robench writes"
            verdict.findings.append(Finding("mismatch", board.name(path), what))


def _few(found: list[Finding], path: str) -> list[Finding]:
    if len(found) <= _MANY:
        return found
    return [*found[:_MANY], Finding("mismatch", path, f"and {len(found) - _MANY} more differences")]


def _lines(data: bytes, name: str, path: Path) -> list[list[str]]:
    """Return the fields of a table.

    Raises:
        Mismatch: If it is none, or has other columns.
    """
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        head, *lines = [row for row in reader] or [[]]
    except (ValueError, csv.Error) as error:
        raise Mismatch(f"{path.name} is no table", got=str(error)[:120]) from error
    if head != names(TABLES[name]):
        wrong = sorted(set(head) ^ set(names(TABLES[name])))
        raise Mismatch(f"{path.name} has other columns", got=", ".join(wrong[:4])[:120] or "another order")
    return lines


def _differences(
    path: str, name: str, there: Sequence[Sequence[str]], wanted: Sequence[Sequence[str]], whole: bool
) -> Iterator[Finding]:
    columns = names(TABLES[name])
    keys = [column for column in ("run_id", "metric", "corruption", "severity") if column in columns]
    expected = {tuple(line[columns.index(key)] for key in keys): line for line in wanted}
    seen = set()
    for number, line in enumerate(there, 2):
        if len(line) != len(columns):
            wrong = ("", str(len(line)), str(len(columns)))
            yield Finding("mismatch", path, "has another number of fields", f"line {number}", *wrong)
            continue
        key = tuple(line[columns.index(one)] for one in keys)
        where = f"line {number} ({' '.join(key)})"
        if key in seen:
            yield Finding("mismatch", path, "occurs twice", where)
            continue
        seen.add(key)
        if key not in expected:
            if whole:
                yield Finding("mismatch", path, "no published row makes this line", where)
            continue
        for column, got, right in zip(columns, line, expected[key], strict=True):
            if got != right:
                yield Finding("mismatch", path, "is not what the rows say", where, column, got, right)
    for key in expected:
        if key not in seen:
            yield Finding("mismatch", path, "the line is missing", " ".join(key))


def _finding(board: Place, path: Path, error: RobenchError) -> Finding:
    """Return the finding of an error; the folder of the boards is in no message."""
    root = f"{board.root}/"
    what, got, expected = (text.replace(root, "") for text in (error.what, error.got, error.expected))
    return Finding("mismatch", board.name(path), what, "", "", got, expected)


def to_json(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as plain values."""
    return {
        "sound": verdict.sound,
        "boards": verdict.boards,
        "entries": verdict.entries,
        "values": verdict.values,
        "findings": [finding.to_json() for finding in verdict.findings],
    }
