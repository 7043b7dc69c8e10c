"""What a body hides from itself: cast shadows of a lamp, and precomputed radiance transfer at vertices."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.geometry.surface import Surface, surface_of
from robench.rendering.light import _BAND, Lamp, cosine_transfer, sh_basis

Float = NDArray[np.float32]
# Rays start this far off the surface: more than float32 noise, less than a fold of cloth.
_LIFT_CM = 0.2
_RAYS_AT_ONCE = 1_000_000


def radiance_transfer(mesh: Mesh, rays: int = 64, device: str = "cpu") -> Float:
    """Return what each vertex takes from each spherical-harmonic coefficient of the light around the mesh.

    Precomputed radiance transfer (Sloan et al. 2002) for a Lambertian body that shadows itself. The unoccluded part is
    exact; rays only measure what is missing, so a convex body has no noise. Made once a mesh, good for every camera.

    Args:
        mesh: Finite, with faces, centimetres.
        rays: Rays a vertex, cosine-weighted over the hemisphere, the same set in each vertex's own frame.
        device: As `surface_of`.

    Returns:
        (V, 9) float32; ``transfer @ coefficients`` is the shading. Its first column over 0.2821 is the openness in
        [0, 1] (ambient occlusion).
    """
    surface = surface_of(mesh, device)
    normals = surface.normals
    local = _hemisphere(rays)
    transfer = cosine_transfer(normals).astype(np.float64)
    starts = mesh.vertices + _LIFT_CM * normals
    for first in range(0, len(normals), step := max(1, _RAYS_AT_ONCE // rays)):
        part = slice(first, first + step)
        tangent, across = _basis(normals[part])
        axes = np.stack([tangent, across, normals[part]], axis=1)
        directions = np.einsum("rk,vkc->vrc", local, axes).astype(np.float32)
        origins = np.repeat(starts[part], rays, axis=0)
        hidden = surface.occluded(origins, directions.reshape(-1, 3)).reshape(-1, rays)
        # Cosine-weighted rays: each stands for pi / rays of irradiance, and shading is irradiance over pi.
        vertex, ray = np.nonzero(hidden)
        lost = sh_basis(directions[vertex, ray]).astype(np.float64) / rays
        for band in range(9):
            transfer[part, band] -= np.bincount(vertex, lost[:, band], minlength=len(hidden))
    found: Float = transfer.astype(np.float32)
    return found


def openness(transfer: NDArray[Any]) -> Float:
    """Return (V,) float32 in [0, 1]: how much of an even light reaches each vertex (1 = unoccluded)."""
    full = float(sh_basis(np.array([0.0, 0.0, 1.0]))[0] * _BAND[0])
    return np.asarray(np.clip(np.asarray(transfer)[:, 0] / full, 0.0, 1.0), np.float32)


def lamp_visibility(
    surface: Surface, lamp: Lamp, positions: NDArray[Any], normals: NDArray[Any], rays: int = 8
) -> Float:
    """Return how much of a lamp each surface point sees.

    Args:
        surface: What may stand in between.
        lamp: In the surface's frame.
        positions: (N, 3) centimetres on the surface.
        normals: (N, 3) unit normals.
        rays: Rays a point, spread over the lamp's disc; 1 gives hard shadows.

    Returns:
        (N,) float32 in [0, 1]; 0 on the side that faces away.
    """
    points = np.asarray(positions, np.float32)
    n = np.asarray(normals, np.float32)
    towards, _ = lamp.reaches(points, n)
    towards = np.ascontiguousarray(towards)
    facing = np.flatnonzero((towards * n).sum(axis=1) > 0.0)
    seen = np.zeros(len(points), np.float32)
    if len(facing) == 0:
        return seen
    reach = float("inf")
    if lamp.positional:
        reach = float(np.linalg.norm(np.asarray(lamp.towards) - points[facing], axis=1).min())
    origins = points[facing] + np.float32(_LIFT_CM) * n[facing]
    tangent, across = _basis(towards[facing])
    radius = np.tan(np.radians(lamp.softness)) if rays > 1 else 0.0
    for k in range(rays):
        angle, r = k * np.pi * (3.0 - np.sqrt(5.0)), radius * np.sqrt((k + 0.5) / rays)
        ray = towards[facing] + np.float32(r * np.cos(angle)) * tangent + np.float32(r * np.sin(angle)) * across
        seen[facing] += ~surface.occluded(origins, ray, reach)
    return seen / np.float32(rays)


def _hemisphere(count: int) -> NDArray[np.float64]:
    """Cosine-weighted directions about +z (a Fibonacci lattice on the disc, lifted)."""
    i = np.arange(count) + 0.5
    r2, angle = i / count, np.pi * (1.0 + np.sqrt(5.0)) * i
    r = np.sqrt(r2)
    return np.stack([r * np.cos(angle), r * np.sin(angle), np.sqrt(1.0 - r2)], axis=1)


def _basis(normals: Float) -> tuple[Float, Float]:
    """Two unit vectors across each normal, without a branch at the poles (Duff et al. 2017)."""
    x, y, z = normals[:, 0], normals[:, 1], normals[:, 2]
    sign = np.copysign(np.float32(1.0), z)
    a = -1.0 / (sign + z)
    b = x * y * a
    tangent = np.stack([1.0 + sign * x * x * a, sign * b, -sign * x], axis=1)
    across = np.stack([b, sign + y * y * a, -y], axis=1)
    return tangent.astype(np.float32), across.astype(np.float32)
