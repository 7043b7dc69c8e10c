"""Pictures without people, made of nothing but random numbers: what the rendered people are pasted on.

Six kinds, from a flat wall to clutter, so that the network learns "person" and not "the thing that is not grey".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image

Canvas = NDArray[np.float32]
"""(side, side, 3) float32, 0 to 255."""


def colour(rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw a colour: grey to vivid, dark to bright; (3,) float32, 0 to 255."""
    grey = rng.uniform(0, 255)
    return (grey + rng.uniform(0, 1) ** 2 * (rng.uniform(0, 255, 3) - grey)).astype(np.float32)


def noise(rng: np.random.Generator, side: int, cells: int, octaves: int = 4, channels: int = 3) -> Canvas:
    """Draw smooth random fields: grids of doubling fineness, blown up and added with halving weight.

    Args:
        rng: Source of randomness.
        side: Edge in pixels.
        cells: Cells along an edge of the coarsest grid.
        octaves: Number of grids.
        channels: Number of fields.

    Returns:
        (side, side, channels) float32, mean 0, deviation about 1.
    """
    total = np.zeros((side, side, channels), np.float32)
    for octave in range(octaves):
        n = min(cells * 2**octave, side)
        grid = rng.standard_normal((n, n, channels)).astype(np.float32)
        total += cv2.resize(grid, (side, side), interpolation=cv2.INTER_CUBIC).reshape(side, side, channels) / 2**octave
    return total / np.float32(1.2)


def _flat(rng: np.random.Generator, side: int) -> Canvas:
    return np.broadcast_to(colour(rng), (side, side, 3)).copy()


def _gradient(rng: np.random.Generator, side: int) -> Canvas:
    """Blend two colours along a line or outwards from a point."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    if rng.random() < 0.5:
        angle = rng.uniform(0, 2 * np.pi)
        t = x * np.cos(angle) + y * np.sin(angle)
    else:
        t = np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 1))
    t = ((t - t.min()) / (np.ptp(t) + 1e-6))[..., None]
    return cast("Canvas", colour(rng) * (1 - t) + colour(rng) * t)


def _texture(rng: np.random.Generator, side: int) -> Canvas:
    """Clouds, plaster or foliage: coloured noise around a colour."""
    field = noise(rng, side, int(rng.integers(2, 24)), channels=3 if rng.random() < 0.6 else 1)
    return _flat(rng, side) + field * np.float32(rng.uniform(5, 60))


def _pattern(rng: np.random.Generator, side: int) -> Canvas:
    """Stripes or checks: bars, tiles, bricks, blinds."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle = rng.choice([0.0, np.pi / 2, rng.uniform(0, np.pi)])
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    wave = np.sin(2 * np.pi * rng.uniform(2, 24) * u)
    if rng.random() < 0.5:
        wave = wave * np.sin(2 * np.pi * rng.uniform(2, 24) * v)
    t = 1 / (1 + np.exp(-wave * rng.uniform(1, 20)))[..., None]
    return cast("Canvas", (colour(rng) * (1 - t) + colour(rng) * t).astype(np.float32))


def _clutter(rng: np.random.Generator, side: int) -> Canvas:
    """Draw shapes of all sizes over a texture: boxes, blobs, poles; some shaded, so that not only people are round."""
    canvas = _texture(rng, side)
    for _ in range(int(rng.integers(3, 24))):
        shape = np.zeros((side, side), np.float32)
        centre = rng.uniform(0, side, 2)
        size = rng.uniform(0.02, 0.3) * side * np.exp(rng.normal(0, 0.5, 2))
        angle = rng.choice([0.0, 90.0, rng.uniform(0, 180)])
        kind = rng.integers(3)
        if kind == 0:
            axes = (int(size[0]) + 1, int(size[1]) + 1)
            cv2.ellipse(shape, (int(centre[0]), int(centre[1])), axes, angle, 0, 360, 1.0, -1, cv2.LINE_AA)
        elif kind == 1:
            box = cv2.boxPoints((centre.tolist(), (2 * size).tolist(), float(angle)))
            cv2.fillPoly(shape, [box.astype(np.int32)], 1.0, cv2.LINE_AA)
        else:
            corners = centre + rng.normal(0, 1, (int(rng.integers(3, 8)), 2)) * size
            cv2.fillPoly(shape, [corners.astype(np.int32)], 1.0, cv2.LINE_AA)
        paint = _gradient(rng, side) if rng.random() < 0.4 else _flat(rng, side)
        canvas += shape[..., None] * (paint - canvas)
    if rng.random() < 0.5:  # out of focus, as behind a portrait
        canvas = cv2.GaussianBlur(canvas, (0, 0), rng.uniform(0.5, 0.02 * side + 0.6))
    return canvas


def _room(rng: np.random.Generator, side: int) -> Canvas:
    """A wall above a floor (or sky above ground), each textured, often with clutter in between."""
    wall = _KINDS[int(rng.choice([0, 1, 2, 3, 4], p=[0.2, 0.2, 0.2, 0.1, 0.3]))](rng, side)
    floor = _KINDS[int(rng.integers(0, 4))](rng, side)
    x = np.arange(side, dtype=np.float32)
    horizon = side * rng.uniform(0.35, 0.95) + rng.normal(0, 0.05) * (x - side / 2)
    t = np.clip(np.arange(side, dtype=np.float32)[:, None] - horizon, 0, 1)[..., None]
    return cast("Canvas", wall * (1 - t) + floor * t)


_KINDS: tuple[Callable[[np.random.Generator, int], Canvas], ...] = (
    _flat,
    _gradient,
    _texture,
    _pattern,
    _clutter,
    _room,
)
_WEIGHTS = (0.1, 0.1, 0.2, 0.1, 0.25, 0.25)


def background(rng: np.random.Generator, side: int) -> Image:
    """Draw a picture without people.

    Args:
        rng: Source of randomness; the same state gives the same picture.
        side: Edge in pixels.

    Returns:
        (side, side, 3) uint8 sRGB.
    """
    canvas = _KINDS[int(rng.choice(len(_KINDS), p=_WEIGHTS))](rng, side)
    if rng.random() < 0.5:
        canvas = canvas + noise(rng, side, 4, octaves=2, channels=1) * np.float32(rng.uniform(2, 20))
    return np.clip(canvas, 0, 255).astype(np.uint8)
