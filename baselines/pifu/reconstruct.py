"""From an occupancy field to a mesh: coarse to fine near the surface, and the same mesh as the dense grid's.

A coarse lattice is evaluated everywhere. Cells that straddle the level, or nearly do, are refined; at each level the
surface is then followed: a straddling cell with an unevaluated corner gets it evaluated, until none is left. So every
sheet of surface that is found anywhere is found whole, with exactly the values that the dense grid would have there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]
Field = Callable[[Float], Float]
LEVEL = 0.5
COARSE = 64
# A cell this close to the level may hide a limb thinner than the lattice: refine it too.
_MARGIN = 0.3
_CORNERS = np.array([(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)])


@dataclass(frozen=True)
class Volume:
    """Occupancies on the published lattice: node i of an axis is at ``-1 + 2 i / resolution``.

    Attributes:
        values: (R, R, R) float32; exact at every corner of a cell that straddles the level, elsewhere only on the right
            side of it.
        evaluated: Points asked for.
    """

    values: Float
    evaluated: int


def _points(flat: NDArray[np.int64], nodes: int) -> Float:
    indices = np.stack(np.unravel_index(flat, (nodes,) * 3), axis=1)
    return (indices * (2.0 / (nodes - 1)) - 1.0).astype(np.float32)


def check_resolution(resolution: int) -> int:
    """Return the number of halvings between the coarse lattice and the grid.

    Raises:
        ValueError: If the resolution is no power of two between 16 and 1024.
    """
    if resolution < 16 or resolution > 1024 or resolution & (resolution - 1):
        raise ValueError(f"the resolution must be a power of two from 16 to 1024, got {resolution}")
    return max(1, (resolution // COARSE).bit_length() - 1)


def coarse_to_fine(field: Field, resolution: int, margin: float = _MARGIN) -> Volume:
    """Evaluate a field where its level set needs it.

    Args:
        field: Maps (N, 3) float32 points in [-1, 1] to (N,) occupancies.
        resolution: Nodes an axis, a power of two from 16.
        margin: How near the level (0.5) a coarse cell's range must come to be refined without straddling it.

    Returns:
        The volume.
    """
    halvings = check_resolution(resolution)
    nodes = (resolution >> halvings) + 1
    values = field(_points(np.arange(nodes**3), nodes)).astype(np.float32).reshape((nodes,) * 3)
    evaluated = nodes**3
    for remaining in reversed(range(halvings)):
        active = _near(values, margin)
        nodes = 2 * nodes - 1
        values, known = _upsampled(values)
        need = _nodes_of(active, nodes)
        if remaining == 0:
            # The grid counts as empty beyond its border, so matter there has surface too.
            need |= _border_matter(values, resolution)
        todo = np.flatnonzero(need & ~known)
        flat_values, flat_known = values.reshape(-1), known.reshape(-1)
        while len(todo):
            flat_values[todo] = field(_points(todo, nodes))
            flat_known[todo] = True
            evaluated += len(todo)
            todo = _frontier(todo, flat_values, flat_known, nodes)
    # The lattice above has a node at +1 that the published grid lacks.
    return Volume(np.ascontiguousarray(values[:-1, :-1, :-1]), evaluated)


def _near(values: Float, margin: float) -> NDArray[np.bool_]:
    """Return which cells' corner range comes within `margin` of the level."""
    high, low = values, values
    for axis in range(3):
        a, b = _halves(high, axis), _halves(low, axis)
        high, low = np.maximum(*a), np.minimum(*b)
    return (high > LEVEL - margin) & (low < LEVEL + margin)


def _halves(x: Float, axis: int) -> tuple[Float, Float]:
    n = x.shape[axis]
    return np.take(x, range(n - 1), axis), np.take(x, range(1, n), axis)


def _upsampled(values: Float) -> tuple[Float, NDArray[np.bool_]]:
    """Return the next finer lattice, each new node with the value of the coarse node below it, and which are exact."""
    # An unrefined cell has all corners on one side, so any corner's value puts its inner nodes on the right side.
    fine = values
    for axis in range(3):
        fine = np.repeat(fine, 2, axis=axis)
    fine = np.ascontiguousarray(fine[:-1, :-1, :-1])
    known = np.zeros(fine.shape, bool)
    known[::2, ::2, ::2] = True
    return fine, known


def _nodes_of(cells: NDArray[np.bool_], nodes: int) -> NDArray[np.bool_]:
    """Return which nodes of the finer lattice lie in or on the marked coarse cells."""
    n = cells.shape[0]
    need = np.zeros((nodes,) * 3, bool)
    for a in range(3):
        for b in range(3):
            for c in range(3):
                need[a : a + 2 * n - 1 : 2, b : b + 2 * n - 1 : 2, c : c + 2 * n - 1 : 2] |= cells
    return need


def _border_matter(values: Float, resolution: int) -> NDArray[np.bool_]:
    """Return which nodes of the grid's outermost layers are inside."""
    border = np.zeros(values.shape, bool)
    for axis in range(3):
        for end in (0, resolution - 1):
            layer: list[slice | int] = [slice(None)] * 3
            layer[axis] = end
            border[tuple(layer)] = values[tuple(layer)] > LEVEL
    return border


def _frontier(fresh: NDArray[np.int64], values: Float, known: NDArray[np.bool_], nodes: int) -> NDArray[np.int64]:
    """Return unevaluated corners of straddling cells that touch freshly evaluated nodes."""
    strides = np.array([nodes * nodes, nodes, 1])
    at = np.stack(np.unravel_index(fresh, (nodes,) * 3), axis=1)
    found = []
    for corner in _CORNERS:
        base = at - corner
        fits = ((base >= 0) & (base < nodes - 1)).all(axis=1)
        found.append(base[fits] @ strides)
    cells = np.unique(np.concatenate(found))
    corners = cells[:, None] + (_CORNERS @ strides)[None]
    inside = values[corners] > LEVEL
    straddling = corners[inside.any(axis=1) & ~inside.all(axis=1)]
    return np.unique(straddling[~known[straddling]])


def dense(field: Field, resolution: int) -> Volume:
    """Evaluate a field at every node: the reference for `coarse_to_fine`."""
    axis = np.arange(resolution)
    grid = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    values = field((grid * (2.0 / resolution) - 1.0).astype(np.float32)).astype(np.float32)
    return Volume(values.reshape((resolution,) * 3), resolution**3)


def surface(volume: Volume, backend: str = "skimage") -> tuple[NDArray[np.float64], NDArray[np.int32]] | None:
    """Return the level set of a volume as (V, 3) vertices in [-1, 1) and (F, 3) faces, or None if there is none.

    The volume counts as empty beyond its border, so the surface is always closed. Faces are counter-clockwise seen from
    outside in a right-handed frame.

    Args:
        volume: Occupancies.
        backend: ``skimage`` (Lewiner's marching cubes) or ``warp`` (for CUDA).
    """
    inside = volume.values > LEVEL
    ends = []
    for axis in range(3):
        hit = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        if len(hit) == 0:
            return None
        ends.append((max(hit[0] - 1, 0), hit[-1] + 2))
    part = volume.values[tuple(slice(a, b) for a, b in ends)]
    padded = np.pad(part, 1)
    # A node exactly on the level belongs to both sides, and the surface through it need not close.
    padded[padded == LEVEL] = np.nextafter(np.float32(LEVEL), np.float32(0))
    vertices, faces = _warp_cubes(padded) if backend == "warp" else _skimage_cubes(padded)
    start = np.array([a for a, _ in ends], np.float64) - 1.0
    return (vertices + start) * (2.0 / volume.values.shape[0]) - 1.0, faces


def _skimage_cubes(values: Float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values, LEVEL)
    # In a right-handed frame it turns the faces of matter inwards.
    return vertices.astype(np.float64), faces[:, ::-1].astype(np.int32)


def _warp_cubes(values: Float) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    from robench.geometry import _kernels
    from robench.geometry.surface import resolve_device

    wp = _kernels.wp  # type: ignore[attr-defined]  # by way of the module that keeps Warp's start-up quiet
    device = resolve_device("auto")
    field = wp.array(values, dtype=wp.float32, device=device)
    top = tuple(float(n - 1) for n in values.shape)
    found, indices = wp.MarchingCubes.extract(field, wp.float32(LEVEL), lower=(0.0, 0.0, 0.0), upper=top)
    return found.numpy().astype(np.float64), indices.numpy().reshape(-1, 3)[:, ::-1].astype(np.int32)
