"""The published augmentation and calibration, exact to the pixel (golden ``data_pifu``).

Source: the released training code's behaviour: pad, mirror, resize, crop in pixels; the calibration follows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Draw:
    """One augmentation.

    Attributes:
        flip: Mirror left and right.
        zoom: Factor of size.
        dx: Crop shift to the right in pixels (the picture moves left).
        dy: Crop shift downwards in pixels.
    """

    flip: bool = False
    zoom: float = 1.0
    dx: int = 0
    dy: int = 0


def draw(rng: np.random.Generator, size: int, flip: float, zoom: float, shift: float) -> Draw:
    """Draw an augmentation; always four numbers, whatever the strengths.

    Args:
        rng: The generator.
        size: Side of the picture in pixels.
        flip: Probability of mirroring.
        zoom: Largest relative change of size.
        shift: Largest shift as a fraction of the side.
    """
    reach = round(shift * size)
    mirrored = bool(rng.random() < flip)
    factor = float(1.0 + zoom * rng.uniform(-1, 1))
    dx, dy = (int(v) for v in rng.integers(-reach, reach + 1, 2))
    return Draw(mirrored, factor, dx, dy)


def move_picture(
    image: NDArray[np.uint8], mask: NDArray[np.uint8], d: Draw
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Apply an augmentation to (S, S, 3) uint8 pixels and their (S, S) mask: bilinear pixels, nearest mask."""
    from PIL import Image, ImageOps

    size = image.shape[0]
    pad = size // 10
    picture, shape = (ImageOps.expand(Image.fromarray(a), pad, fill=0) for a in (image, mask))
    if d.flip:
        picture, shape = ImageOps.mirror(picture), ImageOps.mirror(shape)
    if d.zoom != 1.0:
        side = int(d.zoom * picture.width)
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
        shape = shape.resize((side, side), Image.Resampling.NEAREST)
    left, top = (round((picture.width - size) / 2.0) + s for s in (d.dx, d.dy))
    box = (left, top, left + size, top + size)
    return np.asarray(picture.crop(box)), np.asarray(shape.crop(box))


def move_points(points: NDArray[np.floating], d: Draw, size: int) -> NDArray[np.float32]:
    """Let (N, 3) normalised points follow an augmentation of a picture of that size; depth grows with the zoom."""
    sign = -d.zoom if d.flip else d.zoom
    moved = points * np.array([sign, d.zoom, d.zoom]) - np.array([d.dx, d.dy, 0.0]) * (2.0 / size)
    return np.asarray(moved, np.float32)


def yaw_rotation(degrees: float) -> NDArray[np.float64]:
    """Return the (3, 3) turn of a subject about the vertical axis by a yaw."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def calibration(
    rotation: NDArray[np.float64],
    centre: NDArray[np.float64],
    scale: float,
    ortho_ratio: float,
    d: Draw | None = None,
    size: int = 512,
) -> NDArray[np.float64]:
    """Return the published (4, 4) matrix from a subject's world to normalised image space.

    Args:
        rotation: (3, 3) view of the subject.
        centre: (3,) point that the camera looks at, in the subject's units.
        scale: Camera units per subject unit (180 over the subject's height).
        ortho_ratio: Camera units per pixel.
        d: An augmentation that the picture went through.
        size: Side of the picture in pixels.
    """
    d = d or Draw()
    half = size / 2
    extrinsic = np.eye(4)
    extrinsic[:3, :3], extrinsic[:3, 3] = rotation, -rotation @ centre
    k = scale / ortho_ratio * d.zoom
    to_pixels = np.diag([-k if d.flip else k, -k, k, 1.0])
    shift = np.eye(4)
    shift[:2, 3] = -d.dx / half, -d.dy / half
    found: NDArray[np.float64] = shift @ np.diag([1 / half, 1 / half, 1 / half, 1.0]) @ to_pixels @ extrinsic
    return found
