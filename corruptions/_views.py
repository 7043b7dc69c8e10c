"""Geometry of views: turns of the view frame, and the pixel maps that follow from them.

View frame: x right, y up, z towards the viewer; pixels: x right, y down, integers at pixel centres. A camera that only
turns, or zooms, moves pixels by a homography that knows nothing of depth, if it is a pinhole. Whatever else a camera
does (and every motion of an orthographic one) shows other parts of the person: it takes the mesh.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Affine

if TYPE_CHECKING:
    from corruptions._scene import CameraLike

Matrix = NDArray[np.float64]
LENS_DEGREES = 50.0
"""Angle that the longer side of a picture is taken to span where its camera is not known: a lens near 'normal'."""
_FLIP = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Lens:
    """A pinhole: focal length and principal point in pixels; `assumed` where the picture's own is not known."""

    focal: float
    centre: tuple[float, float]
    assumed: bool

    @classmethod
    def of(cls, camera: CameraLike | None, shape: tuple[int, int], degrees: float) -> Lens:
        """Return the lens of a pinhole camera, or an assumed one whose longer side spans `degrees`."""
        if camera is not None and camera.kind == "pinhole":
            return cls(float(camera.scale), (float(camera.centre[0]), float(camera.centre[1])), False)
        focal = max(shape) / 2 / float(np.tan(np.radians(degrees) / 2))
        return cls(focal, ((shape[1] - 1) / 2, (shape[0] - 1) / 2), True)

    def homography(self, rotation: Matrix) -> Matrix:
        """Return the (3, 3) map from old to new pixels when the view frame turns by a (3, 3) rotation."""
        k = np.array([[self.focal, 0, self.centre[0]], [0, self.focal, self.centre[1]], [0, 0, 1]])
        found: Matrix = k @ _FLIP @ rotation @ _FLIP @ np.linalg.inv(k)
        return found

    def nearing(self, rotation: Matrix, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Return (H, W): by how much a turn multiplies the depth along the viewing axis of each old pixel."""
        y, x = np.mgrid[: shape[0], : shape[1]]
        across, up = (x - self.centre[0]) / self.focal, (self.centre[1] - y) / self.focal
        return np.asarray(rotation[2, 2] - rotation[2, 0] * across - rotation[2, 1] * up, np.float32)


def rotation(axis: tuple[float, float, float], degrees: float) -> Matrix:
    """Return the (3, 3) right-handed rotation about an axis of the view frame (Rodrigues)."""
    x, y, z = np.asarray(axis, np.float64) / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross, np.float64)


def about(turn: Matrix, pivot: NDArray[Any]) -> Matrix:
    """Return the (4, 4) rigid map that turns the view frame about a point of it."""
    change = np.eye(4)
    change[:3, :3] = turn
    change[:3, 3] = np.asarray(pivot, np.float64) - turn @ np.asarray(pivot, np.float64)
    return change


def similarity(centre: NDArray[Any], zoom: float = 1.0, to: NDArray[Any] | None = None) -> Affine:
    """Return the (2, 3) map of pixels that zooms about `centre` and takes it to `to`."""
    target = np.asarray(centre if to is None else to, np.float64)
    return np.concatenate([zoom * np.eye(2), (target - zoom * np.asarray(centre))[:, None]], axis=1)


def squared(affine: Affine) -> Matrix:
    """Return a (2, 3) map as a (3, 3) one."""
    return np.vstack([affine, (0.0, 0.0, 1.0)])


def four_points(before: NDArray[np.float64], after: NDArray[np.float64]) -> Matrix:
    """Return the (3, 3) homography that takes four (x, y) pixels, no three in line, to four others."""
    rows, values = [], []
    for (x, y), (u, v) in zip(before, after, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        values += [u, v]
    return np.append(np.linalg.solve(np.array(rows), np.array(values)), 1.0).reshape(3, 3)


def mapped(matrix: Matrix, point: NDArray[Any]) -> NDArray[np.float64]:
    """Map one (x, y) pixel by a (3, 3) map."""
    x, y, w = matrix @ np.array([point[0], point[1], 1.0])
    return np.array([x / w, y / w])


def projected(camera: CameraLike, point: NDArray[Any]) -> NDArray[np.float64]:
    """Return the pixel (x, y) of a point of the view frame."""
    k = camera.scale if camera.kind == "orthographic" else camera.scale / (camera.distance - float(point[2]))
    return np.array([camera.centre[0] + k * point[0], camera.centre[1] - k * point[1]])


def middle(mask: NDArray[Any] | None, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the middle (x, y) of the box around a mask, or, without one, of the picture."""
    if mask is not None and bool((mask >= 0.5).any()):
        lows_highs = [np.flatnonzero((mask >= 0.5).any(axis=axis))[[0, -1]] for axis in (0, 1)]
        return np.array([float(pair.mean()) for pair in lows_highs])
    return np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
