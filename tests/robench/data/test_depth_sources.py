"""Where depth comes from: in the order asked for, named on every row, and part of what a set is called."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from robench.data import dpt
from robench.data.depth_sources import PLANE_M, DepthSources, choose_depth
from robench.engine.cset import open_set
from robench.engine.cset_index import INDEX, read_index
from robench.engine.cset_writer import plan_set, write_set
from robench.engine.inputs import Inputs
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.engine.verify import verify_set
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.depth import read_depth
from robench.io.images import pixels_sha256


def of(people: Path, sources: DepthSources, name: str = "s0_0"):
    sample = next(s for s in select(people).samples if s.sample_id == name)
    return Inputs(sample, sources).depth_map


def test_given_before_mesh_and_never_by_position(people: Path) -> None:
    assert of(people, DepthSources()).source == "given"
    (people / "depth" / "s0_0.npz").unlink()
    # s1 and s2 keep theirs; s0's place in the order gives it nothing.
    assert of(people, DepthSources()).source == "mesh"
    assert of(people, DepthSources(), "s1_0").source == "given"
    assert of(people, DepthSources(("given",))) is None
    assert of(people, DepthSources(("given", "plane"))).source == "plane"


def test_a_depth_map_of_another_size_is_refused(people: Path) -> None:
    from robench.errors import SampleFailure
    from robench.io.depth import write_depth

    write_depth(people / "depth" / "s0_0.npz", np.ones((20, 20)))
    with pytest.raises(SampleFailure, match="20x20 pixels but its image is 48x48"):
        of(people, DepthSources())


def test_depth_from_the_mesh_is_the_surface_that_the_camera_sees(people: Path) -> None:
    found = of(people, DepthSources(("mesh",)))
    mask = select(people).samples[0].mask
    from robench.io.images import read_mask

    hit = np.isfinite(found.depth)
    inside = read_mask(mask) > 0.5
    assert (hit & inside).sum() / (hit | inside).sum() > 0.85, "the coarse ellipsoid fills most of the exact one"
    # Orthographic from 10 m at an ellipsoid 16 cm deep: its front lies between 9.84 m and 10 m.
    assert 9.83 < found.depth[hit].min() < 9.86
    assert found.depth[hit].max() <= 10.001


def test_the_plane_is_flat_and_says_so(people: Path) -> None:
    found = of(people, choose_depth("plane"))
    assert (found.source, set(np.unique(found.depth))) == ("plane", {np.float32(PLANE_M)})


def test_invalid_depth_is_counted_in_the_row(people: Path, tmp_path: Path, plugins) -> None:
    values = np.full((48, 48), 3000, np.uint16)
    values[0, :5], values[1, :7] = 0, 65535
    (people / "depth" / "s0_0.npz").unlink()
    import cv2

    cv2.imwrite(str(people / "depth" / "s0_0.png"), values)
    with pytest.raises(UsageError, match=r"not declared.*--depth-unit"):
        write_set(select(people), custom_recipe(["foggy"], [1]), 0, tmp_path / "a", quiet=True)
    sources = choose_depth(None, unit="mm")
    report = write_set(select(people), custom_recipe(["foggy"], [1]), 0, tmp_path / "b", depths=sources, quiet=True)
    rows = {row["sample_id"]: row for row in read_index(report.folder / INDEX) if row["severity"] == 1}
    assert json.loads(rows["s0_0"]["depth_invalid"]) == {"zero": 5, "saturated": 7}
    stored = read_depth(report.folder / rows["s0_0"]["depth_path"], (48, 48))
    assert np.isinf(stored).sum() == 12
    assert np.unique(stored[np.isfinite(stored)]).tolist() == [np.float32(3.0)]


def test_made_depth_is_part_of_the_identity_and_of_the_manifest(make_people, tmp_path: Path, plugins, read_manifest):
    people, recipe = make_people(), custom_recipe(["foggy"], [1])

    def cset_id(text: str | None = None, corruption: str = "foggy", **kwargs) -> str:
        sources = choose_depth(text, **kwargs)
        return plan_set(select(people), custom_recipe([corruption], [1]), 0, tmp_path, depths=sources).cset_id

    assert cset_id() == cset_id("given") == cset_id("given,mesh,plane"), "all depth is the data's own"
    assert len({cset_id(), cset_id("mesh"), cset_id("plane"), cset_id(unit="mm")}) == 4
    assert cset_id("plane", "darker") == cset_id("mesh", "darker"), "nothing that is made depends on depth"
    (people / "depth" / "s1_0.npz").unlink()
    report = write_set(select(people), recipe, 0, tmp_path / "sets", quiet=True)
    manifest = read_manifest(report.folder)
    assert manifest["depth"]["samples"] == {"given": 2, "mesh": 1}
    rows = {row["sample_id"]: row["depth_source"] for row in read_index(report.folder / INDEX) if row["severity"]}
    assert rows == {"s0_0": "given", "s1_0": "mesh", "s2_0": "given"}


def test_an_evaluation_on_the_fly_is_of_the_same_set(people: Path, tmp_path: Path, plugins) -> None:
    from robench.engine.tasks import Options, plan_task

    (people / "depth" / "s1_0.npz").unlink()
    report = write_set(
        select(people), custom_recipe(["foggy"], [1]), 0, tmp_path, depths=choose_depth("mesh,plane"), quiet=True
    )
    options = Options("toy", data=people, corruptions="foggy", severities="1", masker="given", depth="mesh,plane")
    fly, stored = plan_task(options), plan_task(Options("toy", cset=report.folder, masker="given"))
    assert fly.cset_id == stored.cset_id == open_set(report.folder).manifest["cset_id"]
    for cell in fly.cells():
        assert fly.pictures.picture(cell).sha256 == stored.pictures.picture(cell).sha256
    with pytest.raises(UsageError, match="fixes the depth"):
        plan_task(Options("toy", cset=report.folder, masker="given", depth="plane"))


@pytest.mark.parametrize(
    ("text", "weights", "says"),
    [
        ("plain", None, "did you mean 'plane'"),
        ("", None, "Depth cannot come from there"),
        ("given,dpt", None, "--depth-weights"),
        ("mesh", "x", "'dpt' is no source"),
    ],
)
def test_wrong_choices_are_told(tmp_path: Path, text: str, weights: str | None, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        choose_depth(text, tmp_path / weights if weights else None)


def test_an_unknown_unit_is_told() -> None:
    with pytest.raises(UsageError, match=r"'cm'; expected one of m, mm"):
        choose_depth(None, unit="cm")


# The network: a stand-in for transformers, since robench does without it.


class FakeDpt:
    """Says that what is bright is near."""

    report: dict = {}  # noqa: RUF012
    asked = 0

    @classmethod
    def from_pretrained(cls, folder, *, local_files_only, weights_only, output_loading_info):
        assert local_files_only
        assert weights_only, "a file of weights runs no code"
        return cls(), dict(cls.report)

    def eval(self):
        return self

    def __call__(self, pixel_values):
        type(self).asked += 1
        assert pixel_values.shape[0] == 1
        return SimpleNamespace(predicted_depth=pixel_values.mean(1))


@pytest.fixture
def weights(tmp_path: Path, monkeypatch) -> Path:
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "dpt"}')
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": 64, "ensure_multiple_of": 16}))
    module = ModuleType("transformers")
    module.__spec__ = SimpleNamespace(name="transformers")
    module.DPTForDepthEstimation = FakeDpt
    monkeypatch.setitem(sys.modules, "transformers", module)
    monkeypatch.setattr(FakeDpt, "asked", 0)
    dpt.estimator.cache_clear()
    yield folder
    dpt.estimator.cache_clear()


def test_relative_depth_becomes_metres_by_the_declared_convention() -> None:
    inverse = np.linspace(-3, 12, 10_000).reshape(100, 100)
    metres = dpt.metres_of(inverse)
    assert (metres.min(), metres.max()) == (np.float32(dpt.NEAR_M), np.float32(dpt.FAR_M))
    assert (np.diff(metres.ravel()) <= 0).all(), "nearer where the network says nearer"
    np.testing.assert_array_equal(dpt.metres_of(7 * inverse + 3), metres)
    # Halfway in inverse depth is the harmonic mean of the ends.
    assert metres.ravel()[5000] == pytest.approx(2 / (1 / dpt.NEAR_M + 1 / dpt.FAR_M), rel=1e-3)
    assert (dpt.metres_of(np.ones((4, 4))) == dpt.NEAR_M).all()
    with pytest.raises(ValueError, match="not finite"):
        dpt.metres_of(np.array([[np.nan, 1.0]]))


def test_estimates_are_made_once_and_stored(make_people, tmp_path: Path, plugins, weights: Path, read_manifest) -> None:
    people = make_people(depth=False, mesh=False)
    sources, recipe = choose_depth("auto", weights), custom_recipe(["foggy", "fog_3d"], [1, 2])
    report = write_set(select(people), recipe, 0, tmp_path / "sets", depths=sources, quiet=True)
    assert (FakeDpt.asked, report.images, report.failed) == (3, 15, [])
    manifest = read_manifest(report.folder)
    assert manifest["depth"]["samples"] == {"dpt": 3}
    assert manifest["depth"]["weights_sha256"] == dpt.weights_sha256(weights)
    assert len(manifest["depth"]["files"]) == 3
    assert verify_set(report.folder).differences == ()
    write_set(select(people), recipe, 0, tmp_path / "sets", depths=sources, quiet=True)
    assert FakeDpt.asked == 3
    # A picture on the fly is the stored one, though its depth is estimated anew.
    cset = open_set(report.folder)
    from robench.engine.cells import Cell, OnTheFly

    sample = select(people).samples[0]
    made = OnTheFly(0, depths=sources).picture(Cell(sample, "fog_3d", 2))
    assert pixels_sha256(made.image) == cset.rows["s0_0", "fog_3d", 2]["pixels_sha256"]
    assert FakeDpt.asked == 4
    # Other weights make another set.
    before = plan_set(select(people), recipe, 0, tmp_path, depths=sources).cset_id
    (weights / "model.safetensors").write_bytes(b"others")
    assert plan_set(select(people), recipe, 0, tmp_path, depths=choose_depth("dpt", weights)).cset_id != before
    # Bright things are near by this network; the person is bright.
    depth = read_depth(report.folder / cset.rows["s0_0", "clean", 0]["depth_path"], (48, 48))
    assert depth.min() == np.float32(dpt.NEAR_M)
    assert depth.max() == np.float32(dpt.FAR_M)


def test_missing_library_weights_and_keys_are_told(weights: Path, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(EnvironmentNotReady, match=r"no depth network.*hf download .*--depth-weights DIR"):
        choose_depth("dpt", tmp_path / "nowhere")
    (weights / "model.safetensors").unlink()
    with pytest.raises(EnvironmentNotReady, match=r"no depth network.*model\.safetensors"):
        choose_depth("dpt", weights)
    monkeypatch.setattr(FakeDpt, "report", {"missing_keys": {"neck.a", "head.b"}})
    with pytest.raises(EnvironmentNotReady, match=r"do not fit.*missing keys head\.b, neck\.a.*hf download"):
        dpt.DptDepth(weights)
    (weights / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UsageError, match=r"another network; got model_type bert; expected dpt.*hf download"):
        dpt.DptDepth(weights)
    monkeypatch.setattr(dpt.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EnvironmentNotReady, match=r"not installed.*robench\[priors\]"):
        dpt.DptDepth(weights)


@pytest.mark.parametrize(("said", "shape"), [({"size": {"height": 64, "width": 96}}, (64, 96)), ({}, (384, 384))])
def test_pictures_are_prepared_as_the_folder_says(tmp_path: Path, said: dict, shape: tuple[int, int]) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps({**said, "image_mean": [0, 0, 0], "image_std": 1}))
    ready = dpt._Preparation(tmp_path)(np.full((100, 50, 3), (255, 0, 51), np.uint8))
    assert ready.shape == (1, 3, *shape)
    np.testing.assert_allclose(ready[0, :, 10, 10], [1, 0, 0.2], atol=1e-6)


def test_the_aspect_is_kept_where_the_folder_says_so(tmp_path: Path) -> None:
    said = {"size": {"height": 384, "width": 384}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(said))
    # 200 x 400: the width changes least (384 / 400), so both sides scale by it.
    assert dpt._Preparation(tmp_path)(np.zeros((200, 400, 3), np.uint8)).shape == (1, 3, 196, 378)
