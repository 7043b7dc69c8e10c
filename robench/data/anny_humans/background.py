"""Procedural backgrounds with depth: plain walls, studios, cluttered rooms and streets of no place in particular."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Depth, Image
from robench.data.anny_humans.paint import draw_colour

BACKGROUNDS = ("plain", "studio", "cluttered")


@dataclass(frozen=True)
class Background:
    """A picture behind the person and its depth.

    Attributes:
        kind: One of `BACKGROUNDS`.
        image: (H, W, 3) uint8 sRGB.
        depth: (H, W) float32 metres along the viewing axis.
    """

    kind: str
    image: Image
    depth: Depth


def _texture(size: tuple[int, int], cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Smooth noise in [-1, 1]."""
    import cv2

    coarse = rng.uniform(-1, 1, (cells, cells)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC), np.float32)


def draw_background(
    size: int, floor_row: float, person_m: float, rng: np.random.Generator, kind: str | None = None
) -> Background:
    """Draw a background.

    Args:
        size: Side of the square picture in pixels.
        floor_row: Pixel row of the person's feet.
        person_m: Distance of the person in metres.
        rng: The view's generator.
        kind: One of `BACKGROUNDS`, or None to draw it.

    Returns:
        Picture and depth: a wall one to four metres behind the person, and a floor that comes forward to the feet and
        ever less beyond them.
    """
    import cv2

    chosen = kind or str(rng.choice(BACKGROUNDS, p=[0.25, 0.3, 0.45]))
    rows = np.arange(size, dtype=np.float32)[:, None]
    columns = np.arange(size, dtype=np.float32)[None, :]
    wall_m = person_m + float(rng.uniform(1.0, 4.0))
    horizon = float(np.clip(floor_row - size * rng.uniform(0.04, 0.2), size * 0.5, size * 0.96))
    towards = np.maximum((rows - horizon) / max(floor_row - horizon, 1.0), 0.0)
    # Beyond the feet ever less per row, without a step: a floor that ended would show an upright face there.
    beyond = np.maximum(towards - 1.0, 0.0)
    towards = np.minimum(towards, 1.0) + 0.6 * (1.0 - np.exp(-beyond / 0.6))
    depth = np.broadcast_to(wall_m + (person_m + 0.3 - wall_m) * towards, (size, size))
    depth = np.maximum(depth, 0.3 * person_m)

    base = np.array(draw_colour(rng), np.float32)
    canvas = np.tile(base, (size, size, 1))
    slope = rng.uniform(-0.35, 0.35, 2)
    canvas *= (1.0 + slope[0] * (rows / size - 0.5) + slope[1] * (columns / size - 0.5))[..., None]
    if chosen == "studio":
        ground = np.clip(base * rng.uniform(0.55, 1.25), 0, 255)
        blend = 1.0 / (1.0 + np.exp(np.clip(-(rows - horizon) / (size * rng.uniform(0.005, 0.03)), -60.0, 60.0)))
        canvas += (ground - base) * blend[..., None]
        across = (columns - size * rng.uniform(0.3, 0.7)) / (size * 0.45)
        glow = np.exp(-(across**2 + ((rows - size * 0.4) / (size * 0.5)) ** 2))
        canvas *= (1.0 + rng.uniform(0.0, 0.5) * glow - 0.15)[..., None]
    elif chosen == "cluttered":
        canvas = np.ascontiguousarray(canvas)
        if rng.random() < 0.7:
            ground = tuple(float(c) for c in draw_colour(rng))
            cv2.rectangle(canvas, (0, int(horizon)), (size, size), ground, -1)
        for _ in range(int(rng.integers(12, 42))):
            _thing(canvas, size, rng)
        for _ in range(int(rng.integers(1, 4))):
            canvas += (_texture((size, size), int(rng.integers(6, 64)), rng) * rng.uniform(3, 22))[..., None]
        if rng.random() < 0.6:
            canvas = cv2.GaussianBlur(canvas, (0, 0), float(rng.uniform(0.6, max(size / 120, 0.7))))
    if chosen != "cluttered":
        canvas += (_texture((size, size), int(rng.integers(4, 40)), rng) * rng.uniform(0, 5))[..., None]
    # A soft contact shadow keeps the person on the floor.
    shadow = np.exp(-(((columns - size / 2) / (size * 0.14)) ** 2 + ((rows - floor_row) / (size * 0.02)) ** 2))
    canvas *= (1.0 - rng.uniform(0.15, 0.5) * shadow)[..., None]
    grain = rng.normal(0, rng.uniform(0.2, 2.0), (size, size, 1)).astype(np.float32)
    image = np.clip(np.rint(canvas + grain), 0, 255).astype(np.uint8)
    return Background(chosen, image, depth.astype(np.float32))


def _thing(canvas: NDArray[np.float32], size: int, rng: np.random.Generator) -> None:
    """Draw one object of a cluttered scene onto the canvas: a board, a box, a ball, a pole, a row of slats."""
    import cv2

    colour = tuple(float(c) for c in draw_colour(rng))
    x, y = (int(v) for v in rng.uniform(-0.1, 1.1, 2) * size)
    w, h = (max(int(v * size), 2) for v in (rng.gamma(2.0, 0.06), rng.gamma(2.0, 0.08)))
    kind = int(rng.integers(5))
    if kind == 0:
        cv2.rectangle(canvas, (x, y), (x + w, y + h), colour, -1)
    elif kind == 1:
        box = cv2.boxPoints(((float(x), float(y)), (float(w), float(h)), float(rng.uniform(-45, 45)))).astype(np.int32)
        cv2.fillPoly(canvas, [box], colour)
    elif kind == 2:
        cv2.ellipse(canvas, (x, y), (w, h), float(rng.uniform(0, 180)), 0, 360, colour, -1)
    elif kind == 3:
        start = (x, 0 if rng.random() < 0.5 else y)
        cv2.line(canvas, start, (x + int(rng.normal(0, 10)), size), colour, max(2, w // 4))
    else:
        step = max(4, h // 4)
        for k in range(int(rng.integers(2, 8))):
            cv2.rectangle(canvas, (x, y + 2 * k * step), (x + 2 * w, y + 2 * k * step + step), colour, -1)
