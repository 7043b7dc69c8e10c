"""Flash, shadow and multi-illumination: from meshes and from depth."""

import json

import cv2
import numpy as np
import pytest
from corruption_pictures import aux_of, psnr, texture
from sphere_scene import Sphere, ball

from corruptions import Aux, MissingInput
from corruptions._depth import DepthRule
from corruptions._light import draw_lamps, lamp_position, relighting
from corruptions._surface import View, assumed_view, normals_of, points_of, project, surface_of
from corruptions.flash import Flash, flash, reshading
from corruptions.multi_illumination import MultiIllumination
from corruptions.occlusion import Occlusion
from corruptions.shadow import Shadow
from robench.contracts import Camera, Mesh
from robench.rendering.scene import MeshScene

KINDS = [Flash, Shadow, MultiIllumination]


def _run(corruption, severity, image, aux, seed=0):
    params = corruption.sample(severity, image.shape[:2], np.random.default_rng(seed))
    return corruption.apply(image, json.loads(json.dumps(params)), aux)


def _surface(scene, mesh=True):
    return surface_of(scene.aux(mesh), scene.mask().shape, DepthRule(), scene if mesh else None, "test")[0]


# --- surfaces from depth ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_points_project_to_their_pixels(kind):
    view = View(kind, 80.0 if kind == "pinhole" else 0.7, (21.0, 13.5), 250.0, 48, 40)
    depth = np.random.default_rng(0).uniform(100, 300, (40, 48)).astype(np.float32)
    u, v, d = project(view, points_of(view, depth))
    rows, columns = np.indices(depth.shape)
    assert np.allclose(u, columns, atol=1e-3)
    assert np.allclose(v, rows, atol=1e-3)
    assert np.allclose(d, depth, atol=1e-3)


def test_normals_from_depth_are_those_of_the_ball():
    scene = Sphere()
    normals = _surface(scene, mesh=False).normals
    inner = scene.x**2 + scene.y**2 < (0.85 * scene.radius) ** 2
    angle = np.degrees(np.arccos(np.clip((normals * scene.normals()).sum(-1)[inner], -1, 1)))
    assert angle.mean() < 1.5
    assert angle.max() < 8
    assert np.allclose(normals[~scene.mask()], (0, 0, 1))


def test_normals_of_a_slope_seen_by_a_pinhole_camera():
    view = assumed_view((64, 64))
    rows, columns = np.indices((64, 64))
    x, y = (columns - 31.5) / view.scale, (31.5 - rows) / view.scale
    # The plane z = -300 + x / 2 - y / 4: depth d with (x, y) = d (x', y') solves d = 300 - d x' / 2 + d y' / 4.
    normals = normals_of(points_of(view, (300 / (1 + x / 2 - y / 4)).astype(np.float32)))
    expected = np.array([-0.5, 0.25, 1]) / np.linalg.norm([-0.5, 0.25, 1])
    assert np.abs(normals[3:-3, 3:-3] - expected).max() < 0.02


def test_normals_do_not_lean_over_edges_of_depth():
    depth = np.full((40, 40), 300, np.float32)
    depth[:, 20:] = 250
    normals = normals_of(points_of(View("orthographic", 1.0, (20, 20), 0.0, 40, 40), depth))
    assert np.allclose(normals, (0, 0, 1), atol=1e-3)


def test_millimetres_do_not_show_in_the_normals():
    scene = Sphere(192, 80.0)
    rough = np.round(scene.depth() * 1000) / 1000
    inner = scene.x**2 + scene.y**2 < (0.7 * scene.radius) ** 2
    normals = surface_of(Aux(rough, None, None, scene.camera), (192, 192), DepthRule(), None, "test")[0].normals
    assert np.degrees(np.arccos(np.clip((normals * scene.normals()).sum(-1)[inner], -1, 1))).mean() < 3


def test_depth_knows_what_is_behind_the_mesh():
    scene = Sphere()
    aux = Aux(np.where(scene.mask(), 5.0, 12.0).astype(np.float32), None, scene, scene.camera)
    surface, notes = surface_of(aux, (96, 96), DepthRule(), scene, "test")
    assert notes["no_depth_share"] == 0
    assert notes["nearest_m"] == pytest.approx(3.0)
    # The ball's nearest point is 9.65 m away and the wall 12 m: 2.35 m behind it.
    assert np.allclose(surface.points[0, 0, 2], -200, atol=0.1)
    assert np.allclose(surface.points[scene.mask()], scene.positions()[scene.mask()])
    assert np.array_equal(surface.person, scene.mask())
    assert surface.eye == pytest.approx([0, 0, 35 + 300], abs=0.1)


# --- both modes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", [2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_mesh_and_depth_agree_on_a_ball(kind, severity):
    image, scene = ball()
    from_mesh = _run(kind(), severity, image, scene.aux(mesh=True))
    from_depth = _run(kind(), severity, image, scene.aux(mesh=False))
    assert from_mesh.notes["mode"] == "mesh"
    assert from_depth.notes["mode"] == "image"
    inner = scene.x**2 + scene.y**2 < (0.9 * scene.radius) ** 2
    assert psnr(from_mesh.image[inner], from_depth.image[inner]) > 30
    assert psnr(from_mesh.image[~scene.mask()], from_depth.image[~scene.mask()]) > 35
    assert psnr(from_mesh.image[inner], image[inner]) < 28


@pytest.mark.parametrize("kind", KINDS)
def test_mode_is_the_callers_choice(kind):
    image, scene = ball()
    assert _run(kind(mode="image"), 1, image, scene.aux(mesh=True)).notes["mode"] == "image"
    assert _run(kind(mode="mesh"), 1, image, Aux(scene=scene)).notes["mode"] == "mesh"
    with pytest.raises(MissingInput, match=f"{kind.card.name} in mode 'mesh' needs the mesh behind the picture"):
        _run(kind(mode="mesh"), 1, image, scene.aux(mesh=False))
    with pytest.raises(ValueError, match="mode must be"):
        kind(mode="depth")


@pytest.mark.parametrize("kind", KINDS)
def test_twice_the_resolution_is_the_same_light(kind):
    def egg(size):
        y, x = (np.indices((size, size)) + 0.5) / size * 2 - 1
        r = (x / 0.6) ** 2 + (y / 0.9) ** 2
        return np.where(r < 1, 10 - 0.25 * np.sqrt(np.maximum(1 - r, 0)), np.inf).astype(np.float32)

    image = cv2.GaussianBlur(texture(128, 128), (0, 0), 1.5)
    big = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    small = _run(kind(), 4, image, aux_of(egg(128)), seed=3).image
    shrunk = cv2.resize(_run(kind(), 4, big, aux_of(egg(256)), seed=3).image, (128, 128), interpolation=cv2.INTER_AREA)
    assert psnr(small, shrunk) > 33


@pytest.mark.parametrize("kind", [*KINDS, Occlusion])
def test_maps_of_another_size_are_told(kind):
    image, scene = ball(96)
    small = Sphere(64)
    with pytest.raises(ValueError, match=r"scene of \w+ is for 64x64 pixels, the picture has 96x96"):
        _run(kind(), 1, image, small.aux(mesh=True) if kind is Occlusion else Aux(scene=small))
    with pytest.raises(ValueError, match=r"the mask of \w+ must have the image's shape"):
        _run(kind(), 1, image, Aux(scene.depth(), small.mask()))
    with pytest.raises(ValueError, match=r"the depth map of \w+ must have the image's shape"):
        _run(kind(), 1, image, Aux(small.depth(), scene.mask()))


# --- flash --------------------------------------------------------------------------------------------------------


def test_flash_formula_pixel_by_pixel():
    image, scene = ball()
    result = _run(Flash(mode="mesh"), 4, image, scene.aux(mesh=True)).image
    eye = np.array([0, 0, 335.0])
    nearest = np.percentile(335 - scene.height[scene.mask()], 2)
    for row, column in [(48, 48), (30, 40), (60, 70), (20, 48), (0, 0)]:
        inside = scene.mask()[row, column]
        x, y = scene.x[row, column], scene.y[row, column]
        point = np.array([x, y, scene.height[row, column] if inside else 335.0 - 600])
        normal = point / 35 if inside else np.array([0, 0, 1.0])
        to = eye - point
        cosine = max(0, float(normal @ to) / np.linalg.norm(to))
        r = min(1, cosine * (nearest / to[2]) ** 2)
        expected = np.minimum(255, image[row, column] * (1 + r / 0.6))
        assert np.abs(result[row, column] - expected).max() <= 1


def test_flash_only_adds_light_and_burns_out():
    image, light = texture(64, 64), np.linspace(0, 1, 64 * 64).reshape(64, 64).astype(np.float32)
    light[:8] = 0
    result = flash(image, light, 0.9).astype(int)
    assert (result >= image).all()
    assert np.array_equal(result[:8], image[:8])
    exact = image * (1 + light.astype(np.float64) / 0.9)[..., None]
    assert np.abs(result - np.minimum(exact, 255)).max() <= 1
    assert (exact > 300).any()
    assert result.max() == 255
    with pytest.raises(ValueError, match="kappa > 0"):
        flash(image, light, 0.0)


def test_flash_is_strongest_on_what_is_near_and_faces_the_camera():
    scene = Sphere()
    light = reshading(_surface(scene))
    line = light[48, 48:82]
    assert (np.diff(line)[2:] < 0).all()
    assert line[0] == pytest.approx(1, abs=0.02)
    assert light[0, 0] == pytest.approx((300 / 600) ** 2, rel=0.15)


def test_peak_gains_are_the_published_ones():
    assert [row["peak_gain"] for row in Flash.card.extra["severities"].values()] == [1.42, 1.71, 2.11, 2.67, 3.5]


# --- lamps --------------------------------------------------------------------------------------------------------


def test_light_of_a_lamp_pixel_by_pixel():
    scene = Sphere()
    surface = _surface(scene)
    lamp = {"azimuth_deg": 50.0, "height_deg": 20.0, "distance_m": 3.0}
    light = relighting(surface, lamp, ambient=0.2, soft=False)
    at = surface.centre + 300 * np.array(
        [
            np.sin(np.radians(50)) * np.cos(np.radians(20)),
            np.sin(np.radians(20)),
            np.cos(np.radians(50)) * np.cos(np.radians(20)),
        ]
    )
    assert lamp_position(lamp, surface.centre) == pytest.approx(at)
    for row, column in [(48, 48), (40, 70), (30, 20), (60, 16)]:
        point = np.array([scene.x[row, column], scene.y[row, column], scene.height[row, column]])
        to = at - point
        r = np.linalg.norm(to)
        lit = min(1, 2.5 * max(0, float(point / 35 @ to) / r) * 800**2 / (800**2 + r**2))
        assert light[row, column] == pytest.approx(0.2 + 0.8 * lit, abs=1e-3)


def test_lamps_are_spread_and_drawn_apart():
    lamps = draw_lamps(np.random.default_rng(3))
    sides = np.sort([abs(lamp["azimuth_deg"]) for lamp in lamps])
    assert (np.floor(sides / 12.5) == np.arange(10)).all()
    assert len({lamp["azimuth_deg"] > 0 for lamp in lamps}) == 2
    assert all(2 <= lamp["distance_m"] <= 4 and -5 <= lamp["height_deg"] <= 60 for lamp in lamps)


@pytest.mark.parametrize("mesh", [True, False])
def test_shadow_darkens_with_rank(mesh):
    image, scene = ball()
    results = [_run(Shadow(), s, image, scene.aux(mesh), seed=4) for s in range(1, 6)]
    light = [r.notes["mean_light"] for r in results]
    assert (np.diff(light) < 0).all()
    assert light[0] - light[4] > 0.2
    means = [r.image[scene.mask()].mean() for r in results]
    assert (np.diff(means) < 0).all()
    for result in results:
        assert (result.image <= np.rint(1.1 * image.astype(float))).all()


def test_published_shade_is_black_and_ours_is_not():
    image, scene = ball()
    black = _run(Shadow(ambient=0), 5, image, scene.aux(mesh=True)).image[scene.mask()]
    grey = _run(Shadow(), 5, image, scene.aux(mesh=True)).image[scene.mask()]
    dark = (black == 0).all(axis=1)
    assert dark.mean() > 0.1
    ratio = grey[dark].astype(float) / image[scene.mask()][dark]
    assert 0.14 < np.median(ratio) < 0.175
    with pytest.raises(ValueError, match="share in"):
        Shadow(ambient=1.5)


def test_no_light_at_all_is_told():
    image, scene = ball()
    params = Shadow().sample(1, (96, 96), np.random.default_rng(0))
    behind = [{"azimuth_deg": 180.0, "height_deg": 0.0, "distance_m": 50.0}]
    with pytest.raises(ValueError, match="no lamp"):
        Shadow().apply(image, {**params, "lamps": behind}, scene.aux(mesh=True))


def test_lights_add_up_before_clipping():
    _, scene = ball()
    image = texture(96, 96) // 4
    params = MultiIllumination().sample(4, (96, 96), np.random.default_rng(1))
    assert len(params["lamps"]) == 2

    def lit(lamps):
        return MultiIllumination().apply(image, {**params, "lamps": lamps}, scene.aux(mesh=True)).image.astype(int)

    both, one, other = lit(params["lamps"]), lit(params["lamps"][:1]), lit(params["lamps"][1:])
    assert np.abs(both - one - other).max() <= 1
    assert one.any()
    assert other.any()


def test_fewer_and_stronger_lamps_with_severity():
    rows = {1: (5, 0.2, 0.3), 2: (4, 0.25, 0.35), 3: (3, 0.35, 0.45), 4: (2, 0.5, 0.6), 5: (1, 1.0, 1.1)}
    for severity, (count, low, high) in rows.items():
        for seed in range(5):
            lamps = MultiIllumination().sample(severity, (64, 64), np.random.default_rng(seed))["lamps"]
            assert len(lamps) == count
            assert all(low <= lamp["gain"] < high for lamp in lamps)


# --- cast shadows -------------------------------------------------------------------------------------------------


def _plates(gap):
    """A square of 20 cm before a wall of 1 m, `gap` centimetres apart, as a mesh and as depth at 1 cm a pixel."""
    square = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]], np.float32)
    vertices = np.concatenate([square * 50, square * 10 + [0, 0, gap]]).astype(np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3], [4, 5, 6], [4, 6, 7]], np.int32)
    camera = Camera(np.eye(4), 1.0, (47.5, 47.5), 96, 96)
    at = np.abs(np.arange(96) - 47.5)
    depth = np.where((at[:, None] < 10) & (at < 10), 10 - gap / 100, 10.0).astype(np.float32)
    return MeshScene(Mesh(vertices, faces), camera), depth, camera


def test_a_square_casts_its_shadow_on_the_wall():
    scene, depth, camera = _plates(gap=15.0)
    surface = surface_of(Aux(depth, None, scene, camera), (96, 96), DepthRule(), scene, "test")[0]
    # A lamp far to the upper right at 45 degrees: the shadow of a point 15 cm before the wall lies 15 cm lower left.
    seen = surface.visibility(np.array([50000.0, 50000.0, 50000.0]), 0.0, 1)
    at = np.arange(96) - 47.5
    shaded = (np.abs(at + 15) < 10)[None, :] & (np.abs(at - 15) < 10)[:, None]
    covered = (np.abs(at) < 10)[None, :] & (np.abs(at) < 10)[:, None]
    assert np.array_equal((seen < 0.5)[~covered], shaded[~covered])
    assert (seen[covered] == 1).all()


def test_without_a_mesh_the_square_is_a_block_that_casts_its_shadow():
    _, depth, camera = _plates(gap=15.0)
    surface = surface_of(Aux(depth, None, None, camera), (96, 96), DepthRule(), None, "test")[0]
    seen = surface.visibility(np.array([50000.0, 50000.0, 50000.0]), 0.0, 1)
    at = np.arange(96) - 47.5
    # Thick as it is taken to be, it shades all between itself and where the shadow of its front lies.
    swept = [(np.abs(at + k) < 10)[None, :] & (np.abs(at - k) < 10)[:, None] for k in range(16)]
    covered, shaded = swept[0], np.any(swept, axis=0)
    wrong = (seen < 0.5) != shaded
    assert wrong[~covered].sum() < 0.25 * (shaded & ~covered).sum()
    assert (seen[covered] > 0.5).mean() > 0.8


def test_a_person_with_a_mesh_casts_a_shadow_on_what_depth_shows_around():
    whole, depth, camera = _plates(gap=15.0)
    alone = MeshScene(Mesh(whole.rays.mesh.vertices[4:], whole.rays.mesh.faces[2:] - 4), camera)
    surface = surface_of(Aux(depth, None, alone, camera), (96, 96), DepthRule(), alone, "test")[0]
    assert surface.around
    assert np.array_equal(surface.person, alone.mask())
    seen = surface.visibility(np.array([50000.0, 50000.0, 50000.0]), 0.0, 1)
    assert (seen[surface.person] == 1).all()
    assert seen[60, 32] < 0.5
    assert seen[36, 66] > 0.5
    nothing = surface_of(Aux(scene=alone), (96, 96), DepthRule(), alone, "test")[0]
    assert not nothing.around
    assert (nothing.visibility(np.array([50000.0, 50000.0, 50000.0]), 0.0, 1) == 1).all()


def test_soft_lamps_have_half_shadows():
    scene, _, _ = _plates(gap=15.0)
    hard = scene.visibility(np.array([150.0, 0.0, 300.0]), 0.0, 1)
    soft = scene.visibility(np.array([150.0, 0.0, 300.0]), 40.0, 16)
    assert set(np.unique(hard)) == {0.0, 1.0}
    assert ((soft > 0.2) & (soft < 0.8)).sum() > 20


def test_screen_space_knows_nothing_behind_the_camera():
    depth = np.full((64, 64), 3.0, np.float32)
    surface = surface_of(aux_of(depth), (64, 64), DepthRule(), None, "test")[0]
    assert surface.visibility(surface.eye + np.array([50.0, 50.0, 0.0]), 0.0, 1).min() > 0.99
