"""The folder of a run: what it is, what is done, what happened. Everything in it survives a crash."""

from __future__ import annotations

import contextlib
import datetime
import fcntl
import functools
import json
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from importlib import metadata
from pathlib import Path
from typing import Any, Self

import robench
from robench.engine.cset import Key
from robench.engine.journal import Journal, cut_half_line, only_writer, read_lines
from robench.engine.ledger import Ledger
from robench.engine.protocol import Identity
from robench.engine.rows import read_cells, statuses, without_cells, write_rows
from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.files import TEMP_PREFIX, explained, make_folder, write_json_atomic
from robench.io.row_files import RUN as RUN
from robench.io.row_files import read_about
from robench.schema import SCHEMA_VERSION

EVENTS, ROWS = "events.jsonl", "rows"
_MADE_HERE = (ROWS, "examples", "meshes", "report")
_PACKAGES = ("numpy", "torch", "warp-lang", "scikit-image", "opencv-python", "onnxruntime", "rembg", "pandas")


def part_path(run: Path, shard: int) -> Path:
    """Return where the rows of a finished shard lie."""
    return run / ROWS / f"part-{shard:04d}.parquet"


def journal_path(run: Path, shard: int) -> Path:
    """Return where the rows of a shard lie while it is worked on."""
    return run / ROWS / f"part-{shard:04d}.wip.jsonl"


def parts(run: Path) -> dict[int, Path]:
    """Return the finished shards of a run by number.

    Raises:
        Mismatch: If a file has the name of none.
    """
    return _numbered(run, ".parquet")


def journals(run: Path) -> dict[int, Path]:
    """Return the shards that somebody works on, or worked on when it was interrupted, by number.

    Raises:
        Mismatch: If a file has the name of none.
    """
    return _numbered(run, ".wip.jsonl")


def _numbered(run: Path, suffix: str) -> dict[int, Path]:
    found = {}
    for path in sorted((run / ROWS).glob(f"part-*{suffix}")):
        number = path.name.removeprefix("part-").removesuffix(suffix)
        if not (number.isascii() and number.isdecimal()):
            raise Mismatch(
                f"{path} is no part of the run",
                expected=f"a name such as part-0000{suffix}",
                hint="move it elsewhere, or --fresh",
            )
        found[int(number)] = path
    return found


class RunFolder:
    """A run on disk; made by `open_run`.

    Attributes:
        path: ``runs/<run_id>``.
        identity: What the run is.
        ledger: Its cells and how the finished ones ended.
        next_shard: The number that the next shard gets.
    """

    def __init__(self, path: Path, identity: Identity, ledger: Ledger) -> None:
        self.path, self.identity, self.ledger = path, identity, ledger
        self.event = functools.partial(log_event, path)
        make_folder(path / ROWS)
        self.next_shard = 0
        self.gather()

    def gather(self) -> None:
        """Read what is done, and turn the journals that an interruption left into parts.

        Raises:
            UsageError: If another process works on a shard.
            Mismatch: If rows are damaged.
        """
        for number, path in parts(self.path).items():
            # A crash between writing a part and removing its journal leaves both; the part counts.
            journal_path(self.path, number).unlink(missing_ok=True)
            self._mark(read_cells(path))
            self.next_shard = max(self.next_shard, number + 1)
        for number in journals(self.path):
            with ShardJournal(self.path, number) as journal:
                journal.finish()
            if (path := part_path(self.path, number)).is_file():
                self._mark(read_cells(path))
            self.next_shard = max(self.next_shard, number + 1)

    def _mark(self, cells: Mapping[Key, str]) -> None:
        for key, status in cells.items():
            self.ledger.mark(key, status)

    def redo(self, again: AbstractSet[str]) -> int:
        """Forget the cells that ended in one of some statuses, so that they are done again; return how many."""
        gone = [key for path in parts(self.path).values() for key in without_cells(path, again)]
        for key in gone:
            self.ledger.forget(key)
        return len(gone)

    def finished(self, shard: int) -> dict[Key, str]:
        """Read a shard that somebody finished, and note its cells.

        Raises:
            Mismatch: If it is not there or damaged.
        """
        cells = read_cells(part_path(self.path, shard))
        self._mark(cells)
        return cells

    def describe(self, **facts: Any) -> None:
        """Write ``run.json``: the identity, and what else is worth knowing."""
        content = {
            "schema_version": SCHEMA_VERSION,
            "run_id": self.path.name,
            **self.identity.to_json(),
            "versions": versions(),
            **facts,
        }
        write_json_atomic(self.path / RUN, content)


class ShardJournal:
    """The rows of a shard while it is worked on, by one process alone; use as a context manager.

    Attributes:
        done: Its finished cells and how they ended.
    """

    def __init__(self, run: Path, shard: int) -> None:
        self._run, self._shard, self._path = run, shard, journal_path(run, shard)
        self._journal = Journal(self._path, alone=True)
        self.done: dict[Key, str] = {}
        try:
            for line in read_lines(self._path):
                self.done |= statuses(line)
        except BaseException:
            self._journal.close()
            raise

    def append(self, key: Key, rows: Sequence[Mapping[str, Any]]) -> str:
        """Store the rows of one finished cell, one flushed line, and return how it ended."""
        self._journal.append(list(rows))
        self.done |= {key: statuses(rows)[key]}
        return self.done[key]

    def finish(self) -> None:
        """Turn the journal into a part; one without rows leaves nothing."""
        if self.done:
            write_rows(part_path(self._run, self._shard), self._rows())
        self._path.unlink(missing_ok=True)

    def _rows(self) -> Iterator[Mapping[str, Any]]:
        """Yield the rows, each cell's once: a lost machine may go on writing where the file system has no locks."""
        told: set[Key] = set()
        for line in read_lines(self._path):
            cells = set(statuses(line))
            if not cells <= told:
                yield from line
            told |= cells

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._journal.close()


def log_event(run: Path, name: str, /, **facts: Any) -> None:
    """Add a line to ``events.jsonl``; the only place with times in it. Several processes may do so at once."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    line = json.dumps({"time": now, "event": name, **facts}, ensure_ascii=False, default=str) + "\n"
    with explained(run / EVENTS), open(run / EVENTS, "a+b") as handle:
        with contextlib.suppress(OSError):  # a file system without locks: lines may mix
            fcntl.flock(handle, fcntl.LOCK_EX)
        cut_half_line(handle)
        handle.write(line.encode("utf-8", "backslashreplace"))


@contextlib.contextmanager
def open_run(
    out: Path,
    identity: Identity,
    ledger: Ledger,
    *,
    fresh: bool = False,
    take_over: Callable[[Path], None] = lambda path: None,
) -> Iterator[RunFolder]:
    """Open the folder of a run and hold it; what is done in it is kept unless `fresh`.

    Args:
        out: Parent folder of runs.
        identity: What the run is.
        ledger: Its cells.
        fresh: Forget what is done.
        take_over: Ends what a former command left at work on the run.

    Raises:
        UsageError: If another process writes it, or it cannot be written.
        EnvironmentNotReady: If the disk is full or read-only.
        NotComparable: If the folder belongs to something else.
        Mismatch: If its rows are damaged.
    """
    path = out / identity.run_id
    with only_writer(path, "the run"):
        if (path / RUN).is_file():
            try:
                refuse_other(path, identity)
            except Mismatch:
                if not fresh:
                    raise
        take_over(path)
        if fresh:
            for name in _MADE_HERE:
                shutil.rmtree(path / name, ignore_errors=True)
        _sweep(path)
        try:
            yield RunFolder(path, identity, ledger)
        finally:
            _sweep(path)


def _sweep(path: Path) -> None:
    """Remove the temporary files that killed processes left; nobody writes here now."""
    ours = (path / name for name in _MADE_HERE if name != "report")  # that may be written beside a run
    found = [*path.glob(f"{TEMP_PREFIX}*"), *(left for folder in ours for left in folder.rglob(f"{TEMP_PREFIX}*"))]
    for left in found:
        left.unlink(missing_ok=True)


def read_run(path: Path) -> dict[str, Any]:
    """Return what ``run.json`` of a run says.

    Raises:
        UsageError: If the folder is no run.
        Mismatch: If the file is damaged.
        NotComparable: If it is of a schema version that is not known.
    """
    if not (path / RUN).is_file():
        raise UsageError(f"{path} is not a run", expected=f"a folder that robench evaluate made, with {RUN} in it")
    return read_about(path)


def refuse_other(path: Path, identity: Identity, facts: Mapping[str, Any] | None = None) -> None:
    """Check that a run is the one that a folder holds.

    Args:
        path: The folder.
        identity: What the run must be.
        facts: What ``run.json`` would say of it, to name what makes other pictures.

    Raises:
        NotComparable: Naming the ingredients that differ.
        Mismatch: If the folder's ``run.json`` is damaged.
    """
    stored, ours = read_run(path), json.loads(json.dumps({**(facts or {}), **identity.to_json()}))
    names = list(identity.to_json())
    wrong = list(_differences({n: stored.get(n) for n in names}, {n: ours[n] for n in names}))
    if any(name == "cset_id" for name, *_ in wrong):
        told = {name: part for name in _PICTURES for part in [ours.get(name)] if part is not None}
        why = [d for d in _differences({n: stored.get(n) for n in told}, told) if d[0] in _PICTURES_OF]
        wrong = [*why, *(d for d in wrong if d[0] != "cset_id" or not why)]
    if wrong:
        (name, got, expected), *others = wrong
        more = f" (and {', '.join(other for other, *_ in others)})" if others else ""
        raise NotComparable(
            f"{path} is another run: its {name} differs{more}",
            got=_short(got),
            expected=_short(expected),
            hint="robench evaluate, which makes a run of its own for it",
        )


_PICTURES = ("dataset", "recipe", "seed")
"""What ``run.json`` says of that which the pictures' id hashes ..."""
_PICTURES_OF = frozenset(
    {
        "dataset.name",
        "dataset.revision",
        "dataset.split_sha256",
        "recipe.conditions",
        "recipe.composed",
        "recipe.version",
        "seed",
    }
)
"""... and the parts of it that do count: not where the data lie."""


def _differences(
    stored: Mapping[str, Any], ours: Mapping[str, Any], within: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Yield the name, our and the stored value of whatever differs; the hash of what is named anyway is left out."""
    for name in sorted(set(ours) | set(stored)):
        mine, theirs = ours.get(name), stored.get(name)
        if isinstance(mine, Mapping) and isinstance(theirs, Mapping):
            yield from _differences(theirs, mine, f"{within}{name}.")
        elif mine != theirs and name != "protocol_sha256":
            yield f"{within}{name}", mine, theirs


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:8] if len(text) == 64 and text.isalnum() else text[:80]


def versions() -> dict[str, str]:
    """Return the versions of what computes."""
    found = {"robench": robench.__version__, "python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
