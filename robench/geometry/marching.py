"""Marching cubes: a mesh from values on a grid, faces outward, on CPU (scikit-image) or CUDA (Warp)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.geometry.surface import resolve_device


def marching_cubes(
    volume: NDArray[Any],
    level: float = 0.5,
    *,
    origin: Sequence[float] = (0.0, 0.0, 0.0),
    spacing: float | Sequence[float] = 1.0,
    inside_high: bool = True,
    device: str = "cpu",
) -> Mesh:
    """Extract the surface where a field crosses a level.

    Args:
        volume: (X, Y, Z) finite values; index (i, j, k) lies at ``origin + (i, j, k) * spacing``.
        level: The value on the surface.
        origin: Position of index (0, 0, 0), centimetres.
        spacing: Grid step along each axis, centimetres, positive.
        inside_high: True where values above the level are inside (occupancy), False where they are outside (signed
            distance). Faces point outwards either way.
        device: ``cpu`` uses scikit-image (Lewiner's tables), ``cuda`` Warp's own tables: same surface, other triangles.

    Returns:
        The mesh; empty if the level is nowhere crossed. A surface that leaves the grid is left open there.

    Raises:
        ValueError: If the volume is not three-dimensional, has an axis below 2, or is not finite; if a spacing is not
            positive.
    """
    field = np.ascontiguousarray(volume, np.float32)
    if field.ndim != 3 or min(field.shape) < 2:
        raise ValueError(f"volume must be (X, Y, Z) with at least 2 values an axis, got shape {field.shape}")
    step = np.broadcast_to(np.asarray(spacing, np.float64), 3)
    if not (step > 0).all():
        raise ValueError(f"spacing must be positive, got {step.tolist()}")
    low, high = float(field.min()), float(field.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("volume must be finite")
    if not low < level < high:
        return Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    name = resolve_device(device)
    # Both backends are asked for faces that look towards lower values; no guess from the volume's sign is needed.
    vertices, faces = _cpu(field, level) if name == "cpu" else _cuda(field, level, name)
    if not inside_high:
        faces = faces[:, ::-1]
    placed = vertices * step + np.asarray(origin, np.float64)
    return Mesh(placed.astype(np.float32), np.ascontiguousarray(faces, dtype=np.int32))


def _cpu(field: NDArray[np.float32], level: float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from skimage.measure import marching_cubes as extract

    vertices, faces, _, _ = extract(field, level, gradient_direction="ascent")
    return vertices.astype(np.float64), faces.astype(np.int32)


def _cuda(field: NDArray[np.float32], level: float, device: str) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from robench.geometry._kernels import extract_surface

    vertices, faces = extract_surface(field, level, device)
    return vertices, faces[:, ::-1]
