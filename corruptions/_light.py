"""Lamps, and what the corruptions that re-light a person share.

A relighting picture L is what a white surface shows under one lamp: ``L = a + (1 - a) min(1, E V max(0, n . l) h² /
(h² + r²))`` with the published energy E = 2.5 and half-distance h = 8 m, r being the distance, V the share of the lamp
that is seen (cast shadows) and a the light that bounces about. Multiplied into a picture it darkens what the lamp does
not reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image, Params, checked
from corruptions._depth import DepthRule, ReadsDepth
from corruptions._scene import Mode, checked_mode, scene_for

if TYPE_CHECKING:
    from corruptions._surface import Surface

ENERGY, HALF_CM = 2.5, 800.0
LAMPS = 10
"""Lamps drawn for one picture."""
RADIUS_CM, SAMPLES = 8.0, 8
_WIDEST_DEG = 125.0
_HEIGHTS_DEG = (-5.0, 60.0)
_DISTANCES_M = (2.0, 4.0)

DEVIATIONS = (
    "lamps all round the person (azimuth to 125 degrees, height -5 to 60, 2 to 4 m away), not along the camera's axis: "
    "a lone person casts shadows only on themselves",
    "the person's surface and the shadows on it from the mesh (mode mesh), or from depth in screen space (mode image, "
    "and around the person in both), not from Blender",
    "light that bounces about, a = 0.15 of what a lit surface shows (ambient=0: shade is black, as published)",
    "what has no depth is a wall at 6 m that faces the camera",
    "rounded, not truncated, to 8 bits",
)


def draw_lamps(rng: np.random.Generator) -> list[dict[str, float]]:
    """Draw lamps around a person, in a random order, spread evenly from the camera's side to behind the person.

    Returns:
        For each ``azimuth_deg`` (0 at the camera, positive to the right), ``height_deg`` and ``distance_m``.
    """
    lamps = []
    for k in rng.permutation(LAMPS):
        azimuth = _WIDEST_DEG * (k + rng.random()) / LAMPS * (1 if rng.random() < 0.5 else -1)
        lamps.append(
            {
                "azimuth_deg": float(azimuth),
                "height_deg": float(rng.uniform(*_HEIGHTS_DEG)),
                "distance_m": float(rng.uniform(*_DISTANCES_M)),
            }
        )
    return lamps


def lamp_position(lamp: Params, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (3,) centimetres in the view frame of a drawn lamp around a centre."""
    azimuth, height = np.radians(lamp["azimuth_deg"]), np.radians(lamp["height_deg"])
    unit = np.array([np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)])
    return np.asarray(centre + 100 * lamp["distance_m"] * unit, np.float64)


def relighting(surface: Surface, lamp: Params, ambient: float, soft: bool = True) -> NDArray[np.float32]:
    """Return L, (H, W) in [0, 1], of a drawn lamp.

    Args:
        surface: What the picture shows.
        lamp: As `draw_lamps` gives it.
        ambient: Share of L that reaches the shade, in [0, 1].
        soft: Give the lamp its radius; else it is a point, which is faster.
    """
    position = lamp_position(lamp, surface.centre)
    cosine, distance = surface.towards(position)
    seen = surface.visibility(position, RADIUS_CM if soft else 0.0, SAMPLES if soft else 1)
    falling = np.float32(HALF_CM**2) / (np.float32(HALF_CM**2) + distance * distance)
    lit = np.minimum(np.float32(1), np.float32(ENERGY) * seen * cosine * falling)
    return np.float32(ambient) + np.float32(1 - ambient) * lit


class Relit(ReadsDepth):
    """A corruption that changes the light on a person.

    Args:
        mode: ``mesh`` takes surface and shadows from the person's mesh, ``image`` from depth; ``auto`` the mesh where
            there is one.
        depth: Where the camera stands and how far the background is.

    Raises:
        ValueError: If there is no such mode.
    """

    def __init__(self, mode: Mode = "auto", depth: DepthRule | None = None) -> None:
        super().__init__(depth)
        self.mode = checked_mode(mode)

    def level(self, severity: int) -> Params:
        """Return the physical parameters of a severity, the rule of depth, and the mode."""
        return {**super().level(severity), "mode": self.mode}

    def surface(self, image: Image, params: Params, aux: Any) -> tuple[Image, Surface, dict[str, Any]]:
        """Return the checked image, what it shows, and notes that say which mode ran.

        Raises:
            MissingInput: If there is neither mesh nor depth.
            ValueError: If image or depth have a wrong shape.
        """
        from corruptions._surface import surface_of

        image = checked(image)
        shape = (image.shape[0], image.shape[1])
        scene = scene_for(params["mode"], aux, shape, self.card.name)
        surface, notes = surface_of(aux, shape, DepthRule.of(params), scene, self.card.name)
        return image, surface, {**notes, "mode": "image" if scene is None else "mesh"}


class Lamplit(Relit):
    """A corruption that puts the person into the light of lamps.

    Args:
        mode: ``mesh`` casts rays at the person's mesh, ``image`` looks for shadows in depth; ``auto`` the mesh where
            there is one.
        ambient: Share of the light that reaches the shade, in [0, 1]; 0 as published.
        depth: Where the camera stands and how far the background is.

    Raises:
        ValueError: If there is no such mode, or the share is not one.
    """

    def __init__(self, mode: Mode = "auto", ambient: float = 0.15, depth: DepthRule | None = None) -> None:
        if not 0 <= ambient <= 1:
            raise ValueError(f"ambient must be a share in [0, 1], got {ambient}")
        super().__init__(mode, depth)
        self.ambient = ambient

    def level(self, severity: int) -> Params:
        """Return the physical parameters of a severity and the options."""
        return {**super().level(severity), "ambient": self.ambient}
