"""The manifest: SHA-256 of every file of a data set, and the revision that follows from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, TypeVar

from robench.contracts import Problem
from robench.errors import RobenchError, UsageError
from robench.io.files import json_text, read_json, safe_join, sha256_bytes, sha256_file, write_text_atomic
from robench.io.images import UnreadableInput

MANIFEST: Final = "manifest.json"
FORMAT: Final = "robench/data-manifest/1"

_T = TypeVar("_T")


def data_files(root: Path) -> list[Path]:
    """Return every file below a folder in a stable order, without the manifest and without hidden files and folders.

    Temporary files of interrupted writes are hidden files. Links that lead nowhere, pipes and devices are no files.
    """
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(names) if not name.startswith(".")]
    return [path for path in found if path != Path(root) / MANIFEST and path.is_file()]


def build_manifest(root: Path, files: Sequence[Path] | None = None) -> dict[str, str]:
    """Return relative POSIX path → SHA-256 for `files`, by default all `data_files`."""
    chosen = data_files(root) if files is None else files
    return {path.relative_to(root).as_posix(): sha256_file(path) for path in tracked(chosen, "hashing")}


def manifest_text(files: dict[str, str]) -> str:
    """Return the text of a manifest file; equal content gives equal bytes."""
    return json_text({"format": FORMAT, "files": files})


def write_manifest(root: Path) -> str:
    """Hash a data set, write its ``manifest.json`` and return the revision.

    Raises:
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    text = manifest_text(build_manifest(root))
    write_text_atomic(root / MANIFEST, text)
    return sha256_bytes(text.encode())


def read_manifest(root: Path) -> dict[str, str]:
    """Read the ``manifest.json`` of a data set.

    Returns:
        Relative POSIX path → SHA-256.

    Raises:
        UsageError: If it is missing, of another format, or names a path outside the data set.
    """
    path = Path(root) / MANIFEST
    data = read_json(path)
    files = data.get("files") if isinstance(data, dict) and data.get("format") == FORMAT else None
    if not isinstance(files, dict) or not all(isinstance(v, str) for v in files.values()):
        raise UsageError(f"{path} is not a data manifest", expected=f"format {FORMAT}")
    for name in files:
        safe_join(Path(root), name)
    return files


def verify_manifest(root: Path) -> list[Problem]:
    """Hash every file again and name each that is missing, changed, or not in the manifest.

    Returns:
        The problems, in path order; an empty list means that every byte is as recorded.
    """
    root = Path(root)
    try:
        recorded = read_manifest(root)
    except RobenchError as error:
        return [problem(root / MANIFEST, error)]
    present = {path.relative_to(root).as_posix(): path for path in data_files(root)}
    problems = []
    for name in tracked(sorted(recorded.keys() | present.keys()), "verifying"):
        if name not in present:
            problems.append(Problem(root / name, "is missing"))
        elif name not in recorded:
            problems.append(Problem(present[name], "is not in the manifest"))
        elif (found := sha256_file(present[name])) != recorded[name]:
            problems.append(Problem(present[name], f"has changed: sha256 {found[:8]}, recorded {recorded[name][:8]}"))
    return problems


def revision(root: Path, files: Sequence[Path] | None = None) -> str:
    """Return the SHA-256 of the manifest: the stored one, else the one of `files` (by default, of all `data_files`)."""
    path = Path(root) / MANIFEST
    if path.is_file():
        return sha256_file(path)
    return sha256_bytes(manifest_text(build_manifest(Path(root), files)).encode())


def problem(path: Path, error: RobenchError) -> Problem:
    """Return an error as something wrong with a file, without naming the file twice."""
    return Problem(path, error.reason if isinstance(error, UnreadableInput) else str(error))


def tracked(items: Iterable[_T], label: str) -> Iterator[_T]:
    """Iterate with a progress bar on stderr; silent if that is no terminal or ``ROBENCH_NO_PROGRESS`` is set."""
    if not sys.stderr.isatty() or "ROBENCH_NO_PROGRESS" in os.environ:
        yield from items
        return
    from rich.console import Console
    from rich.progress import track

    yield from track(list(items), label, console=Console(stderr=True), transient=True)
