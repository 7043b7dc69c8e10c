"""The Warp kernels, all in one module so that one compilation serves distances, winding numbers and ray casts.

Imported inside functions only: Warp takes half a second to load, and a command that needs no geometry should not wait.
"""

# Warp ships no type for its decorators, and builds kernels from annotations that mypy cannot read.
# mypy: disable-error-code="untyped-decorator,valid-type,attr-defined,operator"

import contextlib
import ctypes
import os
from typing import Any

import warp as wp

if wp.config.log_level < wp.LOG_WARNING:
    # The start-up banner would land on stdout, where commands print JSON.
    wp.config.log_level = wp.LOG_WARNING
# Nothing here is differentiated; leaving the adjoint out halves the compile time.
wp.set_module_options({"enable_backward": False})


def _init() -> None:
    """Start Warp; on a machine without a GPU, without its warning that there is none, which nothing turns off."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        with contextlib.ExitStack() as stack:
            with contextlib.suppress(OSError):  # a closed stderr needs no silence
                saved = os.dup(2)
                stack.callback(os.close, saved)
                sink = os.open(os.devnull, os.O_WRONLY)
                stack.callback(os.close, sink)
                os.dup2(sink, 2)
                stack.callback(os.dup2, saved, 2)
            wp.init()


_init()
FAR = wp.constant(wp.float32(1.0e30))


@wp.func
def along(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d) -> wp.float64:
    """Distance from a point to a segment."""
    ab = b - a
    t = wp.clamp(wp.dot(p - a, ab) / wp.max(wp.dot(ab, ab), wp.float64(1.0e-300)), wp.float64(0.0), wp.float64(1.0))
    return wp.length(p - a - t * ab)


@wp.func
def to_triangle(p: wp.vec3d, a: wp.vec3d, b: wp.vec3d, c: wp.vec3d) -> wp.float64:
    """Distance from a point to a triangle: to its plane if the foot lies inside, else to the nearest side."""
    n = wp.cross(b - a, c - a)
    sides = wp.min(along(p, a, b), wp.min(along(p, b, c), along(p, c, a)))
    u = wp.dot(wp.cross(b - a, p - a), n)
    v = wp.dot(wp.cross(c - b, p - b), n)
    w = wp.dot(wp.cross(a - c, p - c), n)
    if u < wp.float64(0.0) or v < wp.float64(0.0) or w < wp.float64(0.0) or wp.length(n) == wp.float64(0.0):
        return sides
    return wp.min(sides, wp.abs(wp.dot(p - a, n)) / wp.length(n))


@wp.kernel
def closest(
    tree: wp.uint64,
    indices: wp.array[wp.int32],
    vertices: wp.array[wp.vec3d],
    points: wp.array[wp.vec3d],
    order: wp.array[wp.int32],
    out: wp.array[wp.float32],
) -> None:
    """Distance from each point to the nearest triangle, taken in an order; -1 where there is none.

    The tree finds the triangle in float32; the distance to it is then taken in float64.
    """
    i = order[wp.tid()]
    p = points[i]
    q = wp.mesh_query_point_no_sign(tree, wp.vec3(p), FAR)
    out[i] = wp.float32(-1.0)
    if q.result:
        f = 3 * q.face
        out[i] = wp.float32(to_triangle(p, vertices[indices[f]], vertices[indices[f + 1]], vertices[indices[f + 2]]))


@wp.kernel
def nearest(
    tree: wp.uint64,
    points: wp.array[wp.vec3d],
    order: wp.array[wp.int32],
    out: wp.array[wp.vec3],
    face: wp.array[wp.int32],
) -> None:
    """The nearest point of the mesh to each point, taken in an order, and its triangle; -1 where there is none."""
    i = order[wp.tid()]
    p = wp.vec3(points[i])
    q = wp.mesh_query_point_no_sign(tree, p, FAR)
    face[i] = -1
    if q.result:
        face[i] = q.face
        out[i] = wp.mesh_eval_position(tree, q.face, q.u, q.v)


@wp.kernel
def signed(
    tree: wp.uint64,
    indices: wp.array[wp.int32],
    vertices: wp.array[wp.vec3d],
    points: wp.array[wp.vec3d],
    accuracy: wp.float32,
    out: wp.array[wp.float32],
) -> None:
    """Signed distance, negative inside by the winding number; +inf where there is no triangle."""
    i = wp.tid()
    p = points[i]
    q = wp.mesh_query_point_sign_winding_number(tree, wp.vec3(p), FAR, accuracy, wp.float32(0.5))
    out[i] = wp.inf
    if q.result:
        f = 3 * q.face
        d = to_triangle(p, vertices[indices[f]], vertices[indices[f + 1]], vertices[indices[f + 2]])
        out[i] = q.sign * wp.float32(d)


# Warp offers the winding number only with a search for the nearest point before it, which takes five times as long.
@wp.func_native("return wp::mesh_query_winding_number(tree, point, accuracy);")
def winding_number(tree: wp.uint64, point: wp.vec3, accuracy: wp.float32) -> wp.float32:
    """Generalised winding number of a mesh that was built to support it."""


@wp.kernel
def winding(tree: wp.uint64, points: wp.array[wp.vec3], accuracy: wp.float32, out: wp.array[wp.float32]) -> None:
    """Winding number about each point."""
    i = wp.tid()
    out[i] = winding_number(tree, points[i], accuracy)


@wp.kernel
def cast_image(
    tree: wp.uint64,
    width: wp.int32,
    start: wp.mat33,
    ahead: wp.mat33,
    face: wp.array[wp.int32],
    bary: wp.array[wp.vec3],
    depth: wp.array[wp.float32],
) -> None:
    """First hit along the ray of each pixel; rays are affine in (u, v, 1) for both kinds of camera."""
    i = wp.tid()
    pixel = wp.vec3(wp.float32(i % width), wp.float32(i / width), wp.float32(1.0))
    q = wp.mesh_query_ray(tree, start * pixel, ahead * pixel, FAR)
    face[i] = wp.int32(-1)
    bary[i] = wp.vec3(wp.float32(0.0), wp.float32(0.0), wp.float32(0.0))
    depth[i] = wp.inf
    if q.result:
        face[i] = q.face
        bary[i] = wp.vec3(q.u, q.v, wp.float32(1.0) - q.u - q.v)
        depth[i] = q.t


@wp.kernel
def occluded(
    tree: wp.uint64,
    origins: wp.array[wp.vec3],
    directions: wp.array[wp.vec3],
    reach: wp.float32,
    out: wp.array[wp.int32],
) -> None:
    """1 where something lies within `reach` along a ray, else 0."""
    i = wp.tid()
    out[i] = wp.int32(0)
    if wp.mesh_query_ray_anyhit(tree, origins[i], directions[i], reach):
        out[i] = wp.int32(1)


@wp.kernel
def interpolate(
    indices: wp.array[wp.int32],
    values: wp.array[wp.vec3],
    face: wp.array[wp.int32],
    bary: wp.array[wp.vec3],
    unit: wp.int32,
    out: wp.array[wp.vec3],
) -> None:
    """Blend vertex values at hits, made unit vectors if `unit`; zero where nothing was hit."""
    i = wp.tid()
    f = face[i]
    out[i] = wp.vec3(wp.float32(0.0), wp.float32(0.0), wp.float32(0.0))
    if f >= 0:
        b = bary[i]
        value = b[0] * values[indices[3 * f]] + b[1] * values[indices[3 * f + 1]] + b[2] * values[indices[3 * f + 2]]
        if unit != 0:
            value = wp.normalize(value)
        out[i] = value


def extract_surface(field: Any, level: float, device: str) -> Any:
    """Run Warp's marching cubes; return (V, 3) float64 vertices in grid steps and (F, 3) int32 faces."""
    values = wp.array(field, dtype=wp.float32, device=device)
    with wp.ScopedDevice(device):
        vertices, indices = wp.MarchingCubes.extract(values, level)
    return vertices.numpy().astype("f8"), indices.numpy().reshape(-1, 3)
