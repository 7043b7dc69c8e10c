"""Exact geometry on triangle meshes, on CPU and CUDA from the same kernels."""

from __future__ import annotations

from robench.geometry.marching import marching_cubes
from robench.geometry.mesh import face_areas, face_normals, is_watertight, sample_surface, vertex_normals, volume
from robench.geometry.surface import Surface, contains, moved, point_to_surface, signed_distance, surface_of

__all__ = [
    "Surface",
    "contains",
    "face_areas",
    "face_normals",
    "is_watertight",
    "marching_cubes",
    "moved",
    "point_to_surface",
    "sample_surface",
    "signed_distance",
    "surface_of",
    "vertex_normals",
    "volume",
]
