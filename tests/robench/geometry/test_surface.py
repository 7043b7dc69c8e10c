from __future__ import annotations

import gc
import subprocess
import sys
import weakref

import igl
import numpy as np
import pytest
import trimesh

from robench.contracts import Mesh
from robench.errors import EnvironmentNotReady, UsageError
from robench.geometry import (
    Surface,
    contains,
    face_areas,
    is_watertight,
    marching_cubes,
    moved,
    point_to_surface,
    sample_surface,
    signed_distance,
    surface_of,
    vertex_normals,
    volume,
)


def sphere(radius=10.0, centre=(0.0, 0.0, 0.0), subdivisions=4):
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.array(ball.vertices + centre, np.float32), np.array(ball.faces, np.int32))


def box(low, high):
    made = trimesh.creation.box(bounds=[low, high])
    return Mesh(np.array(made.vertices, np.float32), np.array(made.faces, np.int32))


def open_sphere():
    ball = sphere()
    return Mesh(ball.vertices, ball.faces[5:])


NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def test_distance_to_one_triangle_is_the_closed_form():
    vertices = np.array([[0, 0, 0], [4, 0, 0], [0, 3, 0]], np.float32)
    points = np.array([[1, 1, 5], [-3, -4, 0], [4, 3, 0], [7, 0, 4], [0.5, 0.5, 0]], np.float32)
    expected = [5.0, 5.0, 12.0 / 5.0, 5.0, 0.0]  # above, to a corner, to the long side, off a corner, on it
    assert np.allclose(point_to_surface(points, vertices, np.array([[0, 1, 2]])), expected, atol=1e-6)


@pytest.mark.parametrize("shift", [0.0, 100.0, 100_000.0])
def test_distances_agree_with_libigl(shift):
    rng = np.random.default_rng(0)
    mesh = sphere(80.0, (shift, -shift, shift))
    bumpy = mesh.vertices.astype(np.float64)
    bumpy += np.sin(0.2 * (bumpy - bumpy.mean(axis=0)))[:, [1, 2, 0]]
    bumpy = bumpy.astype(np.float32)
    points = (bumpy.mean(axis=0) + rng.normal(0, 60, (3000, 3))).astype(np.float32)
    squared = igl.point_mesh_squared_distance(
        points.astype(np.float64), bumpy.astype(np.float64), mesh.faces.astype(np.int64)
    )[0]
    assert np.abs(point_to_surface(points, bumpy, mesh.faces) - np.sqrt(squared)).max() < 1e-5
    near = sample_surface(Mesh(bumpy, mesh.faces), 3000, rng)[0]
    squared = igl.point_mesh_squared_distance(
        near.astype(np.float64), bumpy.astype(np.float64), mesh.faces.astype(np.int64)
    )[0]
    assert np.abs(point_to_surface(near, bumpy, mesh.faces) - np.sqrt(squared)).max() < 2e-6


def test_the_nearest_point_lies_on_the_surface_at_the_exact_distance():
    faces = np.array([[0, 1, 2]], np.int32)
    triangle = surface_of(Mesh(np.array([[0, 0, 0], [4, 0, 0], [0, 3, 0]], np.float32), faces))
    points = np.array([[1, 1, 5], [-3, -4, 0], [7, 0, 4], [4, 3, 0]])
    expected = [[1, 1, 0], [0, 0, 0], [4, 0, 0], [2.56, 1.08, 0]]  # foot of (4, 3): 12/5 along the normal (3, 4)/5
    np.testing.assert_allclose(triangle.nearest(points), expected, atol=1e-5)
    mesh = sphere(80.0, (5e4, -5e4, 5e4), 3)
    away = mesh.vertices.mean(axis=0) + np.random.default_rng(0).normal(0, 60, (500, 3))
    found = surface_of(mesh).nearest(away)
    np.testing.assert_allclose(np.linalg.norm(away - found, axis=1), surface_of(mesh).distances(away), atol=1e-4)
    assert surface_of(mesh).distances(found).max() < 1e-4
    assert triangle.nearest(np.zeros((0, 3))).shape == (0, 3)


def test_signed_distance_of_a_box():
    mesh = box([0, 0, 0], [10, 20, 30])
    points = np.array([[5, 10, 15], [1, 10, 15], [-2, 10, 15], [13, 24, 15]], np.float32)
    assert np.allclose(signed_distance(points, mesh), [-5.0, -1.0, 2.0, 5.0], atol=1e-5)
    assert contains(points, mesh).tolist() == [True, True, False, False]


def test_contains_agrees_with_the_radius():
    points = np.random.default_rng(1).uniform(-12, 12, (4000, 3))
    radius = np.linalg.norm(points, axis=1)
    clear = np.abs(radius - 10.0) > 0.1
    assert np.array_equal(contains(points, sphere())[clear], (radius < 10.0)[clear])


def winding_numbers(points, mesh):
    """The sum of the solid angles of all triangles over the whole sphere's (van Oosterom and Strackee 1983)."""
    a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(np.float64) - points[:, None] for k in range(3))
    la, lb, lc = (np.linalg.norm(v, axis=-1) for v in (a, b, c))
    dots = [(x * y).sum(axis=-1) for x, y in ((a, b), (b, c), (c, a))]
    solid = np.arctan2((a * np.cross(b, c)).sum(axis=-1), la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb)
    return 2 * solid.sum(axis=1) / (4 * np.pi)


@pytest.mark.parametrize("kind", ["closed", "open", "twice", "inside out"])
def test_inside_is_where_the_winding_number_exceeds_one_half(kind):
    ball = sphere(subdivisions=3)
    mesh = {
        "closed": ball,
        "open": Mesh(ball.vertices, ball.faces[80:]),
        "twice": Mesh(np.vstack([ball.vertices, ball.vertices + 7]), np.vstack([ball.faces, ball.faces + 642])),
        "inside out": Mesh(ball.vertices, ball.faces[:, ::-1].copy()),
    }[kind]
    points = np.random.default_rng(4).uniform(-16, 16, (500, 3))
    winding = winding_numbers(points, mesh)
    clear = np.abs(winding - 0.5) > 0.01
    assert clear.mean() > 0.95
    surface = Surface(mesh)
    assert np.array_equal(surface.inside(points)[clear], (winding > 0.5)[clear])
    assert np.array_equal(surface.inside(points), surface.signed_distances(points, closed=False) < 0)
    assert surface.inside(points).any() == (kind != "inside out")


def test_inside_needs_finite_points_and_takes_none():
    assert surface_of(sphere()).inside(np.zeros((0, 3))).shape == (0,)
    with pytest.raises(ValueError, match="finite"):
        surface_of(sphere()).inside(np.array([[np.nan, 0, 0]]))


@pytest.mark.parametrize("kind", ["quick", "sah", "median", "without cuBQL"])
def test_every_builder_gives_the_same_distances(kind, monkeypatch):
    import warp

    if kind == "without cuBQL":
        monkeypatch.setattr(warp, "is_cubql_available", lambda: False)
    rng = np.random.default_rng(5)
    ball = sphere(30.0)
    mesh = Mesh((ball.vertices + rng.normal(0, 0.2, ball.vertices.shape)).astype(np.float32), ball.faces)
    points = rng.normal(0, 25, (2000, 3))
    corners = mesh.vertices.astype(np.float64), mesh.faces.astype(np.int64)
    expected = np.sqrt(igl.point_mesh_squared_distance(points, *corners)[0])
    found = Surface(mesh, builder=kind if kind in ("sah", "median") else None).distances(points)
    assert np.abs(found - expected).max() < 5e-6


@pytest.mark.parametrize("kind", ["identical", "shrinking", "huge and small"])
def test_trees_of_unlucky_meshes(kind):
    """Triangles that no tree can part, in numbers that a leaf's counter does not hold; boxes that nest without end."""
    one = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    if kind == "identical":
        mesh = Mesh(np.vstack([one, one + 9]), np.vstack([np.tile([[0, 1, 2]], (70_000, 1)), [[3, 4, 5]]]))
    elif kind == "shrinking":
        sizes = 1000 * 2.0 ** -np.arange(40)
        mesh = Mesh(np.vstack([one * s + [s, 0, 0] for s in sizes]).astype(np.float32), np.arange(120).reshape(-1, 3))
    else:
        dust = np.random.default_rng(6).normal(0, 1, (3000, 3)).repeat(3, axis=0) + np.tile(0.01 * one, (3000, 1))
        mesh = Mesh(np.vstack([dust, one * 1e5]).astype(np.float32), np.arange(9003).reshape(-1, 3))
    points = np.random.default_rng(7).uniform(-3, 12, (40, 3))
    corners = mesh.vertices.astype(np.float64), mesh.faces[-4000:].astype(np.int64)
    expected = np.sqrt(igl.point_mesh_squared_distance(points, *corners)[0])
    assert np.allclose(Surface(mesh).distances(points), expected, rtol=1e-5, atol=1e-3 if "huge" in kind else 1e-5)


def test_an_open_mesh_has_no_inside_unless_asked_softly():
    mesh = open_sphere()
    with pytest.raises(ValueError, match="watertight"):
        contains(np.zeros((1, 3)), mesh)
    with pytest.raises(ValueError, match="watertight"):
        signed_distance(np.zeros((1, 3)), mesh)
    assert surface_of(mesh).signed_distances(np.array([[0.0, 0, 0], [0, 0, 15]]), closed=False).tolist() == [
        pytest.approx(-10, abs=0.1),
        pytest.approx(5, abs=0.1),
    ]


@pytest.mark.parametrize(
    "mesh",
    [
        NOTHING,
        Mesh(np.full((3, 3), np.nan, np.float32), np.array([[0, 1, 2]], np.int32)),
        Mesh(np.zeros((3, 3), np.float32), np.array([[0, 1, 7]], np.int32)),
        Mesh(np.zeros((3, 3), np.float32), np.array([[0, -1, 2]], np.int32)),
    ],
    ids=["empty", "nan", "index too high", "index below zero"],
)
def test_broken_meshes_are_refused(mesh):
    with pytest.raises(ValueError, match=r"mesh|faces"):
        Surface(mesh)


def test_a_mesh_without_area_is_refused():
    flat = Mesh(np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    with pytest.raises(ValueError, match="area"):
        surface_of(flat).distances(np.ones((1, 3)))
    with pytest.raises(ValueError, match="area"):
        surface_of(flat).nearest(np.ones((1, 3)))
    with pytest.raises(ValueError, match="area"):
        sample_surface(flat, 10, np.random.default_rng(0))


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="finite"):
        surface_of(sphere()).distances(np.array([[np.inf, 0, 0]]))


def test_an_unused_vertex_changes_nothing():
    mesh = sphere()
    padded = Mesh(np.vstack([mesh.vertices, [[np.nan] * 3]]).astype(np.float32), mesh.faces)
    points = np.random.default_rng(2).normal(0, 20, (100, 3))
    assert np.array_equal(Surface(padded).distances(points), Surface(mesh).distances(points))


def test_the_tree_is_kept_while_the_mesh_lives():
    mesh = sphere()
    kept = surface_of(mesh)
    assert surface_of(mesh) is kept
    assert surface_of(sphere()) is not kept
    gone = weakref.ref(kept)
    del mesh, kept
    gc.collect()
    assert gone() is None, "the cache keeps a dead mesh's tree"


def test_samples_are_seeded_lie_on_the_surface_and_follow_area():
    mesh = box([0, 0, 0], [10, 20, 30])
    points, faces = sample_surface(mesh, 20_000, np.random.default_rng(3))
    again, _ = sample_surface(mesh, 20_000, np.random.default_rng(3))
    assert np.array_equal(points, again)
    assert not np.array_equal(points, sample_surface(mesh, 20_000, np.random.default_rng(4))[0])
    assert surface_of(mesh).distances(points).max() < 1e-5
    areas = face_areas(mesh.vertices, mesh.faces)
    share = np.bincount(faces, minlength=len(areas)) / len(faces)
    assert np.abs(share - areas / areas.sum()).max() < 0.012  # three standard deviations of the largest
    assert np.abs(points.mean(axis=0) - [5, 10, 15]).max() < 0.3


def test_faces_without_area_are_never_sampled():
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32)
    mesh = Mesh(vertices, np.array([[0, 0, 0], [0, 1, 2], [1, 1, 1]], np.int32))
    assert set(sample_surface(mesh, 500, np.random.default_rng(0))[1]) == {1}


def test_samples_with_known_areas_are_the_same():
    mesh = sphere()
    points, faces = sample_surface(mesh, 500, np.random.default_rng(0))
    known = sample_surface(mesh, 500, np.random.default_rng(0), face_areas(mesh.vertices, mesh.faces))
    assert np.array_equal(points, known[0])
    assert np.array_equal(faces, known[1])


def test_areas_and_normals_are_those_of_the_cross_product():
    rng = np.random.default_rng(8)
    mesh = Mesh(rng.normal(0, 50, (300, 3)).astype(np.float32), rng.integers(0, 300, (900, 3)).astype(np.int32))
    a, b, c = mesh.vertices.astype(np.float64)[mesh.faces].transpose(1, 0, 2)
    crossed = np.cross(b - a, c - a)
    assert np.allclose(face_areas(mesh.vertices, mesh.faces), np.linalg.norm(crossed, axis=1) / 2, rtol=1e-13)
    summed = np.zeros((300, 3))
    np.add.at(summed, mesh.faces.ravel(), np.repeat(crossed, 3, axis=0))
    summed /= np.maximum(np.linalg.norm(summed, axis=1, keepdims=True), 1e-300)
    assert np.allclose(vertex_normals(mesh), summed, atol=1e-6)
    assert vertex_normals(NOTHING).shape == (0, 3)


def test_volume_and_watertightness():
    mesh = box([100, 100, 100], [101, 102, 103])
    assert volume(mesh) == pytest.approx(6.0, rel=1e-6)
    assert volume(Mesh(mesh.vertices, mesh.faces[:, ::-1])) == pytest.approx(-6.0, rel=1e-6)
    assert volume(sphere()) == pytest.approx(4 / 3 * np.pi * 1000, rel=0.01)
    assert volume(NOTHING) == 0.0
    assert is_watertight(mesh)
    assert not is_watertight(open_sphere())
    assert not is_watertight(NOTHING)
    flipped = mesh.faces.copy()
    flipped[0] = flipped[0, ::-1]
    assert not is_watertight(Mesh(mesh.vertices, flipped)), "two faces disagree about the outside"


def test_vertex_normals_of_a_sphere_point_outwards():
    mesh = sphere()
    assert np.abs(vertex_normals(mesh) - mesh.vertices / 10.0).max() < 0.01


def test_devices():
    with pytest.raises(UsageError, match="cpu, cuda"):
        surface_of(sphere(), "gpu")
    with pytest.raises(EnvironmentNotReady, match="No CUDA device"):
        surface_of(sphere(), "cuda:99")


def test_nothing_is_printed():
    code = (
        "import numpy as np; from robench.geometry import point_to_surface; "
        "point_to_surface(np.ones((2, 3)), np.eye(3, dtype=np.float32), np.array([[0, 1, 2]]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


GRID = np.stack(np.meshgrid(*[np.arange(24)] * 3, indexing="ij"), axis=-1) - 11.3


def test_marching_cubes_of_a_sphere():
    field = 8.0 - np.linalg.norm(GRID, axis=-1)
    mesh = marching_cubes(field, 0.0, origin=(1, 2, 3), spacing=(2, 2, 2))
    assert is_watertight(mesh)
    assert volume(mesh) == pytest.approx(8 * 4 / 3 * np.pi * 8**3, rel=0.02)
    centre = np.array([1, 2, 3]) + 2 * 11.3
    assert np.abs(np.linalg.norm(mesh.vertices - centre, axis=1) - 16.0).max() < 0.1
    distance = marching_cubes(-field, 0.0, inside_high=False)
    assert volume(distance) == pytest.approx(volume(mesh) / 8, rel=1e-4)


def test_warps_marching_cubes_agree():
    from robench.geometry.marching import _cpu, _cuda

    field = (8.0 - np.linalg.norm(GRID, axis=-1)).astype(np.float32)
    meshes = [Mesh(v.astype(np.float32), f) for v, f in (_cpu(field, 0.0), _cuda(field, 0.0, "cpu"))]
    assert volume(meshes[1]) == pytest.approx(volume(meshes[0]), rel=1e-5)
    assert is_watertight(meshes[1])


def test_marching_cubes_without_a_surface_or_sense():
    assert marching_cubes(np.zeros((4, 4, 4))).is_empty
    assert marching_cubes(np.ones((4, 4, 4))).is_empty
    for bad in (np.zeros((4, 4)), np.zeros((1, 4, 4)), np.full((4, 4, 4), np.nan)):
        with pytest.raises(ValueError, match="volume"):
            marching_cubes(bad)
    with pytest.raises(ValueError, match="spacing"):
        marching_cubes(np.zeros((4, 4, 4)), spacing=0.0)


def test_a_moved_mesh_answers_as_its_own_surface_and_shares_the_trees() -> None:
    rng = np.random.default_rng(0)
    mesh = sphere(40.0, subdivisions=3)
    matrix = np.eye(4)
    matrix[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    matrix[:3, 0] *= np.sign(np.linalg.det(matrix[:3, :3]))
    matrix[:3, 3] = [12.0, -90.0, 3.0]
    there = moved(mesh, matrix)
    points = rng.normal(size=(500, 3)) * 40 + matrix[:3, 3]
    alone = Surface(Mesh(there.vertices, there.faces))
    shared = surface_of(there)
    assert np.allclose(shared.distances(points), alone.distances(points), atol=2e-5)
    assert np.allclose(shared.signed_distances(points), alone.signed_distances(points), atol=2e-5)
    assert np.allclose(shared.nearest(points), alone.nearest(points), atol=1e-3)
    far = np.abs(alone.distances(points)) > 1e-3
    assert (shared.inside(points) == alone.inside(points))[far].all()
    assert "tree" not in vars(shared), "no tree of its own"
    assert {"tree", "_winding_tree"} <= set(vars(surface_of(mesh)))


def test_only_rigid_moves_share_trees() -> None:
    with pytest.raises(ValueError, match="rigid"):
        moved(sphere(), np.diag([2.0, 2.0, 2.0, 1.0]))
    with pytest.raises(ValueError, match="rigid"):
        moved(sphere(), np.diag([-1.0, 1.0, 1.0, 1.0]))


def test_a_moved_mesh_outlives_the_one_that_it_came_from() -> None:
    there = moved(sphere(1.0), np.eye(4))
    gc.collect()
    assert surface_of(there).distances(np.zeros((1, 3)))[0] == pytest.approx(1.0, abs=0.02)
