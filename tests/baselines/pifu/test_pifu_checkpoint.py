"""Loading is strict, safe and says what is wrong."""

import json
import pickle
from dataclasses import replace

import pytest
import torch

from baselines.pifu.checkpoint import guess_config, load_own, load_state, load_weights, save_weights
from baselines.pifu.colour import ColourNet
from baselines.pifu.config import OFFICIAL
from baselines.pifu.network import ShapeNet
from baselines.pifu.parity import TINY
from robench.errors import EnvironmentNotReady, UsageError

SMALL = replace(TINY, colour_width=8, colour_blocks=1, colour_mlp=(16, 3))


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.fixture
def folder(tmp_path):
    """A folder as the authors' would be, but small: options in pifu.json."""
    torch.save(ShapeNet(SMALL).state_dict(), tmp_path / "net_G")
    torch.save(ColourNet(SMALL).state_dict(), tmp_path / "net_C")
    (tmp_path / "pifu.json").write_text(SMALL.to_json())
    return tmp_path


def test_a_folder_gives_both_networks(folder):
    weights = load_weights(folder)
    expected = torch.load(folder / "net_G", weights_only=True)
    assert all(torch.equal(v, expected[k]) for k, v in weights.shape.state_dict().items())
    assert weights.colour is not None
    assert weights.keys == len(expected) + len(weights.colour.state_dict())
    assert not weights.shape.training


def test_a_file_gives_the_shape_net_only_and_its_own_digest(folder):
    import hashlib

    weights = load_weights(folder / "net_G")
    assert weights.colour is None
    assert weights.sha256 == hashlib.sha256((folder / "net_G").read_bytes()).hexdigest()
    assert load_weights(folder).sha256 != weights.sha256


def test_the_old_torch_format_is_read(folder):
    state = ShapeNet(SMALL).state_dict()
    torch.save(state, folder / "net_G", _use_new_zipfile_serialization=False)
    assert torch.equal(
        load_weights(folder / "net_G").shape.state_dict()["image_filter.l0.bias"], state["image_filter.l0.bias"]
    )


@pytest.mark.parametrize("dropped", ["bn4", "downsample.0"])
def test_either_name_of_an_alias_suffices(folder, dropped):
    state = torch.load(folder / "net_G", weights_only=True)
    kept = {k: v for k, v in state.items() if not (f".conv2.{dropped}." in k or f".conv4.{dropped}." in k)}
    assert len(kept) < len(state)
    torch.save(kept, folder / "net_G")
    net = load_weights(folder / "net_G").shape
    assert torch.equal(net.state_dict()["image_filter.conv2.bn4.weight"], state["image_filter.conv2.bn4.weight"])


def test_aliases_that_disagree_are_refused(folder):
    state = {k: v.clone() for k, v in torch.load(folder / "net_G", weights_only=True).items()}
    state["image_filter.conv2.bn4.weight"] += 1
    torch.save(state, folder / "net_G")
    with pytest.raises(UsageError, match=r"different values.*conv2\.bn4\.weight"):
        load_weights(folder)


def test_every_wrong_key_is_named(folder):
    state = torch.load(folder / "net_G", weights_only=True)
    del state["image_filter.l0.weight"], state["surface_classifier.conv1.bias"]
    state["extra.weight"] = torch.zeros(2)
    state["image_filter.conv1.weight"] = torch.zeros(1)
    torch.save(state, folder / "net_G")
    with pytest.raises(UsageError) as caught:
        load_weights(folder)
    text = str(caught.value)
    for part in (
        "image_filter.l0.weight",
        "surface_classifier.conv1.bias",
        "extra.weight",
        "2 missing",
        "1 unexpected",
    ):
        assert part in text
    assert "image_filter.conv1.weight (1,) instead of (64, 3, 7, 7)" in text


def test_a_malicious_pickle_is_refused_and_does_not_run(folder, tmp_path):
    mark = tmp_path / "owned"
    state = torch.load(folder / "net_G", weights_only=True)
    for protocol in (2, 5):
        (folder / "net_G").write_bytes(pickle.dumps(Bomb(mark), protocol=protocol))
        with pytest.raises(UsageError, match="not a readable checkpoint"):
            load_weights(folder)
    for zipped in (True, False):
        torch.save({**state, "x": Bomb(mark)}, folder / "net_G", _use_new_zipfile_serialization=zipped)
        with pytest.raises(UsageError, match="not a readable checkpoint"):
            load_weights(folder)
    assert not mark.exists()


@pytest.mark.parametrize("keep", [0, 1, 100, 20_000])
@pytest.mark.parametrize("zipped", [True, False])
def test_truncated_files_are_refused(folder, keep, zipped):
    torch.save(ShapeNet(SMALL).state_dict(), folder / "net_G", _use_new_zipfile_serialization=zipped)
    data = (folder / "net_G").read_bytes()
    (folder / "net_G").write_bytes(data[:keep])
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        load_weights(folder)


@pytest.mark.parametrize("content", [[1, 2], {"net": {"a": torch.zeros(1)}}, {"a": 3}, torch.zeros(2)])
def test_files_that_are_no_state_dict_are_refused(folder, content):
    torch.save(content, folder / "net_G")
    with pytest.raises(UsageError, match="not a bare state dict"):
        load_weights(folder)


def test_weights_that_are_not_finite_are_refused(folder):
    state = torch.load(folder / "net_G", weights_only=True)
    state["image_filter.l1.bias"][3] = float("nan")
    torch.save(state, folder / "net_G")
    with pytest.raises(UsageError, match=r"not finite.*image_filter\.l1\.bias"):
        load_weights(folder)


def test_missing_files(tmp_path):
    with pytest.raises(UsageError, match="no such checkpoint"):
        load_weights(tmp_path)
    with pytest.raises(EnvironmentNotReady, match="not there"):
        load_weights(tmp_path / "pifu-mini.safetensors")


def test_a_wrong_architecture_is_recognised():
    with torch.device("meta"):
        batch = ShapeNet(replace(OFFICIAL, norm="batch", down="conv64")).state_dict()
        colour = ColourNet(replace(OFFICIAL, colour_norm="instance")).state_dict()
        official = ShapeNet(OFFICIAL).state_dict()
    assert '{"norm": "batch", "down": "conv64"}' in guess_config(batch)
    assert '{"colour_norm": "instance"}' in guess_config(colour)
    assert "net_C" in guess_config(colour)
    assert "published options" in guess_config(official)
    assert "PIFuHD" in guess_config({"netG.image_filter.conv1.weight": torch.zeros(1)})
    assert "DataParallel" in guess_config({f"module.{k}": v for k, v in official.items()})
    assert guess_config({"a": torch.zeros(1)}) == ""


def test_the_hint_reaches_the_user(folder):
    (folder / "pifu.json").unlink()
    torch.save(torch.load(folder / "net_C", weights_only=True), folder / "net_G")
    with pytest.raises(UsageError, match="does not fit the network"):
        load_weights(folder)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_our_own_file_round_trips(tmp_path, dtype):
    shape, colour = ShapeNet(SMALL), ColourNet(SMALL)
    path = tmp_path / "w.safetensors"
    save_weights(path, shape, colour, {"dataset": "d", "minutes": 3.5}, dtype)
    weights = load_weights(path)
    assert weights.config == SMALL
    assert weights.provenance == {"dataset": "d", "minutes": 3.5}
    for net, loaded in ((shape, weights.shape), (colour, weights.colour)):
        for key, value in net.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], value.to(dtype).to(value.dtype)), key
    save_weights(path, shape, None, {}, dtype)
    assert load_weights(path).colour is None


def test_the_folder_of_a_training_is_read(tmp_path):
    save_weights(tmp_path / "model.safetensors", ShapeNet(TINY), None, {})
    found = load_weights(tmp_path)
    assert found.sha256 == load_weights(tmp_path / "model.safetensors").sha256


def test_damaged_own_files_are_refused(tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "w.safetensors"
    save_weights(path, ShapeNet(SMALL), None, {})
    data = path.read_bytes()
    for cut in (0, 7, 500, len(data) - 4):
        path.write_bytes(data[:cut])
        with pytest.raises(UsageError, match="not a readable safetensors"):
            load_own(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UsageError, match="holds no PIFu"):
        load_own(path)
    save_file({"other.a": torch.zeros(1)}, path, metadata={"format": "robench-pifu/1", "config": SMALL.to_json()})
    with pytest.raises(UsageError, match="neither network"):
        load_own(path)
    bad = json.dumps({"norm": "none"})
    save_file({"net_G.a": torch.zeros(1)}, path, metadata={"format": "robench-pifu/1", "config": bad})
    with pytest.raises(UsageError, match="no such value"):
        load_own(path)


def test_loading_keeps_the_networks_number_format():
    net = ShapeNet(SMALL).double()
    load_state(net, ShapeNet(SMALL).state_dict(), "x")
    assert net.image_filter.conv1.weight.dtype == torch.float64
