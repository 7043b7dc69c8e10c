"""How close a picture is to another, pixel by pixel: PSNR and SSIM.

Source of SSIM: Wang et al., "Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SIDE, _SIGMA = 11, 1.5
_K1, _K2, _RANGE = 0.01, 0.03, 255.0


def psnr(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Return 20 log10(255 / RMSE) in dB over all pixels and channels of two pictures in [0, 255]; inf if equal."""
    error = float(np.mean((np.asarray(one, np.float64) - np.asarray(other, np.float64)) ** 2))
    return math.inf if error == 0 else 10 * math.log10(_RANGE**2 / error)


def ssim(one: NDArray[Any], other: NDArray[Any], *, along: tuple[int, ...] = (0, 1)) -> float:
    """Return the mean structural similarity of two (H, W, C) pictures in [0, 255], channel by channel.

    Gaussian windows of 11 pixels, sigma 1.5, where they fit wholly into the picture; K1 0.01, K2 0.03.

    Args:
        one: At least 11 pixels along each axis of `along`.
        other: Of the same shape.
        along: Axes of the windows. The published code on 2D priors handed its pictures over with the axes in another
            order, so that its windows lay along the width alone: ``(1,)``.

    Raises:
        ValueError: If shapes differ or a picture is too small.
    """
    if one.shape != other.shape or min(one.shape[axis] for axis in along) < _SIDE:
        raise ValueError(f"pictures of one shape, at least {_SIDE} pixels wide, got {one.shape} and {other.shape}")
    a, b = np.asarray(one, np.float64), np.asarray(other, np.float64)
    mean_a, mean_b = _blurred(a, along), _blurred(b, along)
    var_a = _blurred(a * a, along) - mean_a**2
    var_b = _blurred(b * b, along) - mean_b**2
    cov = _blurred(a * b, along) - mean_a * mean_b
    c1, c2 = (_K1 * _RANGE) ** 2, (_K2 * _RANGE) ** 2
    found = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
    return float(found.mean())


def _blurred(values: NDArray[np.float64], along: tuple[int, ...]) -> NDArray[np.float64]:
    import cv2

    at = np.arange(_SIDE) - _SIDE // 2
    window = np.exp(-(at**2) / (2 * _SIGMA**2))
    window /= window.sum()
    one = np.ones(1)
    blurred = cv2.sepFilter2D(values, cv2.CV_64F, window if 1 in along else one, window if 0 in along else one)
    rim = _SIDE // 2
    cut = tuple(slice(rim, -rim) if axis in along else slice(None) for axis in (0, 1))
    return np.asarray(blurred[cut], np.float64)
