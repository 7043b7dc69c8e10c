"""Frost: a frozen window between the camera and the scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="frost",
    version="2",
    summary="A frozen window: feathers of ice that grow in from its edges, hoar between them, over a dimmed scene.",
    reference=f"{PAPER}, frost; the ice is ours",
    extra={
        "family": "weather",
        "stochastic": True,
        "levels": "published",
        "formula": "y = a x + b F, F a picture of ice",
        "severities": {
            1: {"scene": 1.0, "ice": 0.4},
            2: {"scene": 0.8, "ice": 0.6},
            3: {"scene": 0.7, "ice": 0.7},
            4: {"scene": 0.65, "ice": 0.7},
            5: {"scene": 0.6, "ice": 0.75},
        },
        "deviations": [
            "ice of drawn feathers, arranged anew from a seed for every picture, not a crop of one of five "
            "photographs, which have no licence of their own and may not be passed on: the weights a and b are "
            "published, the ice is not",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


class Frost:
    """A frozen window."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the ice."""
        return {**level(self.card, severity), "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture behind ice, and the mean of the ice (``ice_mean``, levels) in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type, or a weight is negative.
        """
        import cv2

        from corruptions.common._frost import behind, ice

        image = checked(image)
        window = ice(image.shape[:2], seeded(params["seed"]))
        result = behind(image, window, float(params["scene"]), float(params["ice"]))
        return Corrupted(result, notes={"ice_mean": round(sum(cv2.mean(window)) / 3, 3)})
