"""ISO noise: photon noise of a small exposure and the electronic noise of a high gain."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, draw_seed, level, seeded

CARD = Card(
    name="iso_noise",
    version="1",
    summary="Sensor noise at high gain: fixed photon noise and growing electronic noise, independent per channel.",
    reference=f"{PAPER_3DCC}, ISO noise",
    extra={
        "family": "sensor",
        "stochastic": True,
        "levels": "published",
        "formula": "y = clip(Pois(25 x) / 25) + N(0, sigma^2), clipped",
        "severities": {
            1: {"sigma": 0.056, "photons": 25},
            2: {"sigma": 0.084, "photons": 25},
            3: {"sigma": 0.126, "photons": 25},
            4: {"sigma": 0.182, "photons": 25},
            5: {"sigma": 0.266, "photons": 25},
        },
        "paper_severity": 4,
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "seeded per image",
            "both noises and the clipping between them drawn in one step from their exact distribution (to 2**-24)",
        ],
    },
)


def iso_noise(image: Image, sigma: float, photons: int, rng: np.random.Generator) -> Image:
    """Return ``clip(clip(Pois(photons I) / photons) + N(0, sigma²))``, I in [0, 1].

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation of the electronic noise on the scale 0..1.
        photons: Photons of a white pixel.
        rng: Source of the noise.
    """
    from corruptions._noise import draw, sensor_table

    return draw(image, sensor_table(tuple(v / 255 for v in range(256)), photons, sigma), rng)


class IsoNoise:
    """Photon and electronic noise."""

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
        noise = seeded(params["seed"])
        return Corrupted(iso_noise(checked(image), float(params["sigma"]), int(params["photons"]), noise))
