"""The registry's `pifuhd` on requests, with small weights."""

from dataclasses import replace

import numpy as np
import pifuhd_files as files
import pytest
import torch

from baselines.pifu.network import depth_scale
from baselines.pifu.reconstruct import of_points
from baselines.pifuhd import PifuHD
from baselines.pifuhd.predict import Predictor
from robench import testing
from robench.contracts import Box, Camera, Failure, Reconstruction, Reconstructor, Request
from robench.engine.model_options import configure, option_values
from robench.errors import EnvironmentNotReady, UsageError
from robench.geometry import is_watertight, volume


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return files.write(tmp_path_factory.mktemp("w") / "pifuhd.pt")


@pytest.fixture(scope="module")
def slab(tmp_path_factory):
    """A file whose body is a slab around the picture's plane, of the same thickness everywhere."""
    net = files.slab()
    with torch.no_grad():
        net.mlp.filters[-2].weight[1] = 0
    return files.write(tmp_path_factory.mktemp("s") / "pifuhd.pt", model_state_dict=net.state_dict())


@pytest.fixture
def model(weights):
    found = PifuHD(resolution=32)
    found.open("cpu", weights)
    yield found
    found.close()


def request(name="a", size=(96, 80), box=(25, 20, 60, 76)):
    """A picture of 200 cm height with a textured background, and a mask box (left, top, right, bottom)."""
    lines, columns = np.mgrid[: size[0], : size[1]]
    image = np.stack([columns * 2, lines * 2, 90 + 60 * np.sin(columns / 5 + lines / 9)], axis=-1).astype(np.uint8)
    mask = np.zeros(size, np.float32)
    left, top, right, bottom = box
    mask[top:bottom, left:right] = 1
    camera = Camera(np.eye(4), size[0] / 200, ((size[1] - 1) / 2, (size[0] - 1) / 2), size[1], size[0])
    return Request(name, image, mask, camera)


def answer(monkeypatch, occupancy):
    """Replace the network's field by a function of points."""
    monkeypatch.setattr(Predictor, "_field", lambda self, encoded: of_points(occupancy, self.resolution))


def ball(points):
    """Up, right, behind the picture's middle; radius 0.3."""
    return ((points - np.array([0.2, 0.4, -0.3])) ** 2).sum(axis=1) < 0.09


def test_it_is_a_reconstructor_that_passes_the_conformance_suite(weights):
    assert isinstance(PifuHD(), Reconstructor)
    testing.check_model(PifuHD(resolution=32), weights)
    testing.check_model(PifuHD(resolution=16, crop="none", colours="normals"), weights)


@pytest.mark.parametrize("crop", ["mask", "none", "10,10,60,60"])
def test_meshes_come_back_in_centimetres_in_the_view_frame(weights, monkeypatch, crop):
    answer(monkeypatch, ball)
    model = PifuHD(resolution=64, crop=crop)
    model.open("cpu", weights)
    asked = request()
    (found,) = model.reconstruct([asked])
    assert isinstance(found, Reconstruction)
    # The square's centre in pixel edges, and its half side, by hand: 1.138 * 56 is 64; the whole picture is 96.
    centre, half = {"mask": ((43, 48), 32), "none": ((40, 48), 48), "10,10,60,60": ((40, 40), 30)}[crop]
    scale = asked.camera.scale
    middle = [(centre[0] - 40 + 0.2 * half) / scale, -(centre[1] - 48 - 0.4 * half) / scale, -0.3 * half / scale]
    voxel = 2 * half / 64 / scale
    vertices = found.mesh.vertices
    np.testing.assert_allclose((vertices.max(axis=0) + vertices.min(axis=0)) / 2, middle, atol=1.1 * voxel)
    extent = np.full(3, 0.3 * half / scale)
    np.testing.assert_allclose((vertices.max(axis=0) - vertices.min(axis=0)) / 2, extent, atol=1.1 * voxel)
    assert is_watertight(found.mesh)
    assert volume(found.mesh) > 0
    assert found.mesh.colours.shape == vertices.shape
    assert found.inputs_read == {"image", "camera"} | ({"mask"} if crop == "mask" else set())
    assert found.warnings == (() if crop == "none" else ("cropped around the person",))
    assert set(found.timings) == {"encode", "query", "mesh"}


def test_depth_goes_through_both_levels(slab):
    model = PifuHD(resolution=64, crop="none")
    model.open("cpu", slab)
    (found,) = model.reconstruct([request(size=(64, 64))])
    # Half the picture is 100 cm; |z| * (256 // 2) / 100 < 0.5, give or take the leaks of five layers on the way.
    assert depth_scale(files.SMALL.coarse) == pytest.approx(1.28)
    depth = found.mesh.vertices[:, 2]
    assert depth.max() == pytest.approx(100 * 0.5 / 1.28, rel=0.05)
    assert depth.min() == pytest.approx(-100 * 0.5 / 1.28, rel=0.05)


def test_a_batch_changes_no_bit(model):
    asked = [request("a"), request("blank", box=(0, 0, 0, 0)), request("b", (50, 90), (5, 5, 60, 45))]
    batch = model.reconstruct(asked)
    assert batch[1] == Failure("no_detection", "the mask has no person")
    for one, found in zip(asked, batch, strict=True):
        (alone,) = model.reconstruct([one])
        if isinstance(found, Reconstruction):
            np.testing.assert_array_equal(alone.mesh.vertices, found.mesh.vertices)
            np.testing.assert_array_equal(alone.mesh.faces, found.mesh.faces)
            np.testing.assert_array_equal(alone.mesh.colours, found.mesh.colours)
            assert len(found.mesh.vertices) > 100


def test_the_mask_moves_the_crop_and_nothing_else(model):
    asked = request()
    soft = replace(asked, mask=asked.mask * 0.5)
    hole = replace(asked, mask=asked.mask.copy())
    hole.mask[40:60, 40:50] = 0
    first, *others = (model.reconstruct([r])[0].mesh for r in (asked, soft, hole))
    for other in others:
        np.testing.assert_array_equal(first.vertices, other.vertices)
    moved = model.reconstruct([request(box=(20, 10, 60, 76))])[0].mesh
    assert first.vertices.shape != moved.vertices.shape


def test_a_box_outside_the_picture_is_no_detection(weights):
    for crop in ("80,0,50,50", "-60,0,50,50", "0,96,20,20"):
        model = PifuHD(resolution=16, crop=crop)
        model.open("cpu", weights)
        (found,) = model.reconstruct([request()])
        assert isinstance(found, Failure)
        assert found.kind == "no_detection"
        assert "lies outside the 80 x 96 picture" in found.message
    with pytest.raises(UsageError, match="'crop' of PIFuHD"):
        PifuHD(crop="10,10,0,20").open("cpu", weights)


def test_an_empty_field_is_degenerate(model, monkeypatch):
    answer(monkeypatch, lambda points: np.zeros(len(points)))
    assert model.reconstruct([request()]) == [Failure("degenerate", "the network found no occupied space")]


def test_without_memory_one_sample_fails_and_the_next_goes_on(model, monkeypatch):
    real, calls = Predictor._filtered, []

    def greedy(self, ready):
        calls.append(1)
        if len(calls) == 1:
            raise torch.OutOfMemoryError("tried to allocate 1 TiB\nand more")
        return real(self, ready)

    monkeypatch.setattr(Predictor, "_filtered", greedy)
    first, second = model.reconstruct([request("a"), request("b")])
    assert first == Failure("oom", "tried to allocate 1 TiB")
    assert isinstance(second, Reconstruction)


def test_vertices_take_the_pictures_colours(weights, monkeypatch):
    asked = request()
    left = np.arange(80)[None, :, None] < 50
    asked = replace(asked, image=np.where(left, (200, 100, 50), (10, 20, 30)).repeat(96, axis=0).astype(np.uint8))
    answer(monkeypatch, ball)
    model = PifuHD(resolution=32, crop="none")
    model.open("cpu", weights)
    mesh = model.reconstruct([asked])[0].mesh
    # Column 50 begins at edge 49.5, which is 10 pixels right of the picture's centre.
    x = mesh.vertices[:, 0] * asked.camera.scale
    assert (mesh.colours[x < 9] == (200, 100, 50)).all()
    assert (mesh.colours[x > 11] == (10, 20, 30)).all()
    assert min((x < 9).sum(), (x > 11).sum()) > 20


def test_colours_can_be_the_fields_normals(slab):
    model = PifuHD(resolution=32, crop="none", colours="normals")
    model.open("cpu", slab)
    mesh = model.reconstruct([request(size=(64, 64))])[0].mesh
    middle = np.abs(mesh.vertices[:, :2]).max(axis=1) < 80
    normals = mesh.colours[middle].astype(float) / 127.5 - 1
    # Published: half of the outward unit normal plus a half; a slab's points to the viewer or away.
    np.testing.assert_allclose(normals[:, :2], 0, atol=0.05)
    np.testing.assert_allclose(normals[:, 2], np.sign(mesh.vertices[middle, 2]), atol=0.05)
    assert middle.sum() > 500


def test_precision_moves_the_surface_a_little(weights):
    exact, low = PifuHD(resolution=32), PifuHD(resolution=32, precision="bfloat16")
    for model in (exact, low):
        model.open("cpu", weights)
    a, b = (model.reconstruct([request()])[0].mesh for model in (exact, low))
    assert a.vertices.shape != b.vertices.shape or not np.array_equal(a.vertices, b.vertices)
    assert volume(b) == pytest.approx(volume(a), rel=0.1)
    with pytest.raises(UsageError, match="TF32"):
        PifuHD(precision="tf32").open("cpu", weights)


def test_options_are_declared_and_set_by_name():
    model = PifuHD()
    assert option_values(model) == {"colours": "picture", "crop": "mask", "precision": "float32", "resolution": 512}
    configure(model, {"crop": "1,2,30,40", "resolution": "256", "colours": "normals"})
    assert option_values(model) == {
        "colours": "normals",
        "crop": "1,2,30,40",
        "precision": "float32",
        "resolution": 256,
    }
    with pytest.raises(UsageError, match="colours"):
        configure(model, {"colours": "texture"})


def test_opening_reports_the_file_or_says_what_is_missing(weights):
    report = PifuHD(resolution=16).open("auto", weights.parent)
    assert report.loaded_keys == len(files.lively().state_dict())
    assert report.parameters == sum(p.numel() for p in files.lively().parameters())
    with pytest.raises(EnvironmentNotReady, match=r"'pifuhd' ships no weights.*1,548,375,177 bytes"):
        PifuHD().open("cpu")
    with pytest.raises(UsageError, match="grid of PIFuHD"):
        PifuHD(resolution=100).open("cpu", weights)
    with pytest.raises(UsageError, match="Unknown device"):
        PifuHD().open("tpu", weights)
    with pytest.raises(UsageError, match="not open"):
        PifuHD().reconstruct([request()])


def test_the_samples_own_box_makes_the_crop_and_the_mask_where_there_is_none(weights):
    def answered(crop, asked):
        model = PifuHD(resolution=32, crop=crop)
        model.open("cpu", weights)
        return model.reconstruct([asked])[0]

    asked = request()
    boxed = replace(asked, box=Box(9.6, 10.3, 60.2, 50.0))
    mine, one = answered("box", boxed), answered("10,10,60,50", asked)
    np.testing.assert_array_equal(mine.mesh.vertices, one.mesh.vertices)
    assert mine.inputs_read == {"image", "camera", "box"}
    assert mine.warnings == ("cropped around the person",)
    without, masked = answered("box", asked), answered("mask", boxed)
    np.testing.assert_array_equal(without.mesh.vertices, masked.mesh.vertices)
    assert without.inputs_read == {"image", "camera", "box", "mask"}
    assert without.warnings == ("cropped around the person", "no person box: the crop is made from the mask")
    assert masked.inputs_read == {"image", "camera", "mask"}
    assert without.mesh.vertices.shape != mine.mesh.vertices.shape


def test_a_samples_box_outside_its_picture_is_no_detection_by_name(weights):
    model = PifuHD(resolution=16, crop="box")
    model.open("cpu", weights)
    outside, huge = (replace(request("monday_3"), box=box) for box in (Box(200, 5, 30, 30), Box(0, 0, 9000, 20)))
    for asked, what in ((outside, "lies outside"), (huge, "is far larger than")):
        (found,) = model.reconstruct([asked])
        assert found.kind == "no_detection"
        assert found.message.startswith("the person box of 'monday_3', ")
        assert f"{what} the 80 x 96 picture" in found.message
