"""PIFuHD's published octree, as the reference that golden values describe.

Reconstruction itself uses `baselines.pifu.reconstruct`, which returns the dense grid's mesh. This rule differs from
PIFu's (`baselines.pifu.octree`) in its threshold, in blocks that include their far faces, and in the last node along
each axis, which is never asked and stays empty (except where there is nothing finer than the first lattice).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.octree import Field, Octree, grid_points

FIRST = 64
THRESHOLD = 0.05


def octree_grid(field: Field, resolution: int, threshold: float = THRESHOLD) -> Octree:
    """Fill a volume coarse to fine; a cell whose corners differ by less than `threshold` gets their mid-range.

    Args:
        field: Occupancies of (N, 3) points, node i of an axis being at ``-1 + 2 i / resolution``.
        resolution: A multiple of 64.
        threshold: See above.

    Raises:
        ValueError: Below 64 or between its multiples, where the published rule has no first lattice.
    """
    if resolution < FIRST or resolution % FIRST:
        raise ValueError(f"the published octree needs a resolution that is a multiple of {FIRST}, got {resolution}")
    values = np.zeros((resolution,) * 3)
    # The golden values of the first lattice alone are those of the whole grid.
    end = resolution if resolution == FIRST else resolution - 1
    dirty = np.zeros((resolution,) * 3, bool)
    dirty[:end, :end, :end] = True
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
            _fill_flat_cells(values, dirty, step, threshold)
        step //= 2
    return Octree(values, tuple(evaluated))


def _fill_flat_cells(values: NDArray[np.float64], dirty: NDArray[np.bool_], step: int, threshold: float) -> None:
    nodes = values[::step, ::step, ::step]
    cells = nodes.shape[0] - 1
    corners = [nodes[a : a + cells, b : b + cells, c : c + cells] for a, b, c in product((0, 1), repeat=3)]
    high, low = np.maximum.reduce(corners), np.minimum.reduce(corners)
    half = step // 2
    centre = dirty[half::step, half::step, half::step][:cells, :cells, :cells]
    flat = centre & (high - low < threshold)
    middle = (high + low) / 2
    # A node on a face belongs to two blocks and takes the value of the one that is filled later: first come the far
    # faces, in the order of the axes, and last what is a block's own.
    for far in product((True, False), repeat=3):
        at = tuple(slice(step, cells * step + 1, step) if f else slice(0, cells * step) for f in far)
        chosen, value = flat, middle
        for axis, f in enumerate(far):
            if not f:
                chosen, value = np.repeat(chosen, step, axis), np.repeat(value, step, axis)
        np.copyto(values[at], value, where=chosen)
        dirty[at] &= ~chosen
