"""Impulse noise (salt and pepper): values that got lost."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="impulse_noise",
    version="1",
    summary="A share of the values turns black or white, evenly; channels are hit independently.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "noise",
        "stochastic": True,
        "levels": "published",
        "formula": "y = 0 or 1 (chance c/2 each), else x",
        "severities": {s: {"share": share} for s, share in enumerate((0.03, 0.06, 0.09, 0.17, 0.27), 1)},
        "deviations": [
            "seeded per image; the published code draws from a generator that no seed reaches",
        ],
    },
)


def impulse_noise(image: Image, share: float, rng: np.random.Generator) -> Image:
    """Turn values black or white, with chance ``share / 2`` each.

    Args:
        image: (H, W, 3) uint8.
        share: Share of the values that are hit, in [0, 1].
        rng: Source of the noise.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the share is outside [0, 1].
    """
    from corruptions._noise import draw, impulse_table

    if not 0 <= share <= 1:
        raise ValueError(f"impulse noise needs a share in [0, 1], got {share}")
    return draw(image, impulse_table(share), rng)


class ImpulseNoise:
    """Salt and pepper."""

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
        return Corrupted(impulse_noise(checked(image), float(params["share"]), seeded(params["seed"])))
