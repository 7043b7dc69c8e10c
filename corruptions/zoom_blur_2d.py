"""Zoom blur without depth: the lens zooms during the exposure."""

from __future__ import annotations

from math import ceil, comb, sqrt
from typing import Any

import numpy as np

from corruptions._base import PAPER_2D_PRIORS, Card, Corrupted, Image, Params, checked, level

PASSES = 5
"""Passes of the published blur, in which `zoom_step` is stated."""
_NEGLIGIBLE = 1e-4
_BLOCK = 1 << 15
"""Pixels worked on at a time: they stay in the cache."""

CARD = Card(
    name="zoom_blur_2d",
    version="2",
    summary="Radial blur about the centre, as from a zooming lens; its width grows with the radius.",
    reference=f"{PAPER_2D_PRIORS}, zoom blur (b = 0.02, five passes)",
    extra={
        "family": "motion",
        "stochastic": False,
        "levels": "ours",
        "formula": "I'(x) = sum_k C(5,k)/32 I(c + (x - c) (1 + b)^k (1 - b)^(5 - k))",
        "severities": {
            1: {"zoom_step": 0.01, "passes": 5},
            2: {"zoom_step": 0.02, "passes": 5},
            3: {"zoom_step": 0.03, "passes": 11},
            4: {"zoom_step": 0.04, "passes": 20},
            5: {"zoom_step": 0.05, "passes": 31},
        },
        "paper_severity": 2,
        "deviations": [
            "reflected borders instead of black ones, which darkened the frame",
            "closed form of the five passes, rounded once instead of five times",
            "centre of the pixel grid, also for pictures that are not square",
            "levels 1, 3, 4 and 5 follow from the formula and were not used in the paper",
            "levels 3 to 5 spread the same blur over more passes, since five leave separate ghosts of every edge",
        ],
    },
)


def zoom_blur(image: Image, zoom_step: float, passes: int = PASSES) -> Image:
    """Blur along rays from the centre, by a near-Gaussian of sigma ``zoom_step * sqrt(5) * r``.

    P passes of "the mean of the picture zoomed by 1 + b and by 1 - b" are, in one step, the binomial sum
    ``sum_k C(P, k) / 2^P * I(c + (x - c) (1 + b)^k (1 - b)^(P - k))`` with sigma ``b sqrt(P) r``.

    Args:
        image: (H, W, 3) uint8.
        zoom_step: b of five passes, in [0, 0.2]; with other passes it is scaled to the same sigma.
        passes: P; more make the same blur smoother.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If b is out of range.
    """
    if not 0 <= zoom_step <= 0.2 or passes < 1:
        raise ValueError(f"zoom blur needs a step in [0, 0.2] and at least one pass, got {zoom_step} and {passes}")
    if zoom_step == 0:
        return image.copy()
    step = zoom_step * sqrt(PASSES / passes)
    weights = {k: comb(passes, k) / 2**passes for k in range(passes + 1)}
    weights = {k: w for k, w in weights.items() if w >= _NEGLIGIBLE}
    total = sum(weights.values())
    return _mean(image, [((1 + step) ** k * (1 - step) ** (passes - k), w / total) for k, w in weights.items()])


def _mean(image: Image, zooms: list[tuple[float, float]]) -> Image:
    """Return the weighted mean of zooms about the centre.

    Args:
        image: (H, W, 3) uint8.
        zooms: (s, weight) each: the picture at ``c + (x - c) s``, bilinear, reflected beyond its borders.

    Returns:
        (H, W, 3) uint8.
    """
    import cv2

    height, width = image.shape[:2]
    x, y = (width - 1) / 2, (height - 1) / 2
    # Borders are made once, and four channels are resampled in half the time of three.
    margin = ceil((max(s for s, _ in zooms) - 1) * max(x, y)) + 2
    padded = cv2.copyMakeBorder(
        cv2.cvtColor(image, cv2.COLOR_RGB2RGBA), margin, margin, margin, margin, cv2.BORDER_REFLECT_101
    ).astype(np.float32)
    rows = max(1, _BLOCK // width)
    seen, mean = np.empty((rows, width, 4), np.float32), np.empty((rows, width, 4), np.float32)
    blurred = np.empty_like(image)
    for top in range(0, height, rows):
        count = min(rows, height - top)
        so_far = 0.0
        for s, weight in zooms:
            source = np.array([[s, 0, x - x * s + margin], [0, s, y + (top - y) * s + margin]])
            flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
            # The first of them is the mean so far.
            view = seen if so_far else mean
            cv2.warpAffine(padded, source, (width, count), view[:count], flags, cv2.BORDER_REPLICATE)
            so_far += weight
            if view is seen:
                cv2.accumulateWeighted(seen[:count], mean[:count], weight / so_far)
        cv2.cvtColor(cv2.convertScaleAbs(mean[:count]), cv2.COLOR_RGBA2RGB, blurred[top : top + count])
    return blurred


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
        return Corrupted(zoom_blur(checked(image), float(params["zoom_step"]), int(params["passes"])))
