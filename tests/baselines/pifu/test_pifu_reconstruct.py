"""The mesh near the surface is the dense grid's mesh."""

import numpy as np
import pytest
import torch

from baselines.pifu.network import ShapeNet
from baselines.pifu.octree import octree_grid
from baselines.pifu.parity import TINY
from baselines.pifu.parity_geometry import body_field, signed_volume
from baselines.pifu.reconstruct import Volume, check_resolution, coarse_to_fine, dense, surface
from robench.contracts import Mesh
from robench.geometry import is_watertight


def sigmoid(distance, width=0.01):
    return (1 / (1 + np.exp(np.clip(distance / width, -60, 60)))).astype(np.float32)


def ball(points):
    return sigmoid(np.linalg.norm(points, axis=1) - 0.5)


def body(points):
    return body_field(points.astype(np.float64), 0.4).astype(np.float32)


def wire(points):
    """A ball with an arm thinner than two cells of the coarse lattice, sharp as a step."""
    arm = np.hypot(points[:, 1] - 0.013, points[:, 2] + 0.007) - 0.018
    arm = np.maximum(arm, np.abs(points[:, 0]) - 0.8)
    return ((np.linalg.norm(points, axis=1) - 0.3 < 0) | (arm < 0)).astype(np.float32)


def shell(points):
    """A hollow ball: two nested surfaces."""
    r = np.linalg.norm(points, axis=1)
    return sigmoid(np.abs(r - 0.6) - 0.05)


def cut(points):
    """Matter that reaches the border of the grid."""
    return sigmoid(np.linalg.norm(points - np.array([1.0, 0.0, 0.0]), axis=1) - 0.4)


def same_mesh(a, b):
    np.testing.assert_array_equal(a[0], b[0])
    np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize(
    ("field", "resolution"), [(ball, 64), (body, 64), (shell, 64), (cut, 64), (wire, 64), (wire, 128), (cut, 128)]
)
def test_same_mesh_as_the_dense_grid(field, resolution):
    near, full = coarse_to_fine(field, resolution), dense(field, resolution)
    assert near.evaluated < full.evaluated / 2
    same_mesh(surface(near), surface(full))
    np.testing.assert_array_equal(near.values > 0.5, full.values > 0.5)


def test_fewer_points_than_the_published_octree():
    assert coarse_to_fine(body, 128).evaluated < sum(octree_grid(body, 128).evaluated)


def test_same_mesh_for_a_random_network():
    torch.manual_seed(3)
    net = ShapeNet(TINY).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        encoded = net.filter(torch.randn(1, 3, 64, 64, generator=generator))
        encoded.maps = [m * 4 for m in encoded.maps]
        last = net.surface_classifier.conv4
        # Centre the field on the level, so that it crosses 0.5 in many places.
        last.weight *= 40
        middle = net.query(encoded, torch.rand(1, 3, 4096, generator=generator) * 2 - 1, torch.eye(4)[None])[-1]
        last.bias -= torch.logit(middle.clamp(1e-6, 1 - 1e-6)).median()

        def field(points):
            # One by one thousand, so that both ways of asking run the same arithmetic.
            parts = torch.from_numpy(points.T.copy()).split(1000, dim=1)
            found = [net.query(encoded, p[None], torch.eye(4)[None])[-1][0, 0] for p in parts]
            return torch.cat(found).numpy()

        near, full = coarse_to_fine(field, 64), dense(field, 64)
    assert 0.1 < (full.values > 0.5).mean() < 0.9
    a, b = surface(near), surface(full)
    assert len(a[1]) == len(b[1]) > 5000
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[0], b[0], atol=1e-4)


@pytest.mark.parametrize("field", [ball, body, shell, cut])
@pytest.mark.parametrize("backend", ["skimage", "warp"])
def test_surfaces_are_closed_and_face_outwards(field, backend):
    vertices, faces = surface(coarse_to_fine(field, 64), backend)
    assert is_watertight(Mesh(vertices.astype(np.float32), faces))
    assert signed_volume(vertices, faces) > 0


def test_a_ball_has_its_volume_and_place():
    vertices, faces = surface(coarse_to_fine(ball, 128))
    assert signed_volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.125, rel=5e-3)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.5, atol=2e-3)


def test_values_exactly_on_the_level_leave_no_hole():
    rng = np.random.default_rng(0)
    values = (np.round(rng.random((20, 20, 20)) * 8) / 8).astype(np.float32)
    vertices, faces = surface(Volume(values, 0))
    assert is_watertight(Mesh(vertices.astype(np.float32), faces))


def test_an_empty_field_has_no_surface():
    assert surface(coarse_to_fine(lambda p: np.zeros(len(p), np.float32), 32)) is None


@pytest.mark.parametrize("resolution", [0, 8, 100, 2048])
def test_impossible_resolutions(resolution):
    with pytest.raises(ValueError, match="power of two"):
        check_resolution(resolution)


def test_the_published_octree_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least 64"):
        octree_grid(body, 32)
