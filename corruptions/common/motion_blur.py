"""Motion blur: the whole picture moves along a line during the exposure."""

from __future__ import annotations

from math import cos, radians, sin
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER, length_scale

STEEPEST = 45.0
"""Directions lie between plus and minus this many degrees."""

CARD = Card(
    name="motion_blur",
    version="1",
    summary="Every point becomes a line that fades to one side, of the same length and direction everywhere.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "blur",
        "stochastic": True,
        "levels": "published",
        "formula": "y(p) = sum_i w_i x(p + i (cos, sin)), i = 0..2r, w_i ~ exp(-i^2 / 2 sigma^2), angle U(-45, 45) deg",
        "severities": {
            s: {"radius_px": float(r), "sigma_px": float(sigma)}
            for s, (r, sigma) in enumerate(((10, 3), (15, 5), (15, 8), (15, 12), (20, 15)), 1)
        },
        "deviations": [
            "centred: the same fading line is moved to its centroid; published, it starts at the pixel and so also "
            "shifts the picture by 2 to 11 px of 224, against masks and ground truth (centred=False)",
            "the centred line lies between pixels (bilinear), not on the nearest ones",
            "lengths in pixels of a picture 224 wide, scaled with the width (scaled=False keeps the pixels)",
            "direction seeded per image",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def line(radius: float, sigma: float, angle: float, centred: bool = True) -> NDArray[np.float64]:
    """Return the kernel: taps one pixel apart on a line, weighted by one half of a Gaussian.

    Args:
        radius: Half the length in pixels, >= 0: taps at 0 to round(2 radius).
        sigma: Of the half Gaussian in pixels, > 0.
        angle: Of the line in degrees; content moves to the left at 0 and upwards at 90.
        centred: Put the centroid of the line into the middle and spread every tap over its four pixels. Otherwise the
            line starts in the middle and every tap takes the nearest pixel, as published.

    Returns:
        (2 a + 1, 2 b + 1) weights with the sum 1.

    Raises:
        ValueError: If the radius is negative or sigma not positive.
    """
    if radius < 0 or sigma <= 0:
        raise ValueError(f"motion blur needs radius >= 0 and sigma > 0 pixels, got {radius} and {sigma}")
    tap = np.arange(round(2 * radius) + 1)
    weight = np.exp(-0.5 * (tap / sigma) ** 2)
    weight /= weight.sum()
    place = tap - (tap @ weight if centred else 0.0)
    y, x = -place * sin(radians(angle)), -place * cos(radians(angle))
    if not centred:
        # Halves go up before the sign is turned: -ceil(v - 1/2).
        y, x = -np.ceil(-y - 0.5), -np.ceil(-x - 0.5)
    half_y, half_x = (int(np.ceil(np.abs(v).max())) for v in (y, x))
    # One spare row and column, since a tap may lie on the last ones and still has a neighbour, of weight 0.
    kernel = np.zeros((2 * half_y + 2, 2 * half_x + 2))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    down, across = y - top, x - left
    for dy, share_y in ((0, 1 - down), (1, down)):
        for dx, share_x in ((0, 1 - across), (1, across)):
            np.add.at(kernel, (top + dy + half_y, left + dx + half_x), weight * share_y * share_x)
    return kernel[:-1, :-1]


def motion_blur(image: Image, radius: float, sigma: float, angle: float, centred: bool = True) -> Image:
    """Blur along a line, the edges replicated.

    Args:
        image: (H, W, 3) uint8.
        radius: Half the length of the line in pixels, >= 0.
        sigma: Of its fading in pixels, > 0.
        angle: Degrees.
        centred: Displace nothing on average.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the radius is negative or sigma not positive.
    """
    from corruptions.common._filters import convolve

    return convolve(image, line(radius, sigma, angle, centred), "replicate")


class MotionBlur:
    """Motion blur without depth. One draw of the generator gives one direction for all severities.

    Args:
        scaled: Scale the published pixels with the width of the picture; otherwise keep them as they are.
        centred: Move the line to its centroid, so that the blur does not displace the picture; otherwise as published.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True, centred: bool = True) -> None:
        self.scaled = scaled
        self.centred = centred

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and draw the direction."""
        angle = float(rng.uniform(-STEEPEST, STEEPEST))
        return {**level(self.card, severity), "angle_deg": angle, "scaled": self.scaled, "centred": self.centred}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        scale = length_scale(image.shape[1], bool(params["scaled"]))
        radius, sigma = scale * float(params["radius_px"]), scale * float(params["sigma_px"])
        return Corrupted(motion_blur(image, radius, sigma, float(params["angle_deg"]), bool(params["centred"])))
