"""What four cameras around a reconstruction see of it: of its mesh, or of its field as the code of the paper traced it.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from robench.contracts import Camera, Mesh
from robench.rendering.raycast import RayScene
from robench.rendering.turntable import turned

ANGLES = (0.0, 90.0, 180.0, 270.0)
"""Where the cameras stand, in their order: at (0, 0, 2), (2, 0, 0), (0, 0, -2) and (-2, 0, 0)."""
_DISTANCE, _FARTHEST = 2.0, 3.0
# Of the published sphere tracing.
_STEPS, _STEP, _NEAR, _NEAR_TWICE = 64, 0.05, 3e-4, 9e-4

Occupancy = Callable[[Tensor], Tensor]
"""Maps (3, N) points of mesh space to (N,) occupancies."""


def camera(size: int) -> Camera:
    """Return the first camera: mesh space from the front, [-1, 1] over `size` pixels."""
    middle = (size - 1) / 2
    return Camera(np.eye(4), size / 2, (middle, middle), size, size)


def mesh_points(vertices: NDArray[np.float32], faces: NDArray[np.int32], size: int) -> list[tuple[Tensor, Tensor]]:
    """Return, for each camera, what its rays meet first on a mesh.

    Args:
        vertices: (V, 3) mesh space.
        faces: (F, 3), counter-clockwise from outside.
        size: Side of the picture.

    Returns:
        For each camera (N,) numbers of pixels that see the mesh, row by row, and their (3, N) points.
    """
    scene = RayScene(Mesh(vertices, faces))
    found = []
    for angle in ANGLES:
        hits = scene.cast(turned(camera(size), angle))
        seen = np.flatnonzero(hits.mask)
        corners = vertices[faces[hits.face.reshape(-1)[seen]]]
        points = np.einsum("nkc,nk->cn", corners, hits.bary.reshape(-1, 3)[seen])
        found.append((torch.from_numpy(seen), torch.from_numpy(np.ascontiguousarray(points, np.float32))))
    return found


@torch.no_grad()
def traced_points(occupancy: Occupancy, size: int, device: torch.device) -> list[tuple[Tensor, Tensor]]:
    """Return what `mesh_points` does, by the published sphere tracing on the field d = -2 (occupancy - 0.5).

    A ray goes 0.05 d a step, at most 64 steps, and rests where |d| < 3e-4, or where d and the one before cancel out to
    within 9e-4 of their mean. It has met something if it came less than 3 far and ended in [-1, 1]: so has one that
    crept through nearly empty space.
    """
    found = []
    at = (torch.arange(size, device=device, dtype=torch.float32) + 0.5) * (2 / size) - 1
    v, u = torch.meshgrid(-at, at, indexing="ij")
    plane = torch.stack([u, v, torch.full_like(u, _DISTANCE)]).reshape(3, -1)
    for angle in ANGLES:
        to_mesh = torch.from_numpy(turned(camera(size), angle).view_from_world[:3, :3].T).to(plane)
        start, ahead = to_mesh @ plane, to_mesh @ plane.new_tensor([[0.0], [0.0], [-1.0]])
        travelled = plane.new_zeros(size * size)
        before = torch.full_like(travelled, torch.inf)
        moving = torch.arange(size * size, device=device)
        for _ in range(_STEPS):
            d = -2 * (occupancy(start[:, moving] + travelled[moving] * ahead) - 0.5)
            rests = (d.abs() < _NEAR) | (((d + before[moving]) / 2).abs() < _NEAR_TWICE)
            before[moving] = d
            moving = moving[~rests]
            travelled[moving] += _STEP * d[~rests]
            if not len(moving):
                break
        points = start + travelled * ahead
        met = torch.nonzero((travelled < _FARTHEST) & (points.abs() <= 1).all(dim=0))[:, 0]
        found.append((met.cpu(), points[:, met].cpu()))
    return found
