"""Brightness: the value of every pixel raised, hue and saturation kept."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER

CARD = Card(
    name="brightness",
    version="1",
    summary="A brighter picture: a constant is added to the value of HSV.",
    reference=f"{PAPER}, brightness",
    extra={
        "family": "weather",
        "stochastic": False,
        "levels": "published",
        "formula": "v' = min(v + c, 1), v = max(r, g, b); y = x v' / v (grey v' where v = 0)",
        "severities": {1: {"raise": 0.1}, 2: {"raise": 0.2}, 3: {"raise": 0.3}, 4: {"raise": 0.4}, 5: {"raise": 0.5}},
        "deviations": ["rounded, not truncated, to 8 bits", "without the detour through HSV, which changes no formula"],
    },
)


def brighten(image: Image, amount: float) -> Image:
    """Return the picture with `amount` added to its HSV value.

    Args:
        image: (H, W, 3) uint8 sRGB.
        amount: Added to the value, on the scale 0..1; in [0, 1].

    Returns:
        (H, W, 3) uint8 of the same hue and saturation.

    Raises:
        ValueError: If the amount is outside [0, 1].
    """
    import cv2

    if not 0 <= amount <= 1:
        raise ValueError(f"brightness is raised by an amount in [0, 1], got {amount}")
    level_of = np.arange(256, dtype=np.float64)
    raised = np.minimum(level_of + 255 * amount, 255)
    gain = (raised / np.maximum(level_of, 1)).astype(np.float32)
    # Black has no hue to keep: it turns grey.
    lifted_black = np.where(level_of == 0, np.rint(raised), 0).astype(np.uint8)
    channels = cv2.split(image)
    value = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    gains, black = cv2.LUT(value, gain), cv2.LUT(value, lifted_black)
    result: Image = cv2.merge([cv2.add(cv2.multiply(c, gains, dtype=cv2.CV_8U), black) for c in channels])
    return result


class Brightness:
    """A brighter picture."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the brighter picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(brighten(checked(image), float(params["raise"])))
