"""Gaussian noise: the electronic noise of a picture taken in poor light."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="gaussian_noise",
    version="1",
    summary="White noise of one strength, independent for every value; the strength does not follow the light.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "noise",
        "stochastic": True,
        "levels": "published",
        "formula": "y = clip(x + N(0, sigma^2))",
        "severities": {s: {"sigma": sigma} for s, sigma in enumerate((0.08, 0.12, 0.18, 0.26, 0.38), 1)},
        "deviations": [
            "seeded per image; the published code draws from the global generator",
            "rounded, not truncated, to 8 bits",
            "noise, clipping and rounding drawn in one step from their exact distribution (to 2**-24)",
        ],
    },
)


def gaussian_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Return ``clip(x + N(0, sigma²))``, x in [0, 1], rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation on the scale 0..1, >= 0.
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If sigma is negative.
    """
    from corruptions._noise import draw, normal_table

    if not sigma >= 0:
        raise ValueError(f"Gaussian noise needs sigma >= 0, got {sigma}")
    return draw(image, normal_table(sigma, 0.0), rng)


class GaussianNoise:
    """White noise."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the noise."""
        return {**level(self.card, severity), "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the noisy picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(gaussian_noise(checked(image), float(params["sigma"]), seeded(params["seed"])))
