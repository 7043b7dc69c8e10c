"""Pixelate: few large square pixels."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER, length_scale

CARD = Card(
    name="pixelate",
    version="1",
    summary="Few large pixels: averaged to a coarse grid, shown without smoothing.",
    reference=f"{PAPER}, pixelate",
    extra={
        "family": "digital",
        "stochastic": False,
        "levels": "published",
        "formula": "box average to int(c W) x int(c H) pixels, then nearest; c per 224 px of width",
        "severities": {1: {"kept": 0.6}, 2: {"kept": 0.5}, 3: {"kept": 0.4}, 4: {"kept": 0.3}, 5: {"kept": 0.25}},
        "deviations": [
            "larger pictures get the grid of one 224 px wide (scaled=False: c of the picture's own pixels)",
            "pictures under 224 px are treated as published: their pixels are large already",
        ],
    },
)


def pixelate(image: Image, kept: float) -> Image:
    """Average over the cells of a coarse grid.

    As in Pillow's box filter, a pixel belongs to the cell in which its centre lies, and counts fully.

    Args:
        image: (H, W, 3) uint8 sRGB.
        kept: Cells per pixel along a side, in (0, 1].

    Returns:
        (H, W, 3) uint8, constant within each cell.

    Raises:
        ValueError: If the share is outside (0, 1].
    """
    import cv2
    from PIL import Image as Pictures

    if not 0 < kept <= 1:
        raise ValueError(f"the share of pixels that is kept must lie in (0, 1], got {kept}")
    height, width = image.shape[:2]
    # A hair more, so that 224 * 0.25 cells do not become 55 by the last bit of a product.
    cells = max(1, int(width * kept + 1e-6)), max(1, int(height * kept + 1e-6))
    small = Pictures.fromarray(image).resize(cells, Pictures.Resampling.BOX)
    # The same pixels as Pillow's, sooner.
    large: Image = cv2.resize(np.array(small), (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
    return large


class Pixelate:
    """Few large pixels.

    Args:
        scaled: Whether the size of the cells follows the resolution; False takes the published numbers at any size.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, scaled: bool = True) -> None:
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "scaled": self.scaled}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in large pixels, and the side of a cell in pixels (``cell_px``) in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        kept = float(params["kept"]) / max(1.0, length_scale(image.shape[1], bool(params["scaled"])))
        return Corrupted(pixelate(image, kept), notes={"cell_px": 1 / kept})
