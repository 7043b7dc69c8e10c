"""A contact sheet: every corruption at every severity of one picture, with readable labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from robench.contracts import Image

if TYPE_CHECKING:
    from PIL.Image import Image as Picture
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont
    from PIL.ImageFont import ImageFont as BitmapFont

TILE = 224
"""Longer side of a tile, pixels."""
_GAP, _LABEL, _TEXT = 8, 30, 16
_INK, _PALE, _PAPER = (20, 20, 20), (110, 110, 110), (255, 255, 255)
_COLUMNS = 4
_SINGLE = "one level"
CLEAN = "clean"

Condition = tuple[str, int]


def contact_sheet(pictures: Mapping[Condition, Image], title: str = "") -> Image:
    """Lay out the pictures of one sample.

    A recipe with several severities a corruption becomes a table: a row a corruption, a column a severity, the clean
    picture in the first column of each row; a severity that a row does not have is a dash, and a row that has only one
    (a chain whose parts all have levels) says so. A recipe with one severity each becomes rows of labelled tiles.

    Args:
        pictures: (H, W, 3) uint8 by (corruption, severity); ``("clean", 0)`` is the clean one. All of one size.
        title: Printed on top.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If there is no picture.
    """
    if not pictures:
        raise ValueError("a contact sheet needs at least one picture")
    corruptions = list(dict.fromkeys(name for name, _ in pictures if name != CLEAN))
    severities = sorted({severity for name, severity in pictures if name != CLEAN})
    each_once = all(sum(name == c for name, _ in pictures) == 1 for c in corruptions)
    tiles = {condition: _tile(image) for condition, image in pictures.items()}
    if each_once:
        return _flow(tiles, title)
    return _table(tiles, corruptions, severities, title)


def _flow(tiles: Mapping[Condition, Picture], title: str) -> Image:
    labels = {c: c[0] if c[0] == CLEAN else f"{c[0]}, severity {c[1]}" for c in tiles}
    columns = min(_COLUMNS, len(tiles))
    width, height = _extent(tiles)
    grid = [list(tiles)[i : i + columns] for i in range(0, len(tiles), columns)]
    top = _LABEL if title else 0
    sheet, draw, font = _paper(
        columns * (width + _GAP) + _GAP, top + len(grid) * (height + _LABEL + _GAP) + _GAP, title
    )
    for line, conditions in enumerate(grid):
        for column, condition in enumerate(conditions):
            x, y = _GAP + column * (width + _GAP), top + _GAP + line * (height + _LABEL + _GAP)
            draw.text((x, y + _LABEL / 2), _fitted(draw, labels[condition], width, font), _INK, font, anchor="lm")
            sheet.paste(tiles[condition], (x, y + _LABEL))
    return np.asarray(sheet)


def _table(
    tiles: Mapping[Condition, Picture], corruptions: Sequence[str], severities: Sequence[int], title: str
) -> Image:
    width, height = _extent(tiles)
    columns: list[int] = ([0] if (CLEAN, 0) in tiles else []) + [s for s in severities if s != 0]
    _, draw, font = _paper(8, 8, "")
    names = {name: name.replace("--", " +\n") for name in corruptions}  # a chain's parts stand below each other
    single = {name for name in corruptions if sum((name, severity) in tiles for severity in severities) == 1}
    lengths = [draw.textlength(line, font) for name in names.values() for line in (*name.split("\n"), _SINGLE)]
    margin = int(max(lengths)) + 2 * _GAP
    top = _LABEL * (2 if title else 1)
    sheet, draw, font = _paper(
        margin + len(columns) * (width + _GAP) + _GAP, top + len(corruptions) * (height + _GAP) + _GAP, title
    )
    for column, severity in enumerate(columns):
        x = margin + column * (width + _GAP) + width / 2
        label = CLEAN if severity == 0 else f"severity {severity}"
        draw.text((x, top - _LABEL / 2), label, _INK, font, anchor="mm")
    for line, name in enumerate(corruptions):
        y = top + _GAP + line * (height + _GAP)
        draw.text((_GAP, y + height / 2), names[name], _INK, font, anchor="lm")
        if name in single:
            below = draw.textbbox((_GAP, y + height / 2), names[name], font, anchor="lm")[3]
            draw.text((_GAP, below + _GAP), _SINGLE, _PALE, font, anchor="la")
        for column, severity in enumerate(columns):
            x = margin + column * (width + _GAP)
            tile = tiles.get((CLEAN, 0) if severity == 0 else (name, severity))
            if tile is not None:
                sheet.paste(tile, (x, y))
            else:
                middle = x + width // 2, y + height // 2  # drawn: the font has no dash
                draw.line((middle[0] - 6, middle[1], middle[0] + 5, middle[1]), _PALE)
    return np.asarray(sheet)


def _tile(image: Image) -> Picture:
    from PIL import Image as Pillow

    height, width = image.shape[:2]
    ratio = min(1.0, TILE / max(height, width))
    size = max(1, round(width * ratio)), max(1, round(height * ratio))
    # Area averaging: a sharper filter would hide noise, a plain one would invent some.
    return Pillow.fromarray(image).resize(size, Pillow.Resampling.BOX) if ratio < 1 else Pillow.fromarray(image)


def _extent(tiles: Mapping[Condition, Picture]) -> tuple[int, int]:
    # A narrow picture still needs room for its label.
    return max(120, *(t.width for t in tiles.values())), max(t.height for t in tiles.values())


def _paper(width: int, height: int, title: str) -> tuple[Picture, ImageDraw, FreeTypeFont | BitmapFont]:
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    sheet = Pillow.new("RGB", (width, height), _PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(_TEXT)
    if title:
        draw.text((_GAP, _GAP / 2 + _LABEL / 2), _fitted(draw, title, width - 2 * _GAP, font), _INK, font, anchor="lm")
    return sheet, draw, font


def _fitted(draw: ImageDraw, text: str, width: int, font: Any) -> str:
    """Return the text, shortened with an ellipsis to a width in pixels."""
    length: Callable[[str], float] = lambda t: draw.textlength(t, font)  # noqa: E731
    if length(text) <= width:
        return text
    while text and length(text + "…") > width:
        text = text[:-1]
    return text + "…"
