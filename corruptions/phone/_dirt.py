"""Dirt on the front lens, drawn as two maps: what it takes of the light, and what it scatters.

It lies so close that it is far out of focus: no detail, soft edges. Positions and sizes are shares of the width.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image

Map = NDArray[np.float32]
Line = NDArray[np.float64]
"""Shapes are worked out in double precision: processors differ in the last bits of single sines and exponentials."""

MOST = {"smudges": 8, "prints": 3, "dust": 72}
"""As many as are drawn of each kind; a level takes the first of them, so that its dirt is part of the next level's."""
_BLACK = 0.04045


@dataclass(frozen=True, eq=False)
class Dirt:
    """What lies on the lens, both maps (h, w) float32 in [0, 1] at half the picture's size.

    Attributes:
        taken: Share of the light that dust keeps off.
        scattered: Share of the light that grease spreads over its neighbourhood.
    """

    taken: Map
    scattered: Map


def _grid(shape: tuple[int, int], divisor: int) -> tuple[Line, Line]:
    """Return x and y of a grid of a fraction of the size, in widths of the picture; broadcastable to (h, w)."""
    height, width = shape
    rows, columns = (-(-side // divisor) for side in shape)
    x = (np.arange(columns) + 0.5) / columns
    y = (np.arange(rows) + 0.5) / rows * (height / width)
    return x[None, :], y[:, None]


def _window(centre: tuple[float, float], reach: float, x: Line, y: Line) -> tuple[slice, slice]:
    """Return the rows and columns within `reach` of a point."""
    found = []
    for line, middle in ((y[:, 0], centre[1]), (x[0], centre[0])):
        low, high = np.searchsorted(line, [middle - reach, middle + reach])
        found.append(slice(int(low), int(high)))
    return found[0], found[1]


def _turned(x: Line, y: Line, centre: tuple[float, float], angle: float) -> tuple[Line, Line]:
    """Return coordinates along and across an axis through a point."""
    cos, sin = np.cos(angle), np.sin(angle)
    dx, dy = x - centre[0], y - centre[1]
    return cos * dx + sin * dy, cos * dy - sin * dx


def _add(to: Map, part: Line, window: tuple[slice, slice]) -> None:
    """Let a part cover what is there: shares of light that pass are multiplied."""
    to[window] = 1 - (1 - to[window]) * (1 - part.astype(np.float32))


def draw_dirt(
    shape: tuple[int, int], smudges: int, prints: int, dust: int, haze: float, rng: np.random.Generator
) -> Dirt:
    """Draw dirt.

    Args:
        shape: (H, W) of the picture.
        smudges: Wiped smears, 0 to 8.
        prints: Finger prints, 0 to 3.
        dust: Specks, 0 to 72.
        haze: Share of the light that the middle of a smear scatters, in [0, 1].
        rng: Source of places and shapes; always used the same number of times.

    Raises:
        ValueError: If there is more than that of a kind, or the haze is not a share.
    """
    counts = {"smudges": smudges, "prints": prints, "dust": dust}
    if any(not 0 <= n <= MOST[kind] for kind, n in counts.items()) or not 0 <= haze <= 1:
        raise ValueError(f"dirt needs a haze in [0, 1] and at most {MOST}, got {haze} and {counts}")
    drawn = {kind: rng.random((n, 6)) for kind, n in MOST.items()}
    tall = shape[0] / shape[1]
    x, y = _grid(shape, 4)  # smears are wide
    smears = np.zeros((y.size, x.size), np.float32)
    for place_x, place_y, turn, long, short, phase in drawn["smudges"][:smudges]:
        centre = (0.15 + 0.7 * place_x, (0.15 + 0.7 * place_y) * tall)
        half = (0.14 + 0.14 * long, 0.06 + 0.06 * short)
        window = _window(centre, 3.6 * half[0], x, y)
        along, across = _turned(x[:, window[1]], y[window[0]], centre, np.pi * turn)
        smear = np.exp(-0.5 * ((along / half[0]) ** 2 + (across / half[1]) ** 2))
        # Streaks along the wipe, a few to a smear.
        streaks = 0.8 + 0.2 * np.sin(across * 24 / half[1] ** 0.5 + 2 * np.pi * phase)
        _add(smears, haze * smear * streaks, window)
    x, y = _grid(shape, 2)
    scattered = cv2.resize(smears, (x.size, y.size), interpolation=cv2.INTER_LINEAR)
    taken = np.zeros_like(scattered)
    for place_x, place_y, turn, long, short, phase in drawn["prints"][:prints]:
        centre = (0.2 + 0.6 * place_x, (0.2 + 0.6 * place_y) * tall)
        half = (0.09 + 0.03 * long, 0.065 + 0.02 * short)
        window = _window(centre, 1.9 * half[0], x, y)
        along, across = _turned(x[:, window[1]], y[window[0]], centre, np.pi * turn)
        inside = 1 / (1 + np.exp(7 * (np.sqrt((along / half[0]) ** 2 + (across / half[1]) ** 2) - 1)))
        # Ridges in arches, 70 to a width, nearly lost so far out of focus.
        arch = np.sqrt((along + 1.4 * half[0]) ** 2 + (1.5 * across) ** 2)
        ridges = 0.88 + 0.12 * np.sin(2 * np.pi * (70 * arch + phase))
        _add(scattered, 0.9 * haze * inside * ridges, window)
    for place_x, place_y, size, dark, edge, _ in drawn["dust"][:dust]:
        radius = 0.013 + 0.022 * size**2
        centre = (place_x, place_y * tall)
        window = _window(centre, 2 * radius, x, y)
        away = np.hypot(x[:, window[1]] - centre[0], y[window[0]] - centre[1])
        # Lit through an open lens, a speck is a disc whose rim is as wide as it is out of focus.
        ramp = np.clip((1.4 + 0.3 * edge - away / radius) / 1.2, 0, 1)
        disc = ramp * ramp * (3 - 2 * ramp)
        _add(taken, (0.1 + 0.25 * dark) * disc, window)
    return Dirt(taken, scattered)


def _linear_table() -> Map:
    """Return linear light of each of the 256 values of sRGB."""
    value = np.arange(256) / 255
    table = np.where(value <= _BLACK, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return table.astype(np.float32)


def _display_table() -> NDArray[np.uint8]:
    """Return the sRGB value of each of 65536 steps of linear light."""
    light = np.arange(65536) / 65535
    value = np.where(light <= _BLACK / 12.92, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)
    table: NDArray[np.uint8] = np.rint(255 * value).astype(np.uint8)
    return table


def through(image: Image, dirt: Dirt, spread: float, stray: float) -> Image:
    """Look through a dirty lens: ``(1 - a - s) L + s ((1 - k) G * L + k V)`` in linear light.

    `a` is taken, `s` scattered (of what was not taken), `G` a Gaussian, and `V` the light of the surroundings, which
    grease brings in with the share ``k = 1/3``.

    Args:
        image: (H, W, 3) uint8 sRGB.
        dirt: On the lens.
        spread: Standard deviation of G, in widths.
        stray: V, linear, in [0, 1].

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    height, width = image.shape[:2]
    light = cv2.LUT(image, _linear_table())
    # Light that is spread this far has no detail: an eighth of the size is enough.
    small = cv2.resize(light, (max(4, width // 8), max(4, height // 8)), interpolation=cv2.INTER_AREA)
    small = cv2.GaussianBlur(small, (0, 0), spread * small.shape[1], borderType=cv2.BORDER_REPLICATE)
    veil = cv2.resize(small * np.float32(2 / 3) + np.float32(stray / 3), (width, height))
    scattered, taken = (
        cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)[..., None]
        for part in ((1 - dirt.taken) * dirt.scattered, dirt.taken)
    )
    veil -= light
    veil *= scattered
    veil += light
    veil -= taken * light
    np.clip(veil, 0, 1, out=veil)
    veil *= 65535
    veil += 0.5
    shown: Image = cv2.LUT(veil.astype(np.uint16), _display_table())
    return shown
