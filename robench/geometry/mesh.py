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


def bounds(points: NDArray[Any]) -> tuple[Float, Float]:
    """Return the (3,) float64 lowest and highest coordinates of (N, 3) points, N >= 1."""
    # Column by column; along the long axis of narrow rows NumPy takes twenty times as long.
    columns = [points[:, axis] for axis in range(3)]
    return np.array([c.min() for c in columns], np.float64), np.array([c.max() for c in columns], np.float64)


def area_vectors(vertices: NDArray[Any], faces: NDArray[Any]) -> Float:
    """Return (F, 3) float64: the outward normal of each face, as long as its area."""
    # Axis by axis: four times as fast as NumPy's cross product of gathered corners, to the same last digit.
    index = faces.T.astype(np.intp)
    sides = []
    for axis in range(3):
        along = np.ascontiguousarray(vertices[:, axis], np.float64)
        start = along.take(index[0])
        sides.append((along.take(index[1]) - start, along.take(index[2]) - start))
    found = np.empty((3, len(faces)))
    for i, (j, k) in enumerate(((1, 2), (2, 0), (0, 1))):
        found[i] = (sides[j][0] * sides[k][1] - sides[k][0] * sides[j][1]) / 2.0
    return found.T


def face_areas(vertices: NDArray[Any], faces: NDArray[Any]) -> Float:
    """Return (F,) float64 areas in squared units of the vertices."""
    return lengths(area_vectors(vertices, faces))


def lengths(vectors: Float) -> Float:
    """Return the (N,) lengths of (N, 3) vectors."""
    x, y, z = vectors.T
    return np.asarray(np.sqrt(x * x + y * y + z * z))


def face_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Return (F, 3) float32 unit normals; zero for a face without area."""
    return _unit(area_vectors(mesh.vertices, mesh.faces))


def vertex_normals(mesh: Mesh) -> NDArray[np.float32]:
    """Return (V, 3) float32 unit normals, the area-weighted mean over the faces of each vertex; zero if it has none."""
    areas = area_vectors(mesh.vertices, mesh.faces)
    index = mesh.faces.T.ravel()
    count = len(mesh.vertices)
    total = [np.bincount(index, np.tile(areas[:, axis], 3), minlength=count) for axis in range(3)]
    return _unit(np.stack(total, axis=1, dtype=np.float64))


def _unit(vectors: Float) -> NDArray[np.float32]:
    length = lengths(vectors)[:, None]
    found = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return np.ascontiguousarray(found, np.float32)


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


def sample_surface(
    mesh: Mesh, n: int, rng: np.random.Generator, areas: Float | None = None
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw points uniformly by area.

    Args:
        mesh: A mesh with some area.
        n: How many points.
        rng: The generator; the same state gives the same points.
        areas: The mesh's `face_areas`, where they are known.

    Returns:
        Points (n, 3) float32 in the mesh's frame and unit, and the (n,) int32 face of each.

    Raises:
        ValueError: If the mesh has no area, or an area that is not finite.
    """
    total = np.cumsum(face_areas(mesh.vertices, mesh.faces) if areas is None else areas)
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
