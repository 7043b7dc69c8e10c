"""Supervision points: where on and around a body to ask for occupancy and colour.

Source: PIFu, section 4.1, and its released recipe: surface points moved by a normal draw, and uniform ones in a cube of
256 cm, 16 to 1; a batch then takes half inside and half outside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench import rng as seeds
from robench.contracts import Mesh
from robench.errors import UsageError
from robench.io.files import atomic_path

# The published box is (-128, -28, -128) to (128, 228, 128) around a person who stands on the origin.
_CUBE_CM = 256.0
_VERSION = 2


@dataclass(frozen=True)
class Pool:
    """Precomputed points of one subject, in world centimetres.

    Attributes:
        inside: (I, 3) float32 points inside the body.
        outside: (O, 3) float32 points outside.
        surface: (S, 3) float32 points on the surface.
        normals: (S, 3) float32 outward unit normals there.
        colours: (S, 3) uint8 sRGB albedo there, or None if the mesh has no colours.
    """

    inside: NDArray[np.float32]
    outside: NDArray[np.float32]
    surface: NDArray[np.float32]
    normals: NDArray[np.float32]
    colours: NDArray[np.uint8] | None


def draw_points(
    mesh: Mesh, count: int, sigmas_cm: Sequence[float], uniform_share: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """Return (count, 3) float32 points: surface ones moved by N(0, sigma) in each axis, and uniform ones.

    The uniform ones fill the published cube, laid about the middle of the mesh, so that any frame of the world will do.
    """
    from robench.geometry import sample_surface

    uniform = round(count * uniform_share)
    points, _ = sample_surface(mesh, count - uniform, rng)
    sigma = np.resize(np.asarray(sigmas_cm, np.float32), len(points))
    near = points + rng.standard_normal(points.shape, np.float32) * sigma[:, None]
    middle = (mesh.vertices.min(axis=0) + mesh.vertices.max(axis=0)) / 2
    box = (middle + rng.uniform(-_CUBE_CM / 2, _CUBE_CM / 2, (uniform, 3))).astype(np.float32)
    return np.concatenate([near, box])


def make_pool(
    mesh: Mesh, count: int, sigmas_cm: Sequence[float], uniform_share: float, rng: np.random.Generator
) -> Pool:
    """Draw and label a subject's points.

    Args:
        mesh: Watertight, world centimetres.
        count: Points around the surface; a quarter as many on it.
        sigmas_cm: See `draw_points`; cycled over the points.
        uniform_share: Share of uniform points.
        rng: The generator.

    Raises:
        ValueError: If the mesh is empty or not watertight.
    """
    from robench.geometry import contains, sample_surface, vertex_normals

    points = draw_points(mesh, count, sigmas_cm, uniform_share, rng)
    inner = contains(points, mesh)
    surface, faces = sample_surface(mesh, max(count // 4, 1), rng)
    corners = mesh.faces[faces]
    weights = _barycentric(surface, mesh.vertices[corners])
    normals = np.einsum("nk,nkc->nc", weights, vertex_normals(mesh)[corners])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-9)
    colours = None
    if mesh.colours is not None:
        blended = np.einsum("nk,nkc->nc", weights, mesh.colours[corners].astype(np.float64))
        colours = np.clip(np.rint(blended), 0, 255).astype(np.uint8)
    return Pool(points[inner], points[~inner], surface, normals.astype(np.float32), colours)


def _barycentric(points: NDArray[np.float32], corners: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the (N, 3) weights of points in their (N, 3, 3) triangles, not negative, summing to one."""
    a, b, c = corners.astype(np.float64).transpose(1, 0, 2)
    p = points.astype(np.float64)
    areas = [np.linalg.norm(np.cross(q - p, r - p), axis=1) for q, r in ((b, c), (c, a), (a, b))]
    stacked = np.stack(areas, axis=1) + 1e-12
    return np.asarray(stacked / stacked.sum(axis=1, keepdims=True))


def load_pool(
    path: Path, folder: Path, count: int, sigmas_cm: Sequence[float], uniform_share: float, seed: int
) -> Pool:
    """Return a mesh file's pool, from the cache folder if it is there for the same bytes and options, else made now.

    Raises:
        UsageError: If the mesh is not watertight.
        UnreadableInput: If the file cannot be read.
    """
    from robench.io.files import sha256_file
    from robench.io.meshes import read_mesh

    options = json.dumps([_VERSION, count, list(sigmas_cm), uniform_share, seed])
    digest = sha256_file(path) if path.is_file() else str(path)
    key = hashlib.sha256((digest + options).encode()).hexdigest()[:16]
    cached = folder / f"{key}.npz"
    if not cached.is_file():
        mesh = read_mesh(path)
        try:
            pool = make_pool(mesh, count, sigmas_cm, uniform_share, seeds.generator(seed, digest, "pifu-pool"))
        except ValueError as error:
            raise UsageError(
                f"{path} cannot supervise occupancy", got=str(error), expected="a watertight mesh with a volume"
            ) from error
        if len(pool.inside) == 0 or len(pool.outside) == 0:
            raise UsageError(
                f"{path} cannot supervise occupancy",
                got=f"{len(pool.inside)} points inside and {len(pool.outside)} outside",
                expected="some of both; is the mesh in centimetres, with faces outward?",
            )
        arrays: dict[str, NDArray[Any]] = {
            "inside": pool.inside,
            "outside": pool.outside,
            "surface": pool.surface,
            "normals": pool.normals,
        }
        if pool.colours is not None:
            arrays["colours"] = pool.colours
        with atomic_path(cached) as temporary:
            np.savez(temporary, allow_pickle=False, **arrays)
        return pool
    with np.load(cached, allow_pickle=False) as stored:
        colours = stored.get("colours")
        return Pool(stored["inside"], stored["outside"], stored["surface"], stored["normals"], colours)


def choose(pool: Pool, count: int, rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Draw a training item's points.

    Returns:
        (count, 3) points, half inside and half outside (drawn with replacement), and their (count,) labels 1 or 0.
    """
    half = count // 2
    inner = pool.inside[rng.integers(len(pool.inside), size=half)]
    outer = pool.outside[rng.integers(len(pool.outside), size=count - half)]
    labels = np.concatenate([np.ones(half, np.float32), np.zeros(count - half, np.float32)])
    return np.concatenate([inner, outer]), labels
