"""The person behind a picture, in three dimensions: what corruptions may ask for under ``aux.scene``.

Everything is cast with rays at the ground-truth mesh from the sample's camera, when first asked for, and kept. Frames
and units are those of `robench.contracts`: the view frame of the camera in centimetres, depth in metres.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Affine, Camera, Depth, Image, Mask, Mesh
from robench.rendering.raycast import Hits, RayScene
from robench.rendering.shadows import _LIFT_CM, _basis

Float = NDArray[np.float32]
_SAMPLES = ((-0.125, -0.375), (0.375, -0.125), (0.125, 0.375), (-0.375, 0.125))
"""Where a pixel is sampled for its colour and coverage: a rotated grid, so that upright edges get four steps, too."""


@dataclass(frozen=True, eq=False)
class Layer:
    """The person alone, seen by some camera.

    Attributes:
        image: (H, W, 3) uint8 sRGB; colours go on beyond the outline, so that they can be blended by `alpha`.
        alpha: (H, W) float32 in [0, 1], the share of each pixel that the person covers.
        depth: (H, W) float32 metres at pixel centres, ``+inf`` where nothing is hit.
        seen: Share of the person's pixels whose colours are the picture's own; the rest is filled in.
    """

    image: Image
    alpha: Mask
    depth: Depth
    seen: float


class MeshScene:
    """A mesh and the camera that took its picture.

    Args:
        mesh: World frame, centimetres.
        camera: Gives the size of the picture.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``, for the rays.

    Raises:
        ValueError: If the mesh is not finite or faces name missing vertices.
    """

    def __init__(self, mesh: Mesh, camera: Camera, device: str = "cpu") -> None:
        self._camera = camera
        self._device = device
        self.rays = RayScene(mesh, device)

    @property
    def camera(self) -> Camera:
        """The camera; its frame is the view frame of everything here."""
        return self._camera

    @functools.cached_property
    def hits(self) -> Hits:
        """What the pixel centres see."""
        return self.rays.cast(self._camera)

    def mask(self) -> NDArray[np.bool_]:
        """Return (H, W) bool: which pixel centres see the person."""
        return self.hits.mask.copy()

    def depth(self) -> Depth:
        """Return (H, W) float32 metres along the viewing axis, ``+inf`` where nothing is hit."""
        return self.hits.depth.copy()

    def normals(self) -> Float:
        """Return (H, W, 3) float32 unit normals in the view frame, zero where nothing is hit."""
        return self.hits.normals.copy()

    def positions(self) -> Float:
        """Return (H, W, 3) float32 view-frame centimetres of what each pixel sees, zero where nothing is hit."""
        found = np.zeros((*self.hits.mask.shape, 3), np.float32)
        found[self.hits.mask] = self._in_view(_surface_points(self.rays.mesh, self.hits))
        return found

    def bounds(self) -> tuple[Float, Float]:
        """Return the lowest and the highest corner (3,) of the mesh's box in the view frame, centimetres.

        Raises:
            ValueError: If the mesh has no face.
        """
        low, high = self._box
        return low.copy(), high.copy()

    @functools.cached_property
    def _box(self) -> tuple[Float, Float]:
        mesh = self.rays.mesh
        if mesh.is_empty:
            raise ValueError("a scene without faces has no bounds")
        used = np.zeros(len(mesh.vertices), bool)
        used[mesh.faces.ravel()] = True
        corners = self._in_view(mesh.vertices[used])
        return corners.min(axis=0), corners.max(axis=0)

    def visibility(self, position_cm: NDArray[Any], radius_cm: float, samples: int) -> Float:
        """Return the share of a lamp that each visible surface point sees.

        Args:
            position_cm: (3,) centre of the lamp in the view frame.
            radius_cm: Radius of the lamp, a disc that faces each point; 0 gives hard shadows.
            samples: Points on the lamp.

        Returns:
            (H, W) float32 in [0, 1]: 0 also on surfaces that face away from the lamp; 1 where no person is.

        Raises:
            ValueError: If there are no samples, or the radius is negative.
        """
        if samples < 1 or radius_cm < 0:
            raise ValueError(f"a lamp has samples >= 1 and a radius >= 0 cm, got {samples} and {radius_cm}")
        hits, surface = self.hits, self.rays.surface
        share = np.ones(hits.mask.shape, np.float32)
        if surface is None or not hits.mask.any():
            return share
        to_view = self._camera.view_from_world
        points = _surface_points(self.rays.mesh, hits)
        normals = hits.normals[hits.mask] @ to_view[:3, :3].astype(np.float32)
        lamp = (to_view[:3, :3].T @ (np.asarray(position_cm, np.float64) - to_view[:3, 3])).astype(np.float32)
        away = lamp - points
        towards = away / np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-6)
        facing = np.flatnonzero((towards * normals).sum(axis=1) > 0)
        origins = points[facing] + np.float32(_LIFT_CM) * normals[facing]
        tangent, across = _basis(towards[facing])
        seen = np.zeros(len(points), np.float32)
        # One sample is the lamp's middle; more are spread over its disc by the golden angle.
        rim = radius_cm if samples > 1 else 0.0
        for k in range(samples):
            angle, r = k * np.pi * (3.0 - np.sqrt(5.0)), rim * np.sqrt((k + 0.5) / samples)
            target = lamp + np.float32(r * np.cos(angle)) * tangent + np.float32(r * np.sin(angle)) * across
            seen[facing] += ~surface.occluded(origins, target - origins, 1.0)
        share[hits.mask] = seen / np.float32(samples)
        return share

    def with_object(self, vertices: NDArray[Any], faces: NDArray[Any]) -> tuple[NDArray[np.bool_], Depth, Float]:
        """Put an object into the scene.

        Args:
            vertices: (V, 3) view-frame centimetres.
            faces: (F, 3) vertex indices, counter-clockwise seen from outside.

        Returns:
            (H, W) bool where the object is in front of the person or of nothing; (H, W) float32 metres to it, ``+inf``
            where it is not hit; (H, W, 3) float32 unit normals in the view frame, zero where it is not hit.

        Raises:
            ValueError: If vertices are not finite or faces name missing vertices.
        """
        thing = Mesh(np.ascontiguousarray(vertices, np.float32), np.ascontiguousarray(faces, np.int32))
        found = RayScene(thing, self._device).cast(replace(self._camera, view_from_world=np.eye(4)), flat=True)
        return found.mask & (found.depth < self.hits.depth), found.depth, found.normals

    def followed(self, change: NDArray[Any] | None, affine: Affine | None) -> MeshScene:
        """Return the same person seen by the camera that moved.

        Args:
            change: (4, 4) rigid map from the old view frame to the new one, or None.
            affine: (2, 3) similarity of the pixels, applied after it, or None.

        Raises:
            ValueError: If no camera moves so.
        """
        other = MeshScene.__new__(MeshScene)
        other._camera = self._camera.followed(affine, change)
        other._device = self._device
        other.rays = self.rays  # the tree is built once
        return other

    def seen_from(self, image: Image, change: NDArray[Any] | None, affine: Affine | None) -> Layer:
        """Draw the person as the moved camera sees them, in the light and the colours of this picture.

        Colours are the picture's wherever the surface is visible in it; the rest takes the mesh's own colours under the
        light that the picture shows, or, on a bare mesh, goes on from its surroundings.

        Args:
            image: (H, W, 3) uint8 sRGB, taken by `camera`.
            change: As for `followed`.
            affine: As for `followed`.

        Raises:
            ValueError: If no camera moves so, or the picture is not of the camera's size.
        """
        from robench.rendering.reproject import reprojected

        if image.shape != (self._camera.height, self._camera.width, 3):
            raise ValueError(f"the picture must be ({self._camera.height}, {self._camera.width}, 3), got {image.shape}")
        there = self.followed(change, affine)
        colour, alpha, seen = reprojected(self, there.camera, image, _SAMPLES)
        return Layer(colour, alpha, there.depth(), seen)

    def _in_view(self, points: NDArray[Any]) -> Float:
        to_view = self._camera.view_from_world
        return np.asarray(points @ to_view[:3, :3].T + to_view[:3, 3], np.float32)


def _surface_points(mesh: Mesh, hits: Hits) -> Float:
    """Return (N, 3) float32 world positions of the hits, in the order of the mask's pixels."""
    corners = mesh.vertices[mesh.faces[hits.face[hits.mask]]]
    return np.asarray(np.einsum("nkc,nk->nc", corners, hits.bary[hits.mask]), np.float32)
