"""The GL backend: surface colours through pyrender, off screen (EGL or OSMesa).

Only colours are taken from GL. Its depth is wrong under an orthographic camera (pyrender linearises every depth buffer
as a perspective one) and EGL resolves a multisampled buffer, so depth, normals and masks come from ray casts.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Mesh
from robench.errors import EnvironmentNotReady
from robench.rendering.texture import Texture

_PACKAGES = "apt-get install libosmesa6 (or libegl1 libegl-mesa0 libgl1-mesa-dri)"
_LOCK = threading.Lock()


def choose_platform() -> str:
    """Return ``egl`` or ``osmesa``: what ``PYOPENGL_PLATFORM`` says, else the first whose library is here.

    Raises:
        EnvironmentNotReady: If neither library is installed.
    """
    libraries = {"egl": "EGL", "osmesa": "OSMesa"}
    asked = os.environ.get("PYOPENGL_PLATFORM", "")
    if asked in libraries:
        libraries = {asked: libraries[asked]}
    for platform, library in libraries.items():
        if ctypes.util.find_library(library) is not None:
            return platform
    raise EnvironmentNotReady(
        "The pyrender backend needs a GL library for rendering off screen",
        got=f"no {' or '.join('lib' + name for name in libraries.values())}",
        hint=f"{_PACKAGES}, or --backend warp, which needs no GL",
    )


def surface_colours(
    mesh: Mesh, camera: Camera, texture: Texture | None = None
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Draw a mesh's unlit colours with GL.

    Args:
        mesh: Centimetres.
        camera: Either kind.
        texture: Colours from an image, or None for vertex colours (grey if there are none).

    Returns:
        (H, W, 3) float32 sRGB in [0, 255], and (H, W) bool: where GL covered some of the pixel.

    Raises:
        EnvironmentNotReady: If there is no GL library or no context can be made.
    """
    rgba = _draw(mesh, camera, texture, silhouette=False)
    alpha = rgba[..., 3:].astype(np.float32) / 255.0
    covered = alpha[..., 0] > 0
    # Multisampled pixels on the outline come mixed with the black, transparent background.
    colour = rgba[..., :3] / np.maximum(alpha, 1e-6) * covered[..., None]
    return np.minimum(colour, 255.0).astype(np.float32), covered


def gl_mask(mesh: Mesh, camera: Camera) -> NDArray[np.bool_]:
    """Return GL's own (H, W) silhouette at pixel centres, to be compared with the ray-cast one.

    Raises:
        EnvironmentNotReady: If there is no GL library or no context can be made.
    """
    return np.asarray(_draw(mesh, camera, None, silhouette=True)[..., 0] > 0)


def _draw(mesh: Mesh, camera: Camera, texture: Texture | None, silhouette: bool) -> NDArray[np.uint8]:
    if mesh.is_empty:
        return np.zeros((camera.height, camera.width, 4), np.uint8)
    platform = choose_platform()
    with _LOCK:
        # Read by PyOpenGL when it is first imported, and by pyrender whenever a context is made.
        os.environ.setdefault("PYOPENGL_PLATFORM", platform)
        try:
            if os.environ["PYOPENGL_PLATFORM"] == "osmesa":
                _complete_osmesa()
            return _draw_now(mesh, camera, texture, silhouette)
        except (ImportError, AttributeError, OSError, AssertionError, RuntimeError, ValueError) as error:
            raise EnvironmentNotReady(
                f"The pyrender backend could not draw through {platform}",
                got=f"{type(error).__name__}: {error}",
                hint=f"{_PACKAGES}, or --backend warp, which needs no GL",
            ) from error


def _complete_osmesa() -> None:
    """Give PyOpenGL 3.1.0 (which pyrender pins) the call of later versions that pyrender makes its context with."""
    import importlib

    osmesa: Any = importlib.import_module("OpenGL.osmesa")

    if hasattr(osmesa, "OSMesaCreateContextAttribs"):
        return
    create = ctypes.CDLL(ctypes.util.find_library("OSMesa")).OSMesaCreateContextAttribs
    create.restype = context = osmesa.OSMesaContext

    def address(pointer: Any) -> int | None:
        return ctypes.cast(pointer, ctypes.c_void_p).value

    # PyOpenGL keeps a table by context, and ctypes pointers have no hash.
    context.__hash__ = address
    context.__eq__ = lambda one, other: isinstance(other, context) and address(one) == address(other)
    create.argtypes = [ctypes.POINTER(ctypes.c_int), ctypes.c_void_p]
    # Values of Mesa's public header GL/osmesa.h.
    names = "DEPTH_BITS STENCIL_BITS ACCUM_BITS PROFILE CORE_PROFILE COMPAT_PROFILE"
    names += " CONTEXT_MAJOR_VERSION CONTEXT_MINOR_VERSION"
    for value, name in enumerate(names.split(), start=0x30):
        setattr(osmesa, f"OSMESA_{name}", value)
    osmesa.OSMesaCreateContextAttribs = lambda attributes, share: create((ctypes.c_int * 11)(*attributes), share)


def _draw_now(mesh: Mesh, camera: Camera, texture: Texture | None, silhouette: bool) -> NDArray[np.uint8]:
    import pyrender

    class Exact(pyrender.Camera):  # type: ignore[misc]
        """A camera given by its projection matrix: pyrender's orthographic one knows no principal point."""

        def get_projection_matrix(self, width: int | None = None, height: int | None = None) -> NDArray[np.float64]:
            return projection(camera, self.znear, self.zfar)

    near, far = _clip_planes(mesh, camera)
    scene = pyrender.Scene(bg_color=[0, 0, 0, 0], ambient_light=[1.0, 1.0, 1.0])
    body = scene.add(_model(mesh, camera, texture))
    pose = np.eye(4)
    pose[2, 3] = camera.distance
    scene.add(Exact(znear=near, zfar=far), pose=pose)
    renderer = pyrender.OffscreenRenderer(camera.width, camera.height)
    try:
        uncoloured = pyrender.RenderFlags.SEG | pyrender.RenderFlags.SKIP_CULL_FACES
        if silhouette:
            # The segmentation pass is the one that pyrender does not multisample.
            return np.array(renderer.render(scene, flags=uncoloured, seg_node_map={body: 255})[0], np.uint8)
        flags = pyrender.RenderFlags.FLAT | pyrender.RenderFlags.RGBA | pyrender.RenderFlags.SKIP_CULL_FACES
        colour = np.array(renderer.render(scene, flags=flags)[0], np.uint8)
        if colour.shape[2] == 3:
            # Without framebuffer objects (OSMesa) pyrender drops alpha; nothing is multisampled there either.
            alpha = np.array(renderer.render(scene, flags=uncoloured, seg_node_map={body: 255})[0], np.uint8)
            colour = np.concatenate([colour, alpha[..., :1]], axis=2)
        return colour
    finally:
        renderer.delete()


def projection(camera: Camera, near: float, far: float) -> NDArray[np.float64]:
    """Return the (4, 4) GL projection of a camera (integers are pixel centres there, corners here: half a pixel)."""
    matrix = np.zeros((4, 4))
    matrix[0, 0] = 2.0 * camera.scale / camera.width
    matrix[1, 1] = 2.0 * camera.scale / camera.height
    shift_x = 2.0 * (camera.centre[0] + 0.5) / camera.width - 1.0
    shift_y = 1.0 - 2.0 * (camera.centre[1] + 0.5) / camera.height
    if camera.kind == "orthographic":
        matrix[0, 3], matrix[1, 3] = shift_x, shift_y
        matrix[2, 2], matrix[2, 3] = -2.0 / (far - near), -(far + near) / (far - near)
        matrix[3, 3] = 1.0
    else:
        matrix[0, 2], matrix[1, 2] = -shift_x, -shift_y
        matrix[2, 2], matrix[2, 3] = -(far + near) / (far - near), -2.0 * far * near / (far - near)
        matrix[3, 2] = -1.0
    return matrix


def _clip_planes(mesh: Mesh, camera: Camera) -> tuple[float, float]:
    depth = 100.0 * camera.project(mesh.vertices[np.unique(mesh.faces)])[:, 2]
    near = max(float(depth.min()) - 1.0, 1e-2 * camera.distance)
    return near, max(float(depth.max()) + 1.0, near + 1.0)


def _model(mesh: Mesh, camera: Camera, texture: Texture | None) -> Any:
    import pyrender

    class Model(pyrender.Mesh):  # type: ignore[misc]
        """pyrender 0.1.45 asks NumPy for a name that NumPy 2 no longer has when it bounds a mesh."""

        @property
        def bounds(self) -> NDArray[np.float64]:
            each = np.stack([primitive.bounds for primitive in self.primitives])
            return np.stack([each[:, 0].min(axis=0), each[:, 1].max(axis=0)])

    view = mesh.vertices @ camera.view_from_world[:3, :3].T + camera.view_from_world[:3, 3]
    if texture is None:
        colours = np.full((len(view), 4), 255, np.uint8)
        colours[:, :3] = 180 if mesh.colours is None else mesh.colours
        values: dict[str, Any] = {"positions": view, "color_0": colours / 255.0, "indices": mesh.faces}
        material = pyrender.MetallicRoughnessMaterial(doubleSided=True)
    else:
        material = pyrender.MetallicRoughnessMaterial(doubleSided=True, baseColorTexture=_upload(texture))
        # Corners get their own vertices, since a vertex on a seam has several places in the texture.
        values = {"positions": view[mesh.faces.ravel()], "texcoord_0": texture.uv.reshape(-1, 2)}
    return Model([pyrender.Primitive(material=material, mode=pyrender.GLTF.TRIANGLES, **values)])


def _upload(texture: Texture) -> Any:
    import pyrender

    # No mip maps: what is compared with ray casts is the plain bilinear lookup.
    sampler = pyrender.Sampler(
        magFilter=pyrender.GLTF.LINEAR,
        minFilter=pyrender.GLTF.LINEAR,
        wrapS=pyrender.GLTF.CLAMP_TO_EDGE,
        wrapT=pyrender.GLTF.CLAMP_TO_EDGE,
    )
    return pyrender.Texture(source=texture.image, source_channels="RGB", sampler=sampler)
