"""The original code's numbers, from closed-form weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from baselines.pifu import Pifu
from baselines.pifu.parity import case_name, parity
from baselines.pifu.weight_rules import fill, halton, raw_values, rule_value, wave_image
from robench.errors import UsageError

GOLDENS = Path(__file__).parents[2] / "goldens"
QUICK = [
    "hash_pifu_tiny_group",
    "hash_pifu_tiny_batch",
    "hash_pifu_tiny_blocks",
    "pifu_tiny_group",
    "octree_pifu",
    "recon_pifu",
    "data_pifu",
]
# Full-size nets: the official shape net with gradients, three of its variants and the official colour net.
LARGE = [
    "hash_pifu_netG_avepool_group",
    "hash_pifu_netG_twoview",
    "hash_pifu_netG_skiphourglass",
    "hash_pifu_netG_noresidual",
    "hash_pifu_netC_group",
]


@pytest.mark.parametrize("name", QUICK + LARGE)
def test_golden_values_are_reproduced(name):
    golden = GOLDENS / f"{name}.npz"
    lines = Pifu().parity(golden)
    with np.load(golden) as stored:
        compared = set(stored.files) - {"offset", "rule", "grad_names"}
    assert {line.array for line in lines} == compared
    assert [line for line in lines if not line.ok] == []


def test_published_weight_rule_check_values():
    first = rule_value("image_filter.conv1.weight", (64, 3, 7, 7), "sin", 0.0).ravel()[:3]
    np.testing.assert_allclose(first, [-0.00713480, 0.03544873, 0.07323444], atol=5e-9)
    norm = rule_value("image_filter.bn1.weight", (64,), "sin", 0.0)[:3]
    np.testing.assert_allclose(norm, [0.98067927, 1.01746690, 1.05189049], atol=5e-8)
    bias = rule_value("surface_classifier.conv4.bias", (1,), "sin", 0.0)
    np.testing.assert_allclose(bias, [0.00536242], atol=5e-9)


def test_hash_rule_is_splitmix64():
    # The generator's published first output for seed 0; crc32 of the empty name is 0.
    expected = 2 * ((0xE220A8397B1DCDAF >> 11) * 2.0**-53) - 1
    assert raw_values("", 1, "hash", 0.0, matrix=False)[0] == expected
    many = raw_values("k", 100_000, "hash", 0.25, matrix=True)
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.01


def test_offset_changes_every_weight():
    for rule in ("sin", "hash"):
        assert np.abs(rule_value("a.weight", (4, 9), rule, 0.0) - rule_value("a.weight", (4, 9), rule, 0.5)).min() > 0


def test_inputs_have_their_published_values():
    image = wave_image()
    np.testing.assert_allclose(image[:, 256, 256], [-0.53025240, 0.89192742, -0.97004175], atol=5e-9)
    assert (image[0] != 0).sum() <= 82901
    np.testing.assert_allclose(halton(2, 0.9)[:, 0], [0.0, -0.3, -0.54], atol=1e-7)


def test_aliases_take_the_lexicographically_last_name():
    from baselines.pifu.filters import ConvBlock

    block = ConvBlock(8, 16, "group")
    fill(block, "hash")
    expected = rule_value("downsample.0.weight", (8,), "hash", 0.0)
    np.testing.assert_array_equal(block.bn4.weight.detach().numpy(), expected)


def test_a_wrong_array_fails_its_line(tmp_path):
    with np.load(GOLDENS / "hash_pifu_tiny_group.npz") as stored:
        arrays = dict(stored)
    arrays["pred_stack1"] = arrays["pred_stack1"] + np.float32(1e-4)
    path = tmp_path / "hash_pifu_tiny_group.npz"
    np.savez(path, **arrays)
    assert [line.array for line in parity(path) if not line.ok] == ["pred_stack1"]


def test_names_with_a_suffix_keep_their_configuration():
    assert case_name(Path("hash_pifu_netG_avepool_group_offset0.5.npz")) == "pifu_netG_avepool_group"
    assert case_name(Path("pifu_tiny_blocks.npz")) == "pifu_tiny_blocks"


@pytest.mark.parametrize("name", ["pifuhd.npz", "hash_pifu_netG.npz", "x.npz"])
def test_unknown_configurations_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match="names no configuration"):
        parity(tmp_path / name)


def test_damaged_golden_files_are_refused(tmp_path):
    path = tmp_path / "pifu_tiny_group.npz"
    with pytest.raises(UsageError, match="no such file"):
        parity(path)
    path.write_bytes((GOLDENS / "pifu_tiny_group.npz").read_bytes()[:900])
    with pytest.raises(UsageError, match="not a readable"):
        parity(path)
    np.savez(path, pred=np.zeros(3))
    with pytest.raises(UsageError, match="no file of golden values"):
        parity(path)


def test_importing_the_plug_in_is_light():
    heavy = ["torch", "cv2", "warp", "skimage", "scipy", "PIL", "safetensors"]
    code = f"import sys, baselines.pifu as p; p.Pifu(); p.PifuMini(); print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
