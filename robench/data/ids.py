"""Sample ids that are safe file names, and an order that people expect."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from robench.errors import UsageError
from robench.io.files import sha256_bytes

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")
_DIGITS = re.compile(r"(\d+)")
_LONGEST = 120


def safe_id(name: str) -> str:
    """Return a name that is a safe file name everywhere, unchanged if it already is.

    Other characters become ``_``; a changed name gets six digits of its hash, so that different names stay different.
    """
    safe = _UNSAFE.sub("_", name)
    safe = f"_{safe}" if safe.startswith((".", "-")) or not safe else safe
    safe = safe[:_LONGEST]
    return safe if safe == name else f"{safe}-{sha256_bytes(name.encode('utf-8', 'surrogateescape'))[:6]}"


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Return a sort key under which ``s2`` comes before ``s10``; equal only for equal names."""
    parts = _DIGITS.split(name)
    key = tuple((0, int(part), "") if i % 2 else (1, 0, part) for i, part in enumerate(parts))
    return (*key, (2, 0, name))


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """Map each picture's name without suffix to its path, in natural order.

    Raises:
        UsageError: If two pictures share a stem (``a.jpg`` and ``a.png``): which one is the sample cannot be guessed.
    """
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda p: natural_key(p.name)):
        if path.stem in found:
            raise UsageError(
                f"Two pictures are called '{path.stem}' in {path.parent}",
                got=f"{found[path.stem].name} and {path.name}",
                expected="one",
                hint="rename or remove one of them",
            )
        found[path.stem] = path
    return dict(sorted(found.items(), key=lambda item: natural_key(item[0])))
