"""Drops: where they are, how they shine, and how they look before a picture."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import cv2
import numpy as np

from corruptions._base import Image
from corruptions.common._layers import Layer8, Layer16, enlarged, fit, gaussian16, source_grid, work_size

WATER = (175, 238, 238)
MUD = (63, 42, 20)

_UNIT = 60
_ZERO = 90
"""Noise v is drawn as the whole number 60 v + 90, which holds -1.5 to 2.75."""
_TRUNCATE = 4.0
_FARTHEST = 20
"""Pixels of the source beyond which the relief of water is flat."""
_EMBOSS = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]], np.float32)
_FULL_MUD = 204
"""Mud thinner than 0.8 of full cover runs off."""


def splashes(
    shape: tuple[int, int],
    liquid: Literal["water", "mud"],
    numbers: Mapping[str, float],
    rng: np.random.Generator,
    scaled: bool = True,
) -> Layer8:
    """Return how much liquid lies on every pixel.

    Args:
        shape: (H, W) of the picture.
        liquid: What it is.
        numbers: ``mean`` and ``sigma`` of the noise, ``smooth`` its blur (sigma in source pixels), ``threshold`` over
            which there is liquid, and ``strength`` (of mud: sigma of its blur in source pixels).
        rng: Source of the noise.
        scaled: Whether lengths follow the resolution.

    Returns:
        (H, W) uint8: of water its brightness relative to the brightest, of mud its opacity.
    """
    height, width, _ = work_size(shape, scaled)
    grid = source_grid(shape, scaled)
    noise = rng.standard_normal(grid, dtype=np.float32) * np.float32(numbers["sigma"] * _UNIT)
    drawn = np.clip(np.rint(noise + np.float32(numbers["mean"] * _UNIT + _ZERO)), 0, 255).astype(np.uint8)
    field = gaussian16(drawn, numbers["smooth"], _TRUNCATE, cv2.BORDER_REPLICATE)
    if liquid == "water":
        relief = enlarged(_relief(_wet(field, numbers["threshold"])), (height, width))
        shine = cv2.multiply(_wet(enlarged(field, (height, width)), numbers["threshold"]), relief, dtype=cv2.CV_16U)
        brightest = int(shine.max())
        layer = cv2.convertScaleAbs(shine, alpha=255 / brightest) if brightest else np.zeros((height, width), np.uint8)
    else:
        solid = np.where(field > _edge(numbers["threshold"]), np.uint8(255), np.uint8(0))
        opaque = enlarged(gaussian16(solid, numbers["strength"], _TRUNCATE, cv2.BORDER_REPLICATE), (height, width))
        opaque = cv2.convertScaleAbs(opaque, alpha=1 / 256)
        layer = cv2.threshold(opaque, _FULL_MUD - 1, 0, cv2.THRESH_TOZERO)[1]
    return fit(layer, shape)


def _edge(threshold: float) -> int:
    """Return a value of the noise as the fields of `gaussian16` hold it."""
    return round((threshold * _UNIT + _ZERO) * 256)


def _wet(field: Layer16, threshold: float) -> Layer8:
    """Return the field in levels where it is over the threshold, else 0."""
    over = cv2.threshold(field, _edge(threshold), 0, cv2.THRESH_TOZERO)[1]
    levels: Layer8 = cv2.convertScaleAbs(cv2.subtract(over, float(_edge(0.0))), alpha=255 / (_UNIT * 256))
    return levels


def _relief(water: Layer8) -> Layer8:
    """Return the light on drops: the distance from their edges, flattened out, equalised and embossed."""
    edges = cv2.Canny(water, 50, 150)
    distance = cv2.distanceTransform(cv2.bitwise_not(edges), cv2.DIST_L2, 5)
    near = cv2.blur(np.minimum(distance, np.float32(_FARTHEST)), (3, 3)).astype(np.uint8)
    embossed = cv2.filter2D(cv2.equalizeHist(near), cv2.CV_8U, _EMBOSS)
    relief: Layer8 = cv2.blur(embossed, (3, 3))
    return relief


def wetted(image: Image, layer: Layer8, strength: float) -> Image:
    """Return ``x + strength * layer * colour``, clipped; the layer of `splashes` of water."""
    levels = np.arange(256) / 255 * strength
    light = [cv2.LUT(layer, np.clip(np.rint(levels * colour), 0, 255).astype(np.uint8)) for colour in WATER]
    result: Image = cv2.add(image, cv2.merge(light))
    return result


def muddied(image: Image, layer: Layer8) -> Image:
    """Return ``(1 - layer) x + layer * colour``; the layer of `splashes` of mud."""
    clear = cv2.bitwise_not(layer)
    planes = []
    for channel, colour in zip(cv2.split(image), MUD, strict=True):
        total = cv2.multiply(channel, clear, dtype=cv2.CV_16U)
        cv2.add(total, cv2.LUT(layer, (np.arange(256) * colour).astype(np.uint16)), dst=total)
        planes.append(cv2.convertScaleAbs(total, alpha=1 / 255))
    result: Image = cv2.merge(planes)
    return result
