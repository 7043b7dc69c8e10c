"""Shot noise: light comes in photons, and few of them."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="shot_noise",
    version="1",
    summary="Photon noise: every value is a count of photons, whose variance is its mean.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "noise",
        "stochastic": True,
        "levels": "published",
        "formula": "y = clip(Pois(c x) / c), c photons at white",
        "severities": {s: {"photons": photons} for s, photons in enumerate((60, 25, 12, 5, 3), 1)},
        "deviations": [
            "seeded per image; the published code draws from the global generator",
            "rounded, not truncated, to 8 bits",
            "count, clipping and rounding drawn in one step from their exact distribution (to 2**-24)",
        ],
    },
)

_LEVELS = tuple(v / 255 for v in range(256))


def shot_noise(image: Image, photons: int, rng: np.random.Generator) -> Image:
    """Return ``clip(Pois(photons x) / photons)``, x in [0, 1], rounded to 8 bits.

    Args:
        image: (H, W, 3) uint8.
        photons: Photons of a white value, >= 1.
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If there is less than one photon.
    """
    from corruptions._noise import draw, sensor_table

    if not photons >= 1:
        raise ValueError(f"shot noise needs at least one photon, got {photons}")
    return draw(image, sensor_table(_LEVELS, photons, 0.0), rng)


class ShotNoise:
    """Photon noise."""

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
        return Corrupted(shot_noise(checked(image), int(params["photons"]), seeded(params["seed"])))
