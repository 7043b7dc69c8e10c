"""Speckle noise: noise as strong as the signal it sits on."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="speckle_noise",
    version="1",
    summary="White noise in proportion to the value: dark places stay clean, bright ones suffer.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "noise",
        "stochastic": True,
        "levels": "published",
        "formula": "y = clip(x + x N(0, c^2))",
        "severities": {s: {"sigma": sigma} for s, sigma in enumerate((0.15, 0.2, 0.35, 0.45, 0.6), 1)},
        "deviations": [
            "seeded per image; the published code draws from the global generator",
            "rounded, not truncated, to 8 bits",
            "noise, clipping and rounding drawn in one step from their exact distribution (to 2**-24)",
        ],
    },
)


def speckle_noise(image: Image, sigma: float, rng: np.random.Generator) -> Image:
    """Return ``clip(x + x N(0, sigma²))``, x in [0, 1], rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation as a share of the value, >= 0.
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If sigma is negative.
    """
    from corruptions._noise import draw, normal_table

    if not sigma >= 0:
        raise ValueError(f"speckle noise needs sigma >= 0, got {sigma}")
    return draw(image, normal_table(0.0, sigma), rng)


class SpeckleNoise:
    """Noise in proportion to the signal."""

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
        return Corrupted(speckle_noise(checked(image), float(params["sigma"]), seeded(params["seed"])))
