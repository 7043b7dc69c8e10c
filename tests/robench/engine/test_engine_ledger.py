"""Cells by number: what is done, what is left, and how the rest is cut into shards."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from robench.engine.ledger import ORDER, Ledger, cut
from robench.errors import Mismatch

CONDITIONS = (("clean", 0), ("fog", 1), ("fog", 3))


def keys(samples: int) -> list[tuple[str, str, int]]:
    return [(f"s{sample}", *condition) for sample in range(samples) for condition in CONDITIONS]


def ledger(samples: int) -> Ledger:
    return Ledger([f"s{sample}" for sample in range(samples)], CONDITIONS)


def test_cells_are_numbered_sample_by_sample() -> None:
    found = ledger(4)
    assert len(found) == 12
    assert [found.number(key) for key in keys(4)] == list(range(12))


def test_counts_and_statuses() -> None:
    found = ledger(2)
    assert found.counts() == {}
    for key, status in zip(keys(2), ("ok", "timeout", "ok", "skipped", "oom", "ok"), strict=True):
        assert found.status(key) is None
        found.mark(key, status)
        assert found.status(key) == status
    assert found.counts() == {"timeout": 1, "oom": 1, "ok": 3, "skipped": 1}
    assert found.todo() == []
    found.forget(("s1", "fog", 1))
    assert found.todo() == [(4, 5)]


@pytest.mark.parametrize("key", [("s9", "clean", 0), ("s0", "fog", 2), ("s0", "rain", 1)])
def test_a_cell_of_another_run_is_refused(key: tuple[str, str, int]) -> None:
    with pytest.raises(Mismatch, match="not in its plan"):
        ledger(2).mark(key, "ok")


@given(st.lists(st.booleans(), max_size=60))
def test_todo_is_what_is_not_done(done: list[bool]) -> None:
    samples = -(-len(done) // len(CONDITIONS))
    found = ledger(samples)
    for key, is_done in zip(keys(samples), done, strict=False):
        if is_done:
            found.mark(key, ORDER[-1])
    left = [number for start, stop in found.todo() for number in range(start, stop)]
    assert left == [number for number in range(len(found)) if number >= len(done) or not done[number]]


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(1, 9)), max_size=12),
    st.integers(1, 20),
    st.integers(1, 7),
)
def test_pieces_hold_every_cell_once_in_order(gaps: list[tuple[int, int]], size: int, grain: int) -> None:
    ranges, at = [], 0
    for gap, length in gaps:
        ranges.append((at + gap, at + gap + length))
        at += gap + length + 1
    whole = list(itertools.chain.from_iterable(range(*one) for one in ranges))
    pieces = [list(itertools.chain.from_iterable(range(*one) for one in piece)) for piece in cut(ranges, size, grain)]
    assert list(itertools.chain.from_iterable(pieces)) == whole
    assert all(pieces), "no piece is empty"
    for one, other in itertools.pairwise(pieces):
        assert one[-1] // grain != other[0] // grain, "the conditions of a sample stay together"
    most = -(-size // grain) * grain + grain
    assert all(len(piece) <= most for piece in pieces)
