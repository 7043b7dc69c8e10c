"""Low light: under-exposure, a steep tone curve and sensor noise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, draw_seed, level, seeded

PHOTONS = 120
SIGMA = 0.018

CARD = Card(
    name="low_light",
    version="1",
    summary="The picture is stretched to its full range, squared, darkened, and gets photon and electronic noise.",
    reference=f"{PAPER_3DCC}, low light",
    extra={
        "family": "sensor",
        "stochastic": True,
        "levels": "published",
        "formula": "y = clip(Pois(120 m) / 120) + N(0, 0.018^2), m = c u^2, u = x stretched to [0, 1]; clipped",
        "severities": {
            s: {"gain": gain, "photons": PHOTONS, "sigma": SIGMA} for s, gain in enumerate((0.6, 0.5, 0.4, 0.3, 0.2), 1)
        },
        "paper_severity": 4,
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "a picture of one single value is squared without the stretch (published: division by zero)",
            "seeded per image",
            "both noises and the clipping between them drawn in one step from their exact distribution (to 2**-24)",
        ],
    },
)


def tone_curve(image: Image, gain: float) -> NDArray[np.float64]:
    """Return what the 256 levels become without noise: ``gain * u²``, u being the level stretched over the range.

    Args:
        image: uint8; its least and greatest value over all channels are the range.
        gain: Brightness of white afterwards, in [0, 1].

    Returns:
        (256,) values in [0, gain].
    """
    low, high = int(image.min()), int(image.max())
    if low == high:
        low, high = 0, 255
    u = np.clip((np.arange(256) - low) / (high - low), 0, 1)
    return np.asarray(gain * u**2, np.float64)


def under_expose(image: Image, gain: float) -> NDArray[np.float64]:
    """Return the darkened picture without noise, (H, W, 3) in [0, gain]."""
    return tone_curve(image, gain)[image]


def low_light(image: Image, gain: float, photons: int, sigma: float, rng: np.random.Generator) -> Image:
    """Return ``clip(clip(Pois(photons y) / photons) + N(0, sigma²))`` with ``y = gain * u²``.

    Args:
        image: (H, W, 3) uint8.
        gain: Brightness of white afterwards, in [0, 1].
        photons: Photons of a value of 1.
        sigma: Standard deviation of the electronic noise on the scale 0..1.
        rng: Source of the noise.
    """
    from corruptions._noise import draw, sensor_table

    return draw(image, sensor_table(tuple(tone_curve(image, gain).tolist()), photons, sigma), rng)


class LowLight:
    """Under-exposure with sensor noise."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the noise."""
        return {**level(self.card, severity), "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the dark picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        noise = seeded(params["seed"])
        gain, photons, sigma = float(params["gain"]), int(params["photons"]), float(params["sigma"])
        return Corrupted(low_light(checked(image), gain, photons, sigma, noise))
