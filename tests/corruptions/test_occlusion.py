"""Objects before a person."""

import json
from itertools import pairwise

import numpy as np
import pytest
from corruption_pictures import aux_of, person, psnr, texture
from scipy.ndimage import binary_dilation

from corruptions import Aux, MissingInput
from corruptions._objects import KINDS, _lathe, colours_at, mesh_of
from corruptions._raster import face_normals, rasterise, silhouette
from corruptions._stage import draw_object, place, stage_of
from corruptions._surface import View
from corruptions.occlusion import Occlusion
from robench.contracts import Camera, Mesh
from robench.rendering.scene import MeshScene

FORM = {"aspect": 1.0, "upright": True, "seed": 7, "tint": 0}


def _run(corruption, severity, image, aux, seed=0):
    params = json.loads(json.dumps(corruption.sample(severity, image.shape[:2], np.random.default_rng(seed))))
    return corruption.apply(image, params, aux)


def _ball(kind="orthographic", size=96):
    """A ball of 35 cm as a real mesh, and the picture's size in pixels."""
    heights = np.linspace(-np.pi / 2, np.pi / 2, 41)
    vertices, faces = _lathe([(35 * float(np.cos(a)), 35 * float(np.sin(a))) for a in heights], 64)
    middle = ((size - 1) / 2, (size - 1) / 2)
    scale, distance = (1.0, 1000.0) if kind == "orthographic" else (300.0, 300.0)
    camera = Camera(np.eye(4), scale, middle, size, size, distance, kind)
    return MeshScene(Mesh(vertices.astype(np.float32), faces), camera)


# --- triangles ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("perspective", [False, True])
def test_triangles_point_by_point(perspective):
    rng = np.random.default_rng(5)
    points = np.concatenate([rng.uniform(-8, 40, (24, 2)), rng.uniform(200, 400, (24, 1))], axis=1)
    faces = np.arange(24).reshape(8, 3)
    u, v, depth = points.T
    drawn, index = rasterise(u, v, depth, faces, (32, 33), perspective)
    expected, who = np.full((32, 33), np.inf), np.full((32, 33), -1)
    for k, face in enumerate(faces):
        matrix = np.stack([u[face], v[face], np.ones(3)])
        for row in range(32):
            for column in range(33):
                share = np.linalg.solve(matrix, [column, row, 1])
                at = 1 / (share @ (1 / depth[face])) if perspective else share @ depth[face]
                if (share >= 0).all() and at < expected[row, column]:
                    expected[row, column], who[row, column] = at, k
    assert np.array_equal(index, who)
    assert np.allclose(drawn, expected, rtol=1e-5)
    assert (silhouette(u, v, faces, (32, 33)) >= (index >= 0)).all()


@pytest.mark.parametrize("kind", ["box", "bar", "bag"])
def test_objects_are_closed_and_look_outwards(kind):
    vertices, faces = mesh_of(kind, FORM)
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    assert np.einsum("ij,ij->", a, np.cross(b, c)) / 6 > 0.2
    # Edges of rings that end in one point have no length there; all others run once each way.
    places = {tuple(p): i for i, p in enumerate(np.round(vertices, 6))}
    welded = np.array([places[tuple(p)] for p in np.round(vertices, 6)])[faces]
    edges = [(f[i], f[(i + 1) % 3]) for f in welded.tolist() for i in range(3) if len(set(f)) == 3]
    assert sorted(edges) == sorted((q, p) for p, q in edges)


@pytest.mark.parametrize("kind", KINDS)
def test_objects_have_unit_size_and_a_texture(kind):
    vertices, faces = mesh_of(kind, FORM)
    assert np.ptp(vertices[:, 1]) == pytest.approx(1, abs=0.01)
    middles, normals = vertices[faces].mean(axis=1), face_normals(vertices, faces)
    colours = colours_at(kind, FORM, middles, normals)
    assert colours.shape == (len(faces), 3)
    assert colours.min() >= 0
    assert colours.max() <= 1
    other = colours_at(kind, {**FORM, "tint": 1}, middles, normals)
    assert not np.allclose(colours, other)


# --- the ratio ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_as_much_is_hidden_as_was_asked_for(kind, severity):
    image, depth, mask = person(192, 160)
    for seed in range(2):
        result = _run(Occlusion(kinds=(kind,)), severity, image, Aux(depth, mask), seed)
        assert result.notes["object"] == kind
        assert result.notes["occlusion_ratio"] == pytest.approx(severity / 10, abs=0.01)
        assert result.notes["occlusion_ratio"] == 1 - result.notes["visible_px"] / result.notes["amodal_px"]
        assert result.notes["amodal_px"] == mask.sum()
        # By the picture itself: soft edges change about a pixel more all round.
        changed = np.abs(result.image.astype(int) - image).max(axis=2) > 3
        assert (changed & mask).sum() / mask.sum() == pytest.approx(
            severity / 10, abs=0.12 if kind == "plant" else 0.07
        )


def test_the_mask_stays_whole_and_depth_knows_the_object():
    image, depth, mask = person(128, 128)
    result = _run(Occlusion(kinds=("box",)), 4, image, Aux(depth, mask))
    assert result.mask is None
    assert result.affine is None
    front = result.depth != depth
    assert (result.depth[front] < depth[mask].min()).all()
    assert (front & mask).sum() / mask.sum() == pytest.approx(result.notes["occlusion_ratio"])
    far = ~binary_dilation(front, iterations=5)
    assert far.mean() > 0.3
    assert np.array_equal(result.image[far], image[far])


def test_what_is_hidden_grows_with_the_level():
    image, depth, mask = person(128, 128)
    hidden = [_run(Occlusion(kinds=("box",)), s, image, Aux(depth, mask), seed=2).depth != depth for s in range(1, 6)]
    for smaller, larger in pairwise(hidden):
        assert (larger >= smaller).mean() > 0.999
        assert larger.sum() > smaller.sum() * 1.1


# --- with and without a mesh --------------------------------------------------------------------------------------


@pytest.mark.parametrize("camera", ["orthographic", "pinhole"])
@pytest.mark.parametrize("kind", KINDS)
def test_rays_and_triangles_draw_the_same_object(kind, camera):
    scene = _ball(camera)
    image = texture(96, 96)
    aux = Aux(scene.depth(), scene.mask(), scene, scene.camera)
    with_mesh = _run(Occlusion(mode="mesh", kinds=(kind,)), 3, image, aux, seed=1)
    without = _run(Occlusion(mode="image", kinds=(kind,)), 3, image, aux, seed=1)
    assert (with_mesh.notes["mode"], with_mesh.notes["person"]) == ("mesh", "mesh")
    assert (without.notes["mode"], without.notes["person"]) == ("image", "mask")
    assert with_mesh.notes["occlusion_ratio"] == pytest.approx(0.3, abs=0.01)
    assert with_mesh.notes["occlusion_ratio"] == pytest.approx(without.notes["occlusion_ratio"], abs=0.004)
    assert psnr(with_mesh.image, without.image) > 30


@pytest.mark.parametrize("camera", ["orthographic", "pinhole"])
@pytest.mark.parametrize("kind", KINDS)
def test_objects_stand_between_camera_and_person(kind, camera):
    scene = _ball(camera)
    stage = stage_of(Aux(scene=scene), (96, 96), scene)
    params = Occlusion(kinds=(kind,)).sample(5, (96, 96), np.random.default_rng(3))
    for size in (1.0, 30.0, 400.0):
        depth = scene.camera.distance - place(stage, params, size).vertices[:, 2]
        assert depth.max() < 100 * scene.depth().min()
        assert depth.min() > 0
    front, metres, _ = draw_object(stage, place(stage, params, 60.0))
    assert front.any()
    assert (metres[front] < scene.depth().min()).all()


def test_the_drawn_mesh_is_seen_from_outside():
    """Normals of a box that is turned by 30 degrees, as they must be."""
    view = View("orthographic", 1.0, (47.5, 47.5), 500.0, 96, 96)
    stage = stage_of(Aux(mask=np.ones((96, 96), bool), camera=view), (96, 96), None)
    params = Occlusion(kinds=("box",)).sample(1, (96, 96), np.random.default_rng(0))
    params |= {"form": FORM, "across": 0.5, "above": 0.2, "yaw_deg": 30.0, "tilt_deg": 0.0}
    front, _, normals = draw_object(stage, place(stage, params, 30.0))
    kinds = np.unique(np.round(normals[front], 2), axis=0)
    assert np.allclose(kinds, [[-0.87, 0, 0.5], [0.5, 0, 0.87]], atol=0.011)


# --- what the person is -------------------------------------------------------------------------------------------


def test_person_is_found_in_mask_then_depth_and_else_assumed():
    image, depth, mask = person(96, 96)
    whole = np.full((96, 96), 3.0, np.float32)
    assert _run(Occlusion(), 2, image, Aux(depth, mask)).notes["person"] == "mask"
    assert _run(Occlusion(), 2, image, aux_of(depth)).notes["person"] == "depth"
    for aux in (None, Aux(), Aux(depth=whole), Aux(mask=np.zeros((96, 96)))):
        result = _run(Occlusion(), 2, image, aux)
        assert result.notes["person"] == "assumed"
        assert result.notes["amodal_px"] == pytest.approx(np.pi * 0.2 * 0.45 * 96 * 96, rel=0.02)


def test_wrong_calls_are_told():
    image, depth, mask = person(96, 96)
    with pytest.raises(MissingInput, match="occlusion in mode 'mesh'"):
        _run(Occlusion(mode="mesh"), 1, image, Aux(depth, mask))
    with pytest.raises(ValueError, match=r"mask of occlusion must have the image's shape \(96, 96\), got \(48, 96\)"):
        _run(Occlusion(), 1, image, Aux(mask=mask[:48]))
    with pytest.raises(ValueError, match="kinds must be some of box, bar, plant, bag"):
        Occlusion(kinds=("car",))
    with pytest.raises(ValueError, match="mode must be"):
        Occlusion(mode="3d")
    away = _ball()
    away = away.followed(None, np.array([[1.0, 0, 500], [0, 1, 0]]))
    with pytest.raises(ValueError, match="the mesh is not in it"):
        _run(Occlusion(), 1, image, Aux(scene=away))


def test_objects_differ_from_draw_to_draw():
    image, depth, mask = person(96, 96)
    drawn = [_run(Occlusion(), 3, image, Aux(depth, mask), seed).notes["object"] for seed in range(12)]
    assert set(drawn) == set(KINDS)
