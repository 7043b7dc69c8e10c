"""Pictures of meshes: colour, mask, depth and normals."""

from __future__ import annotations

from robench.rendering.raycast import Hits, RayScene, raycast

__all__ = ["Hits", "RayScene", "raycast"]
