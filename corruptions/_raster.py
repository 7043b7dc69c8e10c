"""Triangles into pixels, for small meshes: depth and face at every pixel centre."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def rasterise(
    u: NDArray[Any],
    v: NDArray[Any],
    depth: NDArray[Any],
    faces: NDArray[Any],
    shape: tuple[int, int],
    perspective: bool,
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Draw triangles with a depth test.

    Args:
        u: (V,) columns; integers are pixel centres.
        v: (V,) rows.
        depth: (V,) > 0, along the viewing axis.
        faces: (F, 3), either side is drawn.
        shape: (H, W).
        perspective: True for a pinhole camera, where 1 / depth, not depth, is linear in the picture.

    Returns:
        (H, W) depth, ``+inf`` where nothing is; (H, W) index of the nearest face, -1 where nothing is.
    """
    height, width = shape
    nearest = np.full(shape, np.inf, np.float32)
    index = np.full(shape, -1, np.int32)
    value = 1 / np.asarray(depth, np.float64) if perspective else np.asarray(depth, np.float64)
    for k, (a, b, c) in enumerate(np.asarray(faces).tolist()):
        us, vs = u[[a, b, c]], v[[a, b, c]]
        left, right = max(0, int(np.ceil(us.min()))), min(width - 1, int(np.floor(us.max())))
        top, bottom = max(0, int(np.ceil(vs.min()))), min(height - 1, int(np.floor(vs.max())))
        area = (us[1] - us[0]) * (vs[2] - vs[0]) - (us[2] - us[0]) * (vs[1] - vs[0])
        if left > right or top > bottom or area == 0:
            continue
        x = np.arange(left, right + 1)[None, :]
        y = np.arange(top, bottom + 1)[:, None]
        second = ((x - us[0]) * (vs[2] - vs[0]) - (us[2] - us[0]) * (y - vs[0])) / area
        third = ((us[1] - us[0]) * (y - vs[0]) - (x - us[0]) * (vs[1] - vs[0])) / area
        inside = (second >= 0) & (third >= 0) & (second + third <= 1)
        if not inside.any():
            continue
        at = value[a] + second * (value[b] - value[a]) + third * (value[c] - value[a])
        if perspective:
            at = 1 / np.where(inside, at, 1)
        window = np.s_[top : bottom + 1, left : right + 1]
        nearer = inside & (at < nearest[window])
        nearest[window][nearer] = at[nearer]
        index[window][nearer] = k
    return nearest, index


def silhouette(u: NDArray[Any], v: NDArray[Any], faces: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return (H, W) uint8, 1 where any triangle is, up to half a pixel too large: a quick first look."""
    drawn = np.zeros(shape, np.uint8)
    # Sixteenths of a pixel; cut far outside the picture, where whole numbers would overflow.
    corners = np.rint(np.clip(np.stack([u, v], axis=1), -8000, 8000) * 16).astype(np.int32)
    for triangle in corners[faces]:
        cv2.fillConvexPoly(drawn, triangle, 1, cv2.LINE_8, 4)
    return drawn


def face_normals(vertices: NDArray[Any], faces: NDArray[Any]) -> NDArray[np.float64]:
    """Return (F, 3) unit normals of triangles, counter-clockwise seen from outside."""
    a, b, c = (np.asarray(vertices, np.float64)[faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    return np.asarray(normal / np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-12))
