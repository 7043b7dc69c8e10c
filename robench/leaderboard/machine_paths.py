"""Absolute paths of somebody's machine, which have no place in what is published."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

# Not the slashes of a link, of "and/or", of a relative path. A drive's letter stands alone.
_BEGINS = r"(?<![\w./:~<>-])"
_SURE = re.compile(_BEGINS + r"(?:/[\w.@+-]+/|[A-Za-z]:[\\/]|\\\\\w|file:/|~/)")
_LIKELY = re.compile(_BEGINS + r"(?:/[\w.@+-]|[A-Za-z]:[\\/]|\\\\\w|file:/|~/)[^\s'\",;:()\[\]]*")
GONE = "<path>"


def has_path(text: str) -> bool:
    """True if a text holds an absolute path."""
    return _SURE.search(text) is not None


def without_paths(text: str, roots: tuple[str, ...] = ()) -> str:
    """Return a text with `GONE` in place of every absolute path.

    Args:
        text: Such as a message of a failure.
        roots: Known folders, whose names may have blanks in them.
    """
    for root in sorted((root for root in roots if len(root) > 1), key=len, reverse=True):
        text = re.sub(re.escape(root) + r"[^\s'\",;:()\[\]]*", GONE, text)
    return _LIKELY.sub(GONE, text)


def paths_in(value: Any, where: str = "") -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every string within plain values, keys too, that holds an absolute path."""
    if isinstance(value, str):
        if has_path(value):
            yield where, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from paths_in(str(key), where)
            yield from paths_in(inner, f"{where}.{key}" if where else str(key))
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            yield from paths_in(inner, f"{where}[{index}]")
