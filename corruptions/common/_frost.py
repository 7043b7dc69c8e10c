"""Ice on a window, grown from random numbers: feathers from the edges, hoar under them, stars between.

A feather is a curved stem with branches on both sides, shorter towards the tip, each with barbs of its own: the habit
of ice that grows along a cold pane. All lengths are shares of the short side, so that any size shows the same window.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image
from corruptions.common._layers import BITS, Layer8, enlarged, fit, gaussian16
from corruptions.common._plasma import plasma_over

Floats = NDArray[np.float64]

_SHORT, _LONG = 512, 1024
"""Ice is drawn on a pane of this short side (or, if that gives less, this long side), and resized to the picture: its
lines are a pixel wide there, and so equally strong at any resolution."""
_FEATHERS = 5
"""Feathers of a layer per short side of the rim."""
_STEM_POINTS = 24
_BRANCH_POINTS = 7
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
_TINT = np.array([[0.80, 0.90, 0.97], [10.0, 14.0, 20.0]])
"""Gain and offset of red, green and blue: ice is white, the pane a dark blue."""
_LIGHT = np.array([[-2, -1, 0], [-1, 0, 1], [0, 1, 2]], np.float32)


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


def feathers(width: float, height: float, rng: np.random.Generator) -> list[Lines]:
    """Return stems, branches and barbs of feathers that grow in from the edges of a pane (in short sides)."""
    # Places along the rim, evenly with jitter, so that no edge stays bare.
    rim = 2 * (width + height)
    count = min(_MOST, round(_FEATHERS * rim))
    at = (np.arange(count) + rng.uniform(-0.8, 0.8, count)) * (rim / count) % rim
    corner = np.cumsum([0, width, height, width])
    edge = np.searchsorted(corner, at, side="right") - 1
    run = at - corner[edge]
    x = np.choose(edge, [run, np.full_like(run, width), width - run, np.zeros_like(run)])
    y = np.choose(edge, [np.zeros_like(run), run, np.full_like(run, height), height - run])
    inward = np.radians(np.array([90.0, 180.0, 270.0, 0.0]))[edge]
    heading = inward + rng.normal(0, 0.5, count)
    length = 0.13 + 0.5 * rng.beta(1.3, 2.3, count)
    stems = grown(np.stack([x, y], axis=1), heading, length, rng.normal(0, 0.9, count), _STEM_POINTS)
    branches = branched(stems, 0.27, 0.85, 0.09, _BRANCH_POINTS, rng)
    barbs = branched(branches, 0.36, 0.85, 0.12, 2, rng)
    return [barbs, branches, stems]


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
        for lines, level in zip(feathers(*size, rng), _LEVELS, strict=True):
            _drawn(crystals, lines, short, round(level * brightness))
    hoar = _hoar((height, width), rng)
    soft = cv2.convertScaleAbs(gaussian16(crystals, 2.2 * short / _SHORT, 3.0, cv2.BORDER_REPLICATE), alpha=1 / 256)
    relief = cv2.filter2D(soft, cv2.CV_16S, _LIGHT)
    light = crystals * np.uint16(7) >> 4
    light += soft * np.uint16(3) >> 3
    light += hoar
    lit = light.astype(np.int16)
    lit += (relief >> 1) + np.int16(_PANE)
    grey = np.clip(lit, 0, 255).astype(np.uint8)
    tints = np.clip(np.rint(np.arange(256)[:, None] * _TINT[0] + _TINT[1]), 0, 255).astype(np.uint8)
    window: Image = cv2.LUT(cv2.merge([fit(grey, shape)] * 3), tints[None])
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
    table = np.arange(256) * (BITS / 2)
    thinner, iced = (np.clip(np.rint(table * w), 0, 65535).astype(np.uint16) for w in (scene, ice_share))
    planes = []
    for seen, frozen in zip(cv2.split(image), cv2.split(window), strict=True):
        total = cv2.LUT(seen, thinner)
        cv2.add(total, cv2.LUT(frozen, iced), dst=total)
        planes.append(cv2.convertScaleAbs(total, alpha=2 / BITS))
    result: Image = cv2.merge(planes)
    return result
