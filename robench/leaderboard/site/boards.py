"""Boards as the site shows them: the two tables of each folder, its card, and the records of its entries.

Strangers wrote all of it. It is checked for shape alone: `robench leaderboard verify` says whether it is true.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.errors import Mismatch, UsageError
from robench.leaderboard.board import CARD, Place, places, read_bytes, read_entry
from robench.leaderboard.columns import MAIN, PER_CORRUPTION, SCHEMA_VERSION, TABLES, names
from robench.leaderboard.record import RUN_ID, Record
from robench.leaderboard.stale import stale_corruptions

Line = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Board:
    """A track on a data set.

    Attributes:
        track: What the models were given.
        dataset: Name of the data set.
        lines: `MAIN`, a mapping a line; a missing value is None.
        conditions: `PER_CORRUPTION`, likewise.
        records: Run id → what its submission says.
        card: Text of its ``CARD.md``; empty without one.
        files: The tables as they are, by name.
        old_pictures: Runs on pictures of a corruption whose installed version is another.
    """

    track: str
    dataset: str
    lines: list[Line]
    conditions: list[Line]
    records: Mapping[str, Record]
    card: str
    files: Mapping[str, bytes]
    old_pictures: frozenset[str] = frozenset()


def read_boards(folder: Path) -> list[Board]:
    """Read every board ``folder/<track>/<dataset>/``, in order of track and data set; none in an empty folder.

    Raises:
        UsageError: If there is no such folder.
        Mismatch: If a table, record or file of rows is damaged, of another schema, a link, or too large.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}", expected="one that `robench publish --to` writes")
    try:
        return [_read_board(place) for place in places(folder)]
    except Mismatch as error:
        raise Mismatch(
            error.what, got=error.got, expected=error.expected, hint=f"robench leaderboard verify {folder}"
        ) from error


def _read_board(place: Place) -> Board:
    files = {name: read_bytes(place.folder / name) for name in TABLES}
    main, conditions = (read_table(files[name], name, place.folder / name) for name in (MAIN, PER_CORRUPTION))
    ids = sorted({str(line["run_id"]) for line in main})
    for run_id in ids:
        if not RUN_ID.fullmatch(run_id):
            raise Mismatch(f"{place.folder / MAIN} names no run", got=run_id[:160])
    entries = {run_id: read_entry(place, run_id, {}) for run_id in ids}
    records = {run_id: entry.record for run_id, entry in entries.items()}
    old = {run_id for run_id, entry in entries.items() if entry.run and any(stale_corruptions(entry.run.rows))}
    for name, lines in ((MAIN, main), (PER_CORRUPTION, conditions)):
        for line in lines:
            if line["track"] != place.track or line["run_id"] not in records:
                got = f"{line['track']}, {line['run_id']}"[:160]
                raise Mismatch(f"{place.folder / name} has a line of another board or run", got=got)
    card = read_bytes(place.folder / CARD).decode("utf-8", "replace") if (place.folder / CARD).exists() else ""
    dataset = next((str(record.run["dataset"]["name"]) for record in records.values()), place.dataset)
    return Board(place.track, dataset, main, conditions, records, card, files, frozenset(old))


def read_table(data: bytes, name: str, path: Path) -> list[Line]:
    """Return the lines of a table, numbers as numbers, what is missing as None.

    Args:
        data: The file's bytes.
        name: `MAIN` or `PER_CORRUPTION`.
        path: What errors name.

    Raises:
        Mismatch: If head, schema version, length of a line, or a number is not as `TABLES` says.
    """
    columns = TABLES[name]
    try:
        reader = csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True)
        head, *rows = list(reader)
    except (ValueError, csv.Error) as error:
        raise Mismatch(f"{path} is no table", got=str(error)[:120]) from error
    if head != names(columns):
        wrong = sorted(set(head) ^ set(names(columns)))
        raise Mismatch(f"{path} has other columns", got=", ".join(wrong[:4])[:120] or "another order")
    lines = []
    for number, row in enumerate(rows, 2):
        if len(row) != len(columns):
            raise Mismatch(f"{path}, line {number}", got=f"{len(row)} fields", expected=str(len(columns)))
        line: Line = {}
        for column, text in zip(columns, row, strict=True):
            line[column.name] = text if column.kind == "string" else _number(text, column.kind)
            if isinstance(line[column.name], float) and math.isnan(line[column.name]):
                raise Mismatch(f"{path}, line {number}, {column.name}", got=f"'{text[:40]}'", expected="a number")
        if line["schema_version"] != SCHEMA_VERSION:
            raise Mismatch(
                f"{path}, line {number} is of another schema",
                got=str(line["schema_version"]),
                expected=str(SCHEMA_VERSION),
            )
        lines.append(line)
    return lines


def _number(text: str, kind: str) -> int | float | None:
    """Return a number or None; NaN for what is none."""
    if not text:
        return None
    try:
        value = int(text) if kind == "int64" else float(text)
    except ValueError:
        return math.nan
    return value if math.isfinite(value) else math.nan
