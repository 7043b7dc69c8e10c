"""From a masked picture of any size to the square that the network sees, and back to centimetres.

The square's normalised coordinates: x right, y *down*, z towards the viewer; -1 and 1 are the outer edges of the
border pixels; one unit is half the side in all three axes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Image, Mask

Crop = Literal["auto", "none"]
# The published crop puts the mask's bounding box into a square 1.138 times its height.
CROP_FACTOR = 1.138
# Body heights (fraction of the side) that the training pictures span; beyond these `auto` crops.
_FAMILIAR = (0.55, 1.0)
_PERSON = 100 / 255  # the published threshold of the crop's bounding box


@dataclass(frozen=True)
class Prepared:
    """A picture as the network sees it.

    Attributes:
        image: (S, S, 3) uint8 sRGB.
        mask: (S, S) uint8, 255 on the person.
        camera: The camera of that square picture.
        cropped: Whether the picture was cropped around the person.
    """

    image: Image
    mask: NDArray[np.uint8]
    camera: Camera
    cropped: bool


def mask_box(mask: Mask) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of the mask above the published threshold, ends excluded, or None if blank."""
    rows, columns = np.nonzero((mask > _PERSON).any(axis=1))[0], np.nonzero((mask > _PERSON).any(axis=0))[0]
    if len(rows) == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def square(shape: tuple[int, int], mask: Mask, crop: Crop) -> tuple[float, float, float, bool]:
    """Return (left, top, side) in pixel edges of the square to show, and whether it is a crop.

    Args:
        shape: (H, W) of the picture.
        mask: (H, W) in [0, 1].
        crop: ``none`` letterboxes the whole picture; ``auto`` crops around the person if the share of the square's
            height that it fills is unlike the training pictures'.
    """
    height, width = shape
    side = float(max(height, width))
    whole = ((width - side) / 2, (height - side) / 2, side, False)
    box = mask_box(mask)
    if crop == "none" or box is None:
        return whole
    left, top, right, bottom = box
    tall = bottom - top
    if _FAMILIAR[0] * side <= tall <= _FAMILIAR[1] * side:
        return whole
    new = max(CROP_FACTOR * tall, CROP_FACTOR * (right - left))
    return (left + right - new) / 2, (top + bottom - new) / 2, new, True


def prepare(image: Image, mask: Mask, camera: Camera, size: int, crop: Crop = "none") -> Prepared:
    """Letterbox or crop a picture to a square and resample it; the camera follows.

    Args:
        image: (H, W, 3) uint8.
        mask: (H, W) float32 in [0, 1].
        camera: Of the picture.
        size: Side of the square in pixels.
        crop: See `square`.
    """
    from PIL import Image as Pil

    left, top, side, cropped = square(image.shape[:2], mask, crop)
    soft = np.rint(np.clip(mask, 0, 1) * 255).astype(np.uint8)
    if (left, top, side) == (0.0, 0.0, float(size)):
        return Prepared(image, soft, camera, cropped)
    # An integer canvas first: what lies outside the picture is background, not a repeated border.
    x0, y0 = int(np.floor(left)), int(np.floor(top))
    x1, y1 = int(np.ceil(left + side)), int(np.ceil(top + side))
    box = (left - x0, top - y0, left - x0 + side, top - y0 + side)
    out = []
    for array in (image, soft):
        canvas = window(array, x0, y0, x1, y1)
        # Bilinear with antialiasing, as the published loader resizes.
        out.append(np.asarray(Pil.fromarray(canvas).resize((size, size), Pil.Resampling.BILINEAR, box=box)))
    ratio = size / side
    cx, cy = camera.centre
    centre = ((cx + 0.5 - left) * ratio - 0.5, (cy + 0.5 - top) * ratio - 0.5)
    moved = replace(camera, scale=camera.scale * ratio, centre=centre, width=size, height=size)
    return Prepared(out[0], out[1], moved, cropped)


def window(array: NDArray[np.uint8], x0: int, y0: int, x1: int, y1: int) -> NDArray[np.uint8]:
    """Return columns x0 to x1 and rows y0 to y1, ends excluded, of a (H, W, ...) array; 0 beyond its edges."""
    height, width = array.shape[:2]
    canvas = np.zeros((y1 - y0, x1 - x0, *array.shape[2:]), np.uint8)
    a, b, c, d = max(x0, 0), max(y0, 0), min(x1, width), min(y1, height)
    if c > a and d > b:
        canvas[b - y0 : d - y0, a - x0 : c - x0] = array[b:d, a:c]
    return canvas


def network_image(image: Image, mask: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (3, S, S) float32: the picture in [-1, 1] times the soft mask, so that the background is 0."""
    rgb = image.astype(np.float32) * np.float32(2 / 255) - np.float32(1)
    soft = mask.astype(np.float32)[..., None] * np.float32(1 / 255)
    return np.ascontiguousarray((rgb * soft).transpose(2, 0, 1))


def to_normalised(view: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """Map (N, 3) view-frame centimetres to the normalised coordinates of the camera's square picture."""
    half = camera.width / 2
    p = np.asarray(view, np.float64)
    k: float | NDArray[np.float64] = camera.scale
    if camera.kind == "pinhole":
        k = camera.scale / (camera.distance - p[:, 2])
    u = k * p[:, 0] + camera.centre[0]
    v = -k * p[:, 1] + camera.centre[1]
    return np.stack([(u + 0.5) / half - 1, (v + 0.5) / half - 1, p[:, 2] * _depth_scale(camera)], axis=1)


def to_view(points: NDArray[np.floating], camera: Camera) -> NDArray[np.float64]:
    """Map (N, 3) normalised coordinates back to view-frame centimetres; the inverse of `to_normalised`."""
    half = camera.width / 2
    p = np.asarray(points, np.float64)
    z = p[:, 2] / _depth_scale(camera)
    k: float | NDArray[np.float64] = camera.scale
    if camera.kind == "pinhole":
        k = camera.scale / (camera.distance - z)
    u, v = (p[:, 0] + 1) * half - 0.5, (p[:, 1] + 1) * half - 0.5
    return np.stack([(u - camera.centre[0]) / k, -(v - camera.centre[1]) / k, z], axis=1)


def _depth_scale(camera: Camera) -> float:
    """Normalised depth per centimetre: the picture's own scale, for a pinhole at the view frame's origin."""
    scale = camera.scale if camera.kind == "orthographic" else camera.scale / camera.distance
    return scale / (camera.width / 2)
