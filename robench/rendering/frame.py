"""One call from mesh, camera and light to a finished picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Depth, Image, Mask, Mesh
from robench.errors import UsageError
from robench.rendering.light import Light, SphericalHarmonics, in_frame, linear_to_srgb, shading, srgb_to_linear
from robench.rendering.raycast import Hits, RayScene
from robench.rendering.shadows import lamp_visibility, openness
from robench.rendering.texture import Texture

Backend = Literal["warp", "pyrender"]
Float = NDArray[np.float32]
# A mesh without colours is drawn in this sRGB grey.
BARE = 180


@dataclass(frozen=True)
class Frame:
    """A rendered picture.

    Attributes:
        colour: (H, W, 3) uint8 sRGB over the background.
        mask: (H, W) float32 share of each pixel's samples that hit; 0 or 1 with one sample.
        depth: (H, W) float32 metres along the viewing axis at pixel centres, +inf where nothing is hit.
        normals: (H, W, 3) float32 unit normals in the view frame at pixel centres, zero where nothing is hit.
    """

    colour: Image
    mask: Mask
    depth: Depth
    normals: Float


def render(
    mesh: Mesh,
    camera: Camera,
    light: Light | None = None,
    backend: Backend = "warp",
    *,
    device: str = "cpu",
    samples: int = 1,
    texture: Texture | None = None,
    transfer: NDArray[Any] | None = None,
    shadows: bool = False,
    background: Image | tuple[int, int, int] = (0, 0, 0),
) -> Frame:
    """Render a mesh. Mask, depth and normals come from ray casts with either backend.

    Args:
        mesh: Centimetres, finite; colours are optional.
        camera: Gives the picture's size.
        light: Lambertian light, or None to draw the colours as they are.
        backend: Where surface colours come from: ``warp`` (rays, no GL) or ``pyrender`` (GL, for large textures).
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``, for the rays.
        samples: Samples along each side of a pixel; 2 gives four rays a pixel, averaged in linear light.
        texture: Colours from an image instead of from vertices.
        transfer: (V, 9) of `robench.rendering.radiance_transfer`: the body shades itself.
        shadows: Cast shadows of each lamp with rays (lamps only; spherical harmonics use `transfer`).
        background: An (H, W, 3) uint8 picture or one sRGB colour.

    Returns:
        The finished frame.

    Raises:
        UsageError: If there is no such backend.
        EnvironmentNotReady: If the backend or device is not there.
        ValueError: If the mesh is not finite, `samples` is below 1, or `transfer` or `texture` belongs to another mesh.
    """
    if backend not in ("warp", "pyrender"):
        raise UsageError("Unknown rendering backend", got=repr(backend), expected="warp or pyrender")
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}")
    if transfer is not None and transfer.shape != (len(mesh.vertices), 9):
        raise ValueError(f"transfer must be ({len(mesh.vertices)}, 9), got {transfer.shape}")
    if texture is not None and texture.uv.shape != (len(mesh.faces), 3, 2):
        raise ValueError(f"texture.uv must be ({len(mesh.faces)}, 3, 2), got {texture.uv.shape}")
    scene = RayScene(mesh, device)
    centre = scene.cast(camera)
    fine_camera = camera.resized(camera.width * samples, camera.height * samples)
    fine = centre if samples == 1 else scene.cast(fine_camera)
    albedo = _albedo(fine, texture)
    if backend == "pyrender":
        from robench.rendering.gl import surface_colours

        drawn, covered = surface_colours(mesh, fine_camera, texture)
        # Rays decide what is person; where GL's coverage is missing on the outline, their colour stands in.
        albedo = np.where(covered[..., None], drawn, albedo)
    lit = np.zeros_like(albedo)
    inside = fine.mask
    lit[inside] = srgb_to_linear(albedo[inside])
    if light is not None and inside.any():
        lit[inside] *= _shading_at(scene, fine, fine_camera, light, transfer, shadows)
    alpha = _mean(fine.mask[..., None].astype(np.float32), samples)
    behind = np.broadcast_to(np.asarray(background, np.uint8), centre.normals.shape)
    colour = linear_to_srgb(_mean(np.minimum(lit, 1.0), samples) + (1.0 - alpha) * srgb_to_linear(behind))
    # The round trip through linear light would be exact but for rounding; outside the body, keep the very bytes.
    colour = np.where(alpha > 0, colour, behind)
    return Frame(colour=colour, mask=alpha[..., 0], depth=centre.depth, normals=centre.normals)


def _albedo(hits: Hits, texture: Texture | None) -> Float:
    if texture is not None:
        return texture.sample(hits)
    if hits.colours is not None:
        return hits.colours
    return np.full((*hits.mask.shape, 3), BARE, np.float32)


def _mean(values: Float, samples: int) -> Float:
    if samples == 1:
        return values
    height, width, channels = values.shape
    blocks = values.reshape(height // samples, samples, width // samples, samples, channels)
    return np.asarray(blocks.mean(axis=(1, 3)), np.float32)


def _shading_at(
    scene: RayScene, hits: Hits, camera: Camera, light: Light, transfer: NDArray[Any] | None, shadows: bool
) -> Float:
    """Shading (N, 3) at the hits; done in the world frame, where vertices and transfer live."""
    mesh, inside = scene.mesh, hits.mask
    corner, bary = mesh.faces[hits.face[inside]], hits.bary[inside]

    def blend(values: NDArray[Any]) -> Float:
        return np.asarray(np.einsum("nkc,nk->nc", values[corner], bary), np.float32)

    world = in_frame(light, "world", camera.view_from_world)
    if isinstance(world, SphericalHarmonics) and transfer is not None:
        # Shading is linear in the transfer, so blending it after the product gives the same at a third of the work.
        return np.maximum(blend(transfer @ world.coefficients), 0.0)
    normals = hits.normals[inside] @ camera.view_from_world[:3, :3].astype(np.float32)
    ambient = None if transfer is None else blend(openness(transfer)[:, None])[:, 0]
    positions = blend(mesh.vertices)
    visible: list[Float | None] | None = None
    if shadows and not isinstance(world, SphericalHarmonics) and scene.surface is not None:
        visible = [lamp_visibility(scene.surface, lamp, positions, normals) for lamp in world.lamps]
    return shading(world, normals, positions, visible, ambient)
