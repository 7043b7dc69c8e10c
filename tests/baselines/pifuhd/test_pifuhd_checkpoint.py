"""Strict and safe reading of files like pifuhd.pt."""

import json
import os
import pickle
from argparse import Namespace
from dataclasses import replace

import pifuhd_files as files
import pytest
import torch

from baselines.pifuhd.checkpoint import OFFICIAL_SHA256, load_weights, read_checkpoint, structure
from baselines.pifuhd.config import OFFICIAL
from baselines.pifuhd.network import PifuHDNet
from robench.errors import UsageError
from robench.io.files import sha256_file


@pytest.fixture(scope="module")
def state():
    return files.lively().state_dict()


@pytest.mark.parametrize("legacy", [True, False], ids=["older format", "zip"])
def test_both_of_torchs_formats_are_read_with_their_options(tmp_path, legacy):
    path = files.write(tmp_path / "pifuhd.pt", legacy=legacy)
    with pytest.raises(Exception, match="argparse"):
        torch.load(path, weights_only=True)  # what robench does not need to trust
    for given in (path, tmp_path):
        loaded = load_weights(given)
        # The sizes come from the JSON file, the depth's scale from the stored options, the rest from shapes.
        assert loaded.config == files.SMALL
        assert loaded.keys == len(files.lively().state_dict())
        assert loaded.sha256 == sha256_file(path)
        assert not loaded.net.training
    for key, value in files.lively().state_dict().items():
        assert torch.equal(loaded.net.state_dict()[key], value), key


def test_reading_leaves_torchs_list_of_safe_classes_alone(tmp_path):
    before = set(torch.serialization.get_safe_globals())
    read_checkpoint(files.write(tmp_path / "pifuhd.pt"))
    assert set(torch.serialization.get_safe_globals()) == before  # torch keeps them in no order


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_stack": 1, "hourglass_depth": 3, "hourglass_dim": 16},
        {"mlp": (24, 20, 1), "skips": (1,), "merge_layer": 1, "fine_mlp": (9, 1), "fine_skips": ()},
        {"normal_downs": 1, "normal_blocks": 3, "normal_width": 4, "fine_stack": 2, "norm": "batch"},
    ],
    ids=str,
)
def test_shapes_tell_the_structure(options):
    config = replace(files.SMALL, **options)
    with torch.device("meta"):
        found = structure(PifuHDNet(config).state_dict())
    names = set(found) | set(options) - {"merge_layer"}
    assert {name: found.get(name, getattr(OFFICIAL, name)) for name in names} == {n: getattr(config, n) for n in names}
    assert len(found) >= 15


def test_the_shared_layer_comes_from_its_width_or_from_the_options(tmp_path):
    config = replace(files.SMALL, mlp=(32, 32, 32, 16, 1))
    for stored, expected in ((1, 1), (-2, 2), (2, 2)):
        coarse = Namespace(loadSize=256, z_size=100.0, merge_layer=stored)
        path = files.write(tmp_path / "pifuhd.pt", replace(config, merge_layer=expected), opt_netG=coarse)
        assert load_weights(path).config.merge_layer == expected
    # One width fits only one layer, whatever is stored.
    coarse = Namespace(loadSize=256, z_size=100.0, merge_layer=0)
    assert load_weights(files.write(tmp_path / "pifuhd.pt", opt_netG=coarse)).config.merge_layer == 2


def test_what_the_user_says_counts_most(tmp_path):
    path = files.write(tmp_path / "pifuhd.pt")
    options = {"coarse_size": 128, "fine_size": 256, "z_size": 50.0}
    (tmp_path / "pifuhd.json").write_text(json.dumps(options))
    assert load_weights(path).config == replace(files.SMALL, **options)
    (tmp_path / "pifuhd.json").write_text('{"coarse": 1}')
    with pytest.raises(UsageError, match="PIFuHD has no such option; got 'coarse'"):
        load_weights(path)
    (tmp_path / "pifuhd.json").write_text("[1]")
    with pytest.raises(UsageError, match="not a JSON object"):
        load_weights(path)


def test_odd_options_fall_back_to_the_published_ones(tmp_path):
    odd = Namespace(loadSize="512", z_size=-3.0, merge_layer="two")
    path = files.write(tmp_path / "pifuhd.pt", opt_netG=odd, opt={"hg_down": "no_down"})
    found = load_weights(path).config
    assert (found.load_size, found.z_size, found.fine_down) == (512, 200.0, "no_down")


def test_every_key_at_fault_is_named(tmp_path, state):
    changed = {k: v for k, v in state.items() if k not in ("netG.netB.model.1.weight", "mlp.filters.3.bias")}
    changed |= {"netG.netC.weight": torch.zeros(2), "netG.mlp.filters.4.bias": torch.zeros(7)}
    path = files.write(tmp_path / "pifuhd.pt", model_state_dict=changed)
    with pytest.raises(UsageError) as caught:
        load_weights(path)
    text = str(caught.value)
    assert "2 missing: netG.netB.model.1.weight, mlp.filters.3.bias" in text
    assert "1 unexpected: netG.netC.weight" in text
    assert "1 misshapen: netG.mlp.filters.4.bias (7,) instead of (1,)" in text


def test_aliases_must_agree_and_weights_be_finite(tmp_path, state):
    twice = {**state, "image_filter.conv2.bn4.weight": state["image_filter.conv2.bn4.weight"] + 1}
    path = files.write(tmp_path / "pifuhd.pt", model_state_dict=twice)
    with pytest.raises(UsageError, match=r"different values to one tensor.*image_filter\.conv2\.downsample\.0\.weight"):
        load_weights(path)
    one = {k: v for k, v in state.items() if k != "image_filter.conv2.bn4.weight"}
    assert load_weights(files.write(path, model_state_dict=one)).keys == len(state) - 1
    endless = {**state, "mlp.filters.0.bias": state["mlp.filters.0.bias"] / 0}
    with pytest.raises(UsageError, match=r"not finite.*mlp\.filters\.0\.bias"):
        load_weights(files.write(path, model_state_dict=endless))


def test_files_of_other_systems_are_recognised(tmp_path, state):
    path = tmp_path / "x.pt"
    torch.save({"surface_classifier.conv0.weight": torch.zeros(3)}, path)
    with pytest.raises(UsageError, match="--model pifu"):
        load_weights(path)
    torch.save([1, 2], path)
    with pytest.raises(UsageError, match="no checkpoint of PIFuHD; got a list"):
        load_weights(path)
    files.write(path, model_state_dict={**state, "epoch": 3})
    with pytest.raises(UsageError, match="more than tensors"):
        load_weights(path)
    with pytest.raises(UsageError, match="no such checkpoint"):
        load_weights(tmp_path / "none.pt")


def test_pifu_points_to_pifuhd(tmp_path):
    from baselines.pifu.checkpoint import load_weights as load_pifu

    with pytest.raises(UsageError, match="--model pifuhd"):
        load_pifu(files.write(tmp_path / "pifuhd.pt"))


def test_damage_is_one_sentence(tmp_path):
    path = files.write(tmp_path / "pifuhd.pt")
    whole = path.read_bytes()
    for damaged in (
        whole[:5000],
        whole[: len(whole) // 2],
        b"",
        b"<html>",
        whole[:2000] + b"\xff" * 500 + whole[2500:],
    ):
        path.write_bytes(damaged)
        with pytest.raises(UsageError) as caught:
            load_weights(path)
        assert "\n" not in str(caught.value)


class Bad:
    def __reduce__(self):
        return os.mkdir, (os.environ["PIFUHD_TEST_MARK"],)


class Stranger:
    pass


@pytest.mark.parametrize("legacy", [True, False], ids=["older format", "zip"])
def test_nothing_in_a_file_is_run(tmp_path, monkeypatch, legacy):
    mark = tmp_path / "ran"
    monkeypatch.setenv("PIFUHD_TEST_MARK", str(mark))
    # As an option, in place of the options, and as a class that nobody allowed.
    for changes in ({"opt": Namespace(x=Bad())}, {"opt_netG": Bad()}, {"opt": Stranger()}):
        path = files.write(tmp_path / "pifuhd.pt", legacy=legacy, **changes)
        with pytest.raises(UsageError, match="not a readable checkpoint"):
            load_weights(path)
        assert not mark.exists()
    with path.open("wb") as file:
        pickle.dump({"model_state_dict": Bad()}, file)
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        load_weights(path)
    assert not mark.exists()


def test_a_huge_set_of_options_is_refused(tmp_path):
    path = files.write(tmp_path / "pifuhd.pt", opt=Namespace(**{f"o{i}": i for i in range(2000)}))
    with pytest.raises(UsageError, match="not a readable checkpoint"):
        load_weights(path)


def test_a_file_that_asks_for_a_giant_is_refused_before_memory_is_taken(tmp_path, state):
    # Shapes without memory behind them: one number, repeated.
    wide = {"netG.netF.model.1.weight": torch.zeros(1).expand(1024, 3, 7, 7)}
    deep = {"netG.netF.model.28.conv_block.1.weight": torch.zeros(1)}
    fewer = {k: v for k, v in state.items() if "conv_block" not in k}
    config = replace(files.SMALL, coarse_size=256)
    path = files.write(tmp_path / "pifuhd.pt", config, legacy=False, model_state_dict=fewer | wide | deep)
    assert path.stat().st_size < 4e6
    with pytest.raises(UsageError, match=r"make a network of [\d,]{15,} parameters"):
        load_weights(path)


def test_the_official_file_is_known_by_its_hash():
    from baselines.pifuhd import PifuHD

    assert PifuHD().card.extra["official_sha256"] == OFFICIAL_SHA256
