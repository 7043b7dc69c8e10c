"""Gaussian blur."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER, length_scale

CARD = Card(
    name="gaussian_blur",
    version="2",
    summary="Blur by a Gaussian, the same everywhere.",
    reference=f"{PAPER}, validation set; own implementation of the formula",
    extra={
        "family": "blur",
        "stochastic": False,
        "levels": "published",
        "formula": "y = G_sigma * x",
        "severities": {s: {"sigma_px": float(sigma)} for s, sigma in enumerate((1, 2, 3, 4, 6), 1)},
        "deviations": [
            "sigma in pixels of a picture 224 wide, scaled with the width (scaled=False keeps the pixels)",
            "rounded, not truncated, to 8 bits",
            "from sigma 4 on at a half (a quarter, ...) of the resolution, within a quarter of a level before rounding",
        ],
    },
)


def gaussian_blur(image: Image, sigma: float) -> Image:
    """Blur with a Gaussian cut at four standard deviations, the edges replicated.

    Args:
        image: (H, W, 3) uint8.
        sigma: Standard deviation in pixels, >= 0.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If sigma is negative.
    """
    from corruptions.common._filters import gaussian

    if sigma < 0:
        raise ValueError(f"Gaussian blur needs sigma >= 0 pixels, got {sigma}")
    return gaussian(image, sigma)


class GaussianBlur:
    """Gaussian blur.

    Args:
        scaled: Scale the published pixels with the width of the picture; otherwise keep them as they are.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "scaled": self.scaled}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        scale = length_scale(image.shape[1], bool(params["scaled"]))
        return Corrupted(gaussian_blur(image, scale * float(params["sigma_px"])))
