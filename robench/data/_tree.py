"""Which files of a plain folder are pictures, and which belong to them: by name, at any depth, never by position."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from robench.data.ids import natural_key
from robench.errors import UsageError
from robench.io import depth, images, meshes
from robench.io.files import is_special, read_json

HOME = "images"
"""Where the pictures are, if there is a folder of that name."""
_RECORDS = ("run.json", "masks.json", "video.json")
"""A folder with one of these is what robench made (a run, masks, a video's frames), no part of the data around it."""


@dataclass(frozen=True)
class Kind:
    """What may belong to a picture ``x``: files ``<folder>/x.*``, and ``x<tag>.*`` beside it."""

    folder: str
    tags: tuple[str, ...]
    suffixes: tuple[str, ...]


KINDS: Mapping[str, Kind] = {
    "mask": Kind("masks", ("_mask",), images.SUFFIXES),
    "depth": Kind("depth", ("_depth",), depth.SUFFIXES),
    "normals": Kind("normals", ("_normals",), (".png",)),
    "mesh": Kind("meshes", ("", "_mesh"), meshes.SUFFIXES),
}
_FOLDERS = {kind.folder: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Tree:
    """The files of a folder that count.

    Attributes:
        pictures: Key → picture, in natural order. The key is the path below the folder without suffix, such as ``x`` or
            ``monday/x``, in Unicode's composed form (file systems disagree about it).
        companions: Kind → key of the picture → file.
        strangers: Files in a folder of companions that belong to no picture.
    """

    pictures: Mapping[str, Path]
    companions: Mapping[str, Mapping[str, Path]]
    strangers: tuple[Path, ...]


def has_picture(root: Path) -> bool:
    """True if there is a picture; looks no further than the first one."""
    return any(kind is None and _is(path, images.SUFFIXES) for path, kind, _ in _walk(root))


def scan(root: Path) -> Tree:
    """Find pictures and what belongs to them.

    Raises:
        UsageError: If two pictures, or two companions of one kind, have the same key.
    """
    beside: list[tuple[str, Path]] = []
    apart: list[tuple[str, str, Path]] = []
    for path, kind, key in _walk(root):
        if kind is None:
            beside.append((key, path))
        elif _is(path, KINDS[kind].suffixes):
            apart.append((kind, key, path))
    keys = {key for key, path in beside if _is(path, images.SUFFIXES)}
    pictures: dict[str, Path] = {}
    for key, path in beside:
        if not _is(path, images.SUFFIXES) or _is_companion(key, path, keys):
            continue
        if key in pictures:
            raise UsageError(
                f"Two pictures are called '{path.stem}' in {path.parent}",
                got=f"{pictures[key].name} and {path.name}",
                expected="one",
                hint="rename or remove one of them",
            )
        pictures[key] = path
    pictures = dict(sorted(pictures.items(), key=lambda item: natural_key(item[0])))
    found: dict[str, dict[str, Path]] = {name: {} for name in KINDS}
    for name, key, path in [*apart, *_tagged(beside)]:
        if key not in pictures:
            continue
        if key in found[name]:
            raise UsageError(
                f"'{key}' has two files of kind {name}", got=f"{found[name][key]} and {path}", expected="one"
            )
        found[name][key] = path
    return Tree(pictures, found, tuple(path for _, key, path in apart if key not in pictures))


def _tagged(beside: Sequence[tuple[str, Path]]) -> Iterator[tuple[str, str, Path]]:
    """Yield the files that lie beside pictures and may be companions by their name: ``x_mask.png`` of ``x``."""
    for name, kind in KINDS.items():
        for key, path in beside:
            if _is(path, kind.suffixes):
                yield from ((name, key.removesuffix(tag), path) for tag in kind.tags if key.endswith(tag))


def _is_companion(key: str, path: Path, keys: set[str]) -> bool:
    """``x_mask.png`` is no picture if there is an ``x``; ``gas_mask.png`` alone is one."""
    tags = (tag for kind in KINDS.values() if _is(path, kind.suffixes) for tag in kind.tags if tag)
    return any(key.endswith(tag) and key.removesuffix(tag) in keys for tag in tags)


def _walk(root: Path) -> Iterator[tuple[Path, str | None, str]]:
    """Yield every file in a stable order, the kind whose folder it is in (None beside the pictures), and its key."""
    tops = [HOME, *_FOLDERS] if (root / HOME).is_dir() else [""]
    for top in tops:
        for folder, folders, names in os.walk(root / top):
            here = Path(folder)
            folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_result(here / name))
            parts = here.relative_to(root).parts
            parts = parts[1:] if top == HOME else parts
            kind = next((_FOLDERS[part] for part in parts if part in _FOLDERS), None)
            if kind is not None:
                at = parts.index(KINDS[kind].folder)
                parts = (*parts[:at], *parts[at + 1 :])
            for name in sorted(names):
                if not name.startswith(".") and not is_special(here / name):
                    yield here / name, kind, key_of((*parts, stem_of(name)))


def key_of(parts: Sequence[str]) -> str:
    """Return the key of a path below the folder."""
    return unicodedata.normalize("NFC", "/".join(parts))


def stem_of(name: str) -> str:
    """Return a file's name without its suffix, also where that is ``.obj.gz``."""
    suffix = meshes.mesh_suffix(Path(name))
    return name[: -len(suffix)] if suffix else Path(name).stem


def picture_key(root: Path, picture: Path) -> str:
    """Return the key of a picture of a folder."""
    parts = picture.relative_to(root).parts
    return key_of((*(parts[1:-1] if len(parts) > 1 and parts[0] == HOME else parts[:-1]), stem_of(parts[-1])))


def _is(path: Path, suffixes: Sequence[str]) -> bool:
    return path.name.lower().endswith(tuple(suffixes))


def _is_result(folder: Path) -> bool:
    """True if robench made the folder: sets, runs and masks may lie inside the data they were made from."""
    if any((folder / name).is_file() for name in _RECORDS):
        return True
    manifest = folder / "manifest.json"
    if not manifest.is_file():
        return False
    try:
        data = read_json(manifest)
    except UsageError:
        return False  # somebody else's file
    return isinstance(data, dict) and "cset_id" in data


def beside(picture: Path) -> dict[str, Path]:
    """Return, by kind, the files that belong to one picture and lie next to it; looks at no other file.

    Args:
        picture: ``x.png``: found are ``x_mask.*`` and ``masks/x.*`` beside it, and so on; also ``../masks/x.*`` where
            the picture is in ``images/``.
    """
    stem, here = stem_of(picture.name), picture.parent
    homes = [here, *([here.parent] if here.name == HOME else [])]
    found: dict[str, Path] = {}
    for name, kind in KINDS.items():
        paths = [here / f"{stem}{tag}{suffix}" for tag in kind.tags for suffix in kind.suffixes]
        paths += [home / kind.folder / f"{stem}{suffix}" for home in homes for suffix in kind.suffixes]
        there = [path for path in paths if path.is_file()]
        if there:
            found[name] = there[0]
    return found
