"""Convolutions of 8-bit pictures in single precision, rounded once; separable where they can be, by FFT where not.

SciPy's FFT rather than OpenCV's: it has no variants by processor, so that its last digits are the same on more
machines.
"""

from __future__ import annotations

from math import log2, sqrt
from typing import Any, Literal

import cv2
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from corruptions._base import Image

_BORDERS = {"reflect": cv2.BORDER_REFLECT_101, "replicate": cv2.BORDER_REPLICATE}
Border = Literal["reflect", "replicate"]
TRUNCATE = 4.0
"""Gaussians end at this many standard deviations, as in the published code."""
_NARROW = 2.0
"""Least sigma of a Gaussian on the coarsest grid on which it is made."""


def rounded(values: NDArray[Any], scale: float = 1.0, nudge: float = 0.0) -> Image:
    """Return ``round(scale * values + nudge)`` of non-negative values as uint8, clipped at 255."""
    result: Image = cv2.convertScaleAbs(values, alpha=scale, beta=nudge)
    return result


def gaussian(image: Image, sigma: float) -> Image:
    """Blur with a normalised Gaussian, the edges replicated.

    A wide one is made of a narrow one at a half (a quarter, ...) of the resolution between two small binomials, which
    shrink and enlarge the picture and whose variances are part of sigma². That is the Gaussian within a quarter of a
    level, and the work does not grow with sigma.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation in pixels, >= 0.

    Returns:
        (H, W, 3) uint8; a copy of the image where the Gaussian is narrower than one pixel's reach.
    """
    if int(TRUNCATE * sigma + 0.5) < 1:
        return image.copy()
    halvings = max(0, int(log2(sigma / _NARROW)))
    if halvings == 0:
        return _narrow(image, sigma, cv2.CV_8U)
    height, width = image.shape[:2]
    step = 1 << halvings
    # Between the picture and the border of the coarsest grid lie pixels that see nothing but the replicated edge.
    before = 2 * step
    below, right = (3 * step + -side % step for side in (height, width))
    coarse = cv2.copyMakeBorder(image, before, below, before, right, cv2.BORDER_REPLICATE)
    for _ in range(halvings):
        coarse = cv2.pyrDown(coarse)
    # Binomials of variance 1 on the way down and up, on grids of 1, 2, 4, ... pixels.
    rest = sqrt(sigma**2 - 2 * (step**2 - 1) / 3) / step
    fine = _narrow(coarse, rest, cv2.CV_32F)
    for _ in range(halvings):
        fine = cv2.pyrUp(fine)
    return rounded(fine[before : before + height, before : before + width])


def _narrow(image: Image, sigma: float, depth: int) -> NDArray[Any]:
    """Blur by a sum over all pixels within `TRUNCATE` sigma, to OpenCV's `depth`."""
    half = max(1, int(TRUNCATE * sigma + 0.5))
    kernel = np.exp(-0.5 * (np.arange(-half, half + 1) / sigma) ** 2)
    kernel /= kernel.sum()
    blurred: NDArray[Any] = cv2.sepFilter2D(image, depth, kernel, kernel, borderType=cv2.BORDER_REPLICATE)
    return blurred


def convolve(image: Image, kernel: NDArray[np.float64], border: Border) -> Image:
    """Convolve every channel with one kernel: ``out(p) = sum_d K(d) I(p - d)``, d = 0 in the middle of the kernel.

    Args:
        image: (H, W, 3) uint8.
        kernel: (2 a + 1, 2 b + 1) weights >= 0.
        border: What lies outside the image: its reflection (edge not repeated), or its edge pixels.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If a side of the kernel is even.
    """
    if not (kernel.shape[0] % 2 and kernel.shape[1] % 2):
        raise ValueError(f"a kernel needs odd sides, got {kernel.shape}")
    down, across = kernel.shape[0] // 2, kernel.shape[1] // 2
    height, width = image.shape[:2]
    padded = cv2.copyMakeBorder(image, down, down, across, across, _BORDERS[border])
    # Wrapping round reaches the padding only, 2 x half a kernel wide at the upper left.
    shape = tuple(scipy.fft.next_fast_len(n) for n in padded.shape[:2])
    transfer = scipy.fft.rfft2(kernel.astype(np.float32), shape)
    result = np.empty_like(image)
    # One channel after the other: the spectrum of one fits into the cache.
    for channel, plane in enumerate(cv2.split(padded)):
        spectrum = scipy.fft.rfft2(plane.astype(np.float32), shape)
        spectrum *= transfer
        whole = scipy.fft.irfft2(spectrum, shape, overwrite_x=True)
        # Errors of the FFT may fall below zero by 1e-4, which the absolute value does not change after rounding.
        result[..., channel] = rounded(whole[2 * down : 2 * down + height, 2 * across : 2 * across + width])
    return result
