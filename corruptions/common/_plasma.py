"""The plasma field: a random landscape by the diamond-square rule, on a torus."""

from __future__ import annotations

from math import log2

import numpy as np
from numpy.typing import NDArray

from corruptions.common._layers import Layer16, enlarged
from corruptions.common._source import SOURCE_WIDTH

_SOURCE_SIDE = 256
"""Side of the field that the source crops to its 224 px."""


def plasma(side: int, decay: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return a plasma field by the diamond-square rule.

    From one point on, every round puts a point into the middle of each square of four (their mean, and noise), then
    into the middle of each diamond of four. Noise is uniform in ±w², and w is divided by `decay` after each round. A
    field of twice the side has the same points, and finer ones between them, from the same generator.

    Args:
        side: A power of two.
        decay: By what w is divided, > 1; the less, the rougher.
        rng: Source of the noise.

    Returns:
        (side, side) float32 from 0 to 1, periodic in both directions.

    Raises:
        ValueError: If the side is not a power of two.
    """
    if side < 1 or side & (side - 1):
        raise ValueError(f"a plasma field needs a power of two as its side, got {side}")
    field = np.zeros((1, 1), np.float32)
    amplitude = 1.0
    while len(field) < side:
        n = len(field)
        noise = rng.random((3, n, n), dtype=np.float32)
        noise -= np.float32(0.5)
        noise *= np.float32(2 * amplitude)
        right = field + _next(field, 1)
        below = field + _next(field, 0)
        squares = (right + _next(right, 0)) * np.float32(0.25) + noise[0]
        right += squares + _previous(squares, 0)
        below += squares + _previous(squares, 1)
        finer = np.empty((n, 2, n, 2), np.float32)
        finer[:, 0, :, 0] = field
        finer[:, 1, :, 1] = squares
        finer[:, 0, :, 1] = right * np.float32(0.25) + noise[1]
        finer[:, 1, :, 0] = below * np.float32(0.25) + noise[2]
        field = finer.reshape(2 * n, 2 * n)
        amplitude /= decay * decay
    field -= field.min()
    highest = field.max()
    return field / highest if highest > 0 else field


def _next(field: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return every point's neighbour on the right or below."""
    return np.concatenate([field[1:], field[:1]]) if axis == 0 else np.concatenate([field[:, 1:], field[:, :1]], axis=1)


def _previous(field: NDArray[np.float32], axis: int) -> NDArray[np.float32]:
    """Return every point's neighbour on the left or above."""
    return (
        np.concatenate([field[-1:], field[:-1]])
        if axis == 0
        else np.concatenate([field[:, -1:], field[:, :-1]], axis=1)
    )


def plasma_over(shape: tuple[int, int], decay: float, rng: np.random.Generator, scaled: bool) -> Layer16:
    """Return a plasma field over a picture, 0..65535.

    Args:
        shape: (H, W).
        decay: Of `plasma`.
        rng: Source of the noise.
        scaled: Let the field's side be 256/224 of the picture's longest one at any size, as it is at 224 px; else the
            next power of two.
    """
    height, width = shape
    longest = max(shape)
    if not scaled:
        field = plasma(1 << (longest - 1).bit_length(), decay, rng)
        cropped: Layer16 = np.rint(field[:height, :width] * np.float32(65535)).astype(np.uint16)
        return cropped
    side = 1 << round(log2(longest * _SOURCE_SIDE / SOURCE_WIDTH))
    per_pixel = side * SOURCE_WIDTH / (_SOURCE_SIDE * longest)
    field = plasma(side, decay, rng)[: max(1, round(height * per_pixel)), : max(1, round(width * per_pixel))]
    over: Layer16 = enlarged(np.rint(field * np.float32(65535)).astype(np.uint16), shape)
    return over
