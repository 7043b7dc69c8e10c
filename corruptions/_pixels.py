"""Resampling and blurring with OpenCV, in the pixel convention of this package (integers are pixel centres)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Affine

_BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE, "constant": cv2.BORDER_CONSTANT}
_INTERPOLATION = {"nearest": cv2.INTER_NEAREST, "linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC}

Border = Literal["reflect", "replicate", "constant"]
T = TypeVar("T", np.uint8, np.float32)


def warp(
    image: NDArray[Any],
    affine: Affine,
    border: Border = "constant",
    interpolation: Literal["nearest", "linear", "cubic"] = "linear",
    fill: float = 0.0,
) -> NDArray[Any]:
    """Move pixels by an affine map on the same canvas.

    Args:
        image: (H, W) or (H, W, C), uint8 or float32.
        affine: (2, 3) map from old to new pixel coordinates.
        border: What lies outside the image.
        interpolation: How to sample between pixels.
        fill: Value outside the image under ``constant``.

    Returns:
        An array of the image's shape and type.
    """
    height, width = image.shape[:2]
    flags = _INTERPOLATION[interpolation]
    # The inverse is given explicitly: OpenCV's own inversion is the same, but this keeps the direction visible.
    inverse = cv2.invertAffineTransform(np.asarray(affine, np.float64))
    value = (float(fill),) * 4

    def moved(source: NDArray[Any]) -> NDArray[Any]:
        result: NDArray[Any] = cv2.warpAffine(
            source,
            inverse,
            (width, height),
            flags=flags | cv2.WARP_INVERSE_MAP,
            borderMode=_BORDERS[border],
            borderValue=value,
        )
        return result

    return _by_four(image, moved) if interpolation == "linear" else moved(image)


def _by_four(image: NDArray[Any], resampled: Callable[[NDArray[Any]], NDArray[Any]]) -> NDArray[Any]:
    """Resample three channels as four: OpenCV needs half the time for them, and gives the same values."""
    if image.ndim != 3 or image.shape[2] != 3:
        return resampled(image)
    three: NDArray[Any] = cv2.cvtColor(resampled(cv2.cvtColor(image, cv2.COLOR_RGB2RGBA)), cv2.COLOR_RGBA2RGB)
    return three


def warp_mask(mask: NDArray[Any], affine: Affine) -> NDArray[Any]:
    """Move a mask with the picture: bilinear, then cut at one half, so that it stays binary and keeps its area.

    Args:
        mask: (H, W), bool or float in [0, 1].
        affine: (2, 3) map from old to new pixel coordinates.

    Returns:
        (H, W) of the mask's type with values 0 and 1.
    """
    soft = warp(np.asarray(mask, np.float32), affine)
    return (soft >= 0.5).astype(mask.dtype)


def resample(image: NDArray[Any], x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[Any]:
    """Sample an image bilinearly at (H, W) positions; outside, the edge pixels go on."""
    return _by_four(image, lambda source: cv2.remap(source, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))


def gaussian(image: NDArray[np.float32], sigma: float, truncate: float) -> NDArray[np.float32]:
    """Blur with a normalised Gaussian cut at ``truncate * sigma``, the edges replicated."""
    half = max(1, int(truncate * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred: NDArray[np.float32] = cv2.sepFilter2D(image, -1, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred


def lowest(image: NDArray[T], half: int) -> NDArray[T]:
    """Return the minimum over (2 half + 1)² windows of uint8 or float32."""
    side = 2 * half + 1
    eroded: NDArray[T] = cv2.erode(image, np.ones((side, side), np.uint8))
    return eroded


def highest(image: NDArray[T], half: int) -> NDArray[T]:
    """Return the maximum over (2 half + 1)² windows of uint8 or float32."""
    side = 2 * half + 1
    dilated: NDArray[T] = cv2.dilate(image, np.ones((side, side), np.uint8))
    return dilated


def spread(image: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Let every pixel cover `side`² pixels around its lower-right edge, the highest value winning."""
    dilated: NDArray[np.float32] = cv2.dilate(image, np.ones((side, side), np.uint8), anchor=(side // 2, side // 2))
    return dilated
