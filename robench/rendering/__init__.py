"""Pictures of meshes: colour, mask, depth and normals."""

from __future__ import annotations

from robench.rendering.frame import Frame, render
from robench.rendering.light import Lamp, Lamps, Light, SphericalHarmonics, shade, shading
from robench.rendering.raycast import Hits, RayScene, raycast
from robench.rendering.shadows import lamp_visibility, openness, radiance_transfer
from robench.rendering.texture import Texture

__all__ = [
    "Frame",
    "Hits",
    "Lamp",
    "Lamps",
    "Light",
    "RayScene",
    "SphericalHarmonics",
    "Texture",
    "lamp_visibility",
    "openness",
    "radiance_transfer",
    "raycast",
    "render",
    "shade",
    "shading",
]
