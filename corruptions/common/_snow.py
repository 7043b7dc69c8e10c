"""Flakes smeared by their fall, and the scene behind them."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, cos, radians, tan

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image
from corruptions.common._layers import WEIGHT, Layer8, enlarged, fit, whole_weights, work_size

_STEPS = 16
_ZERO = 255 * _STEPS * 2
"""Flakes are drawn as uint16 of 16 steps to the level, with -2 as the lowest value (more than 8 sigma below)."""

_STEP = 64
"""Steps of a level in the sum of scene and flakes, which reaches four times the range of a picture."""


@dataclass(frozen=True)
class Flakes:
    """How snow falls; lengths in pixels of the source.

    Attributes:
        mean: Of the noise from which flakes are cut, on the scale 0..1.
        sigma: Of the noise.
        zoom: Pixels per independent value: the size of a flake.
        threshold: Noise below it is no flake.
        radius: Half the length of the smear.
        smear: Sigma of the one-sided Gaussian along it.
        angle_deg: Direction of the smear, -90 straight down; within 45 degrees of it.
    """

    mean: float
    sigma: float
    zoom: float
    threshold: float
    radius: float
    smear: float
    angle_deg: float

    def __post_init__(self) -> None:
        if abs(self.angle_deg + 90) > 45 or min(self.zoom, self.smear) <= 0 or self.radius < 0 or self.sigma < 0:
            raise ValueError(f"snow falls within 45 degrees of straight down (-90), with sizes > 0; got {self}")


def flakes(shape: tuple[int, int], rule: Flakes, rng: np.random.Generator, scaled: bool = True) -> Layer8:
    """Return a layer of smeared flakes.

    Noise of one value per `zoom` pixels is enlarged, cut at the threshold and smeared by a half-Gaussian of
    ``2 radius + 1`` taps. The smear is vertical in a layer whose rows are shifted by the slope of the fall.

    Args:
        shape: (H, W) of the picture.
        rule: How it snows.
        rng: Source of the noise.
        scaled: Whether lengths follow the resolution.

    Returns:
        (H, W) uint8.
    """
    height, width, scale = work_size(shape, scaled)
    tilt = radians(rule.angle_deg + 90)
    length = int(2 * rule.radius * scale * cos(tilt)) + 1
    along = np.arange(length) / cos(tilt)
    kernel = whole_weights(np.exp(-0.5 * (along / (rule.smear * scale)) ** 2))
    slope = abs(tan(tilt))
    drift = ceil(length * slope)
    still = _still((height, width), (height + length, width + drift), rule, scale, rng)
    shift = np.rint(np.arange(height + length) * slope).astype(int).tolist()
    canvas = np.zeros((height + length, width + drift + shift[-1]), np.uint8)
    for row, by in enumerate(shift):
        canvas[row, shift[-1] - by :][: width + drift] = still[row]
    # The first tap lies on the pixel itself, the others below it.
    exact = cv2.sepFilter2D(canvas, cv2.CV_32F, np.ones(1), kernel, anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
    smeared = cv2.convertScaleAbs(exact, alpha=1 / WEIGHT)
    layer = np.empty((height, width), np.uint8)
    for row, by in enumerate(shift[:height]):
        layer[row] = smeared[row, shift[-1] - by :][:width]
    return fit(layer if tilt >= 0 else np.ascontiguousarray(layer[:, ::-1]), shape)


def _still(
    shape: tuple[int, int], beyond: tuple[int, int], rule: Flakes, scale: float, rng: np.random.Generator
) -> Layer8:
    """Return flakes that hang in the air, over a frame and what lies below and beside it.

    How many values are drawn depends on lengths in source pixels alone, so that twice the resolution has the same snow.
    """
    margin = (1 + abs(tan(radians(rule.angle_deg + 90)))) * 2 * rule.radius + 3
    cells = [ceil((round(side / scale) + margin) / rule.zoom) + 1 for side in shape]
    noise = rng.standard_normal(cells, dtype=np.float32) * np.float32(rule.sigma) + np.float32(rule.mean)
    values = np.clip(np.rint(noise * np.float32(255 * _STEPS)) + _ZERO, 0, 65535).astype(np.uint16)
    # First and last value on the first and last pixel, as published: pixels so fall on all places between values, where
    # at a whole zoom they would fall on the same few, and too much or too little would pass the threshold.
    over = tuple(round(((n + 1) * rule.zoom - 1) * scale) for n in cells)
    still = enlarged(values, (over[0], over[1]))[: beyond[0], : beyond[1]]
    bright = cv2.convertScaleAbs(cv2.subtract(still, float(_ZERO)), alpha=1 / _STEPS)
    cut: Layer8 = cv2.threshold(bright, 255 * rule.threshold, 0, cv2.THRESH_TOZERO)[1]
    return cut


def fallen(image: Image, layer: Layer8, kept: float) -> Image:
    """Return ``w x + (1 - w) max(x, 1.5 grey + 0.5) + F + rot180(F)``, clipped.

    Args:
        image: (H, W, 3) uint8 sRGB.
        layer: (H, W) uint8, the flakes F.
        kept: w in [0, 1].
    """
    value = np.arange(256.0) * _STEP
    white = cv2.LUT(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), _whole((1.5 * value + 127.5 * _STEP) * (1 - kept)))
    falling = cv2.multiply(cv2.add(layer, cv2.rotate(layer, cv2.ROTATE_180), dtype=cv2.CV_16U), float(_STEP))
    planes = []
    for channel in cv2.split(image):
        # Where x is the larger, w x + (1 - w) x is x itself: the maximum may be taken last.
        total = cv2.LUT(channel, _whole(value * kept))
        cv2.add(total, white, dst=total)
        cv2.max(total, cv2.LUT(channel, _whole(value)), dst=total)
        cv2.add(total, falling, dst=total)
        planes.append(cv2.convertScaleAbs(total, alpha=1 / _STEP))
    result: Image = cv2.merge(planes)
    return result


def _whole(values: NDArray[np.float64]) -> NDArray[np.uint16]:
    rounded: NDArray[np.uint16] = np.rint(values).astype(np.uint16)
    return rounded
