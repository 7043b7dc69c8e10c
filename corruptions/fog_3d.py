"""Fog: homogeneous scattering along the line of sight (Koschmieder's law)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Depth, Image, Params
from corruptions._depth import DepthRule, ReadsDepth


def visibility(beta: float) -> float:
    """Return the distance in metres at which contrast falls to 2 % under extinction `beta` per metre (ln 50 / beta)."""
    return float(np.log(50.0)) / beta


_BLOCK = 1 << 14
"""Pixels worked on at a time."""

CARD = Card(
    name="fog_3d",
    version="1",
    summary="Homogeneous fog: light from far points is replaced by airlight, exponentially with depth.",
    reference=f"{PAPER_3DCC}, fog 3D; physical extinction per metre",
    needs=frozenset({"depth"}),
    extra={
        "family": "weather",
        "stochastic": False,
        "levels": "published",
        "formula": "I' = t I + (1 - t) A, t = exp(-beta d)",
        "severities": {
            s: {"beta_per_m": beta, "visibility_m": round(visibility(beta), 1)}
            for s, beta in enumerate((0.256, 0.512, 0.768, 1.024, 1.28), 1)
        },
        "paper_severity": 2,
        "deviations": [
            "bright airlight 0.8 instead of the mean of all images in the batch (airlight='mean': mean of this image)",
            "depth in metres from a camera 3 m before the nearest point, not depth scaled to a maximum of 0.5",
            "pixels without depth stand at 6 m, not at the farthest valid or the middle depth",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def fog(image: Image, depth: Depth, beta: float, airlight: float) -> Image:
    """Return ``t I + (1 - t) A`` with transmission ``t = exp(-beta d)``, in display values as published.

    Args:
        image: (H, W, 3) uint8 sRGB.
        depth: (H, W) distance to the camera, >= 0, ``+inf`` allowed; metres if `beta` is per metre.
        beta: Extinction, >= 0, per unit of `depth`.
        airlight: Grey value A of the fog in [0, 1].

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If beta is negative or the airlight outside [0, 1].
    """
    if beta < 0 or not 0 <= airlight <= 1:
        raise ValueError(f"fog needs beta >= 0 and an airlight in [0, 1], got {beta} and {airlight}")
    if beta == 0:
        return image.copy()
    import cv2

    height, width = depth.shape
    grey, rate = np.float32(255 * airlight), -np.float32(beta)
    rows = max(1, _BLOCK // width)
    # In strips that stay in the cache, with one set of buffers.
    clear = np.empty((rows, width), np.float32)
    clear_rgb, light = np.empty((2, rows, width, 3), np.float32)
    foggy = np.empty_like(image)
    for top in range(0, height, rows):
        strip = slice(top, min(top + rows, height))
        part = slice(strip.stop - top)
        np.exp(np.multiply(depth[strip], rate, out=clear[part]), out=clear[part])
        cv2.cvtColor(clear[part], cv2.COLOR_GRAY2RGB, clear_rgb[part])
        np.subtract(image[strip], grey, out=light[part])
        light[part] *= clear_rgb[part]
        cv2.convertScaleAbs(light[part], foggy[strip], 1.0, float(grey))
    return foggy


class Fog3D(ReadsDepth):
    """Fog over a picture with depth.

    Args:
        airlight: Grey value of the fog in [0, 1]; ``mean`` takes the mean of the image (the published choice, which
            darkens pictures with a dark background).
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def __init__(self, airlight: float | Literal["mean"] = 0.8, depth: DepthRule | None = None) -> None:
        super().__init__(depth)
        self.airlight = airlight

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**self.level(severity), "airlight": self.airlight}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in fog.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image, depth, notes = self.read(image, params, aux)
        airlight = float(image.mean()) / 255 if params["airlight"] == "mean" else float(params["airlight"])
        result = fog(image, depth, float(params["beta_per_m"]), airlight)
        return Corrupted(
            result, notes={**notes, "airlight": airlight, "visibility_m": visibility(params["beta_per_m"])}
        )
