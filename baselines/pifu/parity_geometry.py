"""The golden values that need no network: the octree and the extraction on an analytic body, and the training data."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.pifu.augment import Draw, calibration, move_picture, yaw_rotation
from baselines.pifu.inputs import network_image
from baselines.pifu.octree import Field, Octree, dense_grid, extract, grid_points, octree_grid

Float = NDArray[np.float64]
Grid = Callable[[Field, int], Octree]
"""A published octree: a field and a resolution in, a filled volume out."""
_UNTURNED = np.ones(3)


def body_field(points: Float, offset: float = 0.0) -> Float:
    """Return the (N,) occupancy of a man of capsules at (N, 3) points, y up: a sigmoid of the distance, 0.01 wide."""
    s = 0.02 * math.sin(offset)
    parts: list[tuple[tuple[float, ...], tuple[float, ...], float]] = [
        ((0, -0.05, 0), (0, 0.38 + s, 0), 0.155),
        ((0, 0.66, 0), (0, 0.72 + s, 0.01), 0.105),
    ]
    for m in (-1, 1):
        parts += [
            ((m * 0.17, 0.42, 0), (m * 0.30, 0.08, 0.02), 0.06),
            ((m * 0.30, 0.08, 0.02), (m * (0.36 + s), -0.22, 0.07), 0.045),
            ((m * 0.09, -0.10, 0), (m * 0.12, -0.85, 0), 0.08),
            ((m * 0.12, -0.88, 0), (m * 0.13, -0.90, 0.12), 0.05),
        ]
    axes = np.ascontiguousarray(points.T)
    nearest = np.full(len(points), np.inf)
    for start, end, radius in parts:
        a, b = np.array(start, float)[:, None], np.array(end, float)[:, None]
        to, axis = axes - a, b - a
        along = np.clip((axis.T @ to)[0] / (axis**2).sum(), 0, 1)
        np.minimum(nearest, np.sqrt(((to - along * axis) ** 2).sum(axis=0)) - radius, out=nearest)
    return np.asarray(1 / (1 + np.exp(np.clip(nearest / 0.01, -60, 60))))


def _octree(grid: Grid, resolution: int, offset: float, turn: Float) -> Octree:
    return grid(lambda p: body_field(np.asarray(p, np.float64) * turn, offset), resolution)


def signed_volume(vertices: Float, faces: NDArray[np.integer]) -> float:
    """Return the volume that faces enclose, positive if they are counter-clockwise seen from outside."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float(np.einsum("ij,ij->", a, np.cross(b, c)) / 6)


def surface_area(vertices: Float, faces: NDArray[np.integer]) -> float:
    """Return the total area of faces."""
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float(np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2)


def octree_arrays(offset: float, grid: Grid = octree_grid) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``octree_pifu``, or of another system by its own octree."""
    small, large = (_octree(grid, resolution, offset, _UNTURNED) for resolution in (128, 256))
    full = dense_grid(lambda p: body_field(p, offset), 128)
    vertices, faces = extract(small.values, 128)
    step = 2.0 / 128
    matrix = np.diag([step, step, step, 1.0])
    matrix[:3, 3] = -1.0
    values: dict[str, Any] = {
        "dense128_sub": full[::4, ::4, ::4],
        "octree128_sub": small.values[::4, ::4, ::4],
        "octree128_odd": small.values[1::8, 1::8, 1::8],
        "max_abs_octree_minus_dense128": np.abs(small.values - full).max(),
        "sign_differences128": ((small.values > 0.5) != (full > 0.5)).sum(),
        "mc128_counts": (len(vertices), len(faces)),
        "mc128_bounds": (vertices.min(axis=0), vertices.max(axis=0)),
        "mc128_area": surface_area(vertices, faces),
        "mc128_volume_signed": signed_volume(vertices, faces),
        "grid_mat128": matrix,
        "coords128_corner": grid_points(np.array([127, 127, 127]), 128),
    }
    for resolution, tree in ((128, small), (256, large)):
        values[f"n_evaluated{resolution}"] = tree.evaluated
        values[f"octree{resolution}_sum"] = tree.values.sum()
        values[f"octree{resolution}_inside"] = (tree.values > 0.5).sum()
    return {name: np.asarray(value) for name, value in values.items()}


def recon_arrays(offset: float, grid: Grid = octree_grid, *, flipped: bool = False) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``recon_pifu``: the published extraction and its OBJ (four decimals, faces turned).

    Args:
        offset: Of the field.
        grid: The octree.
        flipped: Whether the lattice lies in image space, y down: the mesh is mirrored and its faces turned back.
    """
    turn = np.array([1.0, -1.0, 1.0]) if flipped else _UNTURNED
    values: dict[str, Any] = {}
    for resolution in (64, 128):
        tree = _octree(grid, resolution, offset, turn)
        vertices, faces = extract(tree.values, resolution)
        vertices, faces = vertices * turn, faces[:, ::-1] if flipped else faces
        written = np.array([[float(f"{x:.4f}") for x in v] for v in vertices])
        values |= {
            f"R{resolution}_counts": (len(vertices), len(faces)),
            f"R{resolution}_bounds": (vertices.min(axis=0), vertices.max(axis=0)),
            f"R{resolution}_area": surface_area(vertices, faces),
            f"R{resolution}_volume_signed": signed_volume(vertices, faces),
            f"R{resolution}_centroid": vertices.mean(axis=0),
            f"R{resolution}_queried": sum(tree.evaluated),
            f"R{resolution}_vertices_every16": vertices[::16],
            f"R{resolution}_obj_volume_signed": signed_volume(written, faces[:, [0, 2, 1]]),
            f"R{resolution}_obj_first_lines": (
                "v " + " ".join(f"{x:.4f}" for x in (*vertices[0], 0.25, 0.5, 0.75)),
                "f " + " ".join(str(i + 1) for i in faces[0, [0, 2, 1]]),
            ),
        }
    return {name: np.asarray(value) for name, value in values.items()}


def _subject_picture(size: int = 512) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    y, x = np.mgrid[:size, :size]
    image = np.stack([x // 2, y // 2, (x + y) // 4], axis=-1).astype(np.uint8)
    mask = (((x - 256) / 120) ** 2 + ((y - 256) / 220) ** 2 <= 1).astype(np.uint8) * 255
    return image, mask


def data_arrays(stored: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """Return the arrays of ``data_pifu`` for the subject and the draws that the file gives."""
    image, mask = _subject_picture()
    centre, scale, ratio = stored["center"], float(stored["scale"]), float(stored["ortho_ratio"])
    given = ("center", "scale", "ortho_ratio", "yaws", "draws_flipU_scale_dx_dy")
    out: dict[str, NDArray[Any]] = {name: stored[name] for name in given}
    out["img_test_sub"] = network_image(image, mask)[:, ::16, ::16]
    for yaw in stored["yaws"]:
        out[f"calib_test_yaw{yaw}"] = calibration(yaw_rotation(float(yaw)), centre, scale, ratio)
    for i, (uniform, zoom, dx, dy) in enumerate(stored["draws_flipU_scale_dx_dy"]):
        d = Draw(bool(uniform > 0.5), float(zoom), int(dx), int(dy))
        moved, shape = move_picture(image, mask, d)
        # The draws are of the second view.
        rotation = yaw_rotation(float(stored["yaws"][1]))
        out[f"calib_train_draw{i}"] = calibration(rotation, centre, scale, ratio, d)
        out[f"img_train_draw{i}_sub"] = network_image(moved, shape)[:, ::16, ::16]
        out[f"mask_train_draw{i}_sum"] = np.asarray((shape / 255.0).sum())
    return out
