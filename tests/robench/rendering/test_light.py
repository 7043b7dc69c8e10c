from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import trimesh

from robench.contracts import Camera, Mesh
from robench.errors import UsageError
from robench.geometry import surface_of
from robench.rendering import (
    Lamp,
    Lamps,
    SphericalHarmonics,
    Texture,
    lamp_visibility,
    openness,
    radiance_transfer,
    raycast,
    render,
    shade,
    shading,
)
from robench.rendering.light import cosine_transfer, in_frame, linear_to_srgb, sh_basis, srgb_to_linear

CAMERA = Camera(np.eye(4), 0.5, (31.5, 31.5), 64, 64, distance=300.0)
ALBEDO = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)


def directions(count, seed=0):
    d = np.random.default_rng(seed).normal(size=(count, 3))
    return d / np.linalg.norm(d, axis=1, keepdims=True)


def turn(degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]]) @ np.array([[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]])


def ball(radius=40.0, centre=(0, 0, 0), subdivisions=4):
    made = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.array(made.vertices + centre, np.float32), np.array(made.faces, np.int32))


def floor_under(mesh, level):
    corners = np.array([[-200, level, -200], [-200, level, 200], [200, level, 200], [200, level, -200]], np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]], np.int32)
    return Mesh(np.vstack([corners, mesh.vertices]), np.vstack([faces, mesh.faces + 4]))


def square(colours=None):
    corners = np.array([[-40, -40, 0], [40, -40, 0], [40, 40, 0], [-40, 40, 0]], np.float32)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32), colours)


def test_srgb_round_trip_keeps_every_byte():
    assert np.array_equal(linear_to_srgb(srgb_to_linear(ALBEDO)), ALBEDO)
    assert srgb_to_linear(np.array([188.0]))[0] == pytest.approx(0.5, abs=0.005)


def test_the_basis_is_orthonormal():
    i = np.arange(20_000) + 0.5
    z, angle = 1 - 2 * i / 20_000, np.pi * (1 + np.sqrt(5)) * i
    r = np.sqrt(1 - z * z)
    basis = sh_basis(np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)).astype(np.float64)
    assert np.abs(basis.T @ basis * 4 * np.pi / 20_000 - np.eye(9)).max() < 1e-3


def test_even_light_of_one_shows_the_colour_itself():
    normals = directions(256)
    assert np.array_equal(shade(ALBEDO, normals, SphericalHarmonics.uniform()), ALBEDO)
    assert np.array_equal(shade(ALBEDO, normals, Lamps((), (1.0, 1.0, 1.0))), ALBEDO)


def test_spherical_harmonics_shade_as_the_integral_does():
    light = SphericalHarmonics(np.random.default_rng(1).normal(size=(9, 3)) * 0.1 + [[3.0]] + np.zeros((9, 3)))
    d, n = directions(200_000), directions(3, 5)
    radiance = sh_basis(d) @ light.coefficients
    for normal in n:
        irradiance = 4 * np.pi * (radiance * np.maximum(d @ normal, 0)[:, None]).mean(axis=0)
        assert np.allclose(np.maximum(irradiance / np.pi, 0), shading(light, normal[None])[0], atol=0.06)


def test_lambert_and_the_inverse_square():
    normals = np.array([[0, 0, 1], [0, 1, 0], [0, np.sin(1.0), np.cos(1.0)]])
    light = Lamps((Lamp((0, 0, 5)),), (0.0, 0.0, 0.0))
    assert np.allclose(shading(light, normals)[:, 0], [1.0, 0.0, np.cos(1.0)], atol=1e-6)
    near = Lamps((Lamp((0, 0, 400), positional=True, reach=200.0),), (0.0, 0.0, 0.0))
    assert shading(near, normals[:1], np.zeros((1, 3)))[0, 0] == pytest.approx(0.25)
    with pytest.raises(ValueError, match="positions"):
        shading(near, normals)


@pytest.mark.parametrize("kind", [SphericalHarmonics, Lamps])
def test_light_turns_with_the_frame(kind):
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = turn(50), [5, -7, 20]
    light = kind.random(np.random.default_rng(2), frame="world")
    if kind is Lamps:
        light = replace(light, lamps=(*light.lamps, Lamp((30, 50, 90), positional=True)))
    normals, positions = directions(50), directions(50, 9) * 20
    there = in_frame(light, "view", view)
    assert there.frame == "view"
    turned = shading(there, normals @ view[:3, :3].T, positions @ view[:3, :3].T + view[:3, 3])
    assert np.abs(turned - shading(light, normals, positions)).max() < 1e-4
    back = in_frame(there, "world", view)
    assert np.abs(shading(back, normals, positions) - shading(light, normals, positions)).max() < 1e-4


@pytest.mark.parametrize("kind", [SphericalHarmonics, Lamps])
def test_random_light_is_seeded_well_exposed_and_varied(kind):
    one, again = (kind.random(np.random.default_rng(3)) for _ in range(2))
    normals = directions(500)
    normals = normals[normals[:, 2] > 0.2]
    assert np.array_equal(shading(one, normals), shading(again, normals))
    means = []
    for seed in range(20):
        value = shading(kind.random(np.random.default_rng(seed)), normals)
        assert value.min() >= 0
        means.append(value.mean())
    assert min(means) > 0.3
    assert max(means) < 1.3
    assert np.std(means) > 0.02


def test_a_convex_body_shades_itself_nowhere():
    mesh = ball()
    transfer = radiance_transfer(mesh, rays=16)
    assert np.allclose(transfer, cosine_transfer(surface_of(mesh).normals), atol=1e-6)
    assert (openness(transfer) > 1 - 1e-6).all()


def test_under_a_big_ball_half_the_sky_is_gone():
    # The floor's corner far away is open; the ball's lowest vertex looks at the floor, which hides all that it sees.
    mesh = floor_under(ball(40.0), -41.0)
    found = openness(radiance_transfer(mesh, rays=256))
    heights = mesh.vertices[:, 1]
    assert found[4:][np.argmin(heights[4:])] < 0.1
    assert found[4:][np.argmax(heights[4:])] == pytest.approx(1.0)
    side = np.argmin(np.abs(heights[4:]) + np.abs(np.linalg.norm(mesh.vertices[4:, [0, 2]], axis=1) - 40.0))
    assert 0.5 < found[4:][side] < 0.75, "on the equator the floor takes somewhat less than half"


def test_a_ball_casts_a_round_shadow():
    mesh = floor_under(ball(40.0), -60.0)
    surface = surface_of(mesh)
    x = np.linspace(-100, 100, 401)
    points = np.column_stack([x, np.full(401, -60.0), np.zeros(401)])
    up = np.tile([0.0, 1.0, 0.0], (401, 1))
    hard = lamp_visibility(surface, Lamp((0, 1, 0)), points, up, rays=1)
    assert np.array_equal(
        hard[np.abs(np.abs(x) - 40) > 0.5], (np.abs(x) > 40).astype(float)[np.abs(np.abs(x) - 40) > 0.5]
    )
    soft = lamp_visibility(surface, Lamp((0, 1, 0), softness=8.0), points, up, rays=64)
    assert ((soft > 0.05) & (soft < 0.95)).sum() > 10
    assert soft[200] == 0.0
    assert not lamp_visibility(surface, Lamp((0, -1, 0)), points, up).any(), "the lamp is behind the floor"


def test_a_lamp_between_casts_no_shadow_of_what_lies_behind_it():
    mesh = floor_under(ball(10.0, (0, 100, 0)), 0.0)
    point = np.array([[0.0, 0.0, 0.0]])
    up = np.array([[0.0, 1.0, 0.0]])
    below = Lamp((0, 50, 0), positional=True)
    above = Lamp((0, 150, 0), positional=True)
    assert lamp_visibility(surface_of(mesh), below, point, up, rays=1)[0] == 1.0
    assert lamp_visibility(surface_of(mesh), above, point, up, rays=1)[0] == 0.0


def test_unlit_colours_come_through_unchanged():
    colours = np.full((4, 3), (10, 130, 250), np.uint8)
    frame = render(square(colours), CAMERA)
    assert (frame.colour[frame.mask > 0] == (10, 130, 250)).all()
    assert not frame.colour[frame.mask == 0].any()
    assert frame.mask.sum() == 40 * 40


def test_rendering_lights_what_shading_says():
    frame = render(square(np.full((4, 3), 200, np.uint8)), CAMERA, Lamps((Lamp((0, 3, 4)),), (0.1, 0.1, 0.1)))
    expected = linear_to_srgb(srgb_to_linear(np.array([200])) * 0.9)[0]
    assert (frame.colour[32, 32] == expected).all()


def test_supersampling_averages_alpha_and_light():
    mesh = ball(40.0)
    hard, soft = (render(mesh, CAMERA, SphericalHarmonics.uniform(), samples=n) for n in (1, 4))
    assert set(np.unique(hard.mask)) == {0.0, 1.0}
    assert len(np.unique(soft.mask)) > 8
    assert soft.mask.sum() == pytest.approx(np.pi * 20**2, rel=0.01)
    assert np.array_equal(hard.depth, soft.depth)
    edge = (soft.mask == 0.5).nonzero()
    grey = linear_to_srgb(srgb_to_linear(np.array([180])) * 0.5)[0]
    assert len(edge[0]) > 0
    assert np.abs(soft.colour[edge].astype(int) - int(grey)).max() <= 1


def test_the_background_stays_untouched_outside():
    background = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    frame = render(ball(40.0), CAMERA, SphericalHarmonics.uniform(), samples=2, background=background)
    outside = frame.mask == 0
    assert np.array_equal(frame.colour[outside], background[outside])
    empty = render(Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)), CAMERA, background=(1, 2, 3))
    assert (empty.colour == (1, 2, 3)).all()


def test_transfer_darkens_and_shadows_fall():
    mesh = floor_under(ball(20.0), -21.0)
    above = replace(CAMERA, view_from_world=np.array([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]]))
    plain = render(mesh, above, Lamps((Lamp((0.5, 0.2, 1)),)))
    shadowed = render(mesh, above, Lamps((Lamp((0.5, 0.2, 1)),)), shadows=True)
    assert (shadowed.colour <= plain.colour).all()
    darker = (shadowed.colour < plain.colour).any(axis=2)
    assert darker.sum() > 100
    columns = np.nonzero(darker)[1]
    assert columns.mean() < 31.5, "the lamp is on the right, so the shadow falls to the left"
    light = SphericalHarmonics.uniform()
    open_sky = render(mesh, CAMERA, light)
    occluded = render(mesh, CAMERA, light, transfer=radiance_transfer(mesh))
    assert 0 < occluded.colour[39, 32, 0] < open_sky.colour[39, 32, 0]


def test_a_texture_is_looked_up_with_v_upwards():
    image = np.zeros((4, 4, 3), np.uint8)
    image[0, :, 0] = 200  # top row red
    image[:, 3, 1] = 100  # right column green
    mesh = square()
    uv = (mesh.vertices[mesh.faces][..., :2] + 40) / 80
    frame = render(mesh, CAMERA, texture=Texture(image, uv.astype(np.float32)))
    assert frame.colour[12, 12].tolist() == [200, 0, 0]
    assert frame.colour[50, 51].tolist() == [0, 100, 0]
    assert frame.colour[40, 20].tolist() == [0, 0, 0]


def test_wrong_requests_are_refused():
    mesh = square()
    with pytest.raises(UsageError, match="warp or pyrender"):
        render(mesh, CAMERA, backend="opengl")
    with pytest.raises(ValueError, match="samples"):
        render(mesh, CAMERA, samples=0)
    with pytest.raises(ValueError, match="transfer"):
        render(mesh, CAMERA, SphericalHarmonics.uniform(), transfer=np.zeros((3, 9)))
    with pytest.raises(ValueError, match="texture"):
        render(mesh, CAMERA, texture=Texture(np.zeros((2, 2, 3), np.uint8), np.zeros((1, 3, 2), np.float32)))


def test_depth_and_normals_do_not_depend_on_light():
    mesh = ball()
    frame, hits = render(mesh, CAMERA, Lamps(), samples=2), raycast(mesh, CAMERA)
    assert np.array_equal(frame.depth, hits.depth)
    assert np.array_equal(frame.normals, hits.normals)
