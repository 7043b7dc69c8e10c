"""Spatter: drops of water or splashes of mud on the lens."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="spatter",
    version="1",
    summary="Drops of water (levels 1 to 3) or splashes of mud (4, 5) on the lens.",
    reference=f"{PAPER}, spatter (extra corruptions)",
    extra={
        "family": "weather",
        "stochastic": True,
        "levels": "published",
        "formula": "L = N(m, s) * G(g), kept over T; water: y = x + k relief(L) colour; mud: y = (1 - m) x + m colour",
        "severities": {
            1: {"mean": 0.65, "sigma": 0.3, "smooth": 4.0, "threshold": 0.69, "strength": 0.6, "liquid": "water"},
            2: {"mean": 0.65, "sigma": 0.3, "smooth": 3.0, "threshold": 0.68, "strength": 0.6, "liquid": "water"},
            3: {"mean": 0.65, "sigma": 0.3, "smooth": 2.0, "threshold": 0.68, "strength": 0.5, "liquid": "water"},
            4: {"mean": 0.65, "sigma": 0.3, "smooth": 1.0, "threshold": 0.65, "strength": 1.5, "liquid": "mud"},
            5: {"mean": 0.67, "sigma": 0.4, "smooth": 1.0, "threshold": 0.65, "strength": 1.5, "liquid": "mud"},
        },
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "seeded per image",
            "drops and their relief are made on the source's grid and enlarged (scaled=False: on the picture's own)",
        ],
    },
)


class Spatter:
    """Drops on the lens.

    Args:
        scaled: Whether drops follow the resolution; False takes the published numbers at any size.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the drops."""
        return {**level(self.card, severity), "scaled": self.scaled, "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture behind drops, and the mean of their layer in [0, 1] (``cover``) in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type, or the liquid is unknown.
        """
        from corruptions.common._spatter import muddied, splashes, wetted

        image = checked(image)
        liquid = params["liquid"]
        if liquid not in ("water", "mud"):
            raise ValueError(f"spatter is of 'water' or 'mud', got {liquid!r}")
        numbers = {k: float(params[k]) for k in ("mean", "sigma", "smooth", "threshold", "strength")}
        layer = splashes(image.shape[:2], liquid, numbers, seeded(params["seed"]), bool(params["scaled"]))
        result = wetted(image, layer, numbers["strength"]) if liquid == "water" else muddied(image, layer)
        return Corrupted(result, notes={"cover": round(float(layer.mean()) / 255, 4)})
