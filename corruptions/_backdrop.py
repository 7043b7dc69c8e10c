"""The background of a picture: what is taken to lie behind the person and beyond the frame when the view changes.

Nobody knows what was there. Behind the person, each row goes on from its left to its right edge (a wall, a horizon and
a floor stay what they are); beyond the frame, the background without the person is mirrored (so that no second person
appears) and soon runs out of focus. Where the person is not known, the edge pixels go on, blurred by half the distance.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image, pixel_scale, to_uint8

_COARSE = 160
"""Length in pixels of the longer side at which the hole behind the person is filled: it has no detail anyway."""
_MARGIN = 12.0
"""By how many pixels (at width 512) a mask is grown, for hair and soft edges."""
_STRIP = 96
"""Length in pixels of the longer side at which edges go on: what is near them is taken from the picture itself."""
_SHARP, _SOFT = 0.12, 0.05
"""Fractions of the width: how far beyond the frame the mirrored background is lost to the soft one, and its blur."""


def without_person(image: Image, mask: NDArray[Any]) -> Image:
    """Return the picture with the person painted over.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W), the person >= 0.1 in [0, 1].

    Returns:
        (H, W, 3) uint8. A picture that is all person comes back as its mean colour.
    """
    height, width = image.shape[:2]
    grown = 2 * max(1, round(_MARGIN * pixel_scale(width))) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (grown, grown))
    hole = cv2.dilate((np.asarray(mask, np.float32) >= 0.1).astype(np.uint8), disc)
    if not hole.any():
        return image.copy()
    if hole.all():
        return np.broadcast_to(to_uint8(image.mean(axis=(0, 1))), image.shape).copy()
    factor = min(1.0, _COARSE / max(height, width))
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    known = (1 - hole).astype(np.float32)
    share = cv2.resize(known, size, interpolation=cv2.INTER_AREA)
    light = cv2.resize(image * known[..., None], size, interpolation=cv2.INTER_AREA)
    coarse = light / np.maximum(share, 1e-6)[..., None]
    filled = cv2.resize(_filled_rows(coarse, share > 0.5), (width, height), interpolation=cv2.INTER_LINEAR)
    # Soft, and a little beyond the hole, so that no seam follows the person's outline.
    soft = cv2.GaussianBlur(cv2.dilate(hole.astype(np.float32), np.ones((3, 3), np.uint8)), (0, 0), grown / 6)
    weight = np.maximum(soft, hole)[..., None]
    return np.where(weight > 0, to_uint8(image + weight * (filled - image)), image)


def _filled_rows(image: NDArray[np.float32], known: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Fill what is not known of (H, W, 3) row by row, and rows without anything known from those around them."""
    weight = known.astype(np.float32)
    near = cv2.blur(weight, (7, 5), borderType=cv2.BORDER_REPLICATE)
    # Ends of a gap are means of a few pixels, or every speck would draw a line.
    ends = cv2.blur(image * weight[..., None], (7, 5), borderType=cv2.BORDER_REPLICATE)
    ends = ends / np.maximum(near, 1e-6)[..., None]
    out = image.copy()
    columns = np.arange(image.shape[1])
    rows = known.any(axis=1)
    for y in np.flatnonzero(rows & ~known.all(axis=1)):
        at, gap = np.flatnonzero(known[y]), ~known[y]
        for channel in range(3):
            out[y, gap, channel] = np.interp(columns[gap], at, ends[y, at, channel])
    if rows.any() and not rows.all():
        lines, full = np.flatnonzero(~rows), np.flatnonzero(rows)
        high = full[np.minimum(np.searchsorted(full, lines), len(full) - 1)]
        low = full[np.maximum(np.searchsorted(full, lines) - 1, 0)]
        share = np.clip((lines - low) / np.maximum(high - low, 1), 0, 1).astype(np.float32)[:, None, None]
        out[lines] = (1 - share) * out[low] + share * out[high]
    smooth = cv2.GaussianBlur(out, (0, 0), 2.5, borderType=cv2.BORDER_REPLICATE)
    return np.where(known[..., None], out, smooth).astype(np.float32)


def moved_picture(image: Image, backdrop: Image | None, matrix: NDArray[np.float64]) -> Image:
    """Move a picture by a map of its pixels; beyond its frame the backdrop goes on.

    Args:
        image: (H, W, 3) uint8.
        backdrop: (H, W, 3) uint8 without the person, or None: then the edge pixels go on, ever more blurred.
        matrix: (3, 3) map from old to new pixels.
    """
    if backdrop is None:
        return _edges_go_on(image, matrix)
    inside = _warped(np.ones(image.shape[:2], np.float32), matrix, cv2.BORDER_CONSTANT)
    moved = _warped(image, matrix, cv2.BORDER_REPLICATE)
    if float(inside.min()) >= 1.0:
        return moved
    return blended(moved, inside, _beyond(backdrop, matrix))


def _beyond(backdrop: Image, matrix: NDArray[np.float64]) -> Image:
    """Return what lies around a backdrop's frame, seen through a map of its pixels.

    Mirrored near the frame; farther away, where mirror images would make a kaleidoscope, a blurred picture whose upper
    and lower edges go on (sky stays above and floor below), ever more blurred, and whose sides are mirrored.
    """
    height, width = backdrop.shape[:2]
    sharp = _warped(backdrop, matrix, cv2.BORDER_REFLECT_101)
    # A blurred picture needs few pixels.
    factor = min(1.0, _COARSE / max(height, width))
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    small = cv2.resize(backdrop, size, interpolation=cv2.INTER_AREA)
    padded = cv2.copyMakeBorder(small, size[1], size[1], 0, 0, cv2.BORDER_REPLICATE)
    padded = cv2.copyMakeBorder(padded, 0, 0, size[0] - 1, size[0] - 1, cv2.BORDER_REFLECT_101)
    sigma = max(0.5, _SOFT * size[0])
    near = cv2.GaussianBlur(padded, (0, 0), sigma)
    high, wide = padded.shape[:2]
    quarter = cv2.resize(near, (max(1, wide // 4), max(1, high // 4)), interpolation=cv2.INTER_AREA)
    far = cv2.resize(cv2.GaussianBlur(quarter, (0, 0), sigma), (wide, high), interpolation=cv2.INTER_LINEAR)
    line = np.arange(len(padded), dtype=np.float32)[:, None]
    beyond = np.maximum(size[1] - line, line - (2 * size[1] - 1)) / (6 * sigma)
    padded = blended(far, np.clip(beyond, 0, 1) * np.ones((1, padded.shape[1]), np.float32), near)
    # From pixels of the padded picture to the backdrop's: integers are pixel centres in both.
    x, y = width / size[0], height / size[1]
    unpad = np.array([[x, 0, (0.5 - size[0] + 1) * x - 0.5], [0, y, (0.5 - size[1]) * y - 0.5], [0, 0, 1]])
    soft = cv2.warpPerspective(
        padded, matrix @ unpad, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    lost = np.clip(_outside(matrix, (height, width)) / (_SHARP * width), 0, 1)
    return blended(soft, lost * lost * (3 - 2 * lost), sharp)


def _edges_go_on(image: Image, matrix: NDArray[np.float64]) -> Image:
    """Move a picture; beyond its frame its edge pixels go on, blurred by a Gaussian of half the distance.

    The blur is interpolated, by the logarithm of the distance, between a few whose widths double.
    """
    height, width = image.shape[:2]
    moved: Image = _warped(image, matrix, cv2.BORDER_REPLICATE)
    away = _outside(matrix, (height, width))
    farthest = float(away.max())
    if farthest <= 0:
        return moved
    factor = min(1.0, _STRIP / max(height, width))
    size = (max(2, round(width * factor)), max(2, round(height * factor)))
    x, y = width / size[0], height / size[1]
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    padded = cv2.copyMakeBorder(small, size[1], size[1], size[0], size[0], cv2.BORDER_REPLICATE)
    # Distance in pixels of the padded picture, and the blur that belongs to it in steps that double.
    high, wide = padded.shape[:2]
    across, down = np.arange(wide, dtype=np.float32), np.arange(high, dtype=np.float32)[:, None]
    across = np.maximum(np.maximum(size[0] - across, across - (2 * size[0] - 1)), 0)
    down = np.maximum(np.maximum(size[1] - down, down - (2 * size[1] - 1)), 0)
    place = np.maximum(np.log2(np.maximum(np.hypot(across, down) / 2, 1e-3)), 0)
    strip = cv2.GaussianBlur(padded, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE)
    for step in range(1, int(np.ceil(place.max())) + 1):
        few = cv2.resize(padded, (max(1, wide >> step), max(1, high >> step)), interpolation=cv2.INTER_AREA)
        wider = cv2.resize(
            cv2.GaussianBlur(few, (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE),
            (wide, high),
            interpolation=cv2.INTER_LINEAR,
        )
        strip += np.clip(place - (step - 1), 0, 1)[..., None] * (wider - strip)
    unpad = np.array([[x, 0, (0.5 - size[0]) * x - 0.5], [0, y, (0.5 - size[1]) * y - 0.5], [0, 0, 1]])
    soft = cv2.warpPerspective(
        to_uint8(strip), matrix @ unpad, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    # Up to the narrowest blur, from the edge pixels themselves.
    return blended(soft, np.clip(away / (2 * max(x, y)), 0, 1), moved)


def _outside(matrix: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float32]:
    """Return (H, W): by how many old pixels the place that each new pixel shows lies outside the old frame."""
    height, width = shape
    back = np.linalg.inv(matrix)
    x, y = np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32)[:, None]
    old_x, old_y, w = (np.float32(a) * x + np.float32(b) * y + np.float32(c) for a, b, c in back)
    old_x, old_y = old_x / w, old_y / w
    across = np.maximum(np.maximum(-old_x, old_x - (width - 1)), 0)
    down = np.maximum(np.maximum(-old_y, old_y - (height - 1)), 0)
    return np.asarray(np.hypot(across, down), np.float32)


def moved_mask(mask: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move a soft mask by a (3, 3) map of pixels; nothing lies beyond its frame."""
    return np.asarray(np.clip(_warped(mask, matrix, cv2.BORDER_CONSTANT), 0.0, 1.0), np.float32)


def moved_depth(depth: NDArray[np.float32], matrix: NDArray[np.float64]) -> NDArray[np.float32]:
    """Move depth by a (3, 3) map of pixels: nearest values, ``+inf`` beyond the frame."""
    size = (depth.shape[1], depth.shape[0])
    moved = cv2.warpPerspective(
        depth, matrix, size, flags=cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(float("inf"),) * 4
    )
    return np.asarray(moved, np.float32)


def cut_out(
    image: Image, mask: NDArray[np.float32], matrix: NDArray[np.float64]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Cut the person out and move them alone.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) float32 in [0, 1].
        matrix: (3, 3) map from old to new pixels.

    Returns:
        (H, W, 3) float32 colours in 0..255, and (H, W) float32 coverage in [0, 1].
    """
    alpha = moved_mask(mask, matrix)
    light = _warped(image.astype(np.float32) * mask[..., None], matrix, cv2.BORDER_CONSTANT)
    return np.asarray(light / np.maximum(alpha, 1e-6)[..., None], np.float32), alpha


def blended(front: NDArray[Any], alpha: NDArray[np.float32], behind: Image) -> Image:
    """Return ``alpha front + (1 - alpha) behind`` in display values; where alpha is 0, the very bytes of `behind`."""
    mixed = to_uint8(behind + alpha[..., None] * (front.astype(np.float32) - behind))
    return np.where(alpha[..., None] > 0, mixed, behind)


def _warped(values: NDArray[Any], matrix: NDArray[np.float64], border: int) -> NDArray[Any]:
    """Resample bilinearly; where the map shrinks, blur first, so that nothing falls between samples."""
    height, width = values.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    # Area of a pixel at the middle of the picture after the map.
    w = float(matrix[2] @ (x, y, 1.0))
    area = abs(float(np.linalg.det(matrix))) / abs(w) ** 3
    if area < 0.9:
        sigma = 0.5 * float(np.sqrt(1.0 / area - 1.0))
        kept = cv2.BORDER_REPLICATE if border == cv2.BORDER_CONSTANT else border
        values = cv2.GaussianBlur(values, (0, 0), sigma, borderType=kept)
    return np.asarray(
        cv2.warpPerspective(values, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=border, borderValue=0)
    )
