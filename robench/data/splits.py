"""Split files: which subjects belong to train, val and test, each file with its SHA-256.

``splits/<name>.txt`` lists one subject a line; ``splits/splits.json`` records the hash of each file, so that a result
can say on which split it was made. The subject is the unit: no subject is in two splits.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from robench.contracts import Problem
from robench.data.manifest import problem
from robench.errors import Mismatch, RobenchError, UsageError
from robench.io.files import read_json, sha256_bytes, sha256_file, write_json_atomic, write_text_atomic

FOLDER: Final = "splits"
RECORD: Final = "splits.json"
NAMES: Final = ("train", "val", "test")
FORMAT: Final = "robench/splits/1"


def write_splits(root: Path, splits: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Write split files and their record.

    Args:
        root: The data set's folder.
        splits: Split name (of `NAMES`) → subject ids in the order wanted.

    Returns:
        Split name → SHA-256 of its file.

    Raises:
        UsageError: If a name is unknown, a subject is twice in a split or in two splits, or a file cannot be written.
        EnvironmentNotReady: If the disk is full or read-only.
    """
    for name in splits:
        _check_name(name)
    if overlaps := _overlaps(splits):
        raise UsageError("Splits must not share subjects", got=overlaps[0])
    hashes = {}
    for name, subjects in splits.items():
        text = "".join(f"{subject}\n" for subject in subjects)
        write_text_atomic(_file(root, name), text)
        hashes[name] = sha256_bytes(text.encode())
    record = {name: {"sha256": hashes[name], "subjects": len(splits[name])} for name in splits}
    write_json_atomic(Path(root) / FOLDER / RECORD, {"format": FORMAT, "splits": record})
    return hashes


def split_names(root: Path) -> list[str]:
    """Return which splits a data set has, in the order train, val, test."""
    return [name for name in NAMES if _file(root, name).is_file()]


def read_split(root: Path, name: str) -> list[str]:
    """Return the subjects of a split, in file order.

    Raises:
        UsageError: If the data set has no such split.
        Mismatch: If the file is not the one that the record was made for.
    """
    _check_name(name)
    path = _file(root, name)
    if not path.is_file():
        known = split_names(root)
        raise UsageError(
            f"The data set {root} has no split '{name}'",
            expected="one of " + ", ".join(known) if known else "",
            hint="" if known else f"leave the split out, or list subjects in {path}",
        )
    recorded = _recorded(root).get(name)
    found = sha256_file(path)
    if recorded is not None and recorded != found:
        raise Mismatch(f"The split file {path} has changed", got=found[:8], expected=f"{recorded[:8]} (splits.json)")
    return _lines(path)


def split_sha256(root: Path, name: str) -> str:
    """Return the SHA-256 of a split file; errors as in `read_split`."""
    read_split(root, name)
    return sha256_file(_file(root, name))


def verify_splits(root: Path, subjects: Collection[str]) -> list[Problem]:
    """Return what is wrong with the split files: changed, overlapping, or naming subjects that are not there.

    Args:
        root: The data set's folder.
        subjects: The subjects that the data set has.

    Returns:
        The problems; an empty list means sound (also if there are no split files).
    """
    problems, splits = [], {}
    for name in split_names(root):
        path = _file(root, name)
        try:
            splits[name] = read_split(root, name)
        except RobenchError as error:
            problems.append(problem(path, error))
            if not isinstance(error, Mismatch):
                continue
            splits[name] = _lines(path)
        unknown = [subject for subject in splits[name] if subject not in subjects]
        if unknown:
            problems.append(Problem(path, f"names {len(unknown)} unknown subjects, the first is '{unknown[0]}'"))
    problems += [Problem(Path(root) / FOLDER, text) for text in _overlaps(splits)]
    return problems


def _overlaps(splits: Mapping[str, Sequence[str]]) -> list[str]:
    home: dict[str, str] = {}
    found = []
    for name, subjects in splits.items():
        for subject in subjects:
            if subject in home:
                where = f"twice in {name}" if home[subject] == name else f"in {home[subject]} and in {name}"
                found.append(f"subject '{subject}' is {where}")
            home[subject] = name
    return found


def _recorded(root: Path) -> dict[str, str]:
    path = Path(root) / FOLDER / RECORD
    if not path.is_file():
        return {}
    data: Any = read_json(path)
    try:
        return {name: str(entry["sha256"]) for name, entry in data["splits"].items()}
    except (TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{path} is not a record of splits", expected=f"format {FORMAT}") from error


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The split file {path} cannot be read", got=str(error)) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _file(root: Path, name: str) -> Path:
    return Path(root) / FOLDER / f"{name}.txt"


def _check_name(name: str) -> None:
    if name not in NAMES:
        raise UsageError(f"There is no split '{name}'", expected="one of " + ", ".join(NAMES))
