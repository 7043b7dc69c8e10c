"""Defocus blur: the whole picture lies out of focus, and every point becomes a disc."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER, length_scale

LEVELS = ((3, 0.1, 1), (4, 0.5, 1), (6, 0.5, 1), (8, 0.5, 1), (10, 0.5, 2))

CARD = Card(
    name="defocus_blur",
    version="1",
    summary="Every point becomes a disc with a softened rim, of the same size everywhere.",
    reference=f"{PAPER}; own implementation of the formula",
    extra={
        "family": "blur",
        "stochastic": False,
        "levels": "published",
        "formula": "y = D * x, D = G_a * disc of radius r, sum 1",
        "severities": {
            s: {"radius_px": float(r), "softness_px": a, "softness_reach_px": reach}
            for s, (r, a, reach) in enumerate(LEVELS, 1)
        },
        "deviations": [
            "lengths in pixels of a picture 224 wide, scaled with the width (scaled=False keeps the pixels)",
            "the softened rim is not folded back at the border of the kernel's grid, and the kernel sums to 1 at each "
            "level (published: folded at levels 4 and 5, which brightens the picture a little)",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def disc(radius: float, softness: float, reach: int) -> NDArray[np.float64]:
    """Return the kernel: the pixels within a radius, blurred by a small Gaussian.

    Args:
        radius: Of the disc in pixels, >= 0.
        softness: Standard deviation of the Gaussian in pixels, > 0.
        reach: The Gaussian ends this many pixels from its centre, >= 0.

    Returns:
        (2 a + 1, 2 a + 1) weights with the sum 1, a = floor(radius) + reach.

    Raises:
        ValueError: If radius or reach are negative or the softness is not positive.
    """
    if radius < 0 or softness <= 0 or reach < 0:
        raise ValueError(
            f"a disc needs radius >= 0, softness > 0 and reach >= 0, got {radius}, {softness} and {reach} pixels"
        )
    half = int(radius) + reach
    place = np.arange(-half, half + 1)
    hard = (place[:, None] ** 2 + place**2 <= radius**2).astype(np.float64)
    tap = np.exp(-0.5 * (np.arange(-reach, reach + 1) / softness) ** 2)
    tap /= tap.sum()
    rows = np.apply_along_axis(np.convolve, 0, hard, tap, mode="same")
    soft = np.apply_along_axis(np.convolve, 1, rows, tap, mode="same")
    return np.asarray(soft / soft.sum(), np.float64)


def defocus_blur(image: Image, radius: float, softness: float, reach: int) -> Image:
    """Convolve with a softened disc, the picture reflected at its edges.

    Args:
        image: (H, W, 3) uint8.
        radius: Of the disc in pixels, >= 0.
        softness: Standard deviation of its rim in pixels, > 0.
        reach: The rim ends this many pixels outside the disc, >= 0.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If a length is negative.
    """
    from corruptions.common._filters import convolve

    return convolve(image, disc(radius, softness, reach), "reflect")


class DefocusBlur:
    """Defocus of the whole picture.

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
        radius, softness = scale * float(params["radius_px"]), scale * float(params["softness_px"])
        reach = max(1, round(scale * int(params["softness_reach_px"])))
        return Corrupted(defocus_blur(image, radius, softness, reach))
