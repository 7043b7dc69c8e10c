"""A board on disk: ``<track>/<dataset>/`` with its card, two tables, and an entry's rows and record each."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from robench.analysis.provenance import Run, rows_sha256
from robench.data.ids import safe_id
from robench.errors import Mismatch
from robench.io.files import TEMP_PREFIX, open_regular, sha256_bytes, sha256_file
from robench.leaderboard import stored_rows
from robench.leaderboard.columns import TABLES, TRACKS, names
from robench.leaderboard.entry import Entry, place, recorded, tables
from robench.leaderboard.record import RUN_ID, Record, record_from_json

CARD, ROWS, RECORD, STORED = "CARD.md", "rows", "submission.json", "rows.parquet"
AT_ROOT = frozenset({"README.md", ".gitkeep"})
"""Files that may lie beside the tracks."""
PUBLISHED = "published"
"""Folder beside the tracks for figures that papers print: a card and CSV files. It is no board."""
MOST_BYTES = 64 * 2**20
"""Of a table or a record."""

Tables = dict[str, list[list[str]]]


class Place(NamedTuple):
    """Where a board is: ``root/track/dataset``."""

    root: Path
    track: str
    dataset: str

    @property
    def folder(self) -> Path:
        """Its folder."""
        return self.root / self.track / self.dataset

    def entry(self, run_id: str) -> Path:
        """Return the folder of an entry."""
        return self.folder / ROWS / run_id

    def name(self, path: Path) -> str:
        """Return what messages call a file of the board."""
        return path.relative_to(self.root).as_posix()


def place_of(root: Path, run: Mapping[str, Any]) -> Place:
    """Return the board that a run belongs to, by its `robench.leaderboard.record.run_facts`."""
    return Place(root, run["track"], safe_id(run["dataset"]["name"]))


def places(root: Path) -> list[Place]:
    """Return every board of a folder, sorted; `strays` names what else is in it."""
    return [
        Place(root, track, folder.name)
        for track in sorted(TRACKS)
        if (root / track).is_dir() and not (root / track).is_symlink()
        for folder in sorted((root / track).iterdir())
        if folder.is_dir() and not folder.is_symlink() and safe_id(folder.name) == folder.name
    ]


def entry_ids(board: Place) -> list[str]:
    """Return the ids of the entries that have a folder, sorted."""
    home = board.folder / ROWS
    if not home.is_dir() or home.is_symlink():
        return []
    return sorted(
        path.name
        for path in home.iterdir()
        if path.is_dir() and not path.is_symlink() and RUN_ID.fullmatch(path.name) and not is_temporary(path)
    )


def is_temporary(path: Path) -> bool:
    """True for what a killed command may leave behind."""
    return path.name.startswith(TEMP_PREFIX)


def strays(root: Path) -> Iterator[tuple[Path, str]]:
    """Yield every file and folder that does not belong into a folder of boards, and why; links are not followed."""
    known = {root: AT_ROOT}
    folders: dict[Path, bool] = {root / name: True for name in (*TRACKS, PUBLISHED)}
    known[root / PUBLISHED] = frozenset({CARD, *(path.name for path in (root / PUBLISHED).glob("*.csv"))})
    for board in places(root):
        known[board.folder] = frozenset({CARD, *TABLES})
        folders |= {board.folder: True, board.folder / ROWS: True}
        for run_id in entry_ids(board):
            known[board.entry(run_id)] = frozenset({RECORD, STORED})
            folders[board.entry(run_id)] = True
    for folder, subfolders, files in os.walk(root, followlinks=False):
        here = Path(folder)
        for name in sorted([*subfolders, *files]):
            path = here / name
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                yield path, "a link"
            elif stat.S_ISDIR(mode):
                if path not in folders:
                    yield path, "a folder that no board has"
            elif not stat.S_ISREG(mode):
                yield path, "no regular file"
            elif name not in known.get(here, frozenset()):
                yield path, "a file that no board has"
        subfolders[:] = [name for name in subfolders if here / name in folders]


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """Read a file of a board; a link is refused, and a file without end is not read.

    Raises:
        Mismatch: If it cannot be read or is too large.
    """
    try:
        if path.is_symlink():
            raise Mismatch(f"{path} is a link", expected="a file")
        with open_regular(path) as file:
            data = file.read(most + 1)
    except OSError as error:
        raise Mismatch(f"{path} cannot be read", got=(error.strerror or str(error)).lower()) from error
    if len(data) > most:
        raise Mismatch(f"{path} is too large", expected=f"at most {most // 2**20} MiB")
    return data


def read_record(board: Place, run_id: str) -> Record:
    """Read the record of an entry.

    Raises:
        Mismatch: If it is damaged, or is another run's, or another board's.
    """
    path = board.entry(run_id) / RECORD
    try:
        record = record_from_json(json.loads(read_bytes(path)))
    except (ValueError, RecursionError) as error:
        raise Mismatch(f"{path} is no JSON", got=str(error)[:120]) from error
    except Mismatch as error:
        raise Mismatch(f"{path}: {error.what}", got=error.got, expected=error.expected) from error
    if record.run_id != run_id:
        raise Mismatch(f"{path} is of another run", got=record.run_id, expected=run_id)
    home = place_of(board.root, record.run)
    if home != board:
        raise Mismatch(
            f"{path} lies on another board",
            got=f"{board.track}/{board.dataset}",
            expected=f"{home.track}/{home.dataset}",
        )
    return record


def read_entry(board: Place, run_id: str, elsewhere: Mapping[str, Path]) -> Entry:
    """Read an entry and its rows, where they are at hand.

    Args:
        board: Its board.
        run_id: Its id.
        elsewhere: Files of rows by the hash of their bytes, for entries whose rows do not lie on the board.

    Raises:
        Mismatch: If the record or the rows are damaged, or hash to something else than the record says.
    """
    record = read_record(board, run_id)
    path: Path | None = board.entry(run_id) / STORED
    if record.rows.url is not None:
        if path is not None and path.exists():
            raise Mismatch(f"{path} is there, but the record says that the rows lie elsewhere")
        path = elsewhere.get(record.rows.file_sha256)
    return Entry(record, None if path is None else read_run(path, record))


def read_run(path: Path, record: Record) -> Run:
    """Read the rows of an entry and check their hashes.

    Raises:
        Mismatch: If they are damaged, or others than the record says.
    """
    data_sha = sha256_bytes(read_bytes(path, stored_rows.MOST_BYTES))
    if data_sha != record.rows.file_sha256:
        raise Mismatch(f"{path} is another file than its record says", got=data_sha, expected=record.rows.file_sha256)
    rows = stored_rows.read(path)
    if len(rows) != record.rows.count:
        raise Mismatch(f"{path} has another number of rows", got=str(len(rows)), expected=str(record.rows.count))
    found = rows_sha256(rows)
    if found != record.rows.rows_sha256:
        raise Mismatch(f"{path} says other things than its record", got=found, expected=record.rows.rows_sha256)
    return Run(path.parent, rows, {"protocol": record.run["protocol"], "state": "complete"}, found)


def files_by_sha(paths: Sequence[Path]) -> dict[str, Path]:
    """Return files by the hash of their bytes.

    Raises:
        Mismatch: If one cannot be read.
    """
    found = {}
    for path in paths:
        try:
            found[sha256_file(path)] = path
        except OSError as error:
            raise Mismatch(f"{path} cannot be read", got=(error.strerror or str(error)).lower()) from error
    return found


def reference_of(entry: Entry, entries: Sequence[Entry]) -> Entry | None:
    """Return the entry of the same board that another is measured against, or None where it names none.

    Raises:
        Mismatch: If it is not there, its rows are others, or lie elsewhere.
    """
    wanted = entry.record.reference
    if wanted is None:
        return None
    for other in entries:
        if other.as_reference() == wanted:
            if other.run is None:
                raise Mismatch(f"The rows of the reference {wanted.run_id} lie elsewhere", expected="rows on the board")
            return other
    raise Mismatch(
        f"The reference of {entry.record.run_id} is not on the board",
        got=", ".join(other.as_reference().named for other in entries if other.record.run_id == wanted.run_id),
        expected=f"{wanted.run_id} with rows {wanted.rows_sha256[:12]}",
    )


def lines_of(entry: Entry, entries: Sequence[Entry]) -> Tables:
    """Return an entry's lines: from its rows, or where they are not at hand, those that were recorded.

    Raises:
        Mismatch, NotComparable: If rows or reference are not what they must be.
    """
    if entry.run is None:
        return recorded(entry.record)
    return tables(entry, reference_of(entry, entries))


def merged(each: Sequence[Tables]) -> Tables:
    """Return the lines of several entries in the order of the files."""
    return {
        name: sorted((line for one in each for line in one[name]), key=lambda line: place(line, columns))
        for name, columns in TABLES.items()
    }


def csv_bytes(name: str, lines: Sequence[Sequence[str]]) -> bytes:
    """Return a table's file: the head and the lines, UTF-8, one line end a line."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(names(TABLES[name]))
    writer.writerows(lines)
    return sink.getvalue().encode()
