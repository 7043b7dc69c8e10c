"""The mesh near the surface is the dense grid's mesh."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from baselines.pifu.adapter import MINI_WEIGHTS
from baselines.pifu.checkpoint import load_weights
from baselines.pifu.inputs import network_image
from baselines.pifu.network import ShapeNet
from baselines.pifu.octree import octree_grid
from baselines.pifu.parity import TINY
from baselines.pifu.parity_geometry import body_field, signed_volume
from baselines.pifu.rays import RayClassifier
from baselines.pifu.reconstruct import (
    Volume,
    check_resolution,
    dense,
    first_cells,
    of_points,
    refine,
    silhouette,
    surface,
)
from robench.contracts import Mesh
from robench.geometry import is_watertight
from robench.testing import example_image, example_mask


def near(function, resolution, focus=None):
    """Refine a field of points; by default without a silhouette, which is the harder case."""
    cells = first_cells(resolution)
    focus = torch.zeros(1, cells, cells, dtype=torch.bool) if focus is None else focus
    return refine(of_points(function, resolution), resolution, focus)[0]


def full(function, resolution):
    return dense(of_points(function, resolution), resolution)


def sigmoid(distance, width=0.01):
    return (1 / (1 + np.exp(np.clip(distance / width, -60, 60)))).astype(np.float32)


def capsule(points, start, end, radius):
    a, along = np.array(start), np.array(end) - np.array(start)
    t = np.clip((points - a) @ along / (along @ along), 0, 1)
    return np.linalg.norm(points - a - t[:, None] * along, axis=1) - radius


def ball(points):
    return sigmoid(np.linalg.norm(points, axis=1) - 0.5)


def body(points):
    return body_field(points.astype(np.float64), 0.4).astype(np.float32)


def wire(points):
    """A ball with an arm thinner than a cell of the first lattice, sharp as a step."""
    arm = np.hypot(points[:, 1] - 0.013, points[:, 2] + 0.007) - 0.018
    arm = np.maximum(arm, np.abs(points[:, 0]) - 0.8)
    return ((np.linalg.norm(points, axis=1) - 0.3 < 0) | (arm < 0)).astype(np.float32)


def hand(points):
    """A palm with five fingers, three voxels of 256 thick, a quarter of a cell of the first lattice, sharp as steps."""
    fingers = [capsule(points, (0.02, 0.3 + i / 25, 0.01), (0.5, 0.2 + i / 12, 0.03), 0.012) for i in range(5)]
    return (np.min([capsule(points, (-0.1, 0.3, 0), (-0.1, 0.5, 0), 0.14), *fingers], axis=0) < 0).astype(np.float32)


def rod(points):
    """An arm that hangs on nothing, half as thick as a cell of the first lattice, soft as a network's field."""
    return sigmoid(capsule(points, (-0.5, 0.03, 0.03), (0.4, 0.4, 0.2), 0.015), 0.012)


def pair(points):
    """Two people; the second one small, and between the first lattice's nodes."""
    second = np.linalg.norm((points - np.array([0.594, -0.28, 0.22])) / np.array([1, 3, 1]), axis=1) - 0.04
    return np.maximum(body(points), sigmoid(second))


def shell(points):
    """A hollow ball: two nested surfaces."""
    r = np.linalg.norm(points, axis=1)
    return sigmoid(np.abs(r - 0.6) - 0.05)


def bubble(points):
    """A ball with a hollow that nothing connects with the outside, as wide as a cell of the first lattice."""
    hollow = np.linalg.norm(points - np.array([0.1, 0.03, 0.03]), axis=1) - 0.03
    return np.minimum(ball(points), 1 - sigmoid(hollow))


def cut(points):
    """Matter that reaches the border of the grid."""
    return sigmoid(np.linalg.norm(points - np.array([1.0, 0.0, 0.0]), axis=1) - 0.4)


@pytest.mark.parametrize(
    ("field", "resolution"),
    [(f, r) for f in (ball, body, shell, cut, wire, pair, rod, bubble) for r in (64, 128)] + [(hand, 128)],
)
def test_same_mesh_as_the_dense_grid(field, resolution):
    found, expected = near(field, resolution), full(field, resolution)
    assert found.evaluated < expected.evaluated / (3 if resolution == 64 else 8)
    np.testing.assert_array_equal(found.values > 0.5, expected.values > 0.5)
    for a, b in zip(surface(found), surface(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_thin_limb_comes_whole_at_the_published_resolution():
    fingers = near(hand, 256)
    assert fingers.evaluated < 120_000
    box = [slice(96, 200), slice(144, 224), slice(104, 152)]
    nodes = np.stack(np.mgrid[box], axis=-1)
    expected = hand(nodes.reshape(-1, 3) * (2 / 256) - 1.0).reshape(nodes.shape[:3])
    inside = (fingers.values > 0.5).numpy()
    np.testing.assert_array_equal(inside[tuple(box)], expected > 0.5)
    assert inside.sum() == expected.sum()
    vertices, _ = surface(fingers)
    assert vertices[:, 0].max() == pytest.approx(0.512, abs=0.01)


def test_what_the_silhouette_shows_is_not_lost():
    """A sharp rod that hangs on nothing, between the nodes of the first lattice, as wide as a cell of the second."""

    def floating(points):
        return (capsule(points, (0.031, -0.5, 0.031), (0.031, 0.5, 0.031), 0.016) < 0).astype(np.float32)

    assert surface(near(floating, 128)) is None
    mask = torch.zeros(512, 512, dtype=torch.uint8)
    mask[128:384, 260:268] = 255
    found = near(floating, 128, silhouette(mask, 128)[None])
    np.testing.assert_array_equal(found.values > 0.5, full(floating, 128).values > 0.5)


def test_a_silhouette_lies_where_its_pixels_are():
    mask = torch.zeros(128, 128, dtype=torch.uint8)
    mask[9, 100] = 1
    columns = silhouette(mask, 128)
    assert columns.shape == (32, 32)
    assert columns.nonzero().tolist() == [[25, 29]]  # right, and high: y is up


def test_fewer_points_than_the_published_octree():
    """The published test body: 1,176,036 points in the octree (specification of the golden values)."""
    across, down = np.meshgrid(np.linspace(-1, 1, 256), np.linspace(1, -1, 256))
    mask = body_field(np.stack([across, down, np.zeros_like(down)], axis=-1).reshape(-1, 3))
    focus = silhouette(torch.from_numpy(mask.reshape(256, 256) > 0.5).to(torch.uint8), 256)[None]
    ours = near(lambda p: body_field(p.astype(np.float64)).astype(np.float32), 256, focus).evaluated
    assert sum(octree_grid(lambda p: body_field(p), 256).evaluated) == 1_176_036
    assert ours < 1_176_036 / 4


def test_samples_of_a_batch_are_as_alone():
    fields = [of_points(f, 128) for f in (body, wire, shell)]
    size = 129**3

    def together(keys):
        assert bool((keys[1:] > keys[:-1]).all())
        return torch.cat([f(keys[keys // size == i] - i * size) for i, f in enumerate(fields)])

    focus = torch.zeros(3, 32, 32, dtype=torch.bool)
    for volume, f in zip(refine(together, 128, focus), (body, wire, shell), strict=True):
        alone = near(f, 128)
        assert volume.evaluated == alone.evaluated
        assert torch.equal(volume.values, alone.values)


@pytest.fixture(scope="module")
def busy():
    """A random network whose field crosses the level in many places, and its maps of two pictures."""
    torch.manual_seed(3)
    net = ShapeNet(TINY).eval()
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        encoded = net.filter(torch.randn(2, 3, 64, 64, generator=generator))
        encoded.maps = [m * 4 for m in encoded.maps]
        last = net.surface_classifier.conv4
        last.weight *= 40
        points = torch.rand(2, 3, 4096, generator=generator) * 2 - 1
        middle = net.query(encoded, points, torch.eye(4).expand(2, 4, 4))[-1]
        last.bias -= torch.logit(middle.clamp(1e-6, 1 - 1e-6)).median()
    return net, encoded


@pytest.mark.parametrize("sample", [0, 1])
def test_same_mesh_for_a_random_network(busy, sample):
    net, encoded = busy
    encoded = type(encoded)([m[sample : sample + 1] for m in encoded.maps], encoded.stem, encoded.reduced)
    with torch.inference_mode():
        field = RayClassifier(net).lattice(encoded, 64)
        found, expected = refine(field, 64, torch.zeros(1, 32, 32, dtype=torch.bool))[0], dense(field, 64)
    assert 0.1 < (expected.values > 0.5).float().mean() < 0.9
    a, b = surface(found), surface(expected)
    assert len(a[1]) == len(b[1]) > 5000
    np.testing.assert_array_equal(a[1], b[1])
    np.testing.assert_allclose(a[0], b[0], atol=0.1 * 2 / 64)
    assert cKDTree(b[0]).query(a[0])[0].max() < 1e-4


@torch.inference_mode()
def test_same_mesh_for_the_shipped_network():
    """A trained network's own field, with the floating crumbs that noise in a picture makes."""
    weights = load_weights(MINI_WEIGHTS)
    shape = (128, 128)
    rng = np.random.default_rng(0)
    noisy = np.clip(example_image(shape) + rng.normal(0, 70, (*shape, 3)), 0, 255).astype(np.uint8)
    mask = (example_mask(shape) * 255).astype(np.uint8)
    encoded = weights.shape.filter(torch.from_numpy(network_image(noisy, mask))[None])
    field = RayClassifier(weights.shape, chunk=8192).lattice(encoded, 128)
    expected = dense(field, 128)
    for focus in (silhouette(torch.from_numpy(mask), 128)[None], torch.zeros(1, 32, 32, dtype=torch.bool)):
        found = refine(field, 128, focus)[0]
        assert found.evaluated < 128**3 / 8
        a, b = surface(found), surface(expected)
        assert len(a[1]) > 5000
        np.testing.assert_array_equal(a[1], b[1])
        np.testing.assert_allclose(a[0], b[0], rtol=0, atol=0.001 * 2 / 128)


@pytest.mark.parametrize("field", [ball, body, shell, cut])
@pytest.mark.parametrize("backend", ["skimage", "warp"])
def test_surfaces_are_closed_and_face_outwards(field, backend):
    vertices, faces = surface(near(field, 64), backend)
    assert is_watertight(Mesh(vertices.astype(np.float32), faces))
    assert signed_volume(vertices, faces) > 0


@pytest.mark.parametrize(
    ("text", "kind"),
    [("Failed to allocate 9 bytes on device 'cuda:0'", torch.OutOfMemoryError), ("Bad kernel", RuntimeError)],
)
def test_warp_without_memory_is_torch_without_memory(monkeypatch, text, kind):
    import warp as wp

    def fails(*arguments, **options):
        raise RuntimeError(text)

    monkeypatch.setattr(wp.MarchingCubes, "extract", fails)
    with pytest.raises(RuntimeError) as caught:
        surface(near(ball, 32), "warp")
    assert type(caught.value) is kind


def test_a_ball_has_its_volume_and_place():
    vertices, faces = surface(near(ball, 128))
    assert signed_volume(vertices, faces) == pytest.approx(4 / 3 * np.pi * 0.125, rel=5e-3)
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 0.5, atol=2e-3)


def test_values_exactly_on_the_level_leave_no_hole():
    rng = np.random.default_rng(0)
    values = (np.round(rng.random((20, 20, 20)) * 8) / 8).astype(np.float32)
    vertices, faces = surface(Volume(torch.from_numpy(values), 0))
    assert is_watertight(Mesh(vertices.astype(np.float32), faces))


def test_an_empty_field_has_no_surface():
    assert surface(near(lambda p: np.zeros(len(p), np.float32), 32)) is None


@pytest.mark.parametrize("resolution", [0, 8, 100, 2048])
def test_impossible_resolutions(resolution):
    with pytest.raises(ValueError, match="power of two"):
        check_resolution(resolution)


def test_the_published_octree_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="at least 64"):
        octree_grid(body, 32)
