"""From layers to one watertight skin: an implicit function of body, clothes and hair, sampled only near its surface."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.geometry import Surface

Points = NDArray[np.float64]
Field = NDArray[np.float32]
FAR = 40.0
"""Centimetres beyond which the body is not looked for."""


@dataclass(frozen=True)
class Nearest:
    """For N points: signed distance to the body in cm, its nearest face (-1 beyond `FAR`), weights on its corners."""

    distance: Field
    face: NDArray[np.int32]
    bary: NDArray[np.float32]

    def blend(self, faces: NDArray[np.int32], values: NDArray[np.float32]) -> NDArray[np.float32]:
        """Interpolate (V,) or (V, C) vertex values at the nearest points; zero beyond `FAR`."""
        corners = values[faces[np.maximum(self.face, 0)]]
        weights = self.bary if values.ndim == 1 else self.bary[..., None]
        return np.asarray((corners * weights).sum(1), np.float32)


def nearest(body: Surface, points: Points) -> Nearest:
    """Find the nearest point of the body for each of (N, 3) points in cm."""
    import warp as wp

    from robench.data.anny_humans import _kernels

    n = len(points)
    local = wp.array((points - body.centre).astype(np.float32), dtype=wp.vec3, device="cpu")
    distance = wp.empty(n, dtype=wp.float32, device="cpu")
    face = wp.empty(n, dtype=wp.int32, device="cpu")
    bary = wp.empty(n, dtype=wp.vec3, device="cpu")
    wp.launch(_kernels.nearest, n, inputs=[body.tree.id, local, FAR], outputs=[distance, face, bary], device="cpu")
    return Nearest(distance.numpy(), face.numpy(), bary.numpy())


def polygonise(
    field: Callable[[Points], Field],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    voxel: float,
    *,
    levels: int = 3,
    slope: float = 1.25,
) -> Mesh:
    """Turn an implicit function into one watertight mesh without inner cavities.

    The function is evaluated on a coarse lattice; only near its zero set is the lattice halved. Cavities that the
    outside cannot reach are filled, and only the largest body is kept, so that the result is one closed surface.

    Args:
        field: Maps (N, 3) points in cm to (N,) values, negative inside, growing no faster than `slope` per cm.
        low: Lower corner of the box; the surface must lie inside it.
        high: Upper corner.
        voxel: Edge of the finest voxel in cm.
        levels: How often the lattice is halved, plus one.
        slope: Bound on the field's gradient.

    Returns:
        The mesh, outward faces, no colours.

    Raises:
        ValueError: If the function has no zero set in the box.
    """
    from scipy import ndimage
    from skimage.measure import marching_cubes

    coarse = voxel * 2 ** (levels - 1)
    cells = np.ceil((high - low) / coarse).astype(int)
    shape = cells * 2 ** (levels - 1) + 1
    step = 2 ** (levels - 1)
    axes = [np.arange(0, s, step) for s in shape]
    lattice = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    values = field(low + lattice.reshape(-1, 3) * voxel).reshape(lattice.shape[:3])
    for _ in range(levels - 1):
        values, known = _halve(values)
        step //= 2
        # A node farther from zero than the way to its neighbours cannot change its sign or theirs.
        near = ~known & (np.abs(values) < slope * step * voxel * 2.0)
        index = np.argwhere(near)
        values[near] = field(low + index * step * voxel)
    inside = values < 0
    if not inside.any():
        raise ValueError("the implicit surface is empty")
    # Every void that the outside cannot reach is a pocket between layers (an armpit, cloth over skin).
    labels, _ = ndimage.label(~inside)
    outside = labels == labels[0, 0, 0]
    pockets = ~inside & ~outside
    values[pockets] = -np.abs(values[pockets]) - 0.05
    labels, count = ndimage.label(~outside)
    if count > 1:
        largest = 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))
        stray = ~outside & (labels != largest)
        values[stray] = np.abs(values[stray]) + 0.05
    values = np.where(np.abs(values) < 1e-3, np.where(values < 0, -1e-3, 1e-3), values)
    vertices, faces, _, _ = marching_cubes(values.astype(np.float32), 0.0, spacing=(voxel,) * 3)
    return Mesh((vertices + low).astype(np.float32), faces.astype(np.int32))


def _halve(values: Field) -> tuple[Field, NDArray[np.bool_]]:
    """Double a lattice's density by linear interpolation; also tell which nodes were there before."""
    for axis in range(3):
        v = np.moveaxis(values, axis, 0)
        fine = np.zeros((2 * len(v) - 1, *v.shape[1:]), np.float32)
        fine[::2] = v
        fine[1::2] = 0.5 * (v[:-1] + v[1:])
        values = np.moveaxis(fine, 0, axis)
    known = np.zeros(values.shape, bool)
    known[::2, ::2, ::2] = True
    return np.ascontiguousarray(values), known
