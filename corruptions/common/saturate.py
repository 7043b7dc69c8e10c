"""Saturate: colours washed out (levels 1 and 2) or glaring (3 to 5)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER

CARD = Card(
    name="saturate",
    version="1",
    summary="Colours washed out (levels 1, 2) or glaring (3 to 5): the saturation of HSV is multiplied and raised.",
    reference=f"{PAPER}, saturate (extra corruptions)",
    extra={
        "family": "digital",
        "stochastic": False,
        "levels": "published",
        "formula": "s' = clip(a s + b), s = (v - min) / v, v = max(r, g, b); y = v - (v - x) s' / s",
        "severities": {
            1: {"gain": 0.3, "raise": 0.0},
            2: {"gain": 0.1, "raise": 0.0},
            3: {"gain": 2.0, "raise": 0.0},
            4: {"gain": 5.0, "raise": 0.1},
            5: {"gain": 20.0, "raise": 0.2},
        },
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "without the detour through HSV, which changes no formula: greys, whose hue counts as red, redden at "
            "levels 4 and 5 as published",
        ],
    },
)


@lru_cache(maxsize=16)
def _ratios(gain: float, offset: float) -> NDArray[np.float32]:
    """Return s'/s by value and minimum, (256 * 256,) at ``256 v + min``; 0 where there is no saturation."""
    value, least = np.arange(256.0)[:, None], np.arange(256.0)[None]
    colourful = value > least
    saturation = np.where(colourful, value - least, 1) / np.maximum(value, 1)
    ratio = np.where(colourful, np.clip(gain * saturation + offset, 0, 1) / saturation, 0)
    flat: NDArray[np.float32] = ratio.astype(np.float32).ravel()
    return flat


def saturate(image: Image, gain: float, offset: float) -> Image:
    """Return the picture with HSV saturation ``clip(gain s + offset)``, hue and value kept.

    Args:
        image: (H, W, 3) uint8 sRGB.
        gain: a, >= 0.
        offset: b in [0, 1]; what is grey turns red by it, since the hue of grey counts as 0.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If gain or offset is out of range.
    """
    import cv2

    if gain < 0 or not 0 <= offset <= 1:
        raise ValueError(f"saturation needs a gain >= 0 and an offset in [0, 1], got {gain} and {offset}")
    channels = cv2.split(image)
    value = cv2.max(cv2.max(channels[0], channels[1]), channels[2])
    least = cv2.min(cv2.min(channels[0], channels[1]), channels[2])
    # Two bytes side by side are one index: the lower one first, as on every processor that OpenCV has wheels for.
    ratio = cv2.LUT(cv2.merge([least, value]).view("<u2")[..., 0], _ratios(float(gain), float(offset)))
    for channel in channels:
        cv2.subtract(value, channel, dst=channel)
        cv2.multiply(channel, ratio, dst=channel, dtype=cv2.CV_8U)
        cv2.subtract(value, channel, dst=channel)
    if offset > 0:
        grey_loss = np.rint(np.arange(256) * offset).astype(np.uint8)
        loss = cv2.bitwise_and(cv2.LUT(value, grey_loss), cv2.compare(value, least, cv2.CMP_EQ))
        for channel in channels[1:]:
            cv2.subtract(channel, loss, dst=channel)
    result: Image = cv2.merge(channels)
    return result


class Saturate:
    """Colours washed out or glaring."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in other colours.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(saturate(checked(image), float(params["gain"]), float(params["raise"])))
