"""Which cells of a run are done, and how they ended: a byte a cell, so that a million of them are a megabyte."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from robench.engine.cset import Key
from robench.errors import Mismatch

ORDER = ("failed", "timeout", "oom", "no_detection", "degenerate", "ok", "skipped")
"""Statuses; a cell has the first of these that one of its rows has."""

Range = tuple[int, int]
"""Cells from the first number up to, not including, the second."""


class Ledger:
    """The cells of a run in the order of its plan: number = sample x conditions + condition.

    Args:
        samples: Sample ids.
        conditions: Corruption and severity of each, clean first.
    """

    def __init__(self, samples: Sequence[str], conditions: Sequence[tuple[str, int]]) -> None:
        self._samples = {sample: number for number, sample in enumerate(samples)}
        self._conditions = {condition: number for number, condition in enumerate(conditions)}
        self._codes = bytearray(len(samples) * len(conditions))  # 0: not done; else 1 + place in ORDER

    def __len__(self) -> int:
        return len(self._codes)

    def number(self, key: Key) -> int:
        """Return the number of a cell.

        Raises:
            Mismatch: If the run has no such cell.
        """
        sample, corruption, severity = key
        try:
            return self._samples[sample] * len(self._conditions) + self._conditions[corruption, severity]
        except KeyError:
            raise Mismatch(
                "A run has rows of a cell that is not in its plan", got=f"{key}", hint="--fresh to start over"
            ) from None

    def mark(self, key: Key, status: str) -> None:
        """Note how a cell ended."""
        self._codes[self.number(key)] = 1 + ORDER.index(status)

    def forget(self, key: Key) -> None:
        """Note that a cell is to be done again."""
        self._codes[self.number(key)] = 0

    def status(self, key: Key) -> str | None:
        """Return how a cell ended, or None if it is not done."""
        code = self._codes[self.number(key)]
        return ORDER[code - 1] if code else None

    def counts(self) -> dict[str, int]:
        """Return how many cells ended how; what did not happen is left out."""
        found = {status: self._codes.count(code) for code, status in enumerate(ORDER, start=1)}
        return {status: count for status, count in found.items() if count}

    def todo(self) -> list[Range]:
        """Return the cells that are not done, as ranges."""
        return list(_runs(self._codes))


def _runs(codes: bytearray) -> Iterator[Range]:
    start = codes.find(0)
    while start >= 0:
        stop = next((at for at in range(start, len(codes)) if codes[at]), len(codes))
        yield start, stop
        start = codes.find(0, stop)


def cut(ranges: Iterable[Range], size: int, grain: int = 1) -> Iterator[list[Range]]:
    """Cut ranges into pieces of about `size` cells.

    Args:
        ranges: In order.
        size: Cells a piece, at least 1; rounded up to whole grains.
        grain: Pieces end only at multiples of this: the conditions of a sample stay together.

    Yields:
        Ranges of one piece.
    """
    whole = -(-max(1, size) // grain) * grain
    piece: list[Range] = []
    held = 0
    for start, stop in ranges:
        while start < stop:
            if held >= whole and start // grain != (piece[-1][1] - 1) // grain:
                yield piece
                piece, held = [], 0
            # As many as fit, then on to the end of the sample.
            end = min(stop, -(-(start + max(1, whole - held)) // grain) * grain)
            piece.append((start, end))
            held, start = held + end - start, end
    if piece:
        yield piece
