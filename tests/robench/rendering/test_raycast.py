from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from robench.contracts import Camera, Mesh
from robench.geometry import surface_of
from robench.rendering import RayScene, raycast

FRONT = Camera(np.eye(4), 1.0, (63.5, 63.5), 128, 128, distance=300.0)
PINHOLE = replace(FRONT, kind="pinhole", scale=300.0)
KINDS = pytest.mark.parametrize("camera", [FRONT, PINHOLE], ids=["orthographic", "pinhole"])
NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def sphere(radius=40.0, subdivisions=5):
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.array(ball.vertices, np.float32), np.array(ball.faces, np.int32))


def wall(z=0.0, size=50.0, slope=0.0):
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
    vertices = np.column_stack([corners, z + slope * corners[:, 0]])
    colours = np.array([[0, 0, 0], [200, 0, 0], [200, 100, 0], [0, 100, 0]], np.uint8)
    return Mesh(vertices.astype(np.float32), np.array([[0, 1, 2], [0, 2, 3]], np.int32), colours)


def turned(camera, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    view = np.array([[c, 0, s, 3.0], [0, 1, 0, -2.0], [-s, 0, c, 5.0], [0, 0, 0, 1]])
    return replace(camera, view_from_world=view)


def test_a_sphere_is_a_disc():
    hits = raycast(sphere(), FRONT)
    assert hits.mask.sum() == pytest.approx(np.pi * 40**2, rel=0.005)
    far = raycast(sphere(), replace(PINHOLE, scale=300.0))
    assert far.mask.sum() == pytest.approx(np.pi * (300 * 40 / np.sqrt(300**2 - 40**2)) ** 2, rel=0.005)


@KINDS
def test_hits_project_back_to_their_pixels(camera):
    mesh, camera = sphere(), turned(camera, 30.0)
    hits = raycast(mesh, camera)
    rows, columns = np.nonzero(hits.mask)
    points = np.einsum("nkc,nk->nc", mesh.vertices[mesh.faces[hits.face[hits.mask]]], hits.bary[hits.mask])
    projected = camera.project(points)
    assert np.abs(projected[:, 0] - columns).max() < 1e-3
    assert np.abs(projected[:, 1] - rows).max() < 1e-3
    assert np.abs(projected[:, 2] - hits.depth[hits.mask]).max() < 1e-5


@KINDS
@pytest.mark.parametrize("distance", [300.0, 100_000.0])
def test_depth_of_a_wall_is_its_distance(camera, distance):
    k = camera.scale if camera.kind == "orthographic" else distance
    hits = raycast(wall(20.0), replace(camera, distance=distance, scale=k))
    assert np.abs(hits.depth[hits.mask] - (distance - 20.0) / 100.0).max() < 1e-6 * distance / 100.0
    assert np.isinf(hits.depth[~hits.mask]).all()
    assert (hits.face[~hits.mask] == -1).all()


def test_pinhole_depth_of_a_sloping_wall_is_along_the_axis():
    hits = raycast(wall(slope=0.5), PINHOLE)
    x = (np.arange(128) - 63.5) / 300.0  # sideways per depth
    depth = 300.0 / (1 + 0.5 * x) / 100.0  # d = 300 - 0.5 x d
    inside = hits.mask[64]
    assert np.abs(hits.depth[64][inside] - depth[inside]).max() < 1e-5


def test_the_near_wall_hides_the_far_one():
    near, far = wall(20.0, 10.0), wall(-20.0)
    both = Mesh(np.vstack([far.vertices, near.vertices]), np.vstack([far.faces, near.faces + 4]))
    hits = raycast(both, FRONT)
    assert hits.depth[64, 64] == pytest.approx(2.8)
    assert hits.depth[64, 100] == pytest.approx(3.2)


@KINDS
def test_normals_of_a_sphere_are_in_the_view_frame(camera):
    mesh = sphere()
    camera = replace(turned(camera, 120.0))
    hits = raycast(mesh, camera)
    world = np.einsum("nkc,nk->nc", mesh.vertices[mesh.faces[hits.face[hits.mask]]], hits.bary[hits.mask]) / 40.0
    view = world @ camera.view_from_world[:3, :3].T
    assert np.abs(hits.normals[hits.mask] - view).max() < 0.01
    assert np.allclose(np.linalg.norm(hits.normals[hits.mask], axis=1), 1.0, atol=1e-5)
    assert not hits.normals[~hits.mask].any()


def test_flat_normals_are_the_faces_own():
    mesh = sphere(subdivisions=1)
    flat = raycast(mesh, FRONT, flat=True)
    distinct = np.unique(np.round(flat.normals[flat.mask], 5), axis=0)
    assert len(distinct) <= len(np.unique(flat.face[flat.mask]))
    smooth = raycast(mesh, FRONT)
    assert len(np.unique(np.round(smooth.normals[smooth.mask], 5), axis=0)) > 10 * len(distinct)


def test_colours_are_interpolated():
    hits = raycast(wall(), FRONT)
    x = np.arange(128) - 63.5
    inside = hits.mask[64]
    assert np.abs(hits.colours[64, :, 0] - 200 * (x + 50) / 100)[inside].max() < 1e-2
    assert raycast(sphere(), FRONT).colours is None


def test_offset_moves_the_samples():
    hits = raycast(wall(slope=1.0), FRONT, offset=(0.25, 0.0))
    plain = raycast(wall(slope=1.0), FRONT)
    both = hits.mask & plain.mask
    # The wall comes 1 cm nearer per centimetre to the right.
    assert np.allclose(plain.depth[both] - hits.depth[both], 0.25 / 100.0, atol=1e-6)


def test_a_rotated_camera_is_a_rotated_mesh():
    mesh = Mesh(sphere().vertices * np.array([1.0, 1.3, 0.5], np.float32), sphere().faces)
    camera = turned(FRONT, 70.0)
    one = raycast(mesh, camera)
    other = raycast(mesh.transformed(camera.view_from_world), FRONT)
    assert (one.mask != other.mask).sum() <= 4  # float32 on the outline
    both = one.mask & other.mask
    assert np.abs(one.depth[both] - other.depth[both]).max() < 2e-4


def test_the_same_pixels_twice_and_one_tree():
    mesh = sphere()
    scene = RayScene(mesh)
    assert scene.surface is surface_of(mesh)
    one, other = scene.cast(FRONT), scene.cast(FRONT)
    assert np.array_equal(one.depth, other.depth)
    assert np.array_equal(one.normals, other.normals)


def test_an_empty_mesh_gives_a_blank_picture():
    hits = raycast(NOTHING, FRONT)
    assert hits.mask.shape == (128, 128)
    assert not hits.mask.any()
    assert np.isinf(hits.depth).all()


def test_what_is_behind_the_camera_is_not_seen():
    hits = raycast(wall(400.0), FRONT)
    assert not hits.mask.any()


def test_a_mesh_that_is_not_finite_is_refused():
    with pytest.raises(ValueError, match="finite"):
        raycast(Mesh(np.full((3, 3), np.inf, np.float32), np.array([[0, 1, 2]], np.int32)), FRONT)
