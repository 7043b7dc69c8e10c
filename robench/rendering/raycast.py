"""Ray-cast pictures of a mesh: mask, face, barycentric coordinates, depth, normals and colours (Warp; needs no GL).

Depth and masks always come from here, also when colours come from another backend: rays give them exactly, for both
kinds of camera.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Depth, Mesh
from robench.geometry.mesh import face_normals
from robench.geometry.surface import Surface, surface_of


@dataclass(frozen=True)
class Hits:
    """What the rays of one picture found first.

    Attributes:
        mask: (H, W) bool, True where something was hit.
        face: (H, W) int32 face index, -1 where nothing was hit.
        bary: (H, W, 3) float32 weights of the face's three vertices, zero where nothing was hit.
        depth: (H, W) float32 metres along the viewing axis, +inf where nothing was hit.
        normals: (H, W, 3) float32 unit normals in the view frame, zero where nothing was hit.
        colours: (H, W, 3) float32 interpolated sRGB in [0, 255], zero where nothing was hit; None for a bare mesh.
    """

    mask: NDArray[np.bool_]
    face: NDArray[np.int32]
    bary: NDArray[np.float32]
    depth: Depth
    normals: NDArray[np.float32]
    colours: NDArray[np.float32] | None


def pixel_rays(camera: Camera, near: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the world rays of a camera as two (3, 3) matrices to be applied to ``(u, v, 1)``.

    Args:
        camera: Either kind.
        near: Centimetres along the viewing axis at which rays start.

    Returns:
        Ray starts and ray directions in world centimetres. Directions advance one centimetre along the viewing axis.
    """
    k, (cx, cy) = camera.scale, camera.centre
    # View-frame offsets per (u, v, 1): orthographic in centimetres, pinhole in centimetres per centimetre of depth.
    across = np.array([[1 / k, 0, -cx / k], [0, -1 / k, cy / k], [0, 0, 0]], np.float64)
    start, ahead = np.zeros((3, 3)), np.zeros((3, 3))
    if camera.kind == "orthographic":
        start += across
    else:
        start += near * across
        ahead += across
    start[2, 2] += camera.distance - near
    ahead[2, 2] -= 1.0
    to_world = camera.view_from_world[:3, :3].T
    start[:, 2] -= camera.view_from_world[:3, 3]
    return to_world @ start, to_world @ ahead


class RayScene:
    """A mesh to be seen from many cameras; its tree is built once (and shared with `surface_of`).

    Args:
        mesh: Centimetres; finite. A mesh without faces is legal and gives blank pictures.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        ValueError: If vertices are not finite or faces name missing vertices.
    """

    def __init__(self, mesh: Mesh, device: str = "cpu") -> None:
        self.mesh = mesh
        self.surface: Surface | None = None if mesh.is_empty else surface_of(mesh, device)

    def cast(
        self, camera: Camera, *, flat: bool = False, offset: tuple[float, float] = (0.0, 0.0), last: bool = False
    ) -> Hits:
        """Cast one ray a pixel.

        Args:
            camera: Where to look from; its width and height are the picture's.
            flat: Face normals instead of interpolated vertex normals.
            offset: Shift of the sampling point from pixel centres, in pixels (x right, y down).
            last: What each ray hits last instead of first: the side that the picture hides.

        Returns:
            The hits of a (height, width) picture.
        """
        height, width = camera.height, camera.width
        surface = self.surface
        if surface is None:
            return _blank(height, width, self.mesh.colours is not None)
        import warp as wp

        from robench.geometry import _kernels

        # Rays that run towards the camera from behind the mesh hit first what the others hit last.
        begin, way = (_far(camera, surface), -1) if last else (_near(camera, surface), 1)
        moved = replace(camera, centre=(camera.centre[0] - offset[0], camera.centre[1] - offset[1]))
        start, ahead = pixel_rays(moved, begin)
        ahead *= way
        start[:, 2] -= surface.centre
        device, count = surface.device, height * width
        face = wp.empty(count, dtype=wp.int32, device=device)
        bary = wp.empty(count, dtype=wp.vec3, device=device)
        depth = wp.empty(count, dtype=wp.float32, device=device)
        wp.launch(
            _kernels.cast_image,
            count,
            inputs=[surface.tree.id, width, wp.mat33(*start.ravel()), wp.mat33(*ahead.ravel())],
            outputs=[face, bary, depth],
            device=device,
        )

        def blend(values: NDArray[np.float32], unit: bool) -> NDArray[np.float32]:
            out = wp.empty(count, dtype=wp.vec3, device=device)
            given = wp.array(values, dtype=wp.vec3, device=device)
            inputs = [surface.indices, given, face, bary, int(unit)]
            wp.launch(_kernels.interpolate, count, inputs=inputs, outputs=[out], device=device)
            blended: NDArray[np.float32] = out.numpy().reshape(height, width, 3)
            return blended

        faces: NDArray[np.int32] = face.numpy().reshape(height, width)
        mask = faces >= 0
        lengths = np.where(mask, np.float32(way) * depth.numpy().reshape(height, width), np.float32(np.inf))
        turn = camera.view_from_world[:3, :3].T.astype(np.float32)
        if flat:
            normals = (face_normals(self.mesh) @ turn)[faces] * mask[..., None].astype(np.float32)
        else:
            normals = blend(surface.normals @ turn, unit=True)
        colours = None if surface.colours is None else blend(surface.colours.astype(np.float32), unit=False)
        return Hits(
            mask=mask,
            face=faces,
            bary=bary.numpy().reshape(height, width, 3),
            depth=(lengths + np.float32(begin)) / np.float32(100.0),
            normals=normals,
            colours=colours,
        )


def raycast(
    mesh: Mesh,
    camera: Camera,
    device: str = "cpu",
    *,
    flat: bool = False,
    offset: tuple[float, float] = (0.0, 0.0),
) -> Hits:
    """Cast one ray a pixel at a mesh; see `RayScene` and `RayScene.cast`."""
    return RayScene(mesh, device).cast(camera, flat=flat, offset=offset)


def _near(camera: Camera, surface: Surface) -> float:
    """Start rays just before the mesh's box: float32 ray lengths then keep micrometres whatever the distance."""
    return max(0.0, camera.distance - float(_heights(camera, surface).max()) - 1.0)


def _far(camera: Camera, surface: Surface) -> float:
    return camera.distance - float(_heights(camera, surface).min()) + 1.0


def _heights(camera: Camera, surface: Surface) -> NDArray[np.float64]:
    """Return z in the view frame of the corners of the mesh's box, (8,)."""
    box = np.stack(np.meshgrid(*zip(surface.low, surface.high, strict=True), indexing="ij"), axis=-1).reshape(-1, 3)
    found: NDArray[np.float64] = box @ camera.view_from_world[2, :3] + camera.view_from_world[2, 3]
    return found


def _blank(height: int, width: int, coloured: bool) -> Hits:
    def zeros() -> NDArray[np.float32]:
        return np.zeros((height, width, 3), np.float32)

    return Hits(
        mask=np.zeros((height, width), bool),
        face=np.full((height, width), -1, np.int32),
        bary=zeros(),
        depth=np.full((height, width), np.inf, np.float32),
        normals=zeros(),
        colours=zeros() if coloured else None,
    )
