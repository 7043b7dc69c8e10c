"""Random displacement fields, and resampling by them."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image
from corruptions.common._layers import enlarged, gaussian16, source_grid
from corruptions.common._source import SOURCE_WIDTH, length_scale

Field = NDArray[np.float32]
"""(2, H, W): displacement in pixels along x, then along y."""

_AMPLITUDE = 0.005
_SIGMA = 0.01
_TRUNCATE = 3.0


def smooth_field(shape: tuple[int, int], alpha: float, rng: np.random.Generator, scaled: bool = True) -> Field:
    """Return ``alpha`` times uniform noise in ±0.005 W, smoothed by a Gaussian of 0.01 W (imagecorruptions' form).

    Both lengths are shares of the width, so the field is made on the source's grid for a picture of any size.

    Args:
        shape: (H, W) of the picture.
        alpha: Amplitude, >= 0.
        rng: Source of the noise.
        scaled: Whether displacement follows the resolution; else it is as many pixels as at 224.
    """
    grid = source_grid(shape, True)
    # Whole numbers 0..254 stand for uniform noise of the same variance.
    noise = rng.integers(0, 255, (2, *grid), dtype=np.uint8)
    unit = _AMPLITUDE * SOURCE_WIDTH * alpha * length_scale(shape[1], scaled) / 127.5
    field = np.empty((2, *shape), np.float32)
    for axis in (0, 1):
        smooth = gaussian16(noise[axis], _SIGMA * SOURCE_WIDTH, _TRUNCATE, cv2.BORDER_REFLECT)
        np.subtract(enlarged(smooth, shape), np.float32(127 * 256), out=field[axis])
    field *= np.float32(unit / 256)
    return field


def affine_field(
    shape: tuple[int, int],
    alpha: float,
    sigma: float,
    corner_px: float,
    rng: np.random.Generator,
    scaled: bool = True,
) -> Field:
    """Return a random affine followed by smoothed noise, as one field (ImageNet-C's form).

    Three corners of a centred square, a third of the short side from the centre, are each moved by up to `corner_px`
    along both axes. To that comes ``alpha`` times uniform noise in ±1, smoothed.

    Args:
        shape: (H, W) of the picture.
        alpha: Amplitude of the noise, source pixels.
        sigma: Of its smoothing, source pixels.
        corner_px: How far a corner moves at most, source pixels.
        rng: Source of affine and noise.
        scaled: Whether lengths follow the resolution.
    """
    scale = length_scale(shape[1], scaled)
    centre = np.array([shape[1] // 2, shape[0] // 2], np.float64)
    third = min(shape) // 3
    before = centre + third * np.array([[1, 1], [1, -1], [-1, -1]])
    after = before + rng.uniform(-corner_px * scale, corner_px * scale, before.shape)
    # What the affine brings to p comes from back @ p.
    back = cv2.getAffineTransform(after.astype(np.float32), before.astype(np.float32))
    noise = rng.uniform(-1, 1, (2, *source_grid(shape, scaled)))
    local = [
        cv2.resize(_smooth(plane, sigma) * (alpha * scale), shape[::-1], interpolation=cv2.INTER_LINEAR)
        for plane in noise
    ]
    y, x = np.mgrid[: shape[0], : shape[1]]
    moved_x, moved_y = x + local[0], y + local[1]
    from_x = back[0, 0] * moved_x + back[0, 1] * moved_y + back[0, 2]
    from_y = back[1, 0] * moved_x + back[1, 1] * moved_y + back[1, 2]
    return np.stack([from_x - x, from_y - y]).astype(np.float32)


def _smooth(plane: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
    """Blur with a truncated Gaussian of any width, the edges mirrored, as a product with two matrices."""
    rows, columns = (_gaussian_matrix(side, sigma) for side in plane.shape)
    smooth: NDArray[np.float64] = rows @ plane @ columns.T
    return smooth


def _gaussian_matrix(side: int, sigma: float) -> NDArray[np.float64]:
    """Return (side, side): row i holds the weights of all points for point i, mirrored ones folded in."""
    reach = int(_TRUNCATE * sigma + 0.5)
    offset = np.arange(-reach, reach + 1)
    bell = np.exp(-0.5 * (offset / sigma) ** 2)
    mirrored = (np.arange(side)[:, None] + offset) % (2 * side)
    at = np.where(mirrored < side, mirrored, 2 * side - 1 - mirrored)
    summed = np.zeros((side, side))
    np.add.at(summed, (np.arange(side)[:, None], at), bell / bell.sum())
    return summed


def pulled(image: Image, field: Field) -> Image:
    """Return the picture sampled bilinearly at ``p + field(p)``, mirrored at the edges."""
    height, width = image.shape[:2]
    x = field[0] + np.arange(width, dtype=np.float32)
    y = field[1] + np.arange(height, dtype=np.float32)[:, None]
    # In OpenCV's whole numbers (1/32 px) and not in its floats, whose last bits depend on the processor.
    whole, part = cv2.convertMaps(x, y, cv2.CV_16SC2)
    moved: Image = cv2.remap(image, whole, part, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    return moved
