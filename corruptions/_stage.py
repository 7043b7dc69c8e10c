"""Where an object stands before a person: found so that it hides the share of the person that is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from corruptions import _objects
from corruptions._base import Image, Params, check_shapes, pixel_scale, to_uint8
from corruptions._raster import face_normals, rasterise, silhouette
from corruptions._scene import CameraLike, SceneLike
from corruptions._surface import assumed_view, points_of, project

NOMINAL_CM = 300.0
"""Distance of the camera from the person where none is known (or there is none: orthographic)."""
_CLOSE = 0.004
"""How near the occlusion ratio must come to its target for the search to end."""
_LARGEST = 6.0
"""Largest size of an object, as a share of the room before the person."""
_NEARBY = 0.3
"""How far from the last size, in logarithms, a correction looks."""
_DEEPEST = 0.1
"""Largest half depth of an object, as a share of the distance between camera and person."""


@dataclass(frozen=True, eq=False)
class Stage:
    """A person before a camera, and room between them.

    Attributes:
        view: The camera.
        person: (H, W) bool, all of the person within the frame.
        source: Where `person` comes from: ``mesh``, ``mask``, ``depth`` or ``assumed``.
        front_cm: Centimetres from the camera to the person's nearest point.
        room_cm: Centimetres between camera and person for an object to stand in.
        scene: The mesh, or None.
    """

    view: CameraLike
    person: NDArray[np.bool_]
    source: str
    front_cm: float
    room_cm: float
    scene: SceneLike | None


@dataclass(frozen=True, eq=False)
class Placed:
    """An object in its place.

    Attributes:
        vertices: (V, 3) view-frame centimetres.
        faces: (F, 3).
        turn: (3, 3) rotation from the object's to the view frame.
        origin: (3,) of the object's frame.
        flat: Factor by which the object is pressed together along the viewing axis.
        size_cm: Its size.
    """

    vertices: NDArray[np.float64]
    faces: NDArray[np.int32]
    turn: NDArray[np.float64]
    origin: NDArray[np.float64]
    flat: float
    size_cm: float


def stage_of(aux: Any, shape: tuple[int, int], scene: SceneLike | None) -> Stage:
    """Find the person and the room before them.

    From the mesh; else from the mask; else from where depth is finite, if that is less than nine tenths of the picture;
    else the person is assumed to be an upright ellipse in the middle.

    Raises:
        ValueError: If mask or depth do not have the image's shape, or the mesh is not in the picture.
    """
    if scene is not None:
        view, person, depth = scene.camera, scene.mask(), scene.depth()
        if not person.any():
            raise ValueError("occlusion needs a person in the picture, and the mesh is not in it")
        return _stage(view, person, "mesh", float(100 * depth[person].min()), scene)
    given, mask = getattr(aux, "depth", None), getattr(aux, "mask", None)
    check_shapes("occlusion", shape, depth=given, mask=mask)
    valid = np.zeros(shape, bool) if given is None else np.isfinite(given) & (np.asarray(given) > 0)
    if mask is not None and (np.asarray(mask) >= 0.5).any():
        person, source = np.asarray(mask) >= 0.5, "mask"
    elif valid.any() and valid.mean() < 0.9:
        person, source = valid, "depth"
    else:
        rows, columns = np.indices(shape)
        x, y = (columns - (shape[1] - 1) / 2) / (0.2 * shape[1]), (rows - (shape[0] - 1) / 2) / (0.45 * shape[0])
        person, source = x**2 + y**2 <= 1, "assumed"
    known: CameraLike | None = getattr(aux, "camera", None)
    seen = valid & person
    if seen.any():
        front_cm = float(100 * np.percentile(np.asarray(given)[seen], 1))
    else:
        front_cm = NOMINAL_CM if known is None else float(known.distance) or NOMINAL_CM
    return _stage(known or assumed_view(shape), person, source, front_cm, None)


def _stage(view: CameraLike, person: NDArray[np.bool_], source: str, front_cm: float, scene: SceneLike | None) -> Stage:
    room = front_cm if view.kind == "pinhole" else NOMINAL_CM
    return Stage(view, person, source, front_cm, room, scene)


def place(stage: Stage, params: Params, size_cm: float) -> Placed:
    """Put an object of some size where the drawn parameters say."""
    kind, form = str(params["object"]), params["form"]
    rows, columns = np.flatnonzero(stage.person.any(axis=1)), np.flatnonzero(stage.person.any(axis=0))
    u = columns[0] + params["across"] * (columns[-1] - columns[0])
    v = rows[-1] - params["above"] * (rows[-1] - rows[0])
    half = _DEEPEST * stage.room_cm
    depth = stage.front_cm - half - params["gap"] * 0.4 * stage.room_cm
    origin = points_of(stage.view, np.full((1, 1), depth, np.float32))[0, 0].astype(np.float64)
    per_pixel = (depth if stage.view.kind == "pinhole" else 1.0) / stage.view.scale
    origin[:2] += (u * per_pixel, -v * per_pixel)
    yaw, tilt = np.radians(params["yaw_deg"]), np.radians(params["tilt_deg"])
    about_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    about_z = np.array([[np.cos(tilt), -np.sin(tilt), 0], [np.sin(tilt), np.cos(tilt), 0], [0, 0, 1]])
    turn = about_z @ about_y
    unit, faces = _objects.mesh_of(kind, form)
    scale = _objects.stretch(kind, form, size_cm)
    if params["floating"]:
        # Grow from the middle, not from the base.
        origin -= turn @ np.array([0.0, scale[1] / 2, 0.0])
    offset = (unit * scale) @ turn.T
    flat = min(1.0, half / max(float(np.abs(offset[:, 2]).max()), 1e-9))
    offset[:, 2] *= flat
    return Placed(origin + offset, faces, turn, origin, flat, size_cm)


def ratio_of(stage: Stage, front: NDArray[Any]) -> float:
    """Return the occlusion ratio ``1 - |visible| / |amodal|``."""
    amodal = int(stage.person.sum())
    return 1.0 - int((stage.person & ~front.astype(bool)).sum()) / amodal


def draw_object(stage: Stage, thing: Placed) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[Any]]:
    """Return where the object is before everything else, metres to it, and its normals towards the viewer.

    By ray casts in the scene of the mesh, where there is one.
    """
    if stage.scene is not None:
        front, metres, normals = stage.scene.with_object(thing.vertices, thing.faces)
        normal: NDArray[Any] = normals
    else:
        u, v, depth = project(stage.view, thing.vertices)
        perspective = stage.view.kind == "pinhole"
        cm, index = rasterise(u, v, depth, thing.faces, stage.person.shape, perspective)
        front, metres = index >= 0, cm / np.float32(100)
        normal = face_normals(thing.vertices, thing.faces)[index] * front[..., None]
    return front, metres, np.where(normal[..., 2:] < 0, -normal, normal)


def fit(stage: Stage, params: Params, target: float) -> tuple[Placed, NDArray[np.bool_], NDArray[Any], NDArray[Any]]:
    """Find the size at which the object hides a share of the person.

    Bisection on quick silhouettes, then a few corrections by what is really seen.

    Returns:
        The object, and what `draw_object` says of it. Where no size hides just so much, the nearest to it.
    """

    def quick(goal: float, low: float, high: float, steps: int) -> float:
        """Bisect between logarithms of sizes."""
        for _ in range(steps):
            middle = (low + high) / 2
            thing = place(stage, params, float(np.exp(middle)))
            u, v, _ = project(stage.view, thing.vertices)
            enough = ratio_of(stage, silhouette(u, v, thing.faces, stage.person.shape)) >= goal
            low, high = (low, middle) if enough else (middle, high)
        return high

    at = quick(target, np.log(0.002 * stage.room_cm), np.log(_LARGEST * stage.room_cm), 14)
    best: tuple[float, Placed, Any] | None = None
    goal = target
    for _ in range(5):
        thing = place(stage, params, float(np.exp(at)))
        seen = draw_object(stage, thing)
        miss = ratio_of(stage, seen[0]) - target
        if best is None or abs(miss) < abs(best[0]):
            best = (miss, thing, seen)
        if abs(miss) <= _CLOSE:
            break
        # Silhouettes are a little too large: ask them for what they must show for the target to be met.
        goal = min(1.0, max(0.0, goal - miss))
        at = quick(goal, at - _NEARBY, at + _NEARBY, 8)
    assert best is not None
    return best[1], *best[2]


def paint(image: Image, stage: Stage, params: Params, thing: Placed, seen: tuple[NDArray[np.bool_], Any, Any]) -> Image:
    """Draw the object into the picture, lit as brightly as the person is."""
    front, metres, normals = seen
    if not front.any():
        return image.copy()
    kind, form = str(params["object"]), params["form"]
    depth = np.where(front, metres, 1).astype(np.float32) * np.float32(100)
    offset = points_of(stage.view, depth)[front].astype(np.float64) - thing.origin
    offset[:, 2] /= thing.flat
    places = (offset @ thing.turn) / thing.size_cm
    towards = normals[front].astype(np.float64) * (1, 1, thing.flat)
    towards /= np.maximum(np.linalg.norm(towards, axis=1, keepdims=True), 1e-9)
    lamp = np.array(params["light"])
    shade = np.zeros(front.shape, np.float32)
    shade[front] = 0.45 + 0.55 * np.maximum(0, towards @ (lamp / np.linalg.norm(lamp)))
    scale = pixel_scale(image.shape[1])
    if kind != "box":
        # Round things are made of flat faces: their edges must not show.
        shade = _within(shade[..., None], front, 3.0 * scale)[..., 0]
    colour = _objects.colours_at(kind, form, places, towards @ thing.turn)
    light = float(np.clip(0.45 + 1.0 * image[stage.person].mean() / 255, 0.5, 1.15))
    drawn = np.zeros(image.shape, np.float32)
    drawn[front] = 255 * light * colour * shade[front][:, None]
    # As soft as a lens leaves an edge; colours go on a little, so that no dark rim appears.
    soft = max(0.5, 0.7 * scale)
    alpha = cv2.GaussianBlur(front.astype(np.float32), (0, 0), soft)[..., None]
    drawn = np.where(front[..., None], drawn, _within(drawn, front, soft))
    return to_uint8(image + alpha * (drawn - image))


def _within(values: NDArray[np.float32], where: NDArray[np.bool_], sigma: float) -> NDArray[np.float32]:
    """Blur (H, W, C) values, known only `where`, and let them go on beyond."""
    weight = where.astype(np.float32)
    blurred = cv2.GaussianBlur(values * weight[..., None], (0, 0), max(sigma, 0.3))
    total = cv2.GaussianBlur(weight, (0, 0), max(sigma, 0.3))
    return np.asarray(blurred.reshape(values.shape) / np.maximum(total, 1e-4)[..., None], np.float32)
