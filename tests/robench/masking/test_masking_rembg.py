"""rembg's networks behind our masker, with tiny ONNX files in place of the published weights."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from rembg.sessions import sessions

from robench import registry
from robench.contracts import Masker
from robench.errors import EnvironmentNotReady, Mismatch, SampleFailure, UsageError
from robench.masking import rembg as masking
from robench.masking import weights

PUBLISHED = ["u2net", "u2netp", "u2net_human_seg", "silueta", "isnet-general-use"]


def network_file(path, slope, offset, side=320, nonsense=False):
    """Write a network whose map is ``sigmoid(slope * mean of channels + offset)``, or its logarithm of a negative."""
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])
    person = helper.make_tensor_value_info("person", TensorProto.FLOAT, [1, 1, side, side])
    one = lambda name, value: helper.make_tensor(name, TensorProto.FLOAT, [1], [value])  # noqa: E731
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1], keepdims=1),
        helper.make_node("Mul", ["mean", "slope"], ["scaled"]),
        helper.make_node("Add", ["scaled", "offset"], ["logit"]),
        helper.make_node("Log" if nonsense else "Sigmoid", ["logit"], ["person"]),
    ]
    graph = helper.make_graph(nodes, "toy", [image], [person], [one("slope", slope), one("offset", offset)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return "md5:" + hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(autouse=True)
def nowhere(tmp_path, monkeypatch):
    """Point every place where weights are looked up into the test's own folder, and cut the network."""
    for name, folder in (("ROBENCH_WEIGHTS", "weights"), ("U2NET_HOME", "u2net"), ("HOME", "home")):
        monkeypatch.setenv(name, str(tmp_path / folder))

    def refuse(*args, **kwargs):
        raise AssertionError("the network was touched without being asked")

    monkeypatch.setattr("pooch.retrieve", refuse)


def toy(tmp_path, name="u2netp", slope=8.0, offset=0.0, **kwargs):
    masker = masking.RembgMasker(name)
    path = tmp_path / "weights" / masker.network.file
    digest = network_file(path, slope, offset, side=masker.network.side, **kwargs)
    masker.network = replace(masker.network, digest=digest)
    return masker


def picture(height=90, width=70):
    """A bright box on a dark ground; the box is the person to a network that likes brightness."""
    image = np.full((height, width, 3), 30, np.uint8)
    image[height // 4 : height * 3 // 4, width // 3 : width * 2 // 3] = 230
    return image


@pytest.mark.parametrize("name", [*PUBLISHED, "u2netp-anny"])
def test_every_network_is_a_registered_masker_with_a_whole_card(name):
    masker = registry.load("maskers", name)
    assert isinstance(masker, Masker)
    assert masker.card.name == name
    assert masker.source == "predicted"
    assert masker.card.licence in {"Apache-2.0", "NOASSERTION"}
    assert masker.card.extra["trained_on"]
    assert masker.card.extra["weights"] == f"{name}.onnx"


@pytest.mark.parametrize("name", PUBLISHED)
def test_our_hashes_are_those_of_the_installed_rembg(name):
    network = masking.networks()[name]
    assert network.digest in inspect.getsource(sessions[network.session])
    assert f"({network.side}, {network.side})" in inspect.getsource(sessions[network.session])


@pytest.mark.parametrize("name", PUBLISHED)
def test_missing_weights_are_an_error_that_tells_how_to_get_them(name):
    with pytest.raises(EnvironmentNotReady, match=rf"'{name}' are not here.*robench fetch weights {name}"):
        masking.RembgMasker(name).open("cpu")


def test_other_bytes_are_refused(tmp_path):
    network_file(tmp_path / "weights" / "u2netp.onnx", 1, 0)
    with pytest.raises(Mismatch, match=r"u2netp\.onnx is not the published file; got md5 .* expected 8e83ca"):
        masking.RembgMasker("u2netp").open("cpu")


def test_weights_in_rembgs_own_folder_are_found(tmp_path):
    digest = network_file(tmp_path / "u2net" / "u2netp.onnx", 1, 0)
    network = replace(masking.networks()["u2netp"], digest=digest)
    assert weights.find_weights(network) == tmp_path / "u2net" / "u2netp.onnx"


@pytest.mark.parametrize("name", ["u2netp", "isnet-general-use"])
def test_the_mask_finds_the_box_at_the_pictures_size(tmp_path, name):
    masker = toy(tmp_path, name)
    assert masker.open("cpu") == "cpu"
    image = picture()
    mask = masker.mask(image)
    assert mask.shape == (90, 70)
    assert mask.dtype == np.float32
    assert 0 <= mask.min() <= mask.max() <= 1
    true = image[..., 0] > 128
    assert ((mask > 0.5) & true).sum() / ((mask > 0.5) | true).sum() > 0.95


def test_the_mask_is_rembgs_own(tmp_path, monkeypatch):
    masker = toy(tmp_path, offset=0.3)
    masker.open("cpu")
    from rembg import new_session, remove

    path = tmp_path / "u2net" / "toy.onnx"
    network_file(path, 8.0, 0.3)
    image = np.random.default_rng(0).integers(0, 256, (77, 101, 3), dtype=np.uint8)
    theirs = remove(image, session=new_session("u2net_custom", model_path=str(path)), only_mask=True)
    np.testing.assert_array_equal(np.rint(masker.mask(image) * 255).astype(np.uint8), np.asarray(theirs))


def test_a_picture_without_a_person_gives_a_blank_mask_and_not_stretched_noise(tmp_path):
    masker = toy(tmp_path, slope=0.05, offset=-2.0)  # everywhere about 0.12, a little more on the box
    masker.open("cpu")
    found = masker.segment(picture())
    assert found.blank
    assert 0.1 < found.peak < 0.15
    assert found.mask.shape == (90, 70)
    assert found.mask.max() == 0


def test_a_constant_map_is_neither_nan_nor_noise(tmp_path):
    masker = toy(tmp_path, slope=0.0, offset=-3.0)
    masker.open("cpu")
    found = masker.segment(picture())
    assert found.blank
    assert found.mask.max() == 0


@pytest.mark.parametrize("value", [0, 128, 255])
def test_a_picture_of_one_colour_is_blank_without_asking_the_network(tmp_path, value):
    masker = toy(tmp_path, offset=9.0)  # a network that sees people everywhere
    masker.open("cpu")
    found = masker.segment(np.full((48, 64, 3), value, np.uint8))
    assert (found.blank, found.peak) == (True, 0.0)
    assert found.mask.shape == (48, 64)
    assert found.mask.max() == 0


def test_the_same_picture_gives_the_same_mask_after_others_and_after_reopening(tmp_path):
    masker = toy(tmp_path)
    masker.open("cpu")
    first = masker.mask(picture())
    masker.mask(picture(64, 64))
    np.testing.assert_array_equal(masker.mask(picture()), first)
    masker.close()
    masker.open("auto")
    np.testing.assert_array_equal(masker.mask(picture()), first)


def test_a_network_that_gives_nan_is_a_failed_sample(tmp_path):
    masker = toy(tmp_path, slope=1.0, offset=-9.0, nonsense=True)
    masker.open("cpu")
    with pytest.raises(SampleFailure, match="not finite"):
        masker.mask(picture())


def test_asking_for_cuda_without_it_is_an_error_and_auto_says_cpu(tmp_path, monkeypatch):
    masker = toy(tmp_path)
    monkeypatch.setattr("onnxruntime.get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(EnvironmentNotReady, match=r"cannot run on CUDA.*--device cpu"):
        masker.open("cuda")
    assert masker.open("auto") == "cpu"


def test_a_cuda_provider_that_falls_back_is_not_called_cuda(tmp_path, monkeypatch):
    # As on a machine with onnxruntime-gpu whose CUDA libraries are missing: the session opens, on the CPU.
    masker = toy(tmp_path)
    monkeypatch.setattr(masking, "_cuda_listed", lambda: True)
    started = masker._started
    monkeypatch.setattr(masker, "_started", lambda path, cuda: started(path, cuda=False))
    assert masker.open("auto") == "cpu"
    with pytest.raises(EnvironmentNotReady, match="cannot run on CUDA"):
        masker.open("cuda")


def test_wrong_use_is_told(tmp_path):
    masker = toy(tmp_path)
    with pytest.raises(UsageError, match="cannot run on 'tpu'"):
        masker.open("tpu")
    with pytest.raises(RuntimeError, match="not open"):
        masker.mask(picture())
    masker.open("cpu")
    with pytest.raises(ValueError, match="uint8"):
        masker.mask(picture().astype(np.float32))


def test_thread_counts_are_fixed(tmp_path):
    masker = toy(tmp_path)
    masker.open("cpu")
    options = masker._session.inner_session.get_session_options()
    assert (options.intra_op_num_threads, options.inter_op_num_threads) == (2, 1)


@pytest.mark.parametrize("torch_first", [True, False])
def test_loading_rembg_leaves_everybody_elses_threads_alone(torch_first):
    lines = ["import torch", "torch.set_num_threads(1)"] if torch_first else []
    lines += ["from robench.masking import rembg, weights", "weights.session_class(rembg.networks()['u2net'])"]
    lines += ["import os, torch", "print(torch.get_num_threads(), 'NUMBA_NUM_THREADS' in os.environ)"]
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_NUM_THREADS"}
    environment |= {} if torch_first else {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.split() == ["1", "False"]


def test_fetch_downloads_by_rembgs_address_into_our_folder_and_checks(tmp_path, monkeypatch):
    calls = []

    def retrieve(url, known_hash, fname, path, **kwargs):
        calls.append((url, known_hash))
        network_file(tmp_path / "weights" / fname, 1, 0)
        assert path == str(tmp_path / "weights")

    monkeypatch.setattr("pooch.retrieve", retrieve)
    with pytest.raises(Mismatch, match="is not the published file"):
        masking.fetch("u2netp")
    assert calls == [
        (
            "https://github.com/danielgatis/rembg/releases/download/v0.0.0/u2netp.onnx",
            masking.networks()["u2netp"].digest,
        )
    ]
    sound = "md5:" + hashlib.md5((tmp_path / "weights" / "u2netp.onnx").read_bytes()).hexdigest()
    network = replace(masking.networks()["u2netp"], digest=sound)
    assert weights.fetch(network) == tmp_path / "weights" / "u2netp.onnx"
    assert len(calls) == 1  # what is there and sound is not fetched again


def test_fetch_without_network_says_what_to_do(tmp_path, monkeypatch):
    def unreachable(*args, **kwargs):
        raise ConnectionError("name resolution failed")

    monkeypatch.setattr("pooch.retrieve", unreachable)
    with pytest.raises(EnvironmentNotReady, match=r"'silueta' could not be downloaded.*name resolution.*by hand"):
        masking.fetch("silueta")


def test_fetch_of_an_unknown_name_lists_the_known():
    with pytest.raises(UsageError, match=r"no weights named 'u2netP'.*u2netp"):
        masking.fetch("u2netP")


def test_our_own_network_needs_no_fetch_and_is_checked_against_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr(masking, "SHIPPED", tmp_path / "shipped")
    with pytest.raises(EnvironmentNotReady, match=r"baselines\.u2netp\.train"):
        masking.u2netp_anny().open("cpu")
    path = tmp_path / "shipped" / "u2netp-anny.onnx"
    network_file(path, 8.0, 0.0)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    (tmp_path / "shipped" / "u2netp-anny.json").write_text(json.dumps({"sha256": sha256, "val_iou": 0.5}))
    masker = masking.u2netp_anny()
    assert masker.card.extra["val_iou"] == 0.5
    assert masker.open("cpu") == "cpu"
    assert type(masker._session).__mro__[1] is sessions["u2net_custom"]
    assert masker.mask(picture()).max() > 0.9
    assert masking.fetch("u2netp-anny") == path
    path.write_bytes(path.read_bytes() + b"\0")
    with pytest.raises(Mismatch, match="sha256"):
        masking.u2netp_anny().open("cpu")
