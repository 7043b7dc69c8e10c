"""Files that appear whole or not at all, and their hashes.

Everything robench stores is written to a temporary file in the same folder, flushed to the disk (the many files of a
set all together, before its manifest calls it complete), and renamed. A crash, Ctrl-C or a full disk therefore leaves
the old file or none, never half of one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from io import BufferedReader
from pathlib import Path
from typing import Any

from robench.errors import EnvironmentNotReady, RobenchError, UsageError

TEMP_PREFIX = ".tmp-"
"""Names of temporary files start with this; readers and manifests skip them."""

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM}
_SHAPE = {errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EEXIST, errno.ENOENT}


def explain_os_error(error: OSError, path: Path) -> RobenchError:
    """Return the one-sentence error that says what the operating system refused.

    Args:
        error: What was raised while writing.
        path: What the user wanted to write.

    Returns:
        `EnvironmentNotReady` for a full or read-only disk and hardware errors, `UsageError` for a path that cannot be
        written.
    """
    if error.errno in _FULL:
        return EnvironmentNotReady(f"The disk is full: {path} could not be written", hint="free some space and repeat")
    if error.errno == errno.EROFS:
        return EnvironmentNotReady(f"{path} is on a read-only file system", hint="choose another output folder")
    if error.errno in _DENIED:
        return UsageError(f"There is no permission to write {path}", hint="choose another output folder")
    reason = error.strerror or str(error)
    if error.errno in _SHAPE:
        return UsageError(f"{path} cannot be written", got=reason.lower(), hint="choose another output path")
    return EnvironmentNotReady(f"{path} could not be written", got=reason.lower())


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` raised inside the block into the error of `explain_os_error`."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def make_folder(path: Path) -> Path:
    """Create a folder and its parents, and return it.

    Raises:
        UsageError: If a file is in the way or there is no permission.
        EnvironmentNotReady: If the disk is full or read-only.
    """
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


@contextlib.contextmanager
def atomic_path(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path in the same folder; on success it is synced and renamed to `path`, else removed.

    The temporary name keeps the suffix, for writers that choose a format by it. Parent folders are created.

    Args:
        path: Where the finished file shall be.
        durable: False leaves it to the operating system when the content reaches the disk: for one of many files, whose
            hash is checked when work resumes, and which `sync_disk` follows at the end.

    Yields:
        The path to write to.

    Raises:
        UsageError: If the path cannot be written (permission, a folder in the way).
        EnvironmentNotReady: If the disk is full or read-only.
    """
    path = Path(path)
    make_folder(path.parent)
    # The end of a long name is kept (it has the suffix); file systems allow 255 bytes.
    temporary = path.parent / f"{TEMP_PREFIX}{secrets.token_hex(6)}-{path.name[-100:]}"
    try:
        with explained(path):
            yield temporary
            if durable:
                _sync(temporary)
            os.replace(temporary, path)
            if durable:
                _sync_folder(path.parent)
    finally:
        # After the rename there is nothing left to remove; after any error (Ctrl-C too) there is.
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _sync_folder(path: Path) -> None:
    # Makes the rename itself durable; some network file systems do not support it, and the file is whole anyway.
    with contextlib.suppress(OSError):
        _sync(path)


def sync_disk() -> None:
    """Wait until everything that was written is on the disk."""
    os.sync()


def write_bytes_atomic(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write bytes so that the file appears whole or not at all; arguments and errors as of `atomic_path`."""
    with atomic_path(path, durable=durable) as temporary:
        temporary.write_bytes(data)


def write_text_atomic(path: Path, text: str) -> None:
    """Write UTF-8 text, line ends as given, whole or not at all; errors as in `atomic_path`."""
    write_bytes_atomic(path, text.encode("utf-8"))


def json_text(data: Any) -> str:
    """Return stable JSON: sorted keys, two-space indent, final newline; equal data give equal bytes.

    Raises:
        ValueError: If a number is NaN or infinite, which JSON cannot say.
        TypeError: If a value is not plain JSON.
    """
    text = json.dumps(data, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    # Bytes of file names that are no UTF-8 (Python's lone surrogates) get the escapes that JSON has for them.
    return text.encode("utf-8", "backslashreplace").decode()


def write_json_atomic(path: Path, data: Any) -> None:
    """Write `json_text` so that the file appears whole or not at all; errors as in `atomic_path` and `json_text`."""
    write_text_atomic(path, json_text(data))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UsageError: If the file is missing or is not JSON; the message names the file and the line.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"There is no file {path}") from None
    except RecursionError as error:
        raise UsageError(f"{path} is not a valid JSON file", got="lists within lists without end") from error
    except ValueError as error:  # no JSON, no UTF-8, or a number of thousands of digits
        raise UsageError(f"{path} is not a valid JSON file", got=str(error)) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read", got=(error.strerror or str(error)).lower()) from error


def sha256_bytes(data: bytes | memoryview) -> str:
    """Return the SHA-256 of bytes as 64 lower-case hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def is_special(path: Path) -> bool:
    """True for what is neither file nor folder: pipes, devices, sockets. A link counts as what it points to."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # a link that leads nowhere: whoever reads it says so
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading in binary, refusing what has no end or waits for somebody: pipes, devices, sockets.

    Raises:
        OSError: If there is no such file, or it is something else.
    """
    handle = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  # given
    if stat.S_ISREG(os.fstat(handle.fileno()).st_mode):
        return handle
    handle.close()
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of a file's content as 64 lower-case hexadecimal digits, whatever its size.

    Raises:
        OSError: As `open_regular`.
    """
    with open_regular(path) as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def safe_join(root: Path, name: str) -> Path:
    """Join a name from a file (manifest, archive, index) to a folder, refusing names that lead out of it.

    Args:
        root: The folder to stay in.
        name: A relative POSIX path.

    Returns:
        ``root / name``.

    Raises:
        UsageError: If the name is empty, absolute, has a ``..``, a NUL or a backslash, or leaves the folder by a link.
    """
    parts = name.split("/")
    bad = not name or name.startswith("/") or ".." in parts or "\0" in name or "\\" in name or ":" in parts[0]
    if not bad:
        joined = Path(root, *parts)
        if joined.resolve().is_relative_to(Path(root).resolve()):
            return joined
    raise UsageError(f"A path leaves its folder {root}", got=repr(name), expected="a relative path inside the folder")
