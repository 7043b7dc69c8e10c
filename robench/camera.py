"""The camera of a picture, how view-frame centimetres become pixels, and how it and a person box follow what moves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Affine = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """An orthographic or pinhole camera that looks along -z of its view frame.

    Orthographic: ``u = scale * x + cx``, ``v = -scale * y + cy`` with ``scale`` in pixels per centimetre.
    Pinhole: ``u = scale * x / d + cx``, ``v = -scale * y / d + cy`` with ``d = distance - z`` in centimetres and
    ``scale`` in pixels.

    Attributes:
        view_from_world: (4, 4) rigid transform, world to view frame, centimetres.
        scale: Pixels per centimetre (orthographic) or focal length in pixels (pinhole).
        centre: ``(cx, cy)`` principal point in pixels (integers are pixel centres).
        distance: Centimetres from the camera to the view frame's origin.
        width: Image width in pixels.
        height: Image height in pixels.
        kind: ``orthographic`` or ``pinhole``.
    """

    view_from_world: NDArray[np.float64]
    scale: float
    centre: tuple[float, float]
    width: int
    height: int
    distance: float = 1000.0
    kind: Literal["orthographic", "pinhole"] = "orthographic"

    def project(self, points: NDArray[Any]) -> NDArray[np.float64]:
        """Project (N, 3) world points to (N, 3): pixel u, pixel v, depth in metres along the viewing axis."""
        view = np.asarray(points, np.float64) @ self.view_from_world[:3, :3].T + self.view_from_world[:3, 3]
        depth = self.distance - view[:, 2]
        k = self.scale if self.kind == "orthographic" else self.scale / depth
        return np.stack([k * view[:, 0] + self.centre[0], -k * view[:, 1] + self.centre[1], depth / 100.0], axis=1)

    def followed(self, affine: Affine | None, view_change: NDArray[np.float64] | None = None) -> Camera:
        """Return the camera that took the picture after it moved, or after its pixels were moved by a 2x3 similarity.

        The rotation goes into the view frame (so ground truth follows), scale and shift into the intrinsics.

        Args:
            affine: (2, 3) map from old to new pixel coordinates (rotation, uniform scale, shift), or None. Applied
                after `view_change`.
            view_change: (4, 4) rigid map from the old view frame to the new one, centimetres, or None.

        Raises:
            ValueError: If the map of pixels is not a similarity (shear or mirror cannot be a camera motion), or that of
                the view frame is not rigid.
        """
        if view_change is not None:
            change = np.asarray(view_change, np.float64)
            turn = change[:3, :3]
            rigid = change.shape == (4, 4) and np.allclose(turn @ turn.T, np.eye(3), atol=1e-6)
            if not (rigid and np.linalg.det(turn) > 0 and np.allclose(change[3], (0, 0, 0, 1))):
                raise ValueError(f"a camera moves by a rigid (4, 4) map, got {change.tolist()}")
            return replace(self, view_from_world=change @ self.view_from_world).followed(affine)
        if affine is None:
            return self
        a = np.asarray(affine, np.float64)
        ratio = float(np.hypot(a[0, 0], a[1, 0]))
        c, s = a[0, 0] / ratio, a[1, 0] / ratio
        if not np.allclose(a[:, :2], ratio * np.array([[c, -s], [s, c]]), atol=1e-6):
            raise ValueError(f"a camera can follow only a similarity, got the map {a[:, :2].tolist()}")
        # Pixel y points down, view y up: a rotation by +t in pixels is one by -t in the view frame.
        turn = np.eye(4)
        turn[:2, :2] = [[c, s], [-s, c]]
        centre = a[:, :2] @ np.asarray(self.centre) + a[:, 2]
        return replace(
            self,
            view_from_world=turn @ self.view_from_world,
            scale=self.scale * ratio,
            centre=(float(centre[0]), float(centre[1])),
        )

    def resized(self, width: int, height: int) -> Camera:
        """Return the camera of the same picture resampled to another size of the same aspect."""
        r = width / self.width
        cx, cy = ((c + 0.5) * r - 0.5 for c in self.centre)
        return replace(self, scale=self.scale * r, centre=(cx, cy), width=width, height=height)

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a JSON file."""
        return {
            "kind": self.kind,
            "view_from_world": self.view_from_world.tolist(),
            "scale": self.scale,
            "centre": list(self.centre),
            "width": self.width,
            "height": self.height,
            "distance": self.distance,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Camera:
        """Read what `to_json` wrote."""
        values = dict(data)
        values["view_from_world"] = np.asarray(values["view_from_world"], np.float64)
        values["centre"] = (float(values["centre"][0]), float(values["centre"][1]))
        return cls(**values)


@dataclass(frozen=True)
class Box:
    """A person box in a picture: columns ``x`` to ``x + width - 1`` and rows ``y`` to ``y + height - 1``.

    Its edges are therefore at ``x - 0.5`` and ``x + width - 0.5``; it may reach beyond the picture.

    Attributes:
        x: Left column in pixels; fractions are allowed everywhere.
        y: Upper row.
        width: In pixels, positive.
        height: In pixels, positive.
    """

    x: float
    y: float
    width: float
    height: float

    def followed(self, camera: Camera, affine: Affine | None, view_change: NDArray[np.float64] | None = None) -> Box:
        """Return the upright box around this one after the camera moved and then the pixels were moved.

        A box knows no depth. Where the camera moves, it is taken to stand upright in the picture's plane through the
        view frame's origin, where the person is; so what is before or behind that plane may come to reach beyond it.

        Args:
            camera: Of the picture before.
            affine: (2, 3) map from old to new pixel coordinates, or None.
            view_change: (4, 4) rigid map from the old view frame to the new one, or None; see `Camera.followed`.

        Raises:
            ValueError: If a corner came to lie behind the camera.
        """
        if affine is None and view_change is None:
            return self
        edges = ((self.x - 0.5, self.x + self.width - 0.5), (self.y - 0.5, self.y + self.height - 0.5))
        corners = np.array([(u, v) for u in edges[0] for v in edges[1]], np.float64)
        if view_change is not None:
            k = camera.scale if camera.kind == "orthographic" else camera.scale / camera.distance
            plane = (corners - camera.centre) / (k, -k)
            change = np.asarray(view_change, np.float64)
            view = plane @ change[:3, :2].T + change[:3, 3]
            seen = replace(camera, view_from_world=np.eye(4)).project(view)
            if not (seen[:, 2] > 0).all():
                raise ValueError("the camera moved through the person box")
            corners = seen[:, :2]
        if affine is not None:
            a = np.asarray(affine, np.float64)
            corners = corners @ a[:, :2].T + a[:, 2]
        low, high = corners.min(axis=0), corners.max(axis=0)
        return Box(float(low[0]) + 0.5, float(low[1]) + 0.5, *(float(side) for side in high - low))

    def overlaps(self, height: int, width: int) -> bool:
        """Return whether anything of a picture of this size is in the box."""
        return self.x < width and self.y < height and self.x + self.width > 0 and self.y + self.height > 0

    def to_json(self) -> list[float]:
        """Return ``[x, y, width, height]``."""
        return [self.x, self.y, self.width, self.height]

    @classmethod
    def from_json(cls, data: Sequence[float]) -> Box:
        """Read what `to_json` wrote.

        Raises:
            ValueError: If it is not four finite numbers of which the last two are positive.
        """
        plain = isinstance(data, list | tuple) and all(type(value) in (int, float) for value in data)
        if not (plain and len(data) == 4 and all(map(math.isfinite, data)) and min(data[2:]) > 0):
            raise ValueError(f"a box is [x, y, width, height] in pixels, the last two positive, got {data!r}"[:200])
        return cls(*map(float, data))
