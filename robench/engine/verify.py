"""Is a corrupted set on disk what it was when it was written? Every file is hashed again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from robench.engine.cset import FORMAT, is_set
from robench.engine.cset_index import FILES, INDEX, read_index, rows_sha256
from robench.engine.cset_manifest import MANIFEST, manifest_sha256, resume_command
from robench.engine.masks import JOURNAL as MASKS_JOURNAL
from robench.engine.masks import RECORD
from robench.errors import Mismatch, RobenchError, UsageError
from robench.io.depth import DECLARATION
from robench.io.files import read_json, safe_join, sha256_file

Kind = Literal["missing", "extra", "changed", "unfinished"]


@dataclass(frozen=True)
class Difference:
    """One thing that is not as recorded.

    Attributes:
        kind: What is the matter.
        path: Relative POSIX path in the set.
        detail: One line.
    """

    kind: Kind
    path: str
    detail: str = ""


@dataclass(frozen=True)
class Verdict:
    """What `verify_set` found.

    Attributes:
        folder: The set.
        files: Files that were hashed.
        differences: In order of paths; none means that every byte is as recorded.
    """

    folder: Path
    files: int
    differences: tuple[Difference, ...]


def sets_in(folder: Path) -> list[Path]:
    """Return the set that a folder is, or the sets that lie in it (the OUT of ``robench corrupt``).

    Raises:
        UsageError: If there is none.
    """
    if not folder.is_dir():
        raise UsageError(f"There is no folder {folder}", expected="a corrupted set, or the folder of some")
    if (folder / MANIFEST).exists() or (folder / INDEX).exists():
        return [folder]
    found = [path for path in sorted(folder.iterdir()) if path.is_dir() and is_set(path)]
    if not found:
        raise UsageError(f"There is no corrupted set in {folder}", hint="robench corrupt IN OUT")
    return found


def verify_set(folder: Path) -> Verdict:
    """Hash every file of a set again and name what is missing, extra or changed.

    Covered are the manifest, the index, pictures, true masks, depth, and masks that ``robench mask`` put beside them.
    """
    try:
        manifest = read_json(folder / MANIFEST)
        if not isinstance(manifest, dict) or manifest.get("format") != FORMAT or "complete" not in manifest:
            return Verdict(folder, 0, (Difference("changed", MANIFEST, f"is no manifest of format {FORMAT}"),))
    except UsageError as error:
        kind: Kind = "changed" if (folder / MANIFEST).exists() else "missing"
        return Verdict(folder, 0, (Difference(kind, MANIFEST, error.what),))
    if not manifest["complete"]:
        resume = f"resume with: {resume_command(manifest)}"
        return Verdict(folder, 0, (Difference("unfinished", MANIFEST, resume),))
    found = [] if manifest.get("manifest_sha256") == manifest_sha256(manifest) else [_changed(MANIFEST)]
    expected: dict[str, str | None] = {MANIFEST: None, INDEX: None}
    try:
        rows = _rows(folder, manifest, found)
        expected |= _files(manifest, rows)
        expected |= _masks(folder, found)
    except (RobenchError, KeyError, TypeError, AttributeError) as error:
        # A record that leads out of the folder or lacks a field: what it names cannot be looked for.
        found.append(Difference("changed", MANIFEST, f"a record is damaged: {error}"))
    present = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    found += [Difference("extra", name) for name in present - expected.keys()]
    hashed = 0
    for name, sha256 in expected.items():
        if name not in present:
            known = any(difference.path == name for difference in found)
            found += [] if known else [Difference("missing", name)]
        elif sha256 is not None:
            hashed += 1
            if sha256_file(safe_join(folder, name)) != sha256:
                found.append(_changed(name))
    return Verdict(folder, hashed + 2, tuple(sorted(found, key=lambda difference: difference.path)))


def _changed(name: str) -> Difference:
    return Difference("changed", name, "its content is not what was recorded")


def _rows(folder: Path, manifest: Mapping[str, Any], found: list[Difference]) -> list[dict[str, Any]]:
    if not (folder / INDEX).is_file():
        found.append(Difference("missing", INDEX))
        return []
    try:
        rows = read_index(folder / INDEX)
    except Mismatch as error:
        found.append(Difference("changed", INDEX, error.what))
        return []
    if rows_sha256(rows) != manifest.get("index_sha256"):
        found.append(_changed(INDEX))
    return rows


def _files(manifest: Mapping[str, Any], rows: list[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    """Yield every file that manifest and index name, with its hash."""
    for row in rows:
        for path, sha256 in FILES:
            if row[path] is not None:
                yield row[path], row[sha256]
    if any(row["depth_path"] is not None for row in rows):
        yield f"depth/{DECLARATION}", None
    yield from ((manifest.get("depth") or {}).get("files") or {}).items()


def _masks(folder: Path, found: list[Difference]) -> Iterator[tuple[str, str | None]]:
    """Yield every file of the maskers' folders, with its hash."""
    for record in sorted(folder.glob(f"masks/*/{RECORD}")):
        home = record.parent.relative_to(folder).as_posix()
        yield f"{home}/{RECORD}", None
        if (record.parent / MASKS_JOURNAL).is_file():  # being made, or interrupted; `robench mask` resumes
            yield f"{home}/{MASKS_JOURNAL}", None
        try:
            entries = read_json(record)["masks"]
        except (UsageError, KeyError, TypeError):
            found.append(_changed(f"{home}/{RECORD}"))
            continue
        for entry in entries.values():
            yield f"{home}/{entry['path']}", entry["sha256"]
