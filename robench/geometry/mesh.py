"""Pure functions on triangle meshes: areas, normals, volume, watertightness, seeded surface samples."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh

Float = NDArray[np.float64]


def corners(vertices: NDArray[Any], faces: NDArray[Any]) -> Float:
    """Return the (F, 3, 3) float64 corner positions of each face."""
    found: Float = np.asarray(vertices, np.float64)[faces]
    return found


def area_vectors(vertices: NDArray[Any], faces: NDArray[Any]) -> Float:
    """Return (F, 3) float64: the outward normal of each face, as long as its area."""
    a, b, c = corners(vertices, faces).transpose(1, 0, 2)
    return np.cross(b - a, c - a) / 2.0


def face_areas(vertices: NDArray[Any], faces: NDArray[Any]) -> Float:
    """Return (F,) float64 areas in squared units of the vertices."""
    return np.asarray(np.linalg.norm(area_vectors(vertices, faces), axis=1))


def face_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Return (F, 3) float32 unit normals; zero for a face without area."""
    return _unit(area_vectors(mesh.vertices, mesh.faces))


def vertex_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Return (V, 3) float32 unit normals, the area-weighted mean over the faces of each vertex; zero if it has none."""
    areas = area_vectors(mesh.vertices, mesh.faces)
    index = mesh.faces.T.ravel()
    count = len(mesh.vertices)
    total = [np.bincount(index, np.tile(areas[:, axis], 3), minlength=count) for axis in range(3)]
    return _unit(np.stack(total, axis=1))


def _unit(vectors: Float) -> NDArray[np.float32]:
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0), np.float32)


def volume(mesh: Mesh) -> float:
    """Return the volume in cubic units (divergence theorem) of a closed mesh; negative if its faces point inwards."""
    if mesh.is_empty:
        return 0.0
    # About the centre, so that a mesh far from the origin loses no digits.
    shifted = np.asarray(mesh.vertices, np.float64) - mesh.vertices.mean(axis=0, dtype=np.float64)
    a, b, c = corners(shifted, mesh.faces).transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6.0)


def is_watertight(mesh: Mesh) -> bool:
    """True if the mesh has faces and each directed edge is matched by as many edges the other way."""
    if mesh.is_empty:
        return False
    faces = mesh.faces.astype(np.int64)
    start = np.concatenate([faces[:, 0], faces[:, 1], faces[:, 2]])
    end = np.concatenate([faces[:, 1], faces[:, 2], faces[:, 0]])
    count = len(mesh.vertices)
    return bool(np.array_equal(np.sort(start * count + end), np.sort(end * count + start)))


def sample_surface(mesh: Mesh, n: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw points uniformly by area.

    Args:
        mesh: A mesh with some area.
        n: How many points.
        rng: The generator; the same state gives the same points.

    Returns:
        Points (n, 3) float32 in the mesh's frame and unit, and the (n,) int32 face of each.

    Raises:
        ValueError: If the mesh has no area, or an area that is not finite.
    """
    total = np.cumsum(face_areas(mesh.vertices, mesh.faces))
    if len(total) == 0 or not np.isfinite(total[-1]) or total[-1] <= 0:
        raise ValueError("cannot sample a surface: the mesh has no finite, positive area")
    # side="right" never picks a face without area, whose cumulative sum equals its predecessor's.
    chosen = np.searchsorted(total, rng.random(n) * total[-1], side="right")
    chosen = np.minimum(chosen, np.searchsorted(total, total[-1]))
    u = np.sqrt(rng.random(n))[:, None]
    v = rng.random(n)[:, None]
    a, b, c = corners(mesh.vertices, mesh.faces[chosen]).transpose(1, 0, 2)
    points = (1.0 - u) * a + u * (1.0 - v) * b + u * v * c
    return points.astype(np.float32), chosen.astype(np.int32)
