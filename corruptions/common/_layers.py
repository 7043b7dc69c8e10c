"""Random layers laid over a picture, in arithmetic that gives the same bytes on every machine.

Sums of whole numbers are exact in floating point (below 2**24, or 2**53 in double precision), in any order and with any
vector instructions. So layers start as whole numbers, filters have whole weights, and enlarging is OpenCV's exact kind.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image
from corruptions.common._source import SOURCE_WIDTH, length_scale

Layer8 = NDArray[np.uint8]
Layer16 = NDArray[np.uint16]

BITS = 128
"""Steps of one 8-bit level in sums of 16-bit layers, which so hold up to twice the range of a picture."""
WEIGHT = 1 << 16
"""Sum of the weights of a filter: for 8-bit layers, exact in single precision along one axis, in double along both."""


def work_size(shape: tuple[int, int], scaled: bool) -> tuple[int, int, float]:
    """Return the size at which a layer (flakes, drops) is made, and the factor of lengths there.

    That is the picture's size, but never narrower than the pictures of the source, since details would be smaller than
    a pixel; a smaller picture gets the layer shrunk (`fit`), as a camera with few pixels would see it.

    Args:
        shape: (H, W) of the picture.
        scaled: Whether lengths follow the resolution.

    Returns:
        Height, width, and pixels there per pixel of the source.
    """
    height, width = shape
    if not scaled or width >= SOURCE_WIDTH:
        return height, width, length_scale(width, scaled)
    return max(1, round(height * SOURCE_WIDTH / width)), SOURCE_WIDTH, 1.0


def source_grid(shape: tuple[int, int], scaled: bool) -> tuple[int, int]:
    """Return (h, w) of the grid whose cells are the pixels of the source: 224 wide, or the picture's own."""
    height, width = shape
    return (max(1, round(height * SOURCE_WIDTH / width)), SOURCE_WIDTH) if scaled else (height, width)


def enlarged(layer: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """Return a uint8 or uint16 layer bilinearly enlarged to (H, W), exactly."""
    if layer.shape == tuple(shape):
        return layer
    big: NDArray[Any] = cv2.resize(layer, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR_EXACT)
    return big


def fit(layer: Layer8, shape: tuple[int, int]) -> Layer8:
    """Return a layer shrunk to a picture's (H, W), averaging what falls into a pixel."""
    if layer.shape == tuple(shape):
        return layer
    from PIL import Image as Pictures

    # Pillow shrinks with a wide enough kernel, and in whole numbers.
    small = Pictures.fromarray(layer).resize((shape[1], shape[0]), Pictures.Resampling.BILINEAR)
    return np.array(small)


def whole_weights(kernel: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return weights rounded to whole numbers that sum to `WEIGHT`; the largest takes the rest."""
    weights: NDArray[np.float64] = np.rint(kernel * (WEIGHT / kernel.sum()))
    weights[np.argmax(weights)] += WEIGHT - weights.sum()
    return weights


def gaussian16(layer: Layer8, sigma: float, truncate: float, border: int) -> Layer16:
    """Blur a uint8 layer with a Gaussian of `sigma` cut at ``truncate * sigma``.

    Returns:
        uint16 of the same shape, 256 steps to the level.
    """
    reach = max(1, int(truncate * sigma + 0.5))
    kernel = whole_weights(np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2))
    exact = cv2.sepFilter2D(layer, cv2.CV_64F, kernel, kernel, borderType=border)
    blurred: Layer16 = cv2.multiply(exact, 256 / WEIGHT**2, dtype=cv2.CV_16U)
    return blurred


def added(image: Image, table: NDArray[Any], layer: Layer16) -> Image:
    """Return ``table[image] + layer`` as a picture, both in 1/`BITS` levels, rounded and clipped.

    Args:
        image: (H, W, 3) uint8.
        table: (256,) values in levels, of what becomes of the picture.
        layer: (H, W) uint16 in 1/`BITS` levels, added to every channel.
    """
    base = np.clip(np.rint(table * BITS), 0, 65535).astype(np.uint16)
    planes = []
    for channel in cv2.split(image):
        total = cv2.LUT(channel, base)
        cv2.add(total, layer, dst=total)
        planes.append(cv2.convertScaleAbs(total, alpha=1 / BITS))
    result: Image = cv2.merge(planes)
    return result
