"""What the mesh metrics of one scene share: checks, surface samples, search trees, distances. Kept per mesh object."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Degenerate, Mesh
from robench.geometry import face_areas, sample_surface, surface_of
from robench.rng import generator

N_POINTS = 10_000
SEED = 0
# Ten kilometres, in centimetres: beyond it float32 has lost the millimetres, and it is no person.
FARTHEST = 1e6

_TROUBLE: WeakKeyDictionary[Mesh, str] = WeakKeyDictionary()
_AREAS: WeakKeyDictionary[Mesh, NDArray[np.float64]] = WeakKeyDictionary()
_SAMPLES: WeakKeyDictionary[Mesh, dict[tuple[int, int], NDArray[np.float32]]] = WeakKeyDictionary()
_DISTANCES: WeakKeyDictionary[Mesh, WeakKeyDictionary[Mesh, dict[tuple[int, int, str], NDArray[np.float32]]]] = (
    WeakKeyDictionary()
)


def trouble(mesh: Mesh) -> str:
    """Return why a mesh cannot be measured, or an empty string.

    One of ``empty`` (no face), ``broken_faces`` (a vertex index that is not there), ``non_finite``, ``out_of_range``
    (beyond ten kilometres), ``no_area``.
    """
    if mesh not in _TROUBLE:
        _TROUBLE[mesh] = _trouble(mesh)
    return _TROUBLE[mesh]


def _trouble(mesh: Mesh) -> str:
    if mesh.is_empty:
        return "empty"
    if mesh.faces.min() < 0 or mesh.faces.max() >= len(mesh.vertices):
        return "broken_faces"
    if not np.isfinite(mesh.vertices).all():
        return "non_finite"
    if np.abs(mesh.vertices).max() > FARTHEST:
        return "out_of_range"
    return "" if _areas(mesh).sum() > 0 else "no_area"


def _areas(mesh: Mesh) -> NDArray[np.float64]:
    if mesh not in _AREAS:
        _AREAS[mesh] = face_areas(mesh.vertices, mesh.faces)
    return _AREAS[mesh]


def checked(prediction: Mesh | None, truth: Mesh | None) -> tuple[Mesh, Mesh] | Degenerate:
    """Return both meshes, or why they cannot be compared.

    Returns:
        ``(prediction, truth)``; or `Degenerate` with ``no_prediction``, ``no_truth``, the prediction's `trouble`, or
        the truth's with ``truth_`` before it.
    """
    if truth is None:
        return Degenerate("no_truth")
    if prediction is None:
        return Degenerate("no_prediction")
    if found := trouble(prediction):
        return Degenerate(found)
    if found := trouble(truth):
        return Degenerate(f"truth_{found}")
    return prediction, truth


def samples(mesh: Mesh, n_points: int = N_POINTS, seed: int = SEED) -> NDArray[np.float32]:
    """Return (n_points, 3) area-weighted surface points; the same mesh gives the same points in any process."""
    kept = _SAMPLES.setdefault(mesh, {})
    key = (n_points, seed)
    if key not in kept:
        rng = generator(seed, "surface samples", n_points)
        kept[key] = sample_surface(mesh, n_points, rng, _areas(mesh))[0]
    return kept[key]


def distances(
    source: Mesh, target: Mesh, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> NDArray[np.float32]:
    """Return (n_points,) float32 centimetres from surface samples of `source` to the surface of `target`, exact."""
    kept = _DISTANCES.setdefault(source, WeakKeyDictionary()).setdefault(target, {})
    key = (n_points, seed, device)
    if key not in kept:
        kept[key] = surface_of(target, device).distances(samples(source, n_points, seed))
    return kept[key]
