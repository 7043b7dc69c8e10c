"""A journal: one flushed JSON line per finished piece of work, so that a crash loses at most the piece in hand."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Self

from robench.errors import Mismatch, UsageError
from robench.io.files import explained, make_folder

_BLOCK = 1 << 16


class Held(UsageError):
    """Another process works on it."""


class Journal:
    """Appends JSON lines to a file, each flushed to the operating system before `append` returns.

    Opening cuts off a half-written last line, which a crash may have left. Use as a context manager.

    Args:
        path: The file; made with its folder if it is not there.
        alone: Hold the file, so that nobody else opens it so.

    Raises:
        Held: If another process holds it.
        UsageError: If it cannot be written.
    """

    def __init__(self, path: Path, *, alone: bool = False) -> None:
        self.path = path
        make_folder(path.parent)
        while True:
            with explained(path):
                self._handle = open(path, "a+b")  # noqa: SIM115  # closed by close()
            try:
                if alone:
                    _hold(self._handle.fileno(), f"Another process is writing {path}")
                with explained(path):
                    cut_half_line(self._handle)
                if not alone or self._is_there():
                    break
                self._handle.close()
            except BaseException:
                self._handle.close()
                raise

    def _is_there(self) -> bool:
        """False if who held the file before removed it after it was opened here."""
        try:
            return os.path.samestat(os.fstat(self._handle.fileno()), os.stat(self.path))
        except FileNotFoundError:
            return False

    def append(self, item: Any) -> None:
        """Write one item as one line.

        Raises:
            UsageError, EnvironmentNotReady: If it cannot be written (full or read-only disk).
        """
        text = json.dumps(item, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        line = text.encode("utf-8", "backslashreplace")  # half a surrogate, as a file's name may have, is no UTF-8
        with explained(self.path):
            self._handle.write(line)
            self._handle.flush()

    def close(self) -> None:
        """Close the file; what a full disk refuses now was not promised before."""
        with contextlib.suppress(OSError):
            self._handle.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def cut_half_line(handle: IO[bytes]) -> None:
    """Cut off the half-written last line that a crash or a full disk may have left.

    Args:
        handle: Open for appending and reading.
    """
    size = end = handle.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - _BLOCK)
        handle.seek(start)
        found = handle.read(end - start).rfind(b"\n")
        if found >= 0:
            end = start + found + 1
            break
        end = start
    if end < size:
        handle.truncate(end)


def read_lines(path: Path) -> Iterator[Any]:
    """Yield the items of a journal; a half-written last line is left out, a missing file has none.

    Raises:
        Mismatch: If another line is damaged.
    """
    if not path.is_file():
        return
    with open(path, "rb") as handle:
        for number, line in enumerate(handle, start=1):
            if not line.endswith(b"\n"):
                return
            try:
                yield json.loads(line)
            except ValueError as error:
                raise Mismatch(
                    f"{path} is damaged", got=f"line {number}: {error}", hint="--fresh to start over"
                ) from error


@contextlib.contextmanager
def only_writer(folder: Path, what: str) -> Iterator[None]:
    """Hold a folder while it is written, so that two commands never write the same one.

    The lock is the operating system's and dies with the process: nothing is left behind by a crash.

    Raises:
        Held: If another process holds it.
    """
    handle = os.open(make_folder(folder), os.O_RDONLY)
    try:
        _hold(handle, f"Another robench is writing {what} {folder}")
        yield
    finally:
        os.close(handle)


def is_written(folder: Path) -> bool:
    """True if a process holds a folder by `only_writer`."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _hold(handle, "")
    except Held:
        return True
    finally:
        os.close(handle)
    return False


def _hold(handle: int, what: str) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Held(what, hint="wait for it to end, then run the command again") from None
    except OSError:
        pass  # a file system without locks: go on without
