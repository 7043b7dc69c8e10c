"""Zoom blur: the lens zooms in during the exposure."""

from __future__ import annotations

from math import ceil, floor
from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER

LEVELS = ((0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11))
_SHARP = 0.005
"""A zoom may be off by this many pixels at the edge of the picture."""

CARD = Card(
    name="zoom_blur",
    version="1",
    summary="The mean of the picture and of zooms into its centre: sharp in the middle, ghosts towards the edges.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "blur",
        "stochastic": False,
        "levels": "published",
        "formula": "y(p) = (x(p) + sum_k x(c + (p - c) / z_k)) / (n + 1), z_k = 1 + k step, k = 0..n-1",
        "severities": {s: {"zoom_step": step, "zooms": zooms} for s, (step, zooms) in enumerate(LEVELS, 1)},
        "deviations": [
            "zoomed about the centre of the picture; published crops keep whole pixels and trim to one side",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def _window(length: int, zoom: float) -> tuple[int, int, int, float]:
    """Find source pixels along one side whose enlargement falls into place on the pixel grid.

    Let the window start k pixels before the centre. Its enlargement starts k z before it, and a whole number of pixels
    has to be cut from that to reach the edge, length / 2 before the centre: k z = length / 2 + cut. Of the whole k the
    nearest is taken for which z is right, or as nearly right as need be.

    Returns:
        First source pixel (may lie outside), one after the last, pixels to cut, and the zoom that falls into place.
    """
    middle = length / 2
    nearest = middle - floor(middle - middle / zoom)
    best = (float("inf"), 0.0, 0)
    for k in np.arange(100) + nearest:
        cut = max(0, round(zoom * k - middle))
        error = abs((middle + cut) / k - zoom) * middle
        if error < best[0]:
            best = (error, float(k), cut)
        if error < _SHARP:
            break
    _, k, cut = best
    right = (middle + cut) / k
    start = round(middle - k)
    return start, start + ceil((cut + length) / right) + 1, cut, right


def zoom_blur(image: Image, zooms: tuple[float, ...]) -> Image:
    """Return the mean of the picture and of its zooms about the centre (bilinear).

    Args:
        image: (H, W, 3) uint8.
        zooms: Magnifications, each in [1, 4]; 1 counts the picture once more.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If a magnification is out of range.
    """
    import cv2

    from corruptions.common._filters import rounded

    if not all(1 <= zoom <= 4 for zoom in zooms):
        raise ValueError(f"zoom blur needs magnifications in [1, 4], got {zooms}")
    height, width = image.shape[:2]
    windows = [(_window(height, zoom), _window(width, zoom)) for zoom in zooms if zoom > 1]
    sides = [(window[axis], length) for window in windows for axis, length in ((0, height), (1, width))]
    margin = max([0, *(max(-start, stop - length) for (start, stop, _, _), length in sides)])
    padded = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    total = image.astype(np.uint16) * np.uint16(1 + len(zooms) - len(windows))
    for (top, bottom, cut_y, zoom_y), (left, right, cut_x, zoom_x) in windows:
        window = padded[top + margin : bottom + margin, left + margin : right + margin]
        # A fixed-point resize of a window costs a third of an affine warp.
        large = cv2.resize(window, None, fx=zoom_x, fy=zoom_y, interpolation=cv2.INTER_LINEAR)
        total += large[cut_y : cut_y + height, cut_x : cut_x + width]
    # Halves of whole sums go up, whatever the last digit of the division.
    return rounded(total, 1 / (len(zooms) + 1), 1e-3)


class ZoomBlur:
    """Zoom blur about the centre. Its strength is a share of the radius, so it scales with the picture by itself."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        step, zooms = float(params["zoom_step"]), int(params["zooms"])
        return Corrupted(zoom_blur(checked(image), tuple(1 + step * k for k in range(zooms))))
