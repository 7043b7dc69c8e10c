"""A picture's own colours on the mesh behind it, seen by another camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Image, Mask
from robench.rendering.frame import BARE
from robench.rendering.light import linear_to_srgb, sh_basis, srgb_to_linear
from robench.rendering.raycast import Hits
from robench.rendering.shadows import _LIFT_CM

if TYPE_CHECKING:
    from robench.rendering.scene import MeshScene

Float = NDArray[np.float32]
# A surface that the first camera sees at a cosine below the first value is too stretched to lend its colours; from the
# second on it lends them fully.
_GRAZING, _FACING = 0.1, 0.35
_LIGHT_BANDS = 4
"""Spherical harmonics fitted to the picture's light: constant and linear ones, which are safe to extrapolate."""
_FIT = 20_000
"""Pixels at most that the light is fitted to."""
_AROUND = 8
"""Pixels around the person in which their colours are told, too."""


def reprojected(
    scene: MeshScene, camera: Camera, image: Image, samples: Sequence[tuple[float, float]]
) -> tuple[Image, Mask, float]:
    """Draw the person of a scene from another camera with the colours of its picture.

    Args:
        scene: The mesh and the camera of the picture.
        camera: The new camera.
        image: (H, W, 3) uint8 sRGB, taken by the scene's camera.
        samples: Offsets from a pixel's centre in pixels at which it is sampled; their mean is its colour.

    Returns:
        (H, W, 3) uint8 colours that go on beyond the outline; (H, W) float32 coverage in [0, 1]; and the share of the
        person whose colours are the picture's.
    """
    left, top, right, bottom = _window(scene, camera)
    frame, camera = (camera.width, camera.height), _cropped(camera, left, top, right, bottom)
    height, width = camera.height, camera.width
    total = np.zeros((height, width, 3), np.float32)
    weight, cover = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    own = _bled(image, _safely_inside(scene.hits.mask))
    light = None if scene.rays.mesh.colours is None else _fitted_light(scene, image)
    seen = count = 0.0
    for offset in samples:
        hits = scene.rays.cast(camera, offset=offset)
        if not hits.mask.any():
            continue
        colours, trust = _looked_up(scene, camera, hits, own)
        seen, count = seen + float(trust.sum()), count + float(len(trust))
        if light is not None and hits.colours is not None:
            normals = hits.normals[hits.mask] @ _between(camera, scene.camera).T
            drawn = linear_to_srgb(srgb_to_linear(hits.colours[hits.mask]) * light.shading(normals))
            colours = trust[:, None] * colours + (1 - trust[:, None]) * drawn
            trust = np.ones_like(trust)
        total[hits.mask] += colours * trust[:, None]
        weight[hits.mask] += trust
        cover[hits.mask] += 1.0
    mixed = np.rint(total / np.maximum(weight, 1e-6)[..., None]).astype(np.uint8)
    # What no colour is known of goes on from its surroundings.
    known = weight > 0.05 * np.maximum(cover, 1.0)
    unknown = (cover > 0) & ~known
    if unknown.any():
        if known.any():
            mixed = _inpainted(_bled(mixed, known), unknown)
        else:
            mixed[unknown] = np.rint(image[scene.hits.mask].mean(axis=0)) if scene.hits.mask.any() else BARE
    around = ((top, frame[1] - bottom), (left, frame[0] - right))
    alpha: Mask = np.pad(cover / np.float32(len(samples)), around)
    return np.pad(_bled(mixed, cover > 0), (*around, (0, 0)), "edge"), alpha, seen / count if count else 0.0


def _window(scene: MeshScene, camera: Camera) -> tuple[int, int, int, int]:
    """Return left, top, right, bottom of the pixels that may show the mesh: at least one, at most the frame.

    Rays, and what is kept of each, are then a matter of the person's size, not of the picture's.
    """
    surface, whole = scene.rays.surface, (0, 0, camera.width, camera.height)
    if surface is None:
        return 0, 0, 1, 1
    box = np.stack(np.meshgrid(*zip(surface.low, surface.high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    pixels = camera.project(box)
    if pixels[:, 2].min() <= 0:
        return whole  # the camera stands in the box
    low, high = np.floor(pixels[:, :2].min(axis=0)) - _AROUND, np.ceil(pixels[:, :2].max(axis=0)) + _AROUND + 1
    left, top = (int(np.clip(value, 0, side - 1)) for value, side in zip(low, whole[2:], strict=True))
    right, bottom = (int(np.clip(value, 1, side)) for value, side in zip(high, whole[2:], strict=True))
    return left, top, max(right, left + 1), max(bottom, top + 1)


def _cropped(camera: Camera, left: int, top: int, right: int, bottom: int) -> Camera:
    centre = (camera.centre[0] - left, camera.centre[1] - top)
    return replace(camera, centre=centre, width=right - left, height=bottom - top)


def _looked_up(scene: MeshScene, camera: Camera, hits: Hits, own: Image) -> tuple[Float, Float]:
    """Return (N, 3) colours of the hits as the first camera saw them, and (N,) how far to trust each, in [0, 1]."""
    from robench.rendering.scene import _surface_points

    first, surface = scene.camera, scene.rays.surface
    assert surface is not None  # something was hit
    points = _surface_points(scene.rays.mesh, hits)
    pixels = first.project(points)
    normals = hits.normals[hits.mask] @ camera.view_from_world[:3, :3].astype(np.float32)
    back = first.view_from_world[:3, :3].T
    if first.kind == "orthographic":
        eye = None
        towards = np.broadcast_to(back[:, 2], points.shape).astype(np.float32)
    else:
        eye = (back @ (np.array([0.0, 0.0, first.distance]) - first.view_from_world[:3, 3])).astype(np.float32)
        towards = eye - points
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
    cosine = (towards * normals).sum(axis=1)
    trust = np.clip((cosine - _GRAZING) / (_FACING - _GRAZING), 0.0, 1.0)
    trust = trust * trust * (3.0 - 2.0 * trust)
    inside = (pixels[:, 0] > -0.5) & (pixels[:, 0] < first.width - 0.5)
    inside &= (pixels[:, 1] > -0.5) & (pixels[:, 1] < first.height - 0.5) & (pixels[:, 2] > 0)
    asked = np.flatnonzero((trust > 0) & inside)
    origins = points[asked] + np.float32(_LIFT_CM) * normals[asked]
    seen = np.zeros(len(points), bool)
    if eye is None:
        seen[asked] = ~surface.occluded(origins, np.ascontiguousarray(towards[asked]))
    else:
        # What stands behind the camera hides nothing.
        seen[asked] = ~surface.occluded(origins, eye - origins, 1.0)
    return _sampled(own, pixels[:, 0], pixels[:, 1]), (trust * seen).astype(np.float32)


def _sampled(image: Image, x: NDArray[np.float64], y: NDArray[np.float64]) -> Float:
    """Sample (N, 3) colours with a cubic kernel; the edge goes on."""
    import cv2

    # OpenCV takes maps of less than 2^15 rows and columns: the list is folded.
    columns = 4096
    rows = -(-len(x) // columns)
    maps = np.zeros((2, rows * columns), np.float32)
    maps[0, : len(x)], maps[1, : len(x)] = x, y
    grid = maps.reshape(2, rows, columns)
    found = cv2.remap(image, grid[0], grid[1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.reshape(-1, 3)[: len(x)], np.float32)


def _safely_inside(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the pixels whose colours are the person's alone: not on the outline, but for limbs too thin for that."""
    import cv2

    core = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1)
    if not core.any():
        return mask
    far = cv2.distanceTransform(1 - core, cv2.DIST_L2, 3)
    return np.asarray((core > 0) | (mask & (far > 2.5)))


def _bled(image: Image, inside: NDArray[np.bool_]) -> Image:
    """Give every pixel outside the colour of the nearest one inside."""
    import cv2

    if inside.all() or not inside.any():
        return image
    _, labels = cv2.distanceTransformWithLabels(
        (~inside).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colour_of = np.zeros((int(labels.max()) + 1, 3), np.uint8)
    colour_of[labels[inside]] = image[inside]
    return np.asarray(colour_of[labels])


def _inpainted(image: Image, holes: NDArray[np.bool_]) -> Image:
    import cv2

    return np.asarray(cv2.inpaint(image, holes.astype(np.uint8), 3, cv2.INPAINT_TELEA), np.uint8)


def _between(camera: Camera, other: Camera) -> Float:
    """Return the (3, 3) rotation from one camera's view frame to another's."""
    turn = other.view_from_world[:3, :3] @ camera.view_from_world[:3, :3].T
    return np.asarray(turn, np.float32)


class _Light:
    """Light of low order in the first camera's view frame, fitted to what the picture shows of a coloured mesh."""

    def __init__(self, coefficients: NDArray[np.float64], low: NDArray[Any], high: NDArray[Any]) -> None:
        self._coefficients, self._low, self._high = coefficients, low, high

    def shading(self, normals: Float) -> Float:
        """Return (N, 3) shading; never outside what the picture shows, so that unseen sides stay plausible."""
        lit = sh_basis(normals)[:, :_LIGHT_BANDS] @ self._coefficients
        return np.asarray(np.clip(lit, self._low, self._high), np.float32)


def _fitted_light(scene: MeshScene, image: Image) -> _Light | None:
    """Fit ``picture = colour * shading(normal)`` in linear light over the visible surface."""
    hits = scene.hits
    core = _safely_inside(hits.mask)
    index = np.flatnonzero(core.ravel())
    if len(index) == 0 or hits.colours is None:
        return None
    index = index[:: max(1, len(index) // _FIT)]
    colour = srgb_to_linear(hits.colours.reshape(-1, 3)[index]).astype(np.float64)
    shown = srgb_to_linear(image.reshape(-1, 3)[index]).astype(np.float64)
    basis = sh_basis(hits.normals.reshape(-1, 3)[index])[:, :_LIGHT_BANDS].astype(np.float64)
    coefficients = np.zeros((_LIGHT_BANDS, 3))
    for channel in range(3):
        rows = basis * colour[:, channel : channel + 1]
        gram = rows.T @ rows
        gram += np.eye(_LIGHT_BANDS) * (1e-3 * np.trace(gram) / _LIGHT_BANDS + 1e-12)
        coefficients[:, channel] = np.linalg.solve(gram, rows.T @ shown[:, channel])
    fitted = basis @ coefficients
    low, high = np.percentile(fitted, (2, 98), axis=0)
    return _Light(coefficients, np.maximum(low, 0.0), np.maximum(high, 0.0))
