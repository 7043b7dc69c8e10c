"""Meshes for a page: few faces, small numbers, and the distance of each vertex to the true surface."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh

FACES = 4000
"""Triangles of a mesh in the page; the numbers and pictures of the report come from the whole mesh."""
_STEPS = 65535


def simplified(mesh: Mesh, faces: int = FACES) -> Mesh:
    """Return a mesh of at most about so many faces, by quadric error; a smaller mesh keeps its own.

    Args:
        mesh: Any mesh; its colours are dropped.
        faces: Wanted number of faces.
    """
    if len(mesh.faces) <= faces:
        # Vertices that no face uses would widen the box and count as error.
        used, places = np.unique(mesh.faces, return_inverse=True)
        return Mesh(mesh.vertices[used], places.reshape(-1, 3).astype(np.int32))
    from fast_simplification import simplify

    vertices, kept = simplify(
        np.ascontiguousarray(mesh.vertices, np.float32), np.ascontiguousarray(mesh.faces, np.int32), target_count=faces
    )
    return Mesh(np.asarray(vertices, np.float32), np.asarray(kept, np.int32))


def vertex_errors(mesh: Mesh, truth: Mesh) -> NDArray[np.float64]:
    """Return (V,) centimetres from each vertex to the surface of a truth in the same frame."""
    from robench.geometry import point_to_surface

    return np.asarray(point_to_surface(mesh.vertices, truth.vertices, truth.faces), np.float64)


def packed(mesh: Mesh, errors: NDArray[np.float64] | None = None) -> dict[str, Any]:
    """Return a mesh as JSON: 16-bit positions in its box, faces, and 8-bit errors.

    Args:
        mesh: At least one face, at most 65,536 vertices.
        errors: (V,) centimetres.

    Returns:
        ``low`` (3,) and ``step`` (centimetres), with base64 little-endian ``v`` (V, 3) uint16, ``f`` (F, 3) uint16;
        with errors also ``e`` (V,) uint8 and ``etop``, the centimetres that 255 stands for.

    Raises:
        ValueError: If there are too many vertices.
    """
    if len(mesh.vertices) > _STEPS + 1:
        raise ValueError(f"a page's mesh has at most {_STEPS + 1} vertices, got {len(mesh.vertices)}")
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    step = max(float((high - low).max()) / _STEPS, 1e-9)
    found: dict[str, Any] = {
        "low": [float(f"{value:.6g}") for value in low],
        "step": step,
        "v": _text(np.clip(np.rint((mesh.vertices - low) / step), 0, _STEPS).astype("<u2")),
        "f": _text(mesh.faces.astype("<u2")),
    }
    if errors is not None:
        top = max(float(errors.max()), 1e-6)
        found |= {"e": _text(np.rint(255 * errors / top).astype(np.uint8)), "etop": float(f"{top:.5g}")}
    return found


def _text(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
