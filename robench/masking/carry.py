"""Mask and depth follow their picture: when a corruption moves pixels, they are moved by the same map."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Affine, Depth, Mask


def carried_mask(mask: Mask, affine: Affine | None, shape: tuple[int, int], *, soft: bool) -> Mask:
    """Move a mask as a corruption moved its picture.

    Bilinear resampling with nothing (0) beyond the border. A shrinking map is sampled on a finer grid and averaged over
    each pixel, so that area is kept and thin limbs do not fall between samples.

    Args:
        mask: (H, W) float32 in [0, 1].
        affine: (2, 3) map from old to new pixel coordinates (integers are pixel centres), or None if nothing moved.
        shape: (H, W) of the new picture in pixels.
        soft: True keeps the interpolated values in [0, 1]; False thresholds them at one half, giving 0 and 1 only.

    Returns:
        (H, W) float32 in [0, 1] of the given shape, never the same memory as `mask`.

    Raises:
        ValueError: If the mask is not 2-D or not finite, the map is not an invertible 2x3 one, or nothing moved and yet
            the shapes differ.
    """
    mask = np.asarray(mask, np.float32)
    if mask.ndim != 2 or mask.size == 0:
        raise ValueError(f"a mask has the shape (H, W), got {mask.shape}")
    if not np.isfinite(mask).all():
        raise ValueError("a mask holds finite numbers in [0, 1], got NaN or infinity")
    if affine is None:
        if mask.shape != tuple(shape):
            raise ValueError(
                f"nothing moved, so the mask must have the picture's shape {tuple(shape)}, got {mask.shape}"
            )
        moved = mask.copy()
    else:
        moved = _warped(mask, np.asarray(affine, np.float64), shape)
    moved = np.clip(moved, 0.0, 1.0)
    return moved if soft else (moved >= 0.5).astype(np.float32)


def carried_depth(depth: Depth, affine: Affine) -> Depth:
    """Move depth as a corruption moved its picture: the nearest value, since a mean of two surfaces is neither.

    A turn about the viewing axis, a zoom or a shift leaves the distance along that axis as it is.

    Args:
        depth: (H, W) float32 metres, ``+inf`` where nothing is there.
        affine: (2, 3) map from old to new pixel coordinates.

    Returns:
        (H, W) float32 metres, ``+inf`` also beyond the border of the old picture.
    """
    import cv2

    height, width = depth.shape
    # Zero stands for "nothing" while it is moved: not every resampler can hold infinity at the border.
    finite = np.where(np.isfinite(depth), depth, np.float32(0))
    moved = cv2.warpAffine(
        finite, affine, (width, height), flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=0.0
    )
    return np.where(moved > 0, moved, np.float32(np.inf)).astype(np.float32)


def quantised(mask: NDArray[Any]) -> Mask:
    """Return a mask in steps of 1/255, as a stored one has them."""
    levels: Mask = np.rint(np.asarray(mask, np.float64) * 255).astype(np.float32) / np.float32(255)
    return levels


def _warped(mask: Mask, affine: Affine, shape: tuple[int, int]) -> Mask:
    """Resample by the forward map, averaging over each new pixel when the map shrinks."""
    import cv2

    sound = affine.shape == (2, 3) and bool(np.isfinite(affine).all())
    area = abs(float(np.linalg.det(affine[:, :2]))) if sound else 0.0
    if area == 0.0:
        raise ValueError(f"a picture is moved by an invertible (2, 3) map, got {affine.tolist()}")
    height, width = shape
    # Old pixels per new pixel along an edge; a bilinear sample looks at one old pixel, so finer sampling sees them all.
    finer = min(8, math.ceil(1.0 / math.sqrt(area) - 1e-6)) if area < 1.0 else 1
    # Pixel centres are integers: centre x of the picture lies at finer * (x + 1/2) - 1/2 on the fine grid.
    onto_fine = finer * affine
    onto_fine[:, 2] += (finer - 1) / 2
    fine = cv2.warpAffine(
        mask,
        onto_fine,
        (width * finer, height * finer),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=0.0,
    )
    if finer > 1:
        fine = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(fine, np.float32)
