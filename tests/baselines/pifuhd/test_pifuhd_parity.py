"""The original code's numbers, from closed-form weights, without a checkpoint."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from baselines.pifuhd import PifuHD
from baselines.pifuhd.octree import octree_grid
from baselines.pifuhd.parity import parity
from robench.cli import app
from robench.errors import UsageError

GOLDENS = Path(__file__).parents[2] / "goldens"
# The last one is of the full size: 387 million parameters.
NAMES = ["hash_pifuhd_tiny", "pifuhd_tiny", "octree_pifuhd", "recon_pifuhd", "hash_pifuhd"]


@pytest.mark.parametrize("name", NAMES)
def test_golden_values_are_reproduced(name):
    golden = GOLDENS / f"{name}.npz"
    lines = PifuHD().parity(golden)
    with np.load(golden) as stored:
        compared = set(stored.files) - {"offset", "rule"}
    assert {line.array for line in lines} == compared
    assert [line for line in lines if not line.ok] == []


def test_the_command_line_compares_them_too(tmp_path):
    found = CliRunner().invoke(app, ["parity", "pifuhd", str(GOLDENS / "recon_pifuhd.npz")])
    assert found.exit_code == 0, found.output
    assert "ok   recon_pifuhd.npz R128_counts" in found.output
    with np.load(GOLDENS / "hash_pifuhd_tiny.npz") as stored:
        arrays = dict(stored)
    arrays["fine_pred_eval"] = arrays["fine_pred_eval"] + np.float32(1e-4)
    np.savez(tmp_path / "hash_pifuhd_tiny.npz", **arrays)
    found = CliRunner().invoke(app, ["parity", "pifuhd", str(tmp_path / "hash_pifuhd_tiny.npz")])
    assert found.exit_code == 8
    assert [line.split()[2] for line in found.output.splitlines() if line.startswith("FAIL")] == ["fine_pred_eval"]


def test_configurations_of_others_are_refused(tmp_path):
    with pytest.raises(UsageError, match="names no configuration of PIFuHD"):
        parity(tmp_path / "hash_pifu_tiny_group.npz")


def test_the_octree_says_which_resolutions_it_has():
    for resolution in (32, 100):
        with pytest.raises(ValueError, match="multiple of 64"):
            octree_grid(lambda points: np.zeros(len(points)), resolution)


def test_importing_the_plug_in_is_light():
    heavy = ["torch", "cv2", "warp", "skimage", "scipy", "PIL", "safetensors"]
    code = f"import sys, baselines.pifuhd as p; p.PifuHD(); print([m for m in {heavy} if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
