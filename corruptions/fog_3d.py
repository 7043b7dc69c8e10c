"""Fog: homogeneous scattering along the line of sight (Koschmieder's law)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Depth, Image, Params, checked, level, to_uint8
from corruptions._depth import DepthRule, metric_depth

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
            1: {"beta_per_m": 0.256},
            2: {"beta_per_m": 0.512},
            3: {"beta_per_m": 0.768},
            4: {"beta_per_m": 1.024},
            5: {"beta_per_m": 1.28},
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


def visibility(beta: float) -> float:
    """Return the distance in metres at which contrast falls to 2 % under extinction `beta` per metre (ln 50 / beta)."""
    return float(np.log(50.0)) / beta


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
    transmission = np.exp(-np.float32(beta) * depth.astype(np.float32))[..., None]
    grey = np.float32(255 * airlight)
    return to_uint8(grey + transmission * (image.astype(np.float32) - grey))


class Fog3D:
    """Fog over a picture with depth.

    Args:
        airlight: Grey value of the fog in [0, 1]; ``mean`` takes the mean of the image (the published choice, which
            darkens pictures with a dark background).
        depth: Where the camera stands and how far the background is.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, airlight: float | Literal["mean"] = 0.8, depth: DepthRule | None = None) -> None:
        self.airlight = airlight
        self.depth = depth or DepthRule()

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "airlight": self.airlight, **self.depth.params()}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in fog.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image = checked(image)
        depth, notes = metric_depth(aux, image.shape[:2], DepthRule.of(params), self.card.name)
        airlight = float(image.mean()) / 255 if params["airlight"] == "mean" else float(params["airlight"])
        result = fog(image, depth, float(params["beta_per_m"]), airlight)
        return Corrupted(
            result, notes={**notes, "airlight": airlight, "visibility_m": visibility(params["beta_per_m"])}
        )
