"""Zoom blur without depth: the lens zooms during the exposure."""

from __future__ import annotations

from math import comb
from typing import Any

import numpy as np

from corruptions._base import PAPER_2D_PRIORS, Card, Corrupted, Image, Params, checked, level, to_uint8

PASSES = 5

CARD = Card(
    name="zoom_blur_2d",
    version="1",
    summary="Radial blur about the centre, as from a zooming lens; its width grows with the radius.",
    reference=f"{PAPER_2D_PRIORS}, zoom blur (b = 0.02, five passes)",
    extra={
        "severities": {
            1: {"zoom_step": 0.01},
            2: {"zoom_step": 0.02},
            3: {"zoom_step": 0.03},
            4: {"zoom_step": 0.04},
            5: {"zoom_step": 0.05},
        },
        "paper_severity": 2,
        "deviations": [
            "reflected borders instead of black ones, which darkened the frame",
            "closed form of the five passes, rounded once instead of five times",
            "centre of the pixel grid, also for pictures that are not square",
            "levels 1, 3, 4 and 5 follow from the formula and were not used in the paper",
        ],
    },
)


def zoom_blur(image: Image, zoom_step: float) -> Image:
    """Blur along rays from the centre.

    Five passes of "the mean of the picture zoomed by 1 + b and by 1 - b" are, in one step, the binomial sum
    ``sum_k C(5, k) / 32 * I(c + (x - c) (1 + b)^k (1 - b)^(5 - k))``: a near-Gaussian of sigma ``b sqrt(5) r``.

    Args:
        image: (H, W, 3) uint8.
        zoom_step: b, in [0, 0.2].

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If b is out of range.
    """
    from corruptions._pixels import warp

    if not 0 <= zoom_step <= 0.2:
        raise ValueError(f"the zoom step must be in [0, 0.2], got {zoom_step}")
    centre = np.array([(image.shape[1] - 1) / 2, (image.shape[0] - 1) / 2])
    source = image.astype(np.float32)
    total = np.zeros_like(source)
    for k in range(PASSES + 1):
        stretch = (1 + zoom_step) ** k * (1 - zoom_step) ** (PASSES - k)
        # Content sampled at c + (x - c) s moves outwards by 1 / s.
        affine = np.concatenate([np.eye(2) / stretch, (centre * (1 - 1 / stretch))[:, None]], axis=1)
        total += np.float32(comb(PASSES, k) / 2**PASSES) * warp(source, affine, border="reflect")
    return to_uint8(total)


class ZoomBlur2D:
    """Zoom blur about the image centre."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        return Corrupted(zoom_blur(checked(image), float(params["zoom_step"])))
