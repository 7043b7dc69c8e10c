from __future__ import annotations

import ctypes.util
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from robench.contracts import Camera, Mesh
from robench.errors import EnvironmentNotReady
from robench.rendering import Lamps, Texture, raycast, render
from robench.rendering.gl import choose_platform, gl_mask, projection

FRONT = Camera(np.eye(4), 1.0, (90.2, 60.7), 192, 128, distance=300.0)
PINHOLE = replace(FRONT, kind="pinhole", scale=300.0)
KINDS = pytest.mark.parametrize("camera", [FRONT, PINHOLE], ids=["orthographic", "pinhole"])
HAS_GL = any(ctypes.util.find_library(name) for name in ("EGL", "OSMesa"))
needs_gl = pytest.mark.skipif(not HAS_GL, reason="needs the Debian package libosmesa6 or libegl1")


def knot():
    ring = trimesh.creation.torus(30.0, 12.0, major_sections=64, minor_sections=32)
    vertices = np.array(ring.vertices, np.float32) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]], np.float32)
    colours = np.clip(128 + 2 * vertices, 0, 255).astype(np.uint8)
    return Mesh(vertices, np.array(ring.faces, np.int32), colours)


@KINDS
def test_the_projection_puts_points_on_the_contracts_pixels(camera):
    points = np.random.default_rng(0).uniform(-40, 40, (50, 3))
    eye = np.column_stack([points - [0, 0, camera.distance], np.ones(50)])
    clip = eye @ projection(camera, 100.0, 500.0).T
    ndc = clip[:, :3] / clip[:, 3:]
    expected = camera.project(points)
    assert np.allclose((ndc[:, 0] + 1) / 2 * camera.width - 0.5, expected[:, 0])
    assert np.allclose((1 - ndc[:, 1]) / 2 * camera.height - 0.5, expected[:, 1])
    assert (np.abs(ndc[:, 2]) <= 1).all()


@pytest.mark.gl
@needs_gl
@KINDS
def test_gl_sees_the_silhouette_that_rays_see(camera):
    mesh = knot()
    rays, drawn = raycast(mesh, camera).mask, gl_mask(mesh, camera)
    assert rays.sum() > 2000
    assert (rays & drawn).sum() / (rays | drawn).sum() >= 0.995


@pytest.mark.gl
@needs_gl
@KINDS
def test_gl_draws_the_colours_that_rays_draw(camera):
    mesh = knot()
    rays, drawn = render(mesh, camera), render(mesh, camera, backend="pyrender")
    assert np.array_equal(rays.mask, drawn.mask)
    assert np.array_equal(rays.depth, drawn.depth)
    apart = np.abs(rays.colour.astype(int) - drawn.colour)[rays.mask > 0]
    assert np.median(apart) <= 1
    assert apart.mean() < 1.5
    lit = render(mesh, camera, Lamps(), "pyrender").colour
    assert np.abs(lit.astype(int) - render(mesh, camera, Lamps()).colour)[rays.mask > 0].mean() < 1.5


@pytest.mark.gl
@needs_gl
def test_gl_draws_the_texture_that_rays_draw():
    corners = np.array([[-40, -40, 0], [40, -40, 0], [40, 40, 0], [-40, 40, 0]], np.float32)
    mesh = Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))
    y, x = np.mgrid[:64, :64]
    image = np.stack([4 * x, 4 * y, 128 + 0 * x], axis=2).astype(np.uint8)
    texture = Texture(image, ((corners[mesh.faces][..., :2] + 40) / 80).astype(np.float32))
    rays = render(mesh, FRONT, texture=texture).colour
    drawn = render(mesh, FRONT, backend="pyrender", texture=texture).colour
    assert np.abs(rays.astype(int) - drawn).max() <= 3


@pytest.mark.gl
@pytest.mark.skipif(not ctypes.util.find_library("OSMesa"), reason="needs the Debian package libosmesa6")
def test_osmesa_works_under_the_pyopengl_that_pyrender_pins():
    code = """
import numpy as np, trimesh
from robench.contracts import Camera, Mesh
from robench.rendering import raycast, render
from robench.rendering.gl import gl_mask
ball = trimesh.creation.icosphere(radius=40.0)
mesh = Mesh(np.array(ball.vertices, np.float32), np.array(ball.faces, np.int32))
camera = Camera(np.eye(4), 1.0, (63.5, 63.5), 128, 128, distance=300.0)
print(int((gl_mask(mesh, camera) ^ raycast(mesh, camera).mask).sum()))
print(bool((render(mesh, camera, backend="pyrender").colour == render(mesh, camera).colour).all()))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYOPENGL_PLATFORM": "osmesa"},
    )
    assert done.returncode == 0, done.stderr
    differing, same = done.stdout.split()
    assert int(differing) <= 4
    assert same == "True"


def test_without_a_gl_library_the_packages_are_named(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: None)
    with pytest.raises(EnvironmentNotReady, match=r"libosmesa6 .*libegl1 libegl-mesa0 libgl1-mesa-dri"):
        render(knot(), FRONT, backend="pyrender")


def test_the_platform_asked_for_is_the_platform_used(monkeypatch):
    monkeypatch.setattr(ctypes.util, "find_library", lambda name: f"lib{name}.so")
    monkeypatch.setenv("PYOPENGL_PLATFORM", "osmesa")
    assert choose_platform() == "osmesa"
    monkeypatch.delenv("PYOPENGL_PLATFORM")
    assert choose_platform() == "egl"
