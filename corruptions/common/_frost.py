"""Ice on a window, arranged by random numbers: feathers from the edges, hoar under them, stars between.

A feather is a curved stem with branches on both sides, shorter towards the tip, each with barbs of its own: the habit
of ice that grows along a cold pane. Thousands of lines make one, so they are drawn once and kept in stock; a window has
some sixty of them, at other places and mirrored or not. All lengths are shares of the short side, so that any size
shows the same window.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image
from corruptions.common._layers import Layer8, enlarged, fit, gaussian16
from corruptions.common._plasma import plasma_over

Floats = NDArray[np.float64]

_SHORT, _LONG = 512, 1024
"""Ice is drawn on a pane of this short side (or, if that gives less, this long side), and resized to the picture: its
lines are a pixel wide there, and so equally strong at any resolution."""
_FEATHERS = 5
"""Feathers of a layer per short side of the rim."""
_STEM_POINTS = 24
_BRANCH_POINTS = 7
_STOCK, _STOCK_SEED = 64, 20
"""Feathers to choose from, and what they grow from."""
_STARS = 130
"""Stars per squared short side."""
_MOST = 200
"""Feathers of a layer, and stars, on panes of any length."""
_SHIFT = 4
"""Fractional bits of OpenCV's drawing coordinates."""
_DEPTHS = (0.5, 0.75, 1.0)
"""Brightness of feathers from the hindmost to the foremost layer."""
_LEVELS = (95, 160, 235)
"""Brightness of barbs, branches and stems."""
_PANE = 66
_TINT = ((205, 10), (230, 14), (248, 20))
"""Gain in 1/256 and offset of red, green and blue: ice is white, the pane a dark blue."""
_STEPS = 1 << 15
"""Of the weights of scene and ice: sums of two bytes times them are whole and exact in single precision."""
_LIGHT = np.array([[-8, -4, 0], [-4, 3, 4], [0, 4, 8]], np.float32)
"""In eighths: three of softened ice, and its slope towards the upper left."""
_EIGHTHS = np.arange(0, 256 * 8, 8, dtype=np.int16)
_LINES = 8 * np.int16(_PANE) + (np.arange(256, dtype=np.int16) * np.int16(7) >> 1)
"""In eighths: the pane, and seven sixteenths of lines."""


@dataclass(frozen=True)
class Lines:
    """Curved lines of equally many points.

    Attributes:
        points: (N, P, 2) x, y in short sides.
        heading: (N, P) direction at each point, radians.
        length: (N,) in short sides.
    """

    points: Floats
    heading: Floats
    length: Floats


def grown(start: Floats, heading: Floats, length: Floats, bend: Floats, count: int) -> Lines:
    """Grow lines of `count` points from (N, 2) starts; `bend` is the turn in radians over the whole line."""
    along = np.linspace(0, 1, count)
    turned = heading[:, None] + bend[:, None] * along
    step = (length / (count - 1))[:, None]
    points = np.empty((len(start), count, 2))
    points[:, 0] = start
    points[:, 1:, 0] = np.cos(turned[:, :-1]) * step
    points[:, 1:, 1] = np.sin(turned[:, :-1]) * step
    return Lines(np.cumsum(points, axis=1, out=points), turned, length)


def branched(parent: Lines, share: float, angle: float, jitter: float, count: int, rng: np.random.Generator) -> Lines:
    """Grow a line to either side from every inner point of the parents, shorter towards their tips.

    Args:
        parent: Lines to branch.
        share: Longest branch per length of the parent.
        angle: Between branch and parent, radians.
        jitter: Of angle (radians) and length (relative).
        count: Points of a branch.
        rng: Source of the jitter.
    """
    inner = parent.points.shape[1] - 2
    along = np.linspace(0, 1, inner + 2)[1:-1]
    profile = np.minimum(1.0, 0.35 + 3.2 * along) * (1 - along) ** 0.75
    side = np.repeat([1.0, -1.0], inner)
    start = np.tile(parent.points[:, 1:-1], (1, 2, 1)).reshape(-1, 2)
    noise = rng.standard_normal((2, len(parent.length), 2 * inner))
    heading = np.tile(parent.heading[:, 1:-1], (1, 2)) + side * angle + jitter * noise[0]
    length = parent.length[:, None] * share * np.tile(profile, 2) * np.exp(1.5 * jitter * noise[1])
    bend = np.broadcast_to(-0.6 * side * angle, heading.shape)
    return grown(start, heading.ravel(), length.ravel(), bend.ravel(), count)


@lru_cache(maxsize=8)
def stock(short: int) -> tuple[tuple[tuple[Layer8, int], ...], ...]:
    """Return feathers that grow down from a rim: drawn once in a process, from a seed of their own.

    Args:
        short: Pixels to the short side of the pane.

    Returns:
        Two rows, the feathers and their mirror images; a feather is its picture and the column of its root on top.
    """
    rng = np.random.Generator(np.random.PCG64(_STOCK_SEED))
    heading = np.pi / 2 + rng.normal(0, 0.5, _STOCK)
    length = 0.13 + 0.5 * rng.beta(1.3, 2.3, _STOCK)
    bend = rng.normal(0, 0.9, _STOCK)
    plain = tuple(_feather(short, *habit, rng) for habit in zip(heading, length, bend, strict=True))
    mirrored = tuple((np.ascontiguousarray(tile[:, ::-1]), tile.shape[1] - 1 - root) for tile, root in plain)
    return plain, mirrored


def _feather(short: int, heading: float, length: float, bend: float, rng: np.random.Generator) -> tuple[Layer8, int]:
    """Draw a stem with branches and barbs that has its root in the top row; return it and the root's column."""
    stem = grown(np.zeros((1, 2)), np.array([heading]), np.array([length]), np.array([bend]), _STEM_POINTS)
    branches = branched(stem, 0.27, 0.85, 0.09, _BRANCH_POINTS, rng)
    barbs = branched(branches, 0.36, 0.85, 0.12, 2, rng)
    parts = (barbs, branches, stem)
    ends = np.concatenate([lines.points.reshape(-1, 2) for lines in parts]) * short
    root = max(0, ceil(1 - ends[:, 0].min()))
    tile = np.zeros((max(1, ceil(ends[:, 1].max() + 2)), root + max(1, ceil(ends[:, 0].max() + 2))), np.uint8)
    for lines, level in zip(parts, _LEVELS, strict=True):
        _drawn(tile, replace(lines, points=lines.points + np.array([root / short, 0.0])), short, level)
    return tile, root


def feathers(shape: tuple[int, int], rng: np.random.Generator) -> Layer8:
    """Return a layer of feathers that grow in from all edges of an (H, W) pane, others for every generator."""
    height, width = shape
    kinds = stock(min(shape))
    # Places along the rim, evenly with jitter, so that no edge stays bare.
    rim = 2 * (width + height)
    count = min(_MOST, round(_FEATHERS * rim / min(shape)))
    at = ((np.arange(count) + rng.uniform(-0.8, 0.8, count)) * (rim / count) % rim).astype(int)
    kind, mirror = rng.integers(0, _STOCK, count), rng.integers(0, 2, count)
    # Those of the left and right edges grow on the pane laid on its side.
    upright, lying = np.zeros(shape, np.uint8), np.zeros((width, height), np.uint8)
    edges = ((upright, width), (upright[::-1], width), (lying, height), (lying[::-1], height))
    first = 0
    for pane, length in edges:
        for i in np.flatnonzero((at >= first) & (at < first + length)):
            tile, root = kinds[mirror[i]][kind[i]]
            left = int(at[i]) - first - root
            seen = tile[: len(pane), max(0, -left) : length - left]
            under = pane[: len(seen), max(0, left) :][:, : seen.shape[1]]
            np.maximum(under, seen, out=under)
        first += length
    grown_in: Layer8 = cv2.max(upright, cv2.transpose(lying))
    return grown_in


def stars(width: float, height: float, rng: np.random.Generator) -> Lines:
    """Return the arms of small six-armed crystals all over the pane, more of them near its edges."""
    count = min(_MOST, round(_STARS * width * height))
    place = rng.uniform(0, 1, (count, 2))
    # Pushed outwards from the middle.
    place = 0.5 + (place - 0.5) * (1 + 0.35 * (1 - 2 * np.abs(place - 0.5)))
    size = 0.004 + 0.018 * rng.beta(1.2, 4, count)
    turn = rng.uniform(0, np.pi / 3, count)
    heading = (turn[:, None] + np.arange(6) * (np.pi / 3)).ravel()
    start = np.repeat(place * (width, height), 6, axis=0)
    return grown(start, heading, np.repeat(size, 6), np.zeros(heading.size), 3)


def _drawn(canvas: Layer8, lines: Lines, scale: float, level: int) -> None:
    """Draw lines of one brightness, but those under 1.5 px, into a canvas of `scale` pixels to the short side."""
    seen = lines.points[lines.length * scale >= 1.5]
    fixed = np.rint((seen * scale - 0.5) * (1 << _SHIFT)).astype(np.int32)
    cv2.polylines(canvas, list(fixed), False, level, 1, cv2.LINE_AA, _SHIFT)


def ice(shape: tuple[int, int], rng: np.random.Generator) -> Image:
    """Return a picture of ice on a dark pane.

    Args:
        shape: (H, W) of the picture.
        rng: Source of the ice.

    Returns:
        (H, W, 3) uint8.
    """
    scale = min(_SHORT / min(shape), _LONG / max(shape))
    height, width = (max(1, round(side * scale)) for side in shape)
    short = min(height, width)
    size = width / short, height / short
    crystals = np.zeros((height, width), np.uint8)
    _drawn(crystals, stars(*size, rng), short, 130)
    for brightness in _DEPTHS:
        layer = feathers((height, width), rng)
        cv2.max(crystals, cv2.convertScaleAbs(layer, alpha=brightness), dst=crystals)
    hoar = _hoar((height, width), rng)
    sigma = 2.2 * short / _SHORT
    # In whole numbers: the same on every machine.
    sides = (2 * max(1, round(3 * sigma)) + 1,) * 2
    soft = cv2.GaussianBlur(crystals, sides, sigma, borderType=cv2.BORDER_REPLICATE, hint=cv2.ALGO_HINT_ACCURATE)
    # In eighths: softened ice with light from the upper left, the pane and the lines, and the hoar.
    lit = cv2.filter2D(soft, cv2.CV_16S, _LIGHT)
    cv2.add(lit, cv2.LUT(crystals, _LINES), dst=lit)
    cv2.add(lit, cv2.LUT(hoar, _EIGHTHS), dst=lit)
    np.maximum(lit, 0, out=lit)
    grey = fit(cv2.convertScaleAbs(lit, alpha=1 / 8), shape)
    window: Image = cv2.merge([cv2.convertScaleAbs(grey, alpha=gain / 256, beta=offset) for gain, offset in _TINT])
    return window


def _hoar(shape: tuple[int, int], rng: np.random.Generator) -> Layer8:
    """Return the grainy frost that covers the pane from its rim to an uneven border."""
    grid = tuple((side + 1) // 2 for side in shape)
    y, x = (np.minimum(np.arange(n), np.arange(n)[::-1]).astype(np.float32) / np.float32(min(grid)) for n in grid)
    rim = np.minimum(y[:, None], x[None])
    reach = plasma_over((grid[0], grid[1]), 1.7, rng, True) * np.float32(0.5 / 65535) + np.float32(0.02)
    cover = np.clip((reach - rim) * np.float32(255 / 0.2), 0, 255).astype(np.uint8)
    grain = gaussian16(rng.integers(0, 256, grid, dtype=np.uint8), 0.7, 3.0, cv2.BORDER_REFLECT) >> 8
    sparkle = np.clip(grain.astype(np.int16) * 3 - 280, 0, 255).astype(np.uint16)
    thick = cover.astype(np.uint16) * (62 + sparkle // 3) >> 8
    whole: Layer8 = enlarged(thick.astype(np.uint8), shape)
    return whole


def behind(image: Image, window: Image, scene: float, ice_share: float) -> Image:
    """Return ``scene * image + ice_share * window``, rounded and clipped.

    Raises:
        ValueError: If a weight is negative.
    """
    if scene < 0 or ice_share < 0:
        raise ValueError(f"frost mixes with weights >= 0, got {scene} and {ice_share}")
    thinner, iced = (round(weight * _STEPS) / _STEPS for weight in (scene, ice_share))
    mixed: Image = cv2.addWeighted(image, thinner, window, iced, 0)
    return mixed
