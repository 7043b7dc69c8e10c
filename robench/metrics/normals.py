"""Normal error: the distance between normal maps of prediction and truth, seen from four sides."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Card, Degenerate, Mesh, Scene
from robench.geometry.mesh import bounds
from robench.metrics._shared import checked
from robench.rendering.raycast import RayScene

YAWS = (0, 90, 180, 270)
SIZE = 256
_MARGIN = 1.25
# How far the picture may grow, in its own sizes, so that what sticks out of a prediction is seen and counted.
_GROWTH = 4

Maps = tuple[NDArray[np.float32], NDArray[np.bool_]]
_TRUTHS: WeakKeyDictionary[Mesh, dict[tuple[int, str], list[Maps]]] = WeakKeyDictionary()


def cameras(truth: Mesh, size: int = SIZE, pad: int = 0) -> list[Camera]:
    """Return the four orthographic cameras, turned about the vertical axis through the truth's centre.

    `size` pixels span 1.25 times the truth's largest extent in all four; `pad` more on each side show more around it.
    """
    centre, scale = _framing(truth, size)
    size = size + 2 * pad
    found = []
    for yaw in np.radians(YAWS):
        view = np.eye(4)
        view[:3, :3] = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]]
        view[:3, 3] = -view[:3, :3] @ centre
        middle = (size - 1) / 2.0
        # Far enough back that no prediction within reach is behind a camera.
        found.append(Camera(view, scale, (middle, middle), size, size, distance=1e7))
    return found


def _framing(truth: Mesh, size: int) -> tuple[NDArray[np.float64], float]:
    low, high = bounds(truth.vertices)
    extent = max(float((high - low)[1]), float(np.hypot(*(high - low)[[0, 2]])), 1e-3)
    return (low + high) / 2.0, size / (_MARGIN * extent)


def _padding(prediction: Mesh, truth: Mesh, size: int) -> int:
    """Pixels that the prediction needs on each side of the truth's picture, up to the allowed growth."""
    centre, scale = _framing(truth, size)
    low, high = bounds(prediction.vertices)
    away = np.maximum(high - centre, centre - low)
    reach = max(float(away[1]), float(np.hypot(away[0], away[2]))) * scale
    return int(np.clip(np.ceil(reach + 1 - size / 2), 0, (_GROWTH - 1) * size // 2))


def normal_error(
    prediction: Mesh | None, truth: Mesh | None, size: int = SIZE, device: str = "cpu"
) -> float | Degenerate:
    """Return the mean L2 distance between normal maps over the union of both silhouettes, pooled over four views.

    Unit normals are in the view frame; where only one mesh is seen the other counts as the zero vector, so such a pixel
    costs 1; opposite normals cost 2. The truth sets the size of a pixel; the pictures grow, up to four times, to show
    all of the prediction.

    Args:
        prediction: Predicted mesh, centimetres, y up.
        truth: True mesh, same frame.
        size: Pixels along each side of a picture.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        A value in [0, 2], or why there is none.
    """
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    kept = _TRUTHS.setdefault(pair[1], {})
    key = (size, device)
    if key not in kept:
        kept[key] = _maps(pair[1], cameras(pair[1], size), device)
    pad = _padding(*pair, size)
    predicted = _maps(pair[0], cameras(pair[1], size, pad), device)
    total, pixels = 0.0, 0
    for (normals, mask), (true_normals, true_mask) in zip(predicted, kept[key], strict=True):
        true_normals = np.pad(true_normals, ((pad, pad), (pad, pad), (0, 0)))
        true_mask = np.pad(true_mask, pad)
        union = mask | true_mask
        total += float(np.linalg.norm(normals[union] - true_normals[union], axis=1).sum(dtype="f8"))
        pixels += int(union.sum())
    return total / pixels if pixels else Degenerate("not_seen")


def _maps(mesh: Mesh, views: list[Camera], device: str) -> list[Maps]:
    scene = RayScene(mesh, device)
    hits = [scene.cast(camera) for camera in views]
    return [(hit.normals, hit.mask) for hit in hits]


class NormalError:
    """Distance between normal maps from four sides."""

    card = Card(
        "normal_error",
        "1",
        "Distance of normal maps from four sides",
        reference="Saito et al., PIFu, ICCV 2019, section 4 (normal reprojection error), four views, failures counted",
        extra={
            "unit": "1",
            "direction": "lower",
            "formula": "mean |n_P - n_T| over pixels of either silhouette; yaw 0, 90, 180, 270; 256 px; unseen = 0",
            "n_points": 0,
            "seed": 0,
            "alignment": "camera",
        },
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return a value in [0, 2]."""
        return normal_error(scene.prediction, scene.truth, device=self.device)
