"""Work in pieces that is kept as it goes, in one file of a folder: the command run again does what is left."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from robench.engine.journal import Journal, read_lines
from robench.errors import Mismatch, NotComparable

PIECES = "pieces.jsonl"
"""The file: a line that says what the work is, and one for each finished piece."""


class Pieces:
    """Finished pieces by name; see `open_pieces`."""

    def __init__(self, journal: Journal, done: dict[str, Any]) -> None:
        self._journal = journal
        self.done = done

    def add(self, name: str, value: Any) -> None:
        """Keep a piece.

        Args:
            name: Its name; none is done twice.
            value: JSON-able.
        """
        self._journal.append({"piece": name, "value": value})
        self.done[name] = value


@contextlib.contextmanager
def open_pieces(folder: Path, identity: Mapping[str, Any], *, fresh: bool = False) -> Iterator[Pieces]:
    """Open a folder of pieces, alone.

    Args:
        folder: Made where it is not there.
        identity: What the pieces depend on, JSON-able.
        fresh: Forget what is done.

    Yields:
        The pieces that are done, to which others are added.

    Raises:
        NotComparable: If the folder holds pieces of other work.
        Mismatch: If the file is damaged.
        UsageError: If it cannot be written, or another process writes it.
    """
    path = folder / PIECES
    with Journal(path, alone=True) as journal:
        if fresh:
            with open(path, "r+b") as file:
                file.truncate(0)
        lines = read_lines(path)
        try:
            found = next(lines, {"identity": None})["identity"]
            if found is None:
                journal.append({"identity": dict(identity)})
            elif found != dict(identity):
                raise NotComparable(
                    f"{folder} holds other work",
                    got=_differing(found, identity),
                    expected=_differing(identity, found),
                    hint="--out another folder, or --fresh to start over",
                )
            done = {line["piece"]: line["value"] for line in lines}
        except (TypeError, KeyError, AttributeError) as error:
            raise Mismatch(f"{path} is damaged", got=repr(error)[:100], hint="--fresh to start over") from error
        yield Pieces(journal, done)


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return what one says and the other says differently, shortly."""
    parts = (f"{k} {_short(v)}" for k, v in one.items() if other.get(k) != v)
    return ", ".join(parts) or "nothing"


def _short(value: Any) -> str:
    text = ", ".join(f"{k} {_short(v)}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
