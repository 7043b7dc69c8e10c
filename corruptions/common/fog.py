"""Fog without depth: a random cloud laid over the picture."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

CARD = Card(
    name="fog",
    version="1",
    summary="A cloud over the picture: a random landscape (plasma field) of light, alike near and far.",
    reference=f"{PAPER}, fog",
    extra={
        "family": "weather",
        "stochastic": True,
        "levels": "published",
        "formula": "y = (x + a P) M / (M + a), P a diamond-square field in [0, 1] of decay w, M = max x",
        "severities": {
            1: {"thickness": 1.5, "decay": 2.0},
            2: {"thickness": 2.0, "decay": 2.0},
            3: {"thickness": 2.5, "decay": 1.7},
            4: {"thickness": 2.5, "decay": 1.5},
            5: {"thickness": 3.0, "decay": 1.4},
        },
        "deviations": [
            "rounded, not truncated, to 8 bits",
            "seeded per image",
            "the field spans 256/224 of the longest side at any size (scaled=False: the next power of two in pixels)",
        ],
    },
)


def fog(image: Image, thickness: float, decay: float, rng: np.random.Generator, scaled: bool = True) -> Image:
    """Return ``(x + a P) M / (M + a)`` on the scale 0..1, P a plasma field over the picture, M its highest value.

    Args:
        image: (H, W, 3) uint8 sRGB.
        thickness: a, in [0, 100].
        decay: How much finer detail is weaker, > 1.
        rng: Source of the field.
        scaled: Whether the cloud follows the resolution.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If thickness or decay is out of range.
    """
    from corruptions.common._layers import BITS, added
    from corruptions.common._plasma import plasma_over

    if not 0 <= thickness <= 100 or decay <= 1:
        raise ValueError(f"fog needs a thickness in [0, 100] and a decay > 1, got {thickness} and {decay}")
    highest = int(image.max()) / 255
    if highest == 0:
        return image.copy()  # No light, no fog: M = 0.
    kept = highest / (highest + thickness)
    cloud = plasma_over((image.shape[0], image.shape[1]), decay, rng, scaled)
    light = np.rint(cloud * np.float32(thickness * kept * 255 * BITS / 65535)).astype(np.uint16)
    return added(image, np.arange(256) * kept, light)


class Fog:
    """A cloud over the picture.

    Args:
        scaled: Whether the cloud follows the resolution; False takes the published rule at any size.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the cloud."""
        return {**level(self.card, severity), "scaled": self.scaled, "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in a cloud.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        thickness, decay = float(params["thickness"]), float(params["decay"])
        return Corrupted(fog(checked(image), thickness, decay, seeded(params["seed"]), bool(params["scaled"])))
