"""The contact sheet: every picture in its place."""

from __future__ import annotations

import numpy as np
import pytest

from robench.reporting.contact_sheet import TILE, contact_sheet


def flat(value: int, shape: tuple[int, int] = (300, 200)) -> np.ndarray:
    return np.full((*shape, 3), value, np.uint8)


def colours(sheet: np.ndarray) -> dict[int, tuple[int, int]]:
    """Return, for each grey that fills at least a hundred pixels, its mean row and column."""
    found = {}
    grey = sheet[..., 0]
    for value in np.unique(grey):
        rows, columns = np.nonzero((grey == value) & (sheet[..., 1] == value))
        if len(rows) > 5000:
            found[int(value)] = (int(rows.mean()), int(columns.mean()))
    return found


def test_table_has_a_row_a_corruption_and_a_column_a_severity() -> None:
    pictures = {("clean", 0): flat(50), ("fog", 1): flat(60), ("fog", 3): flat(70), ("noise", 3): flat(80)}
    found = colours(contact_sheet(pictures, "a set"))
    assert found[60][0] == pytest.approx(found[70][0], abs=2)
    assert found[70][1] == pytest.approx(found[80][1], abs=2)
    assert found[80][0] > found[70][0]
    assert found[50][1] < found[60][1] < found[70][1]
    assert set(found) == {50, 60, 70, 80, 255}, "what is not in the set is paper, not a box"


def test_what_a_row_lacks_is_a_dash_and_a_row_of_one_level_says_so() -> None:
    def ink(sheet: np.ndarray, rows: slice, columns: slice) -> int:
        return int((sheet[rows, columns] < 200).all(axis=2).sum())

    levels = {("clean", 0): flat(250)} | {("fog", s): flat(250) for s in (1, 2, 3)}
    sheets = {
        name: contact_sheet(levels | {(name, s): flat(250) for s in severities})
        for name, severities in (("two", (1, 2)), ("one", (2,)))
    }
    top, second = slice(0, 30 + TILE), slice(30 + TILE + 16, None)
    two, one = sheets["two"], sheets["one"]
    assert two.shape == one.shape
    margin = slice(0, two.shape[1] - 4 * (150 + 8) - 8)
    assert ink(one, second, margin) > ink(two, second, margin) + 60, "one level"
    dashes = [ink(sheet, second, slice(margin.stop, None)) for sheet in (two, one)]
    assert dashes == [12, 24]
    assert ink(one, top, margin) == ink(two, top, margin), "the row that has all levels is as it was"


def test_one_severity_each_becomes_tiles_in_reading_order() -> None:
    pictures = {("clean", 0): flat(50)} | {(f"c{i}", 2): flat(60 + 10 * i) for i in range(5)}
    found = colours(contact_sheet(pictures))
    order = sorted((v for v in found if v < 200), key=lambda v: (round(found[v][0] / TILE), found[v][1]))
    assert order == [50, 60, 70, 80, 90, 100]


def test_small_pictures_keep_their_pixels_and_labels_are_drawn() -> None:
    sheet = contact_sheet({("clean", 0): flat(50, (40, 40))}, "a title")
    assert (sheet == 50).all(axis=2).sum() == 1600
    assert (sheet < 40).all(axis=2).sum() > 50, "text"
    wide = contact_sheet({("clean", 0): flat(50)}, "a title that is far too long for such a small sheet " * 3)
    assert wide.shape[1] < 2 * TILE


def test_nothing_to_show() -> None:
    with pytest.raises(ValueError, match="at least one"):
        contact_sheet({})
