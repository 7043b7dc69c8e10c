"""U²-Net_p: the published topology, its input, its export."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image
from rembg.sessions.u2net_custom import U2netCustomSession

from baselines.u2netp.export import FusedMap, export_onnx, parity
from baselines.u2netp.network import DilatedUBlock, ResidualUBlock, U2NetP, parameter_count
from baselines.u2netp.normalise import MEAN, SIDE, STD, network_input, normalised
from robench.errors import Mismatch


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Small networks gain nothing from more threads, and lose much where cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def network():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = U2NetP()
        # Batch statistics of their own, so that folding them is not folding nothing.
        made.train()
        for _ in range(2):
            made(torch.randn(2, 3, 64, 64) * 1.5 + 0.3)
    return made.eval()


@pytest.fixture(scope="module")
def exported(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("exported") / "x.onnx"
    export_onnx(network, path, side=64)
    return path.read_bytes()


def test_parameters_are_those_of_the_published_small_network():
    assert parameter_count(U2NetP()) == 1_131_181


def test_seven_maps_of_the_pictures_size(network):
    with torch.no_grad():
        maps = network(torch.randn(2, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(2, 1, 64, 96)] * 7


def test_odd_sizes_pass(network):
    with torch.no_grad():
        assert network(torch.randn(1, 3, 75, 93))[0].shape == (1, 1, 75, 93)


def test_a_batch_never_changes_a_result(network):
    x = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        together = network(x)[0]
        alone = torch.cat([network(x[i : i + 1])[0] for i in range(3)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("block", [ResidualUBlock(7, 5, 8, 6), ResidualUBlock(4, 5, 8, 6), DilatedUBlock(5, 8, 6)])
def test_blocks_keep_the_size_and_are_residual(block):
    block.eval()
    x = torch.randn(1, 5, 64, 48)
    with torch.no_grad():
        assert block(x).shape == (1, 6, 64, 48)
        # With a silent last layer of the U, only the local feature is left.
        block.up[0].norm.weight.zero_()
        block.up[0].norm.bias.zero_()
        torch.testing.assert_close(block(x), block.entry(x))


def test_the_fused_map_listens_to_every_side_output(network):
    assert tuple(network.fuse.weight.shape) == (1, 6, 1, 1)
    x = torch.randn(1, 3, 64, 64)
    x.requires_grad_(True)
    sides = network(x)
    gradients = torch.autograd.grad(sides[0].sum(), [head.weight for head in network.side])
    assert all(float(g.abs().sum()) > 0 for g in gradients)


@pytest.mark.parametrize("case", ["photo", "dark", "black"])
def test_our_input_is_rembgs_input(case, exported, tmp_path, monkeypatch):
    path = tmp_path / "u2net" / "x.onnx"
    path.parent.mkdir()
    path.write_bytes(exported)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "u2net"))
    session = U2netCustomSession("u2net_custom", onnxruntime.SessionOptions(), model_path=str(path))
    image = np.random.default_rng(1).integers(0, 256, (120, 77, 3), dtype=np.uint8)
    image = {"photo": image, "dark": image // 40, "black": image * 0}[case]
    theirs = session.normalize(Image.fromarray(image), MEAN, STD, (SIDE, SIDE))["image"]
    np.testing.assert_array_equal(network_input(image)[None], theirs)


def test_normalising_undoes_a_darker_exposure():
    image = np.random.default_rng(2).integers(0, 51, (32, 32, 3), dtype=np.uint8)
    image[0, 0] = 50
    np.testing.assert_allclose(normalised(image), normalised(image * np.uint8(5)), atol=1e-5)


def test_onnx_answers_as_torch_with_batch_norm_folded(network, tmp_path):
    path = tmp_path / "network.onnx"
    digest = export_onnx(network, path, side=96)
    assert len(digest) == 64
    model = onnx.load(path)
    onnx.checker.check_model(model)
    operators = {node.op_type for node in model.graph.node}
    assert "BatchNormalization" not in operators
    assert [o.name for o in model.graph.output] == ["person"]
    shape = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shape == [1, 3, 96, 96]
    assert parity(FusedMap(network), path, side=96, seed=5) < 1e-4
    assert export_onnx(network, tmp_path / "again.onnx", side=96) == digest


def test_an_export_that_disagrees_is_not_written(network, tmp_path, monkeypatch):
    monkeypatch.setattr("baselines.u2netp.export.parity", lambda *args, **kwargs: float("nan"))
    with pytest.raises(Mismatch, match="disagrees with torch"):
        export_onnx(network, tmp_path / "network.onnx", side=64)
    assert list(tmp_path.iterdir()) == []
