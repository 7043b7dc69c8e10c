"""PIFuHD's published octree, as the reference that golden values describe.

Reconstruction itself uses `baselines.pifu.reconstruct`, which returns the dense grid's mesh. This rule differs from
PIFu's (`baselines.pifu.octree`) in its threshold, in blocks that include their far faces, and in the last node along
each axis, which is never asked and stays empty (except where there is nothing finer than the first lattice).
"""

from __future__ import annotations

from itertools import product

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.octree import FIRST, Field, Octree, coarse_to_fine

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
    # The golden values of the first lattice alone are those of the whole grid.
    end = resolution if resolution == FIRST else resolution - 1
    dirty = np.zeros((resolution,) * 3, bool)
    dirty[:end, :end, :end] = True
    return coarse_to_fine(field, dirty, threshold, _fill_flat_cells)


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
