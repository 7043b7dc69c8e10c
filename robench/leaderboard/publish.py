"""``robench publish``: finished runs onto their boards; all is checked and computed before anything is written."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from robench.analysis.provenance import Run, open_run, rows_sha256
from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.files import TEMP_PREFIX, explained, json_text, make_folder, sha256_bytes, write_bytes_atomic
from robench.leaderboard import stored_rows
from robench.leaderboard.board import (
    CARD,
    RECORD,
    STORED,
    Place,
    csv_bytes,
    entry_ids,
    lines_of,
    merged,
    place_of,
    read_bytes,
    read_entry,
)
from robench.leaderboard.card import card_text, check_declared, read_card
from robench.leaderboard.checks import contradictions, problems
from robench.leaderboard.columns import TABLES
from robench.leaderboard.entry import Entry, tables
from robench.leaderboard.record import Record, Reference, StoredRows, check_run_facts, run_facts
from robench.leaderboard.submission import Submission, fields_of, refuse_bad_url

REFERENCE_MODEL = "mean-body"
"""The model-free baseline that others are measured against where nothing else is named."""
NO_REFERENCE = "none"
_FOLDERS = ("data", "cset", "checkpoint", "depth_weights", "out")


@dataclass(frozen=True)
class Wishes:
    """What `publish` is asked for beside the runs.

    Attributes:
        said: Fields of `robench.leaderboard.submission.Submission` that are given.
        reference: Run folder or run id of an entry of the same board, or `NO_REFERENCE`; None for the board's
            `REFERENCE_MODEL` on the same pictures and masks.
        rows_url: Where the file of rows will lie, if not on the board.
        rows_out: Where that file is written, to be put there.
        today: YYYY-MM-DD.
    """

    said: Mapping[str, str]
    today: str
    reference: str | None = None
    rows_url: str | None = None
    rows_out: Path | None = None


@dataclass(frozen=True)
class Published:
    """What became of a run.

    Attributes:
        run_id: Its id.
        folder: Of its entry.
        change: ``new``, ``changed`` (of what is said about it) or ``same``.
        reference: What it is measured against, as in ``rce_ref``; None for nothing.
    """

    run_id: str
    folder: Path
    change: str
    reference: str | None


@dataclass(frozen=True, eq=False)
class _Candidate:
    """A run that is to be published: its facts, its rows as published, and their file."""

    facts: Mapping[str, Any]
    licence: str
    run: Run
    data: bytes

    def rows(self, url: str | None) -> StoredRows:
        return StoredRows(sha256_bytes(self.data), self.run.sha256, len(self.run.rows), url)


def publish(runs: Sequence[Path], to: Path, wishes: Wishes) -> list[Published]:
    """Publish finished runs, each on the board of its track and data set.

    Args:
        runs: Run folders.
        to: Folder of the boards; made where it is missing.
        wishes: What is said of them.

    Returns:
        What became of each.

    Raises:
        UsageError: If a run is unfinished or partial, or something said of it is wrong.
        NotComparable: If a run is not on data that its board takes, or not what its reference did.
        Mismatch: If a run or the board is damaged, or a run is there already with other rows.
    """
    if wishes.rows_url is not None:
        refuse_bad_url("--rows-url", wishes.rows_url)
        if len(runs) != 1 or wishes.rows_out is None:
            raise UsageError("--rows-url is for one run", got=f"{len(runs)} runs", expected="one, and --rows-out FILE")
    candidates = [_candidate(path) for path in runs]
    boards: dict[Place, list[_Candidate]] = {}
    for each in candidates:
        boards.setdefault(place_of(to, each.facts), []).append(each)
    planned = [_planned(board, group, wishes) for board, group in sorted(boards.items())]
    if wishes.rows_out is not None and wishes.rows_url is not None:
        write_bytes_atomic(wishes.rows_out, candidates[0].data)
    return [made for plan in planned for made in plan.carried_out()]


def recompute(root: Path, places: Sequence[Place]) -> list[Path]:
    """Write the tables of boards anew from their rows, as this version of robench computes them.

    Returns:
        The files that changed.

    Raises:
        Mismatch, NotComparable: If an entry is damaged; then nothing is written.
    """
    made = {board: _tables(board, [read_entry(board, run_id, {}) for run_id in entry_ids(board)]) for board in places}
    return [path for board, files in made.items() for path in _write(board.folder, files)]


def _candidate(path: Path) -> _Candidate:
    """Read a run and check that it may be published.

    Raises:
        UsageError, Mismatch, NotComparable: If it may not.
    """
    run = open_run(path)
    if run.unfinished or run.about.get("state") != "complete":
        raise UsageError(f"The run {path} is not finished", hint=f"robench resume {path}")
    if run.partial:
        raise UsageError(
            f"The run {path} is partial: it took only some of the data set's samples",
            expected="a run without --limit, --subjects and --views",
        )
    facts = run_facts(run.about)
    check_run_facts(facts)
    if run.about.get("run_id") != run.run_id:
        raise Mismatch(f"run.json of {path} is another run's", got=str(run.about.get("run_id")), expected=run.run_id)
    rows = stored_rows.publishable(run.rows, _folders(run.about))
    published = Run(path, rows, run.about, rows_sha256(rows))
    found = list(problems(published, facts))
    if found:
        more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
        raise type(found[0])(
            f"{path}: {found[0].what}{more}", got=found[0].got, expected=found[0].expected, hint=found[0].hint
        )
    card = (run.about.get("cards") or {}).get("model") or {}
    return _Candidate(facts, str(card.get("licence", "")), published, stored_rows.encode(rows))


def _folders(about: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the folders of the submitter's machine that messages may name."""
    options, data = about.get("options") or {}, about.get("dataset") or {}
    named = [data.get("root"), about.get("cset"), *(options.get(name) for name in _FOLDERS)]
    return tuple(text for text in named if isinstance(text, str) and os.path.isabs(text))


@dataclass(frozen=True, eq=False)
class _Plan:
    """What will be written for a board, all of it computed."""

    board: Place
    entries: list[tuple[Entry, bytes | None, str]]
    files: Mapping[str, bytes]

    def carried_out(self) -> list[Published]:
        """Write it: a card, entries, then the tables, each whole or not at all."""
        make_folder(self.board.folder)
        _write(self.board.folder, {name: data for name, data in self.files.items() if name == CARD})
        for entry, data, change in self.entries:
            if change != "same":
                _write_entry(self.board.entry(entry.record.run_id), entry.record, data)
        _write(self.board.folder, {name: data for name, data in self.files.items() if name != CARD})
        return [
            Published(
                entry.record.run_id,
                self.board.entry(entry.record.run_id),
                change,
                entry.record.reference.named if entry.record.reference is not None else None,
            )
            for entry, _, change in self.entries
        ]


def _planned(board: Place, candidates: Sequence[_Candidate], wishes: Wishes) -> _Plan:
    """Compute what a board will be with runs on it."""
    if not board.folder.resolve().is_relative_to(board.root.resolve()):
        raise Mismatch(f"{board.folder} leads out of {board.root}", expected="no link")
    stored = {run_id: read_entry(board, run_id, {}) for run_id in entry_ids(board)}
    fresh = {each.run.run_id: each for each in candidates}
    drafts = {run_id: _draft(each, stored.get(run_id), wishes) for run_id, each in fresh.items()}
    entries = {**stored, **drafts}
    for run_id, draft in drafts.items():
        reference = _reference(draft, list(entries.values()), wishes.reference)
        entries[run_id] = Entry(replace(draft.record, reference=reference), draft.run)
    for run_id in drafts:
        entries[run_id] = _with_lines(entries[run_id], list(entries.values()))
    every = [entries[run_id] for run_id in sorted(entries)]
    made = [entries[run_id] for run_id in fresh]
    card: dict[str, bytes] = {}
    if (board.folder / CARD).exists():
        text = read_bytes(board.folder / CARD).decode("utf-8", "replace")
        for entry in made:
            check_declared(read_card(text, board.folder / CARD), entry.record.run)
    elif stored:
        raise Mismatch(f"{board.folder} has entries, but no {CARD}", hint="git checkout it")
    else:
        card = {CARD: card_text(made).encode()}
    for problem in contradictions(every):
        raise problem
    told = [
        (entry, _data(entry, fresh[run_id], stored.get(run_id)), _change(entry, stored.get(run_id)))
        for run_id, entry in ((entry.record.run_id, entry) for entry in made)
    ]
    return _Plan(board, told, card | _tables(board, every))


def _draft(each: _Candidate, before: Entry | None, wishes: Wishes) -> Entry:
    """Return the entry of a run, without its reference unless it had one.

    Raises:
        Mismatch: If it is on the board with other rows.
    """
    if before is not None and before.record.rows.rows_sha256 != each.run.sha256:
        raise Mismatch(
            f"{each.run.run_id} is on the board with other rows",
            got=f"rows {each.run.sha256[:12]}",
            expected=before.record.rows.rows_sha256[:12],
            hint="robench verify the run; what is published never changes, so remove the entry first if it was wrong",
        )
    said: Submission = fields_of(
        each.licence, wishes.said, before.record.submission if before is not None else None, wishes.today
    )
    if before is None:
        return Entry(Record(each.facts, each.rows(wishes.rows_url), said), each.run)
    stored = before.record.rows
    if wishes.rows_url is not None and stored.url is None:
        raise UsageError(f"The rows of {each.run.run_id} lie on the board already", got=f"--rows-url {wishes.rows_url}")
    # What the run cost may be told again otherwise; the file that is there stays.
    rows = stored if wishes.rows_url in (None, stored.url) else each.rows(wishes.rows_url)
    return Entry(replace(before.record, submission=said, rows=rows), each.run)


def _reference(draft: Entry, entries: Sequence[Entry], wanted: str | None) -> Reference | None:
    """Return what an entry is measured against.

    Raises:
        UsageError: If what is wanted is not on the board, or it is not clear which one is meant.
    """
    if wanted == NO_REFERENCE:
        return None
    if wanted is not None:
        run_id = open_run(Path(wanted)).run_id if Path(wanted).is_dir() else wanted
        for other in entries:
            if other.record.run_id == run_id and other.run is not None:
                return other.as_reference()
        raise UsageError(
            f"The reference '{wanted}' is not on the board of {draft.record.run_id}",
            got=run_id,
            expected="a run that is published there, with its rows",
            hint=f"robench publish {wanted} too, in the same command or before",
        )
    if draft.record.reference is not None:
        return draft.record.reference
    own = draft.record.run
    fitting = [
        other
        for other in entries
        if other.model == REFERENCE_MODEL
        and other.run is not None
        and other.record.run["cset_id"] == own["cset_id"]
        and other.record.run["protocol"]["masker"] == own["protocol"]["masker"]
    ]
    if len(fitting) > 1:
        ids = " or ".join(other.record.run_id for other in fitting)
        raise UsageError(
            f"There are {len(fitting)} runs of {REFERENCE_MODEL} to measure against", hint=f"--reference {ids}"
        )
    return fitting[0].as_reference() if fitting else None


def _with_lines(entry: Entry, entries: Sequence[Entry]) -> Entry:
    """Record the lines of an entry whose rows lie elsewhere."""
    if entry.record.rows.url is None:
        return entry
    wanted = entry.record.reference
    reference = next((other for other in entries if other.as_reference() == wanted), None)
    return Entry(replace(entry.record, lines=tables(entry, reference)), entry.run)


def _tables(board: Place, entries: Sequence[Entry]) -> dict[str, bytes]:
    try:
        lines = merged([lines_of(entry, entries) for entry in entries])
    except NotComparable as error:
        raise NotComparable(
            f"{board.track}/{board.dataset}: {error.what}", got=error.got, expected=error.expected, hint=error.hint
        ) from error
    return {name: csv_bytes(name, lines[name]) for name in TABLES}


def _data(entry: Entry, candidate: _Candidate, before: Entry | None) -> bytes | None:
    """Return the file of rows that must be written, or None."""
    return candidate.data if before is None and entry.record.rows.url is None else None


def _change(entry: Entry, before: Entry | None) -> str:
    if before is None:
        return "new"
    return "same" if entry.record.to_json() == before.record.to_json() else "changed"


def _write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    """Write the files that differ from what is there, and return them."""
    changed = [folder / name for name, data in files.items() if not _is(folder / name, data)]
    for path in changed:
        write_bytes_atomic(path, files[path.name])
    return changed


def _is(path: Path, data: bytes) -> bool:
    return path.is_file() and not path.is_symlink() and path.read_bytes() == data


def _write_entry(folder: Path, record: Record, data: bytes | None) -> None:
    """Write an entry: a new one appears with both files, of an old one the record alone changes."""
    told = json_text(record.to_json()).encode()
    if folder.is_dir():
        write_bytes_atomic(folder / RECORD, told)
        return
    temporary = folder.parent / f"{TEMP_PREFIX}{secrets.token_hex(6)}"
    make_folder(temporary)
    try:
        write_bytes_atomic(temporary / RECORD, told)
        if data is not None:
            write_bytes_atomic(temporary / STORED, data)
        with explained(folder):
            os.replace(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
