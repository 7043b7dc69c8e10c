"""Contrast: every channel drawn towards its own mean."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level, to_uint8
from corruptions.common._source import PAPER

CARD = Card(
    name="contrast",
    version="1",
    summary="Low contrast: every channel is drawn towards its mean over the picture.",
    reference=f"{PAPER}, contrast",
    extra={
        "family": "digital",
        "stochastic": False,
        "levels": "published",
        "formula": "y = (x - mu) c + mu, mu the mean of the channel",
        "severities": {1: {"kept": 0.4}, 2: {"kept": 0.3}, 3: {"kept": 0.2}, 4: {"kept": 0.1}, 5: {"kept": 0.05}},
        "deviations": ["rounded, not truncated, to 8 bits"],
    },
)


def lower_contrast(image: Image, kept: float) -> Image:
    """Return ``(x - mu) kept + mu`` with the mean mu of each channel.

    Args:
        image: (H, W, 3) uint8 sRGB.
        kept: Share of the contrast that stays, >= 0; above 1 it grows.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the share is negative.
    """
    import cv2

    if kept < 0:
        raise ValueError(f"the share of contrast that is kept must be >= 0, got {kept}")
    mean = np.array(cv2.mean(image)[:3])
    table = to_uint8((np.arange(256.0)[:, None] - mean) * kept + mean)
    result: Image = cv2.LUT(image, table[None])
    return result


class Contrast:
    """Low contrast."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with less contrast.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(lower_contrast(checked(image), float(params["kept"])))
