"""Near focus: the lens is focused on the nearest plane and the rest is out of focus."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import PAPER_3DCC, Card, Corrupted, Depth, Image, Params, checked, level, pixel_scale, to_uint8
from corruptions._depth import DepthRule, metric_depth

LAYERS = 8
SHARP = 0.1
"""A blur of less than this many pixels is none."""

CARD = Card(
    name="near_focus",
    version="1",
    summary="Depth of field with the focus on the nearest point; blur grows with depth and saturates.",
    reference=f"{PAPER_3DCC}, near focus",
    needs=frozenset({"depth"}),
    extra={
        "family": "focus",
        "stochastic": False,
        "levels": "published",
        "formula": "sigma(d) = A (1 - d_min / d), layers at the octiles of depth mixed by place",
        "severities": {s: {"aperture_px": float(s + 2)} for s in range(1, 6)},
        "paper_severity": 1,
        "deviations": [
            "Gaussian cut at 4 sigma, not 1.5, so that the blur has the stated sigma (truncate=1.5: as published)",
            "aperture in pixels at width 512, scaled with the width",
            "depth from a camera 3 m before the nearest point, background at 6 m",
            "no absolute epsilon on depth, so that the unit of depth does not matter",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def blur_sigmas(planes: NDArray[np.float64], focus: float, aperture: float) -> NDArray[np.float64]:
    """Return the blur in pixels of planes at some depths: ``A |d - f| / d`` (thin lens)."""
    return aperture * np.abs(planes - focus) / planes


def near_focus(image: Image, depth: Depth, aperture: float, truncate: float = 4.0) -> Image:
    """Focus on the nearest depth.

    Depth is cut at its octiles; the picture is blurred once for each, and every pixel mixes the two layers around its
    depth with weights ``1 - a²`` and ``1 - (1 - a)²``, a being its place between them.

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit: only ratios matter.
        aperture: Blur far behind the focus, pixels.
        truncate: Where the Gaussian is cut, in sigmas.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If depth is not finite and positive.
    """
    from corruptions._pixels import gaussian

    if not (np.isfinite(depth).all() and depth.min() > 0):
        raise ValueError("near focus needs a finite depth > 0 at every pixel")
    depth = depth.astype(np.float32)
    planes = np.quantile(depth, np.linspace(0, 1, LAYERS + 1)).astype(np.float32)
    upper = np.clip(np.searchsorted(planes, depth, side="left"), 1, LAYERS)
    low, high = planes[upper - 1], planes[upper]
    place = np.clip((depth - low) / np.maximum(high - low, np.finfo(np.float32).tiny), 0, 1)
    weight_low, weight_high = 1 - place**2, 1 - (1 - place) ** 2
    total = weight_low + weight_high
    sigmas = blur_sigmas(planes.astype(np.float64), float(planes[0]), aperture)
    source = image.astype(np.float32)
    result = np.zeros_like(source)
    layers: dict[float, NDArray[np.float32]] = {}
    for j, sigma in enumerate(sigmas):
        weight = (np.where(upper - 1 == j, weight_low, 0) + np.where(upper == j, weight_high, 0)) / total
        if not weight.any():
            continue
        if sigma not in layers:
            layers = {float(sigma): source if sigma < SHARP else gaussian(source, float(sigma), truncate)}
        result += weight[..., None].astype(np.float32) * layers[float(sigma)]
    return to_uint8(result)


class NearFocus:
    """Depth of field focused on the nearest point.

    Args:
        truncate: Where the Gaussian is cut, in sigmas.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, truncate: float = 4.0, depth: DepthRule | None = None) -> None:
        self.truncate = truncate
        self.depth = depth or DepthRule()

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "truncate": self.truncate, **self.depth.params()}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with depth of field.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image = checked(image)
        depth, notes = metric_depth(aux, image.shape[:2], DepthRule.of(params), self.card.name)
        aperture = float(params["aperture_px"]) * pixel_scale(image.shape[1])
        return Corrupted(near_focus(image, depth, aperture, float(params["truncate"])), notes=notes)
