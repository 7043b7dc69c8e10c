"""Pitch, jitter, field of view, scale: the camera of the new picture sees the truth where the picture has it."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import trimesh
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import Aux, MissingInput, load
from corruptions import _views as views
from corruptions._backdrop import moved_picture, without_person
from corruptions.camera_pitch import CameraPitch
from corruptions.scale import anchor
from robench.contracts import Camera, Mesh
from robench.masking.carry import carried_mask
from robench.rendering import render
from robench.rendering.scene import MeshScene

VIEWS = ["camera_pitch", "field_of_view", "scale", "view_jitter"]
SIDE = 128
ORTHO = Camera(np.eye(4), 0.6, (63.5, 63.5), SIDE, SIDE, distance=350.0)
PINHOLE = replace(ORTHO, kind="pinhole", scale=230.0, distance=380.0)
CAMERAS = {"orthographic": ORTHO, "pinhole": PINHOLE}


def figure() -> Mesh:
    """A person of boxes, 160 cm tall, one arm stretched out, with its own colours; its top faces are white."""
    boxes = [
        ((0, 65, 2), (20, 26, 22), (200, 150, 120)),
        ((0, 25, 0), (44, 54, 24), (60, 120, 60)),
        ((38, 40, 8), (36, 12, 12), (200, 150, 120)),
        ((-11, -40, 0), (18, 78, 20), (40, 40, 90)),
        ((11, -40, 4), (18, 78, 20), (40, 40, 90)),
    ]
    vertices, faces, colours = [], [], []
    for middle, size, colour in boxes:
        box = trimesh.creation.box(size).subdivide().subdivide()
        # Faces do not share vertices, so that each side has its own colour and normal.
        corners = np.array(box.vertices[box.faces].reshape(-1, 3)) + middle
        white = np.repeat(box.face_normals[:, 1] > 0.9, 3)
        faces.append(np.arange(len(corners)).reshape(-1, 3) + sum(map(len, vertices)))
        vertices.append(corners)
        colours.append(np.where(white[:, None], 255, np.array(colour)))
    return Mesh(
        np.concatenate(vertices).astype(np.float32),
        np.concatenate(faces).astype(np.int32),
        np.concatenate(colours).astype(np.uint8),
    )


FIGURE = figure()


def taken(camera: Camera) -> tuple[np.ndarray, Aux]:
    """The figure before a textured wall, and all that lies beside the picture."""
    wall = cv2.GaussianBlur(texture(camera.height, camera.width, seed=3), (0, 0), 3)
    frame = render(FIGURE, camera, samples=2, background=wall)
    scene = MeshScene(FIGURE, camera)
    return frame.colour, Aux(frame.depth, frame.mask, scene, camera)


PICTURES = {kind: taken(camera) for kind, camera in CAMERAS.items()}


def made(name, severity, kind, mode="auto", seed=0):
    image, aux = PICTURES[kind]
    corruption = type(load(name))(mode=mode)
    params = corruption.sample(severity, image.shape[:2], np.random.default_rng(seed))
    return corruption.apply(image, params, aux)


def true_mask(result, kind):
    """The mask as the engine has it: drawn, or the clean one moved."""
    if result.mask is not None:
        return result.mask
    return carried_mask(PICTURES[kind][1].mask, result.affine, (SIDE, SIDE), soft=True)


def iou(a, b):
    a, b = a >= 0.5, b >= 0.5
    return (a & b).sum() / (a | b).sum()


def coverage(camera):
    """How much of each pixel the figure covers, from sixteen rays."""
    fine = MeshScene(FIGURE, camera.resized(4 * SIDE, 4 * SIDE)).mask().astype(np.float32)
    return cv2.resize(fine, (SIDE, SIDE), interpolation=cv2.INTER_AREA)


def test_turns_are_right_handed_and_pitch_brings_the_top_nearer():
    assert np.allclose(views.rotation((0, 0, 2), 90) @ [1, 0, 0], [0, 1, 0])
    assert np.allclose(views.rotation((1, 0, 0), 90) @ [0, 1, 0], [0, 0, 1])
    turn = views.rotation((1, 2, 3), 40)
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.degrees(np.arccos((np.trace(turn) - 1) / 2)) == pytest.approx(40)
    pivot = np.array([3.0, -2, 5])
    assert np.allclose(views.about(turn, pivot) @ [*pivot, 1], [*pivot, 1])


def test_homography_of_a_turning_pinhole_is_where_points_go():
    points = np.random.default_rng(0).uniform(-60, 60, (20, 3))
    turn = views.rotation((1, 0.3, -0.2), 17)
    lens = views.Lens.of(PINHOLE, (SIDE, SIDE), 50)
    assert not lens.assumed
    matrix = lens.homography(turn)
    there = PINHOLE.followed(None, views.about(turn, np.array([0, 0, PINHOLE.distance])))
    before, after = PINHOLE.project(points), there.project(points)
    found = np.array([views.mapped(matrix, pixel[:2]) for pixel in before])
    assert np.abs(found - after[:, :2]).max() < 1e-8
    nearing = lens.nearing(turn, (SIDE, SIDE))
    column, row = np.round(before[0, :2]).astype(int)
    # A pixel's own ray: put the first point onto it.
    on_ray = np.array([(column - 63.5) / 230, (63.5 - row) / 230, -1.0]) * before[0, 2] * 100 + [0, 0, PINHOLE.distance]
    turned = there.project(on_ray[None])[0, 2]
    assert turned / PINHOLE.project(on_ray[None])[0, 2] == pytest.approx(nearing[row, column], rel=1e-5)


def test_unknown_lens_is_a_normal_one():
    for camera in (None, ORTHO):
        lens = views.Lens.of(camera, (100, 200), 50)
        assert lens.assumed
        assert 2 * np.degrees(np.arctan(100 / lens.focal)) == pytest.approx(50)
        assert lens.centre == (99.5, 49.5)


def test_four_points_make_a_homography():
    matrix = np.array([[1.1, 0.1, 3], [-0.05, 0.9, 2], [1e-3, -5e-4, 1]])
    before = np.array([[0, 0], [100, 5], [90, 80], [-10, 70.0]])
    after = np.array([views.mapped(matrix, p) for p in before])
    assert np.allclose(views.four_points(before, after), matrix)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("mode", ["mesh", "image"])
def test_camera_sees_the_truth_where_mask_and_picture_have_it(name, kind, mode):
    """The law of all four: follow the camera by what is returned, and the mesh falls on the mask."""
    if mode == "image" and kind == "orthographic" and name in ("camera_pitch", "view_jitter"):
        kind = "pinhole"  # the homography of an assumed lens is nobody's truth
    for severity in (1, 3, 5):
        result = made(name, severity, kind, mode)
        assert result.notes["mode"] == mode
        camera = CAMERAS[kind].followed(result.affine, result.view_change)
        expected = MeshScene(FIGURE, camera)
        mask = true_mask(result, kind)
        area = coverage(camera)
        # A scaled cut-out before a pinhole keeps the perspective of where the person stood.
        assert np.minimum(mask, area).sum() / np.maximum(mask, area).sum() > (0.95 if mode == "mesh" else 0.9)
        assert abs(mask.sum() / area.sum() - 1) < 0.02
        if result.depth is not None and mode == "mesh":
            assert np.array_equal(result.depth, expected.depth())
        # What the mask calls the person looks like the person: dark legs, green coat, skin; the wall is another.
        clean, aux = PICTURES[kind]
        person_colour = result.image[mask > 0.99].mean(axis=0)
        assert np.abs(person_colour - clean[aux.mask > 0.99].mean(axis=0)).max() < 25


@pytest.fixture(scope="module")
def sharp() -> tuple[np.ndarray, Aux]:
    """Four times the pixels: on a small picture the outline alone is some percent of the person."""
    return taken(PINHOLE.resized(4 * SIDE, 4 * SIDE))


@pytest.mark.parametrize(("severity", "seed"), [(1, 0), (3, 3), (5, 0), (5, 3)])
def test_mesh_and_image_agree_for_a_pinhole_that_turns(sharp, severity, seed):
    picture, aux = sharp
    params = CameraPitch().sample(severity, picture.shape[:2], np.random.default_rng(seed))
    mesh, image = (CameraPitch().apply(picture, params | {"mode": mode}, aux) for mode in ("mesh", "image"))
    # A pixel that is half the person belongs to neither.
    assert iou(mesh.mask - 1e-3, image.mask - 1e-3) >= 0.99
    assert np.allclose(mesh.view_change, image.view_change)
    assert np.allclose(mesh.affine, image.affine)
    assert psnr(mesh.image, image.image) > 24
    both = np.isfinite(mesh.depth) & np.isfinite(image.depth)
    assert both.sum() > 0.97 * np.isfinite(mesh.depth).sum()
    assert np.median(np.abs(mesh.depth[both] / image.depth[both] - 1)) < 0.002


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("name", VIEWS)
def test_every_level_is_farther_from_the_clean_mask(name, kind):
    clean = PICTURES[kind][1].mask
    values = [iou(true_mask(made(name, s, kind), kind), clean) for s in range(1, 6)]
    assert values[0] < 0.995
    assert (np.diff(values) < -0.004).all(), values


@pytest.mark.parametrize("kind", CAMERAS)
@pytest.mark.parametrize("name", ["camera_pitch", "view_jitter"])
def test_every_level_is_farther_from_the_clean_picture(name, kind):
    clean = PICTURES[kind][0]
    values = np.mean([[psnr(made(name, s, kind, seed=seed).image, clean) for s in range(1, 6)] for seed in (0, 1)], 0)
    assert (np.diff(values) < -0.1).all(), values


def test_from_above_one_sees_the_tops_and_from_below_not():
    def whites(down):
        image, aux = PICTURES["orthographic"]
        params = {"degrees": 25.0, "down": down, "mode": "mesh", "lens_degrees": 50.0}
        result = CameraPitch().apply(image, params, aux)
        return ((result.image.min(axis=2) > 215) & (result.mask > 0.99)).sum()

    clean, aux = PICTURES["orthographic"]
    assert ((clean.min(axis=2) > 215) & (aux.mask > 0.99)).sum() < 10
    assert whites(1) > 60
    assert whites(-1) < 10


def test_pitch_is_drawn_once_for_all_levels():
    pitch = CameraPitch()
    draws = [[pitch.sample(s, (64, 64), np.random.default_rng(k))["down"] for s in range(1, 6)] for k in range(40)]
    assert all(len(set(row)) == 1 for row in draws)
    down = np.array([row[0] for row in draws])
    assert ((np.abs(down) >= 0.9) & (np.abs(down) <= 1.1)).all()
    assert 10 < (down > 0).sum() < 30


def test_jitter_goes_everywhere_and_the_same_way_at_all_levels():
    jitter = load("view_jitter")
    draws = [[jitter.sample(s, (64, 64), np.random.default_rng(k)) for s in (1, 5)] for k in range(200)]
    for low, high in draws:
        assert [low[k] for k in ("axis", "towards_degrees", "nearing_share")] == [
            high[k] for k in ("axis", "towards_degrees", "nearing_share")
        ]
    axes = np.array([low["axis"] for low, _ in draws])
    assert np.allclose(np.linalg.norm(axes, axis=1), 1)
    assert np.abs(axes.mean(axis=0)).max() < 0.15
    assert np.allclose((axes**2).mean(axis=0), 1 / 3, atol=0.08)


@pytest.mark.parametrize("kind", CAMERAS)
def test_jitter_puts_the_middle_where_it_says(kind):
    image, aux = PICTURES[kind]
    params = load("view_jitter").sample(4, image.shape[:2], np.random.default_rng(5))
    params |= {"towards_degrees": 90.0, "nearing_share": 1.0}
    result = load("view_jitter").apply(image, params, aux)
    camera = CAMERAS[kind]
    low, high = aux.scene.bounds()
    middle = ((low + high) / 2)[None].astype(np.float64)
    before, after = camera.project(middle)[0], camera.followed(result.affine, result.view_change).project(middle)[0]
    assert np.allclose(after[:2] - before[:2], [0, -0.08 * SIDE], atol=1e-4), "90 degrees is up"
    moved = camera.followed(result.affine, result.view_change)
    size = moved.scale / camera.scale if kind == "orthographic" else before[2] / after[2]
    assert size == pytest.approx(1.12, abs=1e-4)


def test_without_the_mesh_jitter_stays_in_place():
    result = made("view_jitter", 5, "pinhole", "image")
    eye = np.array([0, 0, PINHOLE.distance, 1.0])
    assert np.allclose(result.view_change @ eye, eye)


@pytest.mark.parametrize("mode", ["mesh", "image"])
@pytest.mark.parametrize("kind", CAMERAS)
def test_scale_is_the_size_it_says(kind, mode):
    image, aux = PICTURES[kind]
    for severity, size in ((1, 0.8), (3, 0.5), (5, 0.3)):
        result = made("scale", severity, kind, mode)
        mask = true_mask(result, kind)
        assert mask.sum() / aux.mask.sum() == pytest.approx(size**2, rel=0.06)
        stays = anchor(aux.mask, (SIDE, SIDE))
        assert np.abs(anchor(mask, (SIDE, SIDE)) - stays).max() < 2.5
        far = cv2.distanceTransform((aux.mask < 0.1).astype(np.uint8), cv2.DIST_L2, 5) > 16
        assert np.array_equal(result.image[far], image[far]), "the background stays, byte for byte"


def test_scale_removes_the_large_person():
    """On a plain wall nothing of the person that was there is left."""
    image, aux = PICTURES["orthographic"]
    plain = np.where(aux.mask[..., None] > 0, image, np.uint8(200))
    for scene in (None, aux.scene):
        result = load("scale").apply(plain, {"size": 0.4, "mode": "auto"}, Aux(mask=aux.mask, scene=scene))
        small = cv2.dilate((true_mask(result, "orthographic") > 0).astype(np.uint8), np.ones((3, 3)))
        assert (result.image[small == 0] == 200).all()


def test_scale_without_mask_shrinks_the_picture():
    image, _, _ = person(96, 96)
    result = load("scale").apply(image, {"size": 0.5, "mode": "auto"}, Aux())
    assert result.notes == {"mode": "image", "moved": "picture"}
    assert np.allclose(result.affine @ [47.5, 47.5, 1], [47.5, 47.5])


def test_a_wider_lens_maps_pixels_as_the_formula_says():
    image = np.zeros((101, 141, 3), np.uint8)
    image[18:23, 98:103] = 255
    for severity, zoom in ((1, 0.85), (5, 0.38)):
        result = corrupt("field_of_view", severity, image, None)
        y, x = np.nonzero(result.image[..., 0] > result.image.max() // 2)
        expected = [70 + zoom * 30, 50 - zoom * 30]
        assert np.allclose([x.mean(), y.mean()], expected, atol=0.3)
        assert np.allclose(result.affine @ [100, 20, 1], expected)


def test_beyond_the_frame_there_is_no_second_person():
    image, _, mask = person(96, 96)
    image = np.where(mask[..., None], np.uint8([255, 0, 0]), image // 4 + 60).astype(np.uint8)
    aux = Aux(mask=mask.astype(np.float32))
    for name in VIEWS:
        result = load(name).apply(image, load(name).sample(5, (96, 96), np.random.default_rng(0)), aux)
        covered = true_mask_of(result, aux) > 0
        red = (result.image[..., 0] > 180) & (result.image[..., 1] < 60)
        assert not (red & ~cv2.dilate(covered.astype(np.uint8), np.ones((5, 5))).astype(bool)).any(), name


def true_mask_of(result, aux):
    if result.mask is not None:
        return result.mask
    return carried_mask(aux.mask, result.affine, aux.mask.shape, soft=True)


def test_what_was_outside_the_frame_is_rendered_with_the_mesh():
    close = replace(ORTHO, scale=1.0)
    image, aux = taken(close)
    assert aux.mask[-1].any(), "the legs are cut off"
    params = {"zoom": 0.58, "mode": "auto"}
    with_mesh = load("field_of_view").apply(image, params, aux)
    without = load("field_of_view").apply(image, params | {"mode": "image"}, aux)
    expected = MeshScene(FIGURE, close.followed(with_mesh.affine)).mask()
    assert iou(with_mesh.mask, expected) > 0.97
    assert without.mask is None
    legs = expected & (carried_mask(aux.mask, without.affine, (SIDE, SIDE), soft=True) < 0.1)
    legs[: SIDE // 2] = False
    assert legs.sum() > 50
    assert np.abs(with_mesh.image[legs].mean(axis=0) - [40, 40, 90]).max() < 30
    assert np.abs(without.image[legs].mean(axis=0) - [40, 40, 90]).max() > 40


def test_hole_behind_the_person_goes_on_along_the_rows():
    height, width = 90, 120
    bands = np.repeat(np.array([40, 220, 120], np.uint8), 30)[:, None, None] * np.ones((1, width, 3), np.uint8)
    mask = np.zeros((height, width), np.float32)
    mask[15:80, 50:70] = 1
    broken = np.where(mask[..., None] > 0, np.uint8([255, 0, 255]), bands)
    filled = without_person(broken, mask)
    away = np.abs(np.arange(height) % 30 - 14.5) < 8
    assert np.abs(filled[away].astype(int) - bands[away]).max() <= 3
    far = np.abs(np.arange(width) - 59.5) > 30
    assert np.array_equal(filled[:, far], bands[:, far])


def test_edges_go_on_blurred_by_half_the_distance():
    """Beyond a sharp step along the edge, its width grows with the distance, as that of a Gaussian does."""
    size = 256
    step = np.where(np.arange(size)[None, :] < size // 2, 40, 200).astype(np.uint8)
    image = np.repeat(np.repeat(step, size, axis=0)[..., None], 3, axis=2)
    matrix = views.squared(views.similarity(np.array([127.5, 255.0]), to=np.array([127.5, 127.0])))  # up by 128 pixels
    result = moved_picture(image, None, matrix)
    assert np.array_equal(result[:128], image[128:])
    for distance in (24, 48, 96):
        line = result[127 + distance, :, 0].astype(float)
        weights = np.diff(line)
        assert (weights >= 0).all()
        centre = np.average(np.arange(0.5, size - 1), weights=weights)
        spread = np.sqrt(np.average((np.arange(0.5, size - 1) - centre) ** 2, weights=weights))
        assert centre == pytest.approx(127.5, abs=1)
        # What the blur takes from the frame is cut at the frame's sides for the widest one.
        assert spread == pytest.approx(distance / 2, rel=0.2)


def test_backdrop_of_extreme_masks():
    image = texture(40, 50)
    assert np.array_equal(without_person(image, np.zeros((40, 50), np.float32)), image)
    everything = without_person(image, np.ones((40, 50), np.float32))
    assert np.abs(everything.astype(float) - image.mean(axis=(0, 1))).max() <= 0.5
    band = np.zeros((40, 50), np.float32)
    band[10:30] = 1
    plain = np.full((40, 50, 3), 77, np.uint8)
    plain[10:30] = 255
    assert (without_person(plain, band) == 77).all(), "rows without background go on from those around them"
    assert np.array_equal(moved_picture(image, image, np.eye(3)), image)
    assert np.array_equal(moved_picture(image, None, np.eye(3)), image)


@pytest.mark.parametrize("name", VIEWS)
def test_a_plain_picture_stays_plain(name):
    plain = np.full((64, 48, 3), (10, 130, 250), np.uint8)
    mask = person(64, 48)[2].astype(np.float32)
    for aux in (Aux(), Aux(mask=mask)):
        result = load(name).apply(plain, load(name).sample(4, (64, 48), np.random.default_rng(0)), aux)
        assert np.array_equal(result.image, plain)


@pytest.mark.parametrize("name", VIEWS)
def test_twice_the_size_is_the_same_picture(name):
    image, aux = PICTURES["orthographic"]
    smooth = cv2.GaussianBlur(image, (0, 0), 1.5)
    big = cv2.resize(smooth, (2 * SIDE, 2 * SIDE), interpolation=cv2.INTER_CUBIC)
    big_scene = MeshScene(FIGURE, ORTHO.resized(2 * SIDE, 2 * SIDE))
    for small_aux, big_aux in (
        (Aux(mask=aux.mask), Aux(mask=cv2.resize(aux.mask, (2 * SIDE, 2 * SIDE)))),
        (Aux(scene=aux.scene), Aux(scene=big_scene)),
    ):
        corruption = load(name)
        one = corruption.apply(smooth, corruption.sample(3, (SIDE, SIDE), np.random.default_rng(1)), small_aux)
        two = corruption.apply(big, corruption.sample(3, (2 * SIDE, 2 * SIDE), np.random.default_rng(1)), big_aux)
        assert psnr(one.image, cv2.resize(two.image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)) > 27


@pytest.mark.parametrize("name", VIEWS)
def test_wrong_companions_are_told(name):
    image, _, _ = person(64, 64)
    corruption = load(name)
    params = corruption.sample(1, (64, 64), np.random.default_rng(0))
    with pytest.raises(MissingInput, match=f"{name} in mode 'mesh' needs the mesh behind the picture"):
        corruption.apply(image, params | {"mode": "mesh"}, Aux())
    with pytest.raises(ValueError, match="mode must be 'auto', 'mesh' or 'image', got 'both'"):
        type(corruption)(mode="both")
    with pytest.raises(ValueError, match=f"scene of {name} is for 128x128 pixels, the picture has 64x64"):
        corruption.apply(image, params, Aux(scene=PICTURES["pinhole"][1].scene))
    with pytest.raises(ValueError, match=rf"mask of {name} must have the image's shape \(64, 64\), got \(32, 64\)"):
        corruption.apply(image, params, Aux(mask=np.ones((32, 64), np.float32)))


@pytest.mark.parametrize("name", ["camera_pitch", "scale", "view_jitter"])
def test_depth_of_another_size_is_told(name):
    image, _, mask = person(64, 64)
    corruption = load(name)
    params = corruption.sample(1, (64, 64), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"depth map of .* must have the image's shape"):
        corruption.apply(image, params, Aux(depth=np.ones((32, 64), np.float32), mask=mask))


def test_what_cannot_be_is_told():
    image, aux = PICTURES["orthographic"]
    with pytest.raises(ValueError, match="size of scale must be > 0, got 0"):
        load("scale").apply(image, {"size": 0, "mode": "auto"}, aux)
    with pytest.raises(ValueError, match="a zoom must be > 0, got -1"):
        load("field_of_view").apply(image, {"zoom": -1, "mode": "auto"}, aux)


def test_scaled_depth_keeps_the_person_in_front():
    image, aux = PICTURES["orthographic"]
    room = np.where(np.isfinite(aux.depth), aux.depth, np.float32(6))
    result = load("scale").apply(image, {"size": 0.5, "mode": "image"}, Aux(room, aux.mask))
    small = true_mask(result, "orthographic") > 0.9
    assert (result.depth[small] < 5).mean() > 0.98
    away = cv2.dilate((aux.mask > 0).astype(np.uint8), np.ones((3, 3))) == 0
    assert (result.depth[away & ~(true_mask(result, "orthographic") > 0)] == 6).all()
    hole = (aux.mask > 0.5) & (true_mask(result, "orthographic") == 0)
    assert np.isinf(result.depth[hole]).all(), "what the person hid is not known"
