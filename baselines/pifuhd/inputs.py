"""From a picture and a person box to the two squares that PIFuHD sees.

Published: a square crop with a black surrounding, resampled bilinearly to each level's size by itself; the background
stays. Normalised coordinates as in `baselines.pifu.inputs`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.inputs import CROP_FACTOR, mask_box, window
from robench.contracts import Box, Camera, Image, Mask
from robench.errors import UsageError

LARGEST = 8192
"""Pixels a side of a box; a mistyped one would ask for memory that no machine has."""


@dataclass(frozen=True)
class Square:
    """What is shown: ``[left, left + side) x [top, top + side)`` in pixels of the picture."""

    left: int
    top: int
    side: int

    def overlaps(self, shape: tuple[int, int]) -> bool:
        """Return whether anything of a picture of (height, width) is shown."""
        down, right = self.top + self.side, self.left + self.side
        return self.top < shape[0] and self.left < shape[1] and down > 0 and right > 0


def parse_crop(text: str) -> Box | str:
    """Return ``mask``, ``box`` and ``none`` as they are, and ``X,Y,W,H`` as a box for every picture.

    Raises:
        UsageError: If it is none of these.
    """
    if text in ("mask", "box", "none"):
        return text
    parts = text.split(",")
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != 4 or not all(2 <= n <= LARGEST for n in numbers[2:]):
        raise UsageError(
            "The option 'crop' of PIFuHD is not understood",
            got=f"'{text}'",
            expected=f"mask, box, none, or X,Y,W,H in pixels, W and H from 2 to {LARGEST}",
            hint="--model-option crop=mask",
        )
    return Box(*numbers)


def square_of(shape: tuple[int, int], mask: Mask, crop: Box | str, box: Box | None = None) -> Square | None:
    """Return the square to show; of a box with fractions, the nearest one of whole pixels.

    Args:
        shape: (H, W) of the picture.
        mask: (H, W) in [0, 1]; looked at for ``mask`` only.
        crop: ``mask``: around the mask, 1.138 times its longer side, so that a person fills the square as in PIFu's and
            PIFuHD's training pictures; ``box``: the sample's own box, without one as ``mask``; ``none``: the whole
            picture; or a box, shown as it is (its longer side).
        box: The sample's own.

    Returns:
        The square, which may reach beyond the picture, or None if the mask is blank.
    """
    height, width = shape
    shown = box if crop == "box" and box is not None else crop
    if isinstance(shown, Box):
        x, y, w, h = (round(value) for value in shown.to_json())
        side = max(w, h, 2)
    elif shown == "none":
        x, y, w, h = 0, 0, width, height
        side = max(w, h)
    else:
        found = mask_box(mask)
        if found is None:
            return None
        x, y, w, h = found[0], found[1], found[2] - found[0], found[3] - found[1]
        side = max(2, round(CROP_FACTOR * max(w, h)))
    # Where sides are odd and even the square lies half a pixel to the right and below.
    return Square(x - (side - w) // 2, y - (side - h) // 2, side)


@dataclass(frozen=True)
class Prepared:
    """A picture as the network sees it.

    Attributes:
        coarse: (s, s, 3) uint8 sRGB.
        fine: (S, S, 3) uint8 sRGB, the same square.
        camera: The camera of the fine square.
        cropped: Whether less than the whole picture is shown.
    """

    coarse: Image
    fine: Image
    camera: Camera
    cropped: bool


def prepare(image: Image, camera: Camera, square: Square, coarse_size: int, fine_size: int) -> Prepared:
    """Cut a square out of a picture and resample it to both levels' sizes; the camera follows.

    Args:
        image: (H, W, 3) uint8.
        camera: Of the picture.
        square: What to show; black beyond the picture.
        coarse_size: Side of the coarse level's picture.
        fine_size: Side of the fine level's picture.
    """
    import cv2

    left, top, side = square.left, square.top, square.side
    cut = window(image, left, top, left + side, top + side)
    small, large = (
        np.asarray(cv2.resize(cut, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)
        for size in (coarse_size, fine_size)
    )
    ratio = fine_size / side
    cx, cy = camera.centre
    centre = ((cx + 0.5 - left) * ratio - 0.5, (cy + 0.5 - top) * ratio - 0.5)
    moved = replace(camera, scale=camera.scale * ratio, centre=centre, width=fine_size, height=fine_size)
    return Prepared(small, large, moved, side < max(image.shape[:2]))


def network_image(image: Image) -> NDArray[np.float32]:
    """Return (3, S, S) float32 in [-1, 1], background and all."""
    return np.ascontiguousarray((image.astype(np.float32) * np.float32(2 / 255) - np.float32(1)).transpose(2, 0, 1))
