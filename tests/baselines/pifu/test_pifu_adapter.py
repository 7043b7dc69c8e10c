"""The registry's models on requests."""

from dataclasses import replace

import numpy as np
import pifu_scenes as scenes
import pytest
import torch
from scipy.spatial import cKDTree

from baselines.pifu import Pifu, PifuMini, adapter
from baselines.pifu.checkpoint import load_weights, save_weights
from baselines.pifu.colour import ColourNet
from baselines.pifu.network import ShapeNet
from baselines.pifu.parity import TINY
from baselines.pifu.predict import Predictor, sample_image
from baselines.pifu.rays import RayClassifier
from baselines.pifu.reconstruct import of_points
from robench.contracts import Camera, Failure, Reconstruction, Reconstructor, Request
from robench.errors import EnvironmentNotReady, UsageError
from robench.geometry import is_watertight, volume

SMALL = replace(TINY, colour_width=8, colour_blocks=1, colour_mlp=(16, 3))


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that says 'inside' where the picture is masked in and |z| < 0.3 or so: an extruded silhouette."""
    torch.manual_seed(0)
    shape, colour = ShapeNet(SMALL), ColourNet(SMALL)
    path = tmp_path_factory.mktemp("w") / "small.safetensors"
    save_weights(path, shape, colour, {})
    return path


def request(name="a", size=(64, 64), value=1.0):
    h, w = size
    camera = Camera(np.eye(4), min(h, w) / 200, ((w - 1) / 2, (h - 1) / 2), w, h)
    image, mask = scenes.picture((30.0, 80.0, 20.0), camera)
    return Request(name, image, (mask * value).astype(np.float32), camera)


@pytest.fixture
def mini(weights):
    # The unbounded adapter: the analytic answers below do not follow the mask.
    model = Pifu(resolution=32)
    model.open("cpu", weights)
    yield model
    model.close()


def answer(monkeypatch, occupancy):
    """Replace the network's field by a function of points."""
    monkeypatch.setattr(Predictor, "_field", lambda self, encoded: of_points(occupancy, self.resolution))


def column(monkeypatch):
    """An analytic body: an upright ellipsoid, 15 cm off centre in depth."""

    def occupancy(points):
        x, y, z = points.T * 100.0
        return (x / 30) ** 2 + (y / 80) ** 2 + ((z - 15) / 20) ** 2 < 1

    answer(monkeypatch, occupancy)


def lively(model):
    """Sharpen a random network's field, so that it crosses the level."""
    predictor = model._predictor
    with torch.no_grad():
        predictor.weights.shape.surface_classifier.conv4.weight *= 60
    predictor.rays = RayClassifier(predictor.weights.shape, predictor.precision)


def test_both_are_reconstructors():
    for model in (Pifu(), PifuMini()):
        assert isinstance(model, Reconstructor)
        assert {"inputs_used", "frame", "unit", "resolution", "gpu_mem_mb"} <= set(model.card.extra)


@pytest.mark.parametrize("size", [(64, 64), (50, 90), (128, 96)])
def test_meshes_come_back_in_centimetres_in_the_view_frame(mini, monkeypatch, size):
    column(monkeypatch)
    mini.resolution = 64
    mini._predictor.resolution = 64
    asked = request(size=size)
    (found,) = mini.reconstruct([asked])
    assert isinstance(found, Reconstruction)
    v = found.mesh.vertices
    # The network's unit is half the square's side: 100 cm only if the picture is 200 cm tall and wide.
    half = max(size) / 2 / asked.camera.scale
    expected = np.array([0.3, 0.8, 0.2]) * half
    middle = np.array([0, 0, 0.15]) * half
    np.testing.assert_allclose((v.max(axis=0) - v.min(axis=0)) / 2, expected, atol=2.1 * half / 64)
    np.testing.assert_allclose((v.max(axis=0) + v.min(axis=0)) / 2, middle, atol=1.1 * half / 64)
    assert is_watertight(found.mesh)
    assert volume(found.mesh) > 0
    assert found.mesh.colours.shape == v.shape
    assert found.inputs_read == {"image", "mask", "camera"}
    assert set(found.timings) == {"encode", "query", "mesh"}
    assert min(found.timings.values()) > 0


def test_the_picture_is_the_right_way_up(mini, monkeypatch):
    """Occupied space high in the picture is high (positive y) in the view frame, right is right."""

    answer(monkeypatch, lambda points: ((points - np.array([0.5, 0.4, -0.3])) ** 2).sum(axis=1) < 0.04)
    (found,) = mini.reconstruct([request()])
    np.testing.assert_allclose(found.mesh.vertices.mean(axis=0), [50, 40, -30], atol=4)


@pytest.mark.parametrize("together", [None, 3])
def test_a_batch_never_changes_a_result(mini, together):
    """Bit by bit as the CPU does it; within float32 rounding where several are worked on at once, as on CUDA."""
    lively(mini)
    mini._predictor.together = together
    asked = [request("a"), request("b", (50, 90)), request("blank", value=0.0), request("c", (128, 96))]
    batch = mini.reconstruct(asked)
    assert batch[2] == Failure("no_detection", "the mask has no person")
    meshes = 0
    for one, found in zip(asked, batch, strict=True):
        (alone,) = mini.reconstruct([one])
        if isinstance(found, Failure):
            assert alone == found
            continue
        meshes += 1
        np.testing.assert_array_equal(alone.mesh.faces, found.mesh.faces)
        # A voxel is 6.25 cm.
        np.testing.assert_allclose(alone.mesh.vertices, found.mesh.vertices, rtol=0, atol=0.06 if together else 0)
        levels = np.abs(alone.mesh.colours.astype(int) - found.mesh.colours.astype(int))
        assert levels.max() <= (1 if together else 0)
    assert meshes == 3


def test_an_empty_field_is_degenerate(mini, monkeypatch):
    answer(monkeypatch, lambda points: np.zeros(len(points)))
    (found,) = mini.reconstruct([request()])
    assert isinstance(found, Failure)
    assert found.kind == "degenerate"


@pytest.mark.parametrize("stage", ["_filtered", "_field", "_colours"])
def test_a_batch_without_memory_is_halved_until_one_sample_fails(mini, monkeypatch, stage):
    lively(mini)
    expected = mini.reconstruct([request("a"), request("b", (50, 90)), request("c", (128, 96))])
    mini._predictor.together = 4
    real, sizes = getattr(Predictor, stage), []

    def greedy(self, first, *others):
        size = len(first) if stage == "_filtered" else len(first.stem)
        sizes.append(size)
        # The second sample never finds memory, and two samples never do.
        if size > 1 or len(sizes) == limit:
            raise torch.OutOfMemoryError("tried to allocate 1 TiB")
        return real(self, first, *others)

    limit = 2 if stage == "_colours" else 4
    monkeypatch.setattr(Predictor, stage, greedy)
    found = mini.reconstruct([request("a"), request("b", (50, 90)), request("c", (128, 96))])
    failed = [r for r in found if isinstance(r, Failure)]
    if stage == "_colours":
        # Colours are asked sample by sample, so the second failure of memory there is made good by halving.
        assert failed == []
    else:
        assert failed == [Failure("oom", "tried to allocate 1 TiB")]
    for a, b in zip(found, expected, strict=True):
        if isinstance(a, Reconstruction):
            # The halves of two were together.
            atol = 0.06 if stage == "_colours" else 0
            np.testing.assert_array_equal(a.mesh.faces, b.mesh.faces)
            np.testing.assert_allclose(a.mesh.vertices, b.mesh.vertices, rtol=0, atol=atol)


def test_queries_without_memory_are_asked_in_smaller_portions(mini, monkeypatch):
    lively(mini)
    (expected,) = mini.reconstruct([request()])
    rays, real, refused = mini._predictor.rays, RayClassifier.query, []

    def greedy(self, parts, ray_of, depth):
        if len(depth) > 300:
            refused.append(len(depth))
            raise torch.OutOfMemoryError("tried to allocate 1 GiB")
        return real(self, parts, ray_of, depth)

    monkeypatch.setattr(RayClassifier, "query", greedy)
    (found,) = mini.reconstruct([request()])
    # Halved, once and for all.
    assert refused == [4096, 2048, 1024, 512]
    assert rays.portions.size == 256
    np.testing.assert_array_equal(found.mesh.faces, expected.mesh.faces)
    # A thousandth of a voxel: a product of fewer rows may round otherwise.
    np.testing.assert_allclose(found.mesh.vertices, expected.mesh.vertices, rtol=0, atol=0.006)

    def never(self, parts, ray_of, depth):
        raise torch.OutOfMemoryError("tried to allocate 1 GiB")

    monkeypatch.setattr(RayClassifier, "query", never)
    assert mini.reconstruct([request()]) == [Failure("oom", "tried to allocate 1 GiB")]


def test_precision_is_an_option(mini, weights):
    lively(mini)
    exact = mini._predictor([request()])[0].mesh
    low = Predictor(mini._predictor.weights, torch.device("cpu"), 32, "none", "bfloat16")([request()])[0].mesh
    assert not np.array_equal(exact.vertices, low.vertices)
    # Half a voxel of this random field.
    assert np.median(cKDTree(exact.vertices).query(low.vertices)[0]) < 3
    with pytest.raises(UsageError, match="TF32"):
        Pifu(precision="tf32").open("cpu", weights)
    assert Pifu().card.extra["options"]["precision"] == ["float32", "tf32", "bfloat16"]


def test_several_views_are_refused(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "two.safetensors"
    save_weights(path, ShapeNet(replace(SMALL, num_views=2)), None, {})
    with pytest.raises(UsageError, match="num_views 2"):
        Pifu().open("cpu", path)


def test_pixels_outside_the_mask_do_not_matter(mini):
    asked = request()
    other = replace(asked, image=np.where(asked.mask[..., None] > 0, asked.image, 77).astype(np.uint8))
    from baselines.pifu.inputs import network_image, prepare

    a, b = (prepare(r.image, r.mask, r.camera, 64) for r in (asked, other))
    np.testing.assert_array_equal(network_image(a.image, a.mask), network_image(b.image, b.mask))


def test_a_small_person_is_cropped_on_request(mini, monkeypatch):
    column(monkeypatch)
    camera = Camera(np.eye(4), 0.3, (99.5, 70.5), 200, 160)
    image, mask = scenes.picture((30.0, 80.0, 20.0), camera)
    asked = Request("far", image, mask, camera)
    assert mini.reconstruct([asked])[0].warnings == ()
    mini.crop = "auto"
    (found,) = mini.reconstruct([asked])
    assert found.warnings == ("cropped around the person",)
    # 160 cm tall in a square of 1.138 times that; the fake body is 0.8 of the half side.
    extent = found.mesh.vertices.max(axis=0) - found.mesh.vertices.min(axis=0)
    assert extent[1] == pytest.approx(0.8 * 1.138 * 160, rel=0.1)


def test_vertex_colours_are_the_pictures():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, 4:] = (200, 100, 50)
    image[:4, :4] = (9, 9, 9)
    points = np.array([[0.7, 0.1, 0], [-0.7, 0.7, 0.5], [-0.7, -0.7, -0.5]], np.float32)
    assert sample_image(image, points).tolist() == [[200, 100, 50], [9, 9, 9], [0, 0, 0]]


def test_opening_reports_the_file(weights):
    report = PifuMini().open("auto", weights)
    loaded = load_weights(weights)
    assert report.parameters == loaded.parameters
    assert report.checkpoint_sha256 == loaded.sha256
    assert report.loaded_keys == loaded.keys


def test_the_card_tells_of_the_shipped_file(weights, monkeypatch, tmp_path):
    monkeypatch.setattr(adapter, "MINI_WEIGHTS", weights)
    facts = PifuMini().card.extra
    loaded = load_weights(weights)
    assert facts["checkpoint_sha256"] == loaded.sha256
    assert facts["image_size"] == 64
    assert facts["parameters"] == loaded.parameters
    monkeypatch.setattr(adapter, "MINI_WEIGHTS", tmp_path / "none")
    assert PifuMini().card.extra["checkpoint_sha256"] == "not installed"


def test_without_weights_the_environment_is_not_ready(monkeypatch, tmp_path):
    with pytest.raises(EnvironmentNotReady, match="ships no weights"):
        Pifu().open("cpu")
    monkeypatch.setattr(adapter, "MINI_WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(EnvironmentNotReady, match="not there"):
        PifuMini().open("cpu")


def test_a_model_must_be_opened_and_asked_sensibly(weights):
    with pytest.raises(UsageError, match="not open"):
        Pifu().reconstruct([request()])
    with pytest.raises(UsageError, match="resolution"):
        PifuMini(resolution=100).open("cpu", weights)
    with pytest.raises(UsageError, match="Unknown device"):
        PifuMini().open("tpu", weights)
