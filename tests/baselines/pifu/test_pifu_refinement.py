"""Refinement at test time: what the cameras see, what the loss is, what changes and what must not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pifu_scenes as scenes
import pytest
import torch

from baselines.pifu import Pifu
from baselines.pifu.checkpoint import save_weights
from baselines.pifu.colour import ColourNet
from baselines.pifu.gauge import cosine_loss
from baselines.pifu.network import ShapeNet
from baselines.pifu.parity import TINY
from baselines.pifu.predict import Predictor
from baselines.pifu.reconstruct import of_points
from baselines.pifu.turn_points import mesh_points, traced_points
from robench import registry
from robench.contracts import Camera, Failure, Mesh, Refinement, RefineRequest, RefineSettings, Request
from robench.errors import UsageError
from robench.rendering.quality import psnr

SMALL = replace(TINY, colour_width=8, colour_blocks=1, colour_mlp=(16, 3))
SIZE = 64
SEQUENTIAL = RefineSettings(iterations=9, size=SIZE, rate=3e-3)
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    torch.manual_seed(0)
    shape, colour = ShapeNet(SMALL), ColourNet(SMALL)
    path = tmp_path_factory.mktemp("w") / "small.safetensors"
    save_weights(path, shape, colour, {})
    return path


@pytest.fixture
def model(weights, monkeypatch):
    """A random colour network on an analytic body: an upright ellipsoid."""

    def occupancy(points):
        x, y, z = points.T * 100.0
        return (x / 30) ** 2 + (y / 80) ** 2 + ((z - 15) / 20) ** 2 < 1

    monkeypatch.setattr(Predictor, "_field", lambda self, encoded: of_points(occupancy, self.resolution))
    found = Pifu(resolution=64)
    found.open("cpu", weights)
    yield found
    found.close()


@pytest.fixture(scope="module")
def encoder():
    found = registry.load("encoders", "tiny-random")
    found.open("cpu")
    return found


def request(name="a", radius=30.0) -> Request:
    camera = Camera(np.eye(4), SIZE / 200, ((SIZE - 1) / 2, (SIZE - 1) / 2), SIZE, SIZE)
    image, mask = scenes.picture((radius, 80.0, 20.0), camera)
    return Request(name, image, mask.astype(np.float32), camera)


def refined(model, encoder, settings=SEQUENTIAL, name="a", radius=30.0, tick=None, **kwargs) -> Refinement:
    (found,) = model.refine([RefineRequest(request(name, radius), **kwargs)], encoder, settings, tick)
    assert isinstance(found, Refinement)
    return found


# What the cameras see


def test_rays_meet_a_mesh_at_its_first_crossing_in_the_published_order_of_cameras() -> None:
    radii = np.array([0.3, 0.8, 0.2])
    mesh = scenes.ellipsoid(radii, rings=60, segments=90)
    found = mesh_points(mesh.vertices, mesh.faces, SIZE)
    at = (np.arange(SIZE) + 0.5) * 2 / SIZE - 1
    for (pixels, points), towards in zip(found, [(0, 0, 1), (1, 0, 0), (0, 0, -1), (-1, 0, 0)], strict=True):
        p = points.numpy()
        np.testing.assert_allclose(((p / radii[:, None]) ** 2).sum(0), 1, atol=0.02)
        assert (np.array(towards) @ p >= -0.01).all(), "of the two crossings the nearer one"
        # Rows go down from y = 1; columns to the right of a camera that stands at `towards`.
        right = np.cross((0, 1, 0), towards)
        np.testing.assert_allclose(p[1], -at[pixels.numpy() // SIZE], atol=1e-5)
        np.testing.assert_allclose(right @ p, at[pixels.numpy() % SIZE], atol=1e-5)
        width = np.abs(right) @ radii
        assert len(pixels) / SIZE**2 * 4 == pytest.approx(np.pi * width * 0.8, rel=0.05)


def reference_ray(occupancy, start, ahead):
    """The published sphere tracing of one ray, written from its description."""
    t, before = 0.0, None
    for _ in range(64):
        d = -2 * (occupancy(start + t * ahead) - 0.5)
        if abs(d) < 3e-4 or (before is not None and abs(d + before) / 2 < 9e-4):
            break
        t, before = t + 0.05 * d, d
    point = start + t * ahead
    return point if t < 3 and np.abs(point).max() <= 1 else None


def test_sphere_tracing_goes_as_published() -> None:
    size, centre = 16, np.array([0.1, -0.05, 0.15])

    def occupancy(points):
        c = torch.from_numpy(centre).to(points)[:, None]
        return torch.sigmoid(-40 * ((points - c).norm(dim=0) - 0.5))

    found = traced_points(occupancy, size, CPU)
    at = (np.arange(size) + 0.5) * 2 / size - 1
    for (pixels, points), towards in zip(found, [(0, 0, 1), (1, 0, 0), (0, 0, -1), (-1, 0, 0)], strict=True):
        met = dict(zip(pixels.tolist(), points.T.numpy(), strict=True))
        right = np.cross((0, 1, 0), towards)
        for pixel in range(size * size):
            start = 2 * np.array(towards) + at[pixel % size] * right - at[pixel // size] * np.array((0, 1, 0))
            expected = reference_ray(
                lambda p: 1 / (1 + np.exp(40 * (np.linalg.norm(p - centre) - 0.5))), start, -np.array(towards)
            )
            assert (expected is None) == (pixel not in met)
            if expected is not None:
                np.testing.assert_allclose(met[pixel], expected, atol=2e-4)
        middle = [p for p in met.values() if np.abs(right @ (p - centre)) < 0.2 and abs(p[1] - centre[1]) < 0.2]
        assert middle
        np.testing.assert_allclose(np.linalg.norm(np.array(middle) - centre, axis=1), 0.5, atol=5e-3)


@pytest.mark.parametrize(("haze", "ends"), [(0.0, -1.2), (0.02, -1.072), (0.04, -0.944), (0.3, 0.72), (0.45, 1.68)])
def test_sphere_tracing_takes_creeping_through_haze_for_a_surface(haze, ends) -> None:
    # 64 steps of 0.05 (1 - 2 haze) from 2.
    found = traced_points(lambda points: torch.full_like(points[0], haze), 6, CPU)
    counted = abs(ends) <= 1
    assert [len(pixels) for pixels, _ in found] == [36 * counted] * 4
    if counted:
        assert found[0][1][2].numpy() == pytest.approx(ends, abs=1e-4)


# The loss


def test_the_loss_is_one_minus_the_cosine_of_the_mean_or_the_mean_of_the_cosines() -> None:
    vectors, target = torch.tensor([[3.0, 0.0], [0.0, 1.0]]), torch.tensor([2.0, 0.0])
    assert cosine_loss(vectors, target, average=False, unit=True) == pytest.approx(0.5)
    assert cosine_loss(vectors, target, average=True, unit=True) == pytest.approx(1 - np.sqrt(0.5))
    assert cosine_loss(vectors, target, average=True, unit=False) == pytest.approx(1 - 3 / np.sqrt(10))


# What changes and what must not


@pytest.mark.parametrize("embeddings", ["sequential", "average"])
def test_the_loss_falls_and_only_the_classifier_s_copy_changes(model, encoder, embeddings) -> None:
    networks = model._predictor.weights
    before = {k: v.clone() for net in (networks.shape, networks.colour) for k, v in net.state_dict().items()}
    settings = replace(SEQUENTIAL, embeddings=embeddings, iterations=24)
    found = refined(model, encoder, settings)
    assert found.after["loss"] < 0.8 * found.before["loss"]
    after = {k: v for net in (networks.shape, networks.colour) for k, v in net.state_dict().items()}
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert not any(p.grad is not None for p in networks.colour.parameters())
    own = networks.colour.surface_classifier.state_dict()
    assert set(found.state) == set(own)
    assert all(not np.array_equal(found.state[name], own[name].numpy()) for name in own)


def test_one_sample_does_not_change_the_next_unless_its_weights_are_handed_on(model, encoder) -> None:
    first = refined(model, encoder, name="b", radius=40.0)
    alone = refined(model, encoder)
    assert refined(model, encoder, name="b", radius=40.0).log == first.log
    assert refined(model, encoder).log == alone.log
    carried = refined(model, encoder, start=first.state)
    assert carried.log[0] != alone.log[0]
    again = refined(model, encoder, name="b", radius=40.0, start=first.state)
    assert again.before["loss"] == pytest.approx(first.after["loss"], rel=1e-5)


def near(one: Refinement, other: Refinement) -> None:
    """Two refinements that may differ by the rounding of sums."""
    assert [set(row) for row in one.log] == [set(row) for row in other.log]
    for a, b in zip([one.before, *one.log, one.after], [other.before, *other.log, other.after], strict=True):
        for name in a:
            # PSNR and SSIM are of bytes: a few of them may fall on the other side.
            assert a[name] == pytest.approx(b[name], rel=1e-4, abs=1e-3 if name in ("psnr", "ssim") else 1e-5)
    for name in one.state:
        np.testing.assert_allclose(one.state[name], other.state[name], atol=1e-4)
    np.testing.assert_array_equal(one.mesh.vertices, other.mesh.vertices)
    for name, pictures in one.pictures.items():
        assert np.abs(pictures.astype(int) - other.pictures[name]).max() <= 1


RADII = {"a": 30.0, "b": 40.0, "c": 22.0}


@pytest.mark.parametrize("embeddings", ["sequential", "average"])
def test_three_together_are_three_alone(model, encoder, embeddings) -> None:
    settings = replace(SEQUENTIAL, embeddings=embeddings)
    (plain,) = model.reconstruct([request()])
    alone = [refined(model, encoder, settings, name, radius, truth=plain.mesh) for name, radius in RADII.items()]
    assert len({round(one.log[1]["loss"], 5) for one in alone}) == 3, "three that differ"
    ticks: list[int] = []
    asked = [RefineRequest(request(name, radius), plain.mesh) for name, radius in RADII.items()]
    together = model.refine(asked, encoder, settings, lambda: ticks.append(1))
    assert len(ticks) == 3 * settings.iterations
    for one, other in zip(together, alone, strict=True):
        near(one, other)


def test_the_encoder_sees_the_renderings_of_all_samples_at_once(model, encoder, monkeypatch) -> None:
    seen: list[int] = []
    features = type(encoder).features
    monkeypatch.setattr(encoder, "features", lambda images: seen.append(len(images)) or features(encoder, images))
    asked = [RefineRequest(request(name, radius)) for name, radius in RADII.items()]
    model.refine(asked, encoder, replace(SEQUENTIAL, iterations=5))
    # For each sample its input and, before and after, its four views; a picture of each an iteration.
    assert sorted(seen) == sorted([1] * 3 + [4] * 6 + [3] * 5)


def test_who_has_no_surface_or_sees_nothing_leaves_the_others_as_they_are(model, encoder, monkeypatch) -> None:
    from baselines.pifu import refinement

    calls: list[int] = []

    def sides(vertices, faces, size):
        seen = mesh_points(vertices, faces, size)
        calls.append(1)
        second = len(calls) % 3 == 2
        return [seen[0], *[(pixels[:0], points[:, :0]) for pixels, points in seen[1:]]] if second else seen

    monkeypatch.setattr(refinement, "mesh_points", sides)
    blank = replace(request(), mask=np.zeros((SIZE, SIZE), np.float32))
    alone = [refined(model, encoder, name=name, radius=radius) for name, radius in RADII.items()]
    asked = [RefineRequest(request(name, radius)) for name, radius in RADII.items()]
    first, failed, *rest = model.refine([asked[0], RefineRequest(blank), *asked[1:]], encoder, SEQUENTIAL)
    assert isinstance(failed, Failure)
    assert [len({row["loss"] for row in one.log[1:4]}) for one in alone] == [3, 1, 3], (
        "the second is black but in front"
    )
    for one, other in zip([first, *rest], alone, strict=True):
        near(one, other)


def test_each_of_a_batch_begins_with_its_own_weights(model, encoder) -> None:
    first = refined(model, encoder, name="b", radius=40.0)
    carried, anew = model.refine(
        [RefineRequest(request(), start=first.state), RefineRequest(request())], encoder, SEQUENTIAL
    )
    near(carried, refined(model, encoder, start=first.state))
    near(anew, refined(model, encoder))
    assert abs(carried.before["loss"] - anew.before["loss"]) > 1e-4


def test_sequential_looks_from_camera_i_mod_four_and_average_from_all(model, encoder) -> None:
    ticks: list[int] = []
    log = refined(model, encoder, tick=lambda: ticks.append(1)).log
    assert len(ticks) == 9
    assert [row["view"] for row in log] == [i % 4 for i in range(9)]
    assert [row["iteration"] for row in log] == list(range(9))
    average = refined(model, encoder, replace(SEQUENTIAL, embeddings="average", iterations=2)).log
    assert [row["view"] for row in average] == [-1, -1]


def test_a_camera_that_sees_nothing_changes_nothing(model, encoder, monkeypatch) -> None:
    from baselines.pifu import refinement

    def front_only(vertices, faces, size):
        front, *_ = mesh_points(vertices, faces, size)
        return [front, *[(front[0][:0], front[1][:, :0])] * 3]

    monkeypatch.setattr(refinement, "mesh_points", front_only)
    found = refined(model, encoder, replace(SEQUENTIAL, iterations=5))
    assert (found.pictures["after"][1:] == 0).all()
    assert len({round(found.log[i]["loss"], 6) for i in (1, 2, 3)}) == 1, "three times black"
    assert found.log[4]["loss"] < found.log[0]["loss"]


def test_geometry_does_not_change(model, encoder) -> None:
    (plain,) = model.reconstruct([request()])
    found = refined(model, encoder)
    np.testing.assert_array_equal(found.mesh.vertices, plain.mesh.vertices)
    np.testing.assert_array_equal(found.mesh.faces, plain.mesh.faces)
    assert not np.array_equal(found.mesh.colours, plain.mesh.colours)
    black = [(found.pictures[name] == 0).all(axis=-1) for name in ("before", "after")]
    np.testing.assert_array_equal(*black)


# What is measured


def test_the_true_views_are_those_of_the_cameras(model, encoder) -> None:
    (plain,) = model.reconstruct([request()])
    found = refined(model, encoder, truth=plain.mesh)
    assert found.before["psnr"] > 35, "the reconstruction itself is the truth"
    assert found.before["ssim"] > 0.97
    assert found.before["truth_distance"] < 1e-4
    turned = Mesh(plain.mesh.vertices * np.float32([-1, 1, -1]), plain.mesh.faces, plain.mesh.colours)
    assert refined(model, encoder, truth=turned).before["psnr"] < found.before["psnr"] - 5
    first = found.log[0]
    assert first["psnr"] == pytest.approx(psnr(found.pictures["before"][0], found.pictures["truth"][0]), abs=1e-9)
    vectors = encoder.embed([found.pictures[n][0] for n in ("input", "before", "truth")])
    assert first["loss"] == pytest.approx(1 - vectors[0] @ vectors[1], abs=1e-4)
    assert first["comparison"] == pytest.approx(1 - vectors[0] @ vectors[2] - first["loss"], abs=1e-4)
    bare = Mesh(plain.mesh.vertices, plain.mesh.faces)
    assert set(refined(model, encoder, truth=bare).before) == {"loss"}


def test_as_coded_traces_spheres_and_logs_the_published_measures_too(model, encoder, monkeypatch) -> None:
    (plain,) = model.reconstruct([request()])
    coded = replace(SEQUENTIAL, protocol="as-coded", iterations=3)
    monkeypatch.setattr(
        "baselines.pifu.refinement._occupancy",
        lambda predictor, solid: lambda points: torch.sigmoid(-40 * (points.norm(dim=0) - 0.3)),
    )
    found = refined(model, encoder, coded, truth=plain.mesh)
    assert {"psnr", "psnr_as_coded", "ssim", "ssim_as_coded"} <= set(found.log[0])
    swapped = found.pictures["truth"][0][..., ::-1]
    assert found.log[0]["psnr_as_coded"] == pytest.approx(psnr(found.pictures["before"][0], swapped), abs=1e-9)
    area = (found.pictures["before"][0] > 0).any(axis=-1).mean() * 4
    # Rays that pass close by slow down and are counted; the mesh covers 0.75.
    assert np.pi * 0.09 < area < 0.45


def test_the_field_that_is_traced_is_the_network_s(weights, encoder) -> None:
    found = Pifu(resolution=32)
    found.open("cpu", weights)
    from baselines.pifu.predict import Solid
    from baselines.pifu.refinement import _occupancy

    predictor = found._predictor
    image = torch.rand(1, 3, SMALL.image_size, SMALL.image_size)
    encoded = predictor._filtered(image)
    solid = Solid(None, None, None, encoded, image)
    points = torch.rand(3, 50) * 1.6 - 0.8
    calib = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None]
    with torch.no_grad():
        expected = predictor.weights.shape(image, points[None], calib)[0, 0]
        torch.testing.assert_close(_occupancy(predictor, solid)(points), expected)


# What cannot be


def test_a_model_without_colours_and_a_blank_mask_are_told(tmp_path, encoder, model) -> None:
    blank = replace(request(), mask=np.zeros((SIZE, SIZE), np.float32))
    (found,) = model.refine([RefineRequest(blank)], encoder, SEQUENTIAL)
    assert isinstance(found, Failure)
    assert found.kind == "no_detection"
    path = tmp_path / "shape.safetensors"
    save_weights(path, ShapeNet(SMALL), None, {})
    colourless = Pifu(resolution=32)
    with pytest.raises(UsageError, match="not open"):
        colourless.refine([], encoder, SEQUENTIAL)
    colourless.open("cpu", path)
    with pytest.raises(UsageError, match="no colour network"):
        colourless.refine([], encoder, SEQUENTIAL)
