"""What a picture shows, in three dimensions: from the person's mesh where there is one, else from depth.

View frame: x right, y up, z towards the viewer, centimetres. Pixels without depth show a wall that faces the camera,
at the background's distance of the depth rule.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions._base import check_shapes
from corruptions._depth import DepthRule, metric_depth
from corruptions._scene import CameraLike, SceneLike

Floats = NDArray[np.float32]
FOCAL = 1.2
"""Focal length in longer picture sides where no camera is known: a person at 3 m fills the picture."""
_ROWS = 64
_STEP_SHARES = np.geomspace(0.015, 1.0, 28)
_REACH_CM = 120.0
"""How far shadows in screen space reach, and where along it they are looked for."""
_THICK_CM, _BIAS_CM = 30.0, 1.5
"""How thick what is seen is taken to be, and how far behind it a shadow begins."""


@dataclass(frozen=True)
class View:
    """A camera as `CameraLike` describes it."""

    kind: Literal["orthographic", "pinhole"]
    scale: float
    centre: tuple[float, float]
    distance: float
    width: int
    height: int


def assumed_view(shape: tuple[int, int]) -> View:
    """Return the pinhole camera, at the frame's origin, that is taken where none is known."""
    height, width = shape
    return View("pinhole", FOCAL * max(shape), ((width - 1) / 2, (height - 1) / 2), 0.0, width, height)


def points_of(view: CameraLike, depth_cm: NDArray[Any]) -> Floats:
    """Return (H, W, 3) centimetres of what each pixel sees, from centimetres along the viewing axis."""
    height, width = depth_cm.shape
    per_pixel = depth_cm / np.float32(view.scale) if view.kind == "pinhole" else np.float32(1 / view.scale)
    points = np.empty((height, width, 3), np.float32)
    points[..., 0] = (np.arange(width, dtype=np.float32) - np.float32(view.centre[0])) * per_pixel
    points[..., 1] = (np.float32(view.centre[1]) - np.arange(height, dtype=np.float32))[:, None] * per_pixel
    points[..., 2] = np.float32(view.distance) - depth_cm
    return points


def project(view: CameraLike, points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Return pixel u, pixel v and centimetres along the viewing axis of (..., 3) points."""
    depth = view.distance - points[..., 2]
    k = view.scale / np.maximum(depth, 1e-3) if view.kind == "pinhole" else view.scale
    return k * points[..., 0] + view.centre[0], view.centre[1] - k * points[..., 1], depth


def normals_of(points: Floats) -> Floats:
    """Return (H, W, 3) unit normals towards the viewer of a surface seen in a picture.

    Differences are central, but one-sided (the smaller) where depth jumps; depth is smoothed within about 2 cm first,
    since files hold it in whole millimetres.

    Args:
        points: (H, W, 3) centimetres, finite.
    """
    points = points.copy()
    points[..., 2] = cv2.bilateralFilter(
        np.ascontiguousarray(points[..., 2]), 5, 2.0, 1.5, borderType=cv2.BORDER_REPLICATE
    )
    normals = np.empty_like(points)
    # A strip at a time, with the rows beside it: a dozen arrays of its size are in memory at once.
    for top in range(0, len(points), _ROWS):
        first = max(0, top - 1)
        strip, kept = points[first : top + _ROWS + 1], np.s_[top - first : top - first + _ROWS]
        right, down = _slope(strip[kept], 1), _slope(strip, 0)[kept]
        # Rows go down and y goes up, so that this order gives normals towards the viewer.
        normal = normals[top : top + _ROWS]
        normal[..., 0] = down[..., 1] * right[..., 2] - down[..., 2] * right[..., 1]
        normal[..., 1] = down[..., 2] * right[..., 0] - down[..., 0] * right[..., 2]
        normal[..., 2] = down[..., 0] * right[..., 1] - down[..., 1] * right[..., 0]
        normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), np.float32(1e-12))
    return normals


def _slope(points: Floats, axis: int) -> Floats:
    """Return the change of the points from pixel to pixel along an axis."""
    step = np.diff(points, axis=axis)
    first, last = np.take(step, [0], axis), np.take(step, [-1], axis)
    ahead, back = np.concatenate([step, last], axis), np.concatenate([first, step], axis)
    size_ahead, size_back = np.abs(ahead[..., 2:]), np.abs(back[..., 2:])
    smooth = np.maximum(size_ahead, size_back) < 3 * np.minimum(size_ahead, size_back) + 1.0
    return np.where(smooth, (ahead + back) / 2, np.where(size_ahead < size_back, ahead, back))


@dataclass(frozen=True, eq=False)
class Surface:
    """What the pixels of a picture show.

    Attributes:
        view: The camera, or the one that is assumed.
        points: (H, W, 3) centimetres in the view frame.
        normals: (H, W, 3) unit normals.
        person: (H, W) bool: the person's pixels; where neither mesh nor mask is known, all that have depth.
        around: True if something beside the person has depth.
        eye: (3,) where the camera stands by the depth rule.
        scene: The mesh, or None.
    """

    view: CameraLike
    points: Floats
    normals: Floats
    person: NDArray[np.bool_]
    around: bool
    eye: NDArray[np.float64]
    scene: SceneLike | None

    @functools.cached_property
    def centre(self) -> NDArray[np.float64]:
        """(3,) the middle of the box around the person."""
        seen = self.points[self.person]
        # Percentiles, so that a few stray pixels of a depth map do not move the lamps.
        low, high = np.percentile(seen, [2, 98], axis=0)
        return np.asarray((low + high) / 2, np.float64)

    def towards(self, position: NDArray[np.float64]) -> tuple[Floats, Floats]:
        """Return the cosine between normals and a lamp, (H, W) >= 0, and its distance, (H, W) centimetres."""
        away = position.astype(np.float32) - self.points
        distance = np.sqrt(np.einsum("hwc,hwc->hw", away, away))
        cosine = np.einsum("hwc,hwc->hw", away, self.normals) / np.maximum(distance, np.float32(1e-3))
        return np.maximum(cosine, np.float32(0)), distance

    def visibility(self, position: NDArray[np.float64], radius: float, samples: int) -> Floats:
        """Return (H, W) in [0, 1]: the share of a lamp that each point sees.

        On a mesh by rays. Elsewhere in screen space: something that is seen stands between the point and the lamp (what
        is hidden from the camera casts no shadow, and everything is taken to be 30 cm thick).
        """
        if self.scene is None:
            return self._screen_space(position.astype(np.float32))
        seen = np.asarray(self.scene.visibility(position, radius, samples), np.float32)
        if self.around:
            seen = np.where(self.person, seen, self._screen_space(position.astype(np.float32)))
        return seen

    def _screen_space(self, position: Floats) -> Floats:
        height, width = self.person.shape
        half = (max(1, width // 2), max(1, height // 2))
        points = cv2.resize(self.points, half, interpolation=cv2.INTER_NEAREST)
        depth = np.ascontiguousarray(self.view.distance - self.points[..., 2], np.float32)
        away = position - points
        distance = np.linalg.norm(away, axis=-1, keepdims=True)
        away *= np.minimum(1, np.float32(_REACH_CM) / np.maximum(distance, np.float32(1e-3)))
        free = np.ones(half[::-1], np.float32)
        for share in _STEP_SHARES:
            u, v, behind = project(self.view, points + away * np.float32(share))
            front = cv2.remap(
                depth, u.astype(np.float32), v.astype(np.float32), cv2.INTER_NEAREST, borderValue=float("inf")
            )
            gap = behind - front
            free[(gap > _BIAS_CM) & (gap < _THICK_CM)] = 0
        soft = cv2.GaussianBlur(free, (0, 0), 1.2)
        return np.asarray(cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def surface_of(
    aux: Any, shape: tuple[int, int], rule: DepthRule, scene: SceneLike | None, who: str
) -> tuple[Surface, dict[str, Any]]:
    """Return what a picture shows.

    Args:
        aux: Has ``depth``, and ``camera`` where it is known.
        shape: (H, W) of the image.
        rule: Where the camera stands and how far the background is.
        scene: The mesh to take the person and shadows from, or None to take them from depth.
        who: Name of the corruption, for the messages.

    Returns:
        The surface, and the notes of `metric_depth`.

    Raises:
        MissingInput: If there is neither mesh nor depth.
        ValueError: If a shape is not the image's.
    """
    given: Any = getattr(aux, "depth", None)
    mask = None if scene is not None else getattr(aux, "mask", None)
    check_shapes(who, shape, depth=given, mask=mask)
    if scene is not None:
        # The mesh is the person alone; behind them, the depth map knows more.
        given = np.where(scene.mask(), scene.depth(), np.inf if given is None else np.asarray(given, np.float32))
    depth, notes = metric_depth(SimpleNamespace(depth=given), shape, rule, who)
    valid = np.isfinite(given) & (np.asarray(given) > 0)
    known = getattr(aux, "camera", None) if scene is None else scene.camera
    if known is None:
        view: CameraLike = assumed_view(shape)
        offset_cm = 0.0
    else:
        view = known
        # The rule moves the camera, not the person: in the frame of a known camera depths stay as they are.
        offset_cm = 100 * (float(notes["nearest_m"]) - float(np.asarray(given)[valid].min()))
    points = points_of(view, 100 * depth - np.float32(offset_cm))
    normals = normals_of(points)
    normals[~valid] = (0, 0, 1)
    person = valid
    if scene is not None:
        person = scene.mask()
        points[person], normals[person] = scene.positions()[person], scene.normals()[person]
    elif mask is not None and (valid & (np.asarray(mask) >= 0.5)).any():
        person = valid & (np.asarray(mask) >= 0.5)
    eye = np.array([0.0, 0.0, view.distance + offset_cm])
    if view.kind == "orthographic":
        eye[0] = ((view.width - 1) / 2 - view.centre[0]) / view.scale
        eye[1] = (view.centre[1] - (view.height - 1) / 2) / view.scale
    around = bool((valid & ~person).any())
    return Surface(view, points, normals, person, around, eye, scene), notes
