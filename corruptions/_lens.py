"""What near and far focus share beside the layers: the option of the published kernel, and the way to the pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from corruptions._base import Corrupted, Depth, Image, Params, pixel_scale
from corruptions._depth import STANDS, DepthRule, ReadsDepth

DEVIATIONS = (
    "Gaussian cut at 4 sigma, not 1.5, so that the blur has the stated sigma (truncate=1.5: as published)",
    "wide Gaussians taken at half or a quarter of the resolution (55 dB to full size)",
    "aperture in pixels at width 512, scaled with the width",
    STANDS,
    "no absolute epsilon on depth, so that the unit of depth does not matter",
    "rounded, not truncated, to 8 bits",
)


class LayeredFocus(ReadsDepth, ABC):
    """Depth of field; a subclass says where the focus is.

    Args:
        truncate: Where the Gaussian is cut, in sigmas.
        depth: Where the camera stands and how far the background is.
    """

    def __init__(self, truncate: float = 4.0, depth: DepthRule | None = None) -> None:
        super().__init__(depth)
        self.truncate = truncate

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**self.level(severity), "truncate": self.truncate}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with depth of field.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image, depth, notes = self.read(image, params, aux)
        aperture = float(params["aperture_px"]) * pixel_scale(image.shape[1])
        return Corrupted(self.focused(image, depth, aperture, float(params["truncate"])), notes=notes)

    @abstractmethod
    def focused(self, image: Image, depth: Depth, aperture: float, truncate: float) -> Image:
        """Return the (H, W, 3) uint8 picture for an aperture in its own pixels and finite depth > 0."""
