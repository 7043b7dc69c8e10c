"""Snow: streaks of falling flakes, and a whitened scene."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="snow",
    version="1",
    summary="Falling snow: flakes smeared along one direction, before a whitened scene.",
    reference=f"{PAPER}, snow",
    extra={
        "family": "weather",
        "stochastic": True,
        "levels": "published",
        "formula": "y = w x + (1 - w) max(x, 1.5 grey + 0.5) + F + rot180(F), F = smear(N(m, s) zoomed by Z, over T)",
        "severities": {
            1: {"mean": 0.1, "sigma": 0.3, "zoom": 3.0, "threshold": 0.5, "radius": 10, "smear": 4, "kept": 0.8},
            2: {"mean": 0.2, "sigma": 0.3, "zoom": 2.0, "threshold": 0.5, "radius": 12, "smear": 4, "kept": 0.7},
            3: {"mean": 0.55, "sigma": 0.3, "zoom": 4.0, "threshold": 0.9, "radius": 12, "smear": 8, "kept": 0.7},
            4: {"mean": 0.55, "sigma": 0.3, "zoom": 4.5, "threshold": 0.85, "radius": 12, "smear": 8, "kept": 0.65},
            5: {"mean": 0.55, "sigma": 0.3, "zoom": 2.5, "threshold": 0.85, "radius": 12, "smear": 12, "kept": 0.55},
        },
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "seeded per image",
            "zoom, radius and smear are stated for 224 px and follow the width (scaled=False: as published)",
            "flakes go on beyond the frame, instead of smearing its edge pixels inwards",
            "the smear follows its direction row by row, not by rounded steps",
        ],
    },
)


class Snow:
    """Falling snow.

    Args:
        scaled: Whether flakes follow the resolution; False takes the published numbers at any size.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity, the direction of fall (degrees) and the seed of the flakes."""
        angle = float(rng.uniform(-135, -45))
        return {**level(self.card, severity), "angle_deg": angle, "scaled": self.scaled, "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in snow, and the mean of the flakes (``flakes``, levels) in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        from corruptions.common._snow import Flakes, fallen, flakes

        image = checked(image)
        rule = Flakes(
            *(float(params[k]) for k in ("mean", "sigma", "zoom", "threshold", "radius", "smear", "angle_deg"))
        )
        layer = flakes(image.shape[:2], rule, seeded(params["seed"]), bool(params["scaled"]))
        brightness = float(layer.mean())
        return Corrupted(fallen(image, layer, float(params["kept"])), notes={"flakes": round(brightness, 3)})
