"""The person behind a picture: surface, shadows, added objects and other views, against analytic truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from corruptions._scene import LayerLike, SceneLike
from robench.contracts import Camera, Mesh
from robench.rendering import render
from robench.rendering.scene import MeshScene

FRONT = Camera(np.eye(4), 1.0, (47.5, 47.5), 96, 96, distance=300.0)
PINHOLE = replace(FRONT, kind="pinhole", scale=300.0)
KINDS = pytest.mark.parametrize("camera", [FRONT, PINHOLE], ids=["orthographic", "pinhole"])
RADIUS = 40.0


def sphere(colours=None, centre=(0.0, 0.0, 0.0)):
    ball = trimesh.creation.icosphere(subdivisions=4, radius=RADIUS)
    vertices = np.array(ball.vertices, np.float32)
    painted = None if colours is None else colours(vertices).astype(np.uint8)
    return Mesh(vertices + np.float32(centre), np.array(ball.faces, np.int32), painted)


def striped(vertices):
    """Red to the right, green to the left, and bluer upwards."""
    right = vertices[:, 0] > 0
    blue = (vertices[:, 1] + RADIUS) * 2
    return np.stack([np.where(right, 200, 40), np.where(right, 40, 200), blue], axis=1)


def turned(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    view = np.eye(4)
    view[0, 0], view[0, 2], view[2, 0], view[2, 2] = c, s, -s, c
    return view


def panel(z, size):
    return Mesh(
        np.array([[-size, -size, z], [size, -size, z], [size, size, z], [-size, size, z]], np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )


def test_it_is_what_corruptions_ask_for():
    scene = MeshScene(sphere(striped), FRONT)
    assert isinstance(scene, SceneLike)
    layer = scene.seen_from(np.zeros((96, 96, 3), np.uint8), None, None)
    asked = [name for name in vars(LayerLike) if not name.startswith("_")]
    assert sorted(asked) == ["alpha", "depth", "image", "seen"]
    assert all(hasattr(layer, name) for name in asked)


@KINDS
def test_a_sphere_in_any_world_frame(camera):
    """Normals are positions over the radius, whatever the world frame: all answers are in the view frame."""
    world = trimesh.transformations.rotation_matrix(0.7, [1, 2, 3], [10, 20, 30])
    scene = MeshScene(sphere().transformed(np.linalg.inv(world)), replace(camera, view_from_world=world))
    mask = scene.mask()
    points, normals = scene.positions(), scene.normals()
    assert np.abs(np.linalg.norm(points[mask], axis=1) - RADIUS).max() < 0.5
    assert np.abs(normals[mask] - points[mask] / RADIUS).max() < 0.06
    assert np.allclose(np.linalg.norm(normals[mask], axis=1), 1, atol=1e-5)
    assert not points[~mask].any()
    assert not normals[~mask].any()
    assert np.isinf(scene.depth()[~mask]).all()
    assert np.allclose(100 * scene.depth()[mask], 300 - points[mask][:, 2], atol=1e-2)
    low, high = scene.bounds()
    assert np.allclose(low, -RADIUS, atol=0.3)
    assert np.allclose(high, RADIUS, atol=0.3)


def test_answers_are_copies():
    scene = MeshScene(sphere(), FRONT)
    scene.mask()[:] = False
    scene.depth()[:] = 0
    assert scene.mask().any()
    assert np.isinf(scene.depth()).any()


def test_hard_shadow_of_a_square_is_where_geometry_puts_it():
    """A square of 2 x 10 cm at z = 50 before a wall at z = 0, lamp at z = 150: it shades 1.5 times its size."""
    wall, square = panel(0.0, 60.0), panel(50.0, 10.0)
    # The square lies beside the line of sight: its own pixels are told apart by their depth.
    both = Mesh(
        np.concatenate([wall.vertices, square.vertices + np.float32([20, 0, 0])]),
        np.concatenate([wall.faces, square.faces + 4]),
    )
    scene = MeshScene(both, FRONT)
    lamp = np.array([60.0, 0.0, 150.0])
    share = scene.visibility(lamp, 0.0, 1)
    assert set(np.unique(share)) <= {0.0, 1.0}
    points = scene.positions()
    on_wall = scene.mask() & (points[..., 2] < 1)
    # From the lamp through a wall point, the height of the square is passed at a third of the way.
    x, y = (lamp[k] / 3 + points[..., k] * 2 / 3 for k in (0, 1))
    expected = (np.abs(x - 20) < 10) & (np.abs(y) < 10)
    near_edge = (np.abs(np.abs(x - 20) - 10) < 0.7) | (np.abs(np.abs(y) - 10) < 0.7)
    told = on_wall & ~near_edge
    assert np.array_equal(share[told] == 0, expected[told])
    assert (share[told] == 0).sum() > 200


def test_soft_shadow_has_a_penumbra_of_the_right_width():
    """Edge of a large screen at z = 50, lamp of radius 6 at z = 150: the penumbra is 2 * 6 * 50 / 100 = 6 cm wide."""
    screen = panel(50.0, 60.0)
    wall = panel(0.0, 47.0)
    both = Mesh(
        np.concatenate([wall.vertices, screen.vertices - np.float32([60, 0, 0])]),
        np.concatenate([wall.faces, screen.faces + 4]),
    )
    scene = MeshScene(both, FRONT)
    share = scene.visibility(np.array([0.0, 0.0, 150.0]), 6.0, 256)
    points = scene.positions()
    row = (np.abs(points[..., 1]) < 1) & (points[..., 2] < 1) & scene.mask()
    x, lit = points[row][:, 0], share[row]
    assert (lit[x > 3.5] == 1).all()
    assert x.min() > -1, "the rest of the wall is behind the screen"
    # At distance x from the shadow's middle, a disc of radius 6 is cut by a line at 2 x from its centre.
    h = np.clip(2 * x / 6, -1, 1)
    covered = (np.arccos(h) - h * np.sqrt(1 - h * h)) / np.pi
    assert np.abs(lit - (1 - covered)).max() < 0.02
    assert ((lit > 0.5) & (lit < 1)).sum() >= 3


def test_a_ball_is_lit_on_the_side_of_the_lamp():
    scene = MeshScene(sphere(), FRONT)
    share = scene.visibility(np.array([400.0, 0.0, 0.0]), 0.0, 1)
    mask, x = scene.mask(), scene.positions()[..., 0]
    terminator = RADIUS**2 / 400
    assert (share[mask & (x > terminator + 3)] == 1).all()
    assert (share[mask & (x < terminator - 1)] == 0).all()
    assert (share[~mask] == 1).all()


@pytest.mark.parametrize(("radius", "samples"), [(-1.0, 4), (1.0, 0)])
def test_a_lamp_that_cannot_be(radius, samples):
    with pytest.raises(ValueError, match="a lamp has samples >= 1 and a radius >= 0"):
        MeshScene(sphere(), FRONT).visibility(np.zeros(3), radius, samples)


@KINDS
def test_an_object_in_front_hides_and_one_behind_is_hidden(camera):
    scene = MeshScene(sphere(), camera)
    mask = scene.mask()
    front, depth, normals = scene.with_object(panel(60.0, 10.0).vertices, panel(60.0, 10.0).faces)
    scale = 1.0 if camera.kind == "orthographic" else 300 / 240
    assert front.sum() == pytest.approx((20 * scale) ** 2, rel=0.1)
    assert (front & mask).sum() == front.sum()
    assert np.allclose(depth[front], 2.4, atol=1e-4)
    assert np.isinf(depth[~front]).all()
    assert np.allclose(normals[front], [0, 0, 1], atol=1e-6)
    assert not normals[~front].any()
    behind, depth, _ = scene.with_object(panel(-60.0, 70.0).vertices, panel(-60.0, 70.0).faces)
    assert not (behind & mask).any()
    assert np.isfinite(depth[mask]).all(), "its depth is told also where it is hidden"
    assert behind.any()


def test_without_faces_there_is_nothing():
    scene = MeshScene(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), FRONT)
    assert not scene.mask().any()
    assert (scene.visibility(np.ones(3), 1.0, 4) == 1).all()
    layer = scene.seen_from(np.full((96, 96, 3), 7, np.uint8), turned(10), None)
    assert not layer.alpha.any()
    assert layer.seen == 0
    with pytest.raises(ValueError, match="no bounds"):
        scene.bounds()


@KINDS
def test_following_is_what_the_camera_does(camera):
    scene = MeshScene(sphere(centre=(5, 3, 0)), camera)
    change, affine = turned(30), np.array([[0.8, 0, 12], [0, 0.8, 3]])
    there = scene.followed(change, affine)
    expected = MeshScene(sphere(centre=(5, 3, 0)), camera.followed(affine, change))
    assert np.array_equal(there.mask(), expected.mask())
    assert np.array_equal(there.depth(), expected.depth())
    assert there.rays is scene.rays, "the tree is built once"
    assert np.array_equal(scene.mask(), MeshScene(sphere(centre=(5, 3, 0)), camera).mask())


@KINDS
def test_seen_from_the_same_place_it_is_the_picture(camera):
    mesh = sphere(striped)
    picture = render(mesh, camera, samples=2, background=(9, 9, 9)).colour
    layer = MeshScene(mesh, camera).seen_from(picture, None, None)
    inside = layer.alpha == 1
    error = np.abs(layer.image[inside].astype(int) - picture[inside])
    assert np.median(error) <= 2
    assert np.percentile(error, 95) < 20
    covered = MeshScene(mesh, camera).mask()
    assert abs(layer.alpha.sum() / covered.sum() - 1) < 0.01
    assert layer.seen > 0.85


@KINDS
def test_surface_keeps_its_colours_when_the_camera_goes_around(camera):
    """Where the first camera sees the surface, the new view is what a render from there shows."""
    mesh = sphere(striped)
    scene = MeshScene(mesh, camera)
    picture = render(mesh, camera, samples=2).colour
    change = turned(25)
    there = camera.followed(None, change)
    expected = render(mesh, there, samples=2).colour
    layer = scene.seen_from(picture, change, None)
    inside = layer.alpha == 1
    error = np.abs(layer.image[inside].astype(int) - expected[inside]).max(axis=1)
    # On the line where the colours meet, half a pixel is another colour.
    assert np.mean(error < 25) > 0.9
    assert np.array_equal(layer.depth, scene.followed(change, None).depth())


def test_unseen_sides_take_the_mesh_colours_in_the_light_of_the_picture():
    mesh = sphere(striped)
    scene = MeshScene(mesh, FRONT)
    dim = (render(mesh, FRONT).colour // 2).astype(np.uint8)
    layer = scene.seen_from(dim, turned(180), None)
    assert layer.seen < 0.05
    back = render(mesh, FRONT.followed(None, turned(180))).colour
    inside = layer.alpha == 1
    ratio = layer.image[inside].mean(axis=0) / back[inside].mean(axis=0)
    assert ratio == pytest.approx(0.5, abs=0.08), "as dark as the side that was seen"
    assert layer.image[48, 20, 0] > layer.image[48, 76, 0], "what was right is left from behind"


def test_a_bare_mesh_goes_on_from_what_was_seen():
    bare = MeshScene(sphere(), FRONT)
    picture = render(sphere(striped), FRONT).colour
    layer = bare.seen_from(picture, turned(60), None)
    inside = layer.alpha == 1
    assert 0.2 < layer.seen < 0.8
    colours = layer.image[inside].astype(int)
    assert (np.abs(colours[:, 0] - colours[:, 1]) > 60).mean() > 0.9, "no grey and no black: green and red go on"


def test_picture_of_another_size_is_told():
    with pytest.raises(ValueError, match=r"must be \(96, 96, 3\), got \(96, 95, 3\)"):
        MeshScene(sphere(), FRONT).seen_from(np.zeros((96, 95, 3), np.uint8), None, None)


@pytest.mark.parametrize(
    "affine",
    [
        np.array([[1, 0, 1000.0], [0, 1, 0]]),
        np.array([[1, 0, -30.0], [0, 1, 50]]),
        np.array([[0.02, 0, 95], [0, 0.02, 0]]),
        np.array([[6.0, 0, -240], [0, 6, -240]]),
    ],
    ids=["outside", "cut off", "tiny in a corner", "filling the frame"],
)
def test_wherever_the_person_lies_the_layer_is_the_frame(affine):
    scene = MeshScene(sphere(striped), FRONT)
    layer = scene.seen_from(render(sphere(striped), FRONT).colour, None, affine)
    expected = scene.followed(None, affine).mask()
    assert layer.image.shape == (96, 96, 3)
    assert layer.alpha.shape == layer.depth.shape == (96, 96)
    assert np.abs(layer.alpha - expected).sum() <= 0.6 * max(4, np.count_nonzero(np.diff(expected.astype(int))))
    assert (layer.alpha[expected] > 0).all()


def test_a_camera_within_the_box_sees_the_frame_all_the_same():
    walls = trimesh.creation.box((100, 100, 100))
    inside = Mesh(np.array(walls.vertices, np.float32), np.array(walls.faces, np.int32)[:, ::-1])
    camera = replace(PINHOLE, scale=60.0, distance=20.0)
    layer = MeshScene(inside, camera).seen_from(np.full((96, 96, 3), 90, np.uint8), None, None)
    assert (layer.alpha == 1).all()
    assert (layer.image == 90).all()
