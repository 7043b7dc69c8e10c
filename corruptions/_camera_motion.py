"""A camera that turns, approaches and aims elsewhere: the new picture, and everything that follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corruptions import _views as views
from corruptions._base import Corrupted, Image, beside
from corruptions._scene import scene_for

if TYPE_CHECKING:
    from corruptions._scene import Mode, SceneLike


@dataclass(frozen=True, eq=False)
class Motion:
    """How a camera moves.

    Attributes:
        turn: (3, 3) rotation from the old view frame to the new one.
        orbit: True if the camera goes around the person's middle while it turns; False if it turns where it stands.
        nearing: Size of the person's middle in the new picture relative to the old one, by distance; only in an orbit.
        shift: (x, y) pixels by which the person's middle moves in the frame.
    """

    turn: NDArray[np.float64]
    orbit: bool = False
    nearing: float = 1.0
    shift: tuple[float, float] = (0.0, 0.0)


def moved_camera(image: Image, motion: Motion, aux: Any, mode: Mode, lens_degrees: float, who: str) -> Corrupted:
    """Take the picture again with a camera that moved.

    The person's middle stays where it was, but for `Motion.shift`.

    * With the mesh: the person is rendered anew with the picture's own colours; the background moves like a wall at
      the person's distance. An orthographic camera has no place of its own: turning and orbiting are one.
    * Without: the whole picture goes through the homography of a pinhole that turns where it stands. What the camera's
      change of place would show is not known and left out.

    Args:
        image: (H, W, 3) uint8.
        motion: How the camera moves.
        aux: May have ``scene``, ``camera``, ``mask`` and ``depth``.
        mode: ``auto``, ``mesh`` or ``image``.
        lens_degrees: The lens to assume where there is no pinhole camera.
        who: Name of the corruption, for the messages.

    Raises:
        MissingInput: If the mode is ``mesh`` and there is no scene.
        ValueError: If something beside the picture has another size.
    """
    shape = (image.shape[0], image.shape[1])
    scene = scene_for(mode, aux, shape, who)
    mask = beside("mask", aux, shape, who)
    if scene is not None:
        return _rendered(image, motion, scene, mask)
    return _warped(image, motion, aux, mask, lens_degrees, who)


def _wall_map(
    scene: SceneLike, middle: NDArray[np.float64], change: NDArray[np.float64], affine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the (3, 3) map of pixels of an upright wall through the person's middle, seen by the moved camera."""
    low, high = scene.bounds()
    reach = float(np.max(high - low))
    points = middle + reach * np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float64)
    before = np.array([views.projected(scene.camera, point) for point in points])
    after = [views.projected(scene.camera, change[:3, :3] @ point + change[:3, 3]) for point in points]
    return views.four_points(before, np.array([affine[:, :2] @ pixel + affine[:, 2] for pixel in after]))


def _rendered(image: Image, motion: Motion, scene: SceneLike, mask: NDArray[np.float32] | None) -> Corrupted:
    from corruptions._backdrop import blended, moved_picture, without_person

    shape, camera = (image.shape[0], image.shape[1]), scene.camera
    low, high = scene.bounds()
    middle = (low.astype(np.float64) + high) / 2
    pixel = views.projected(camera, middle)
    if camera.kind == "orthographic":
        change = views.about(motion.turn, middle)
        affine = views.similarity(pixel, motion.nearing, pixel + np.asarray(motion.shift))
    elif motion.orbit:
        away = camera.distance - middle[2]
        change = views.about(motion.turn, middle)
        change[2, 3] += away - away / motion.nearing
        landed = views.projected(camera, change[:3, :3] @ middle + change[:3, 3])
        affine = views.similarity(landed, to=pixel + np.asarray(motion.shift))
    else:
        # The middle in the picture, as without the mesh: both modes then agree.
        pixel = views.middle(scene.mask() if mask is None else mask, shape)
        change = views.about(motion.turn, np.array([0.0, 0.0, camera.distance]))
        landed = views.mapped(views.Lens.of(camera, shape, views.LENS_DEGREES).homography(motion.turn), pixel)
        affine = views.similarity(landed, to=pixel + np.asarray(motion.shift))
    layer = scene.seen_from(image, change, affine)
    person = scene.mask().astype(np.float32)
    backdrop = without_person(image, person if mask is None else np.maximum(person, mask))
    behind = moved_picture(backdrop, backdrop, _wall_map(scene, middle, change, affine))
    notes = {"mode": "mesh", "own_colours": round(layer.seen, 4)}
    result = blended(layer.image, layer.alpha, behind)
    return Corrupted(result, affine, notes, view_change=change, mask=layer.alpha, depth=layer.depth)


def _warped(
    image: Image, motion: Motion, aux: Any, mask: NDArray[np.float32] | None, lens_degrees: float, who: str
) -> Corrupted:
    from corruptions import _backdrop

    shape = (image.shape[0], image.shape[1])
    camera = getattr(aux, "camera", None)
    lens = views.Lens.of(camera, shape, lens_degrees)
    pivot = views.middle(mask, shape)
    turned = lens.homography(motion.turn)
    landed = views.mapped(turned, pivot)
    matrix = views.squared(views.similarity(landed, to=pivot + np.asarray(motion.shift))) @ turned
    backdrop = None if mask is None else _backdrop.without_person(image, mask)
    result = _backdrop.moved_picture(image, backdrop, matrix)
    # An assumed lens stands nowhere: to whoever reads the camera the person just turned.
    if camera is None or lens.assumed:
        place, landed = np.zeros(3), pivot
    else:
        place = np.array([0.0, 0.0, camera.distance])
    affine = views.similarity(landed, to=pivot + np.asarray(motion.shift))
    depth = beside("depth", aux, shape, who)
    if depth is not None:
        depth = _backdrop.moved_depth(depth * lens.nearing(motion.turn, shape), matrix)
    return Corrupted(
        result,
        affine,
        {"mode": "image", "lens_assumed": lens.assumed},
        view_change=views.about(motion.turn, place),
        mask=None if mask is None else _backdrop.moved_mask(mask, matrix),
        depth=depth,
    )
