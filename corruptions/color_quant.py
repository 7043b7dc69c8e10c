"""Colour quantisation: few bits a channel."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, level

CARD = Card(
    name="color_quant",
    version="1",
    summary="Only the top bits of every channel are kept.",
    reference=f"{PAPER_3DCC}, colour quantisation",
    extra={
        "family": "sensor",
        "stochastic": False,
        "levels": "published",
        "formula": "y = floor(v / 2^(8-b)) 2^(8-b)",
        "severities": {1: {"bits": 5}, 2: {"bits": 4}, 3: {"bits": 3}, 4: {"bits": 2}, 5: {"bits": 1}},
        "paper_severity": 4,
        "deviations": [],
    },
)


def quantise(image: Image, bits: int) -> Image:
    """Return the image with the top `bits` of every value kept and the others 0 (so white gets darker, as published).

    Args:
        image: uint8, any shape.
        bits: 1..8.

    Raises:
        ValueError: If bits is outside 1..8.
    """
    if not 1 <= bits <= 8:
        raise ValueError(f"colour quantisation keeps 1 to 8 bits, got {bits}")
    return image & np.uint8(256 - (1 << (8 - bits)))


class ColorQuant:
    """Colour quantisation by dropping low bits."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the quantised picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(quantise(checked(image), int(params["bits"])))
