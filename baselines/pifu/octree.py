"""PIFu's published octree and surface extraction, as the reference that golden values describe.

Reconstruction itself uses `baselines.pifu.reconstruct`, which asks for fewer points and returns the dense grid's mesh;
this rule fills whole blocks by the mean of their corners' extremes and so changes values by up to its threshold.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Field = Callable[[NDArray[np.float64]], NDArray[np.floating]]
Fill = Callable[[NDArray[np.float64], NDArray[np.bool_], int, float], None]
FIRST = 64
"""Nodes along an axis of the first lattice."""


@dataclass(frozen=True)
class Octree:
    """A volume filled by the published rule.

    Attributes:
        values: (R, R, R) float64.
        evaluated: Points asked at each level.
    """

    values: NDArray[np.float64]
    evaluated: tuple[int, ...]


def grid_points(indices: NDArray[np.integer], resolution: int) -> NDArray[np.float64]:
    """Map (N, 3) lattice indices to [-1, 1): node i is at ``-1 + 2 i / resolution``."""
    return np.asarray(indices * (2.0 / resolution) - 1.0, np.float64)


def dense_grid(field: Field, resolution: int, batch: int = 100_000) -> NDArray[np.float64]:
    """Evaluate a field of (N, 3) points at every node; (R, R, R) float64."""
    values = np.empty(resolution**3)
    for start in range(0, resolution**3, batch):
        flat = np.arange(start, min(start + batch, resolution**3))
        indices = np.stack(np.unravel_index(flat, (resolution,) * 3), axis=1)
        values[flat] = field(grid_points(indices, resolution))
    return values.reshape((resolution,) * 3)


def octree_grid(field: Field, resolution: int, threshold: float = 0.01) -> Octree:
    """Fill a volume coarse to fine; a cell whose corners differ by less than `threshold` gets their mid-range.

    The last cell along each axis is never filled early, as published.

    Raises:
        ValueError: Below 64, where the published rule silently returns an empty volume.
    """
    if resolution < FIRST:
        raise ValueError(f"the published octree needs a resolution of at least {FIRST}, got {resolution}")
    return coarse_to_fine(field, np.ones((resolution,) * 3, bool), threshold, _fill_flat_cells)


def coarse_to_fine(field: Field, dirty: NDArray[np.bool_], threshold: float, fill: Fill) -> Octree:
    """Ask the nodes of ever finer lattices that are still dirty, and fill flat cells after each but the last.

    Args:
        field: As in `octree_grid`.
        dirty: (R, R, R) nodes that are to be asked or filled; all clean afterwards.
        threshold: As in `octree_grid`.
        fill: Gives flat cells of a lattice their value in place, and makes them clean.
    """
    resolution = len(dirty)
    values = np.zeros(dirty.shape)
    evaluated = []
    step = resolution // FIRST
    while step > 0:
        lattice = np.zeros_like(dirty)
        lattice[::step, ::step, ::step] = True
        todo = np.nonzero(lattice & dirty)
        values[todo] = field(grid_points(np.stack(todo, axis=1), resolution))
        dirty[todo] = False
        evaluated.append(len(todo[0]))
        if step > 1:
            fill(values, dirty, step, threshold)
        step //= 2
    return Octree(values, tuple(evaluated))


def _fill_flat_cells(values: NDArray[np.float64], dirty: NDArray[np.bool_], step: int, threshold: float) -> None:
    count = len(range(0, values.shape[0] - step, step))
    corners = np.stack(
        [
            values[a:, b:, c:][::step, ::step, ::step][:count, :count, :count]
            for a in (0, step)
            for b in (0, step)
            for c in (0, step)
        ]
    )
    high, low = corners.max(axis=0), corners.min(axis=0)
    half = step // 2
    centre = dirty[half:, half:, half:][::step, ::step, ::step][:count, :count, :count]
    flat = centre & (high - low < threshold)
    # A block begins at its own lowest corner, which no later cell reads: filling at once equals filling in turn.
    size = count * step
    block = np.kron(flat, np.ones((step,) * 3, bool))
    fill = np.kron((high + low) / 2, np.ones((step,) * 3))
    values[:size, :size, :size][block] = fill[block]
    dirty[:size, :size, :size][block] = False


def extract(values: NDArray[np.floating], resolution: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Run marching cubes at 0.5 (Lewiner) and map vertices to [-1, 1).

    Returns:
        (V, 3) vertices and (F, 3) faces as the library orders them, which points them inwards; the published writer
        turns them by emitting (f0, f2, f1).
    """
    from skimage.measure import marching_cubes

    vertices, faces, _, _ = marching_cubes(values, 0.5)
    return vertices.astype(np.float64) * (2.0 / resolution) - 1.0, faces.astype(np.int64)
