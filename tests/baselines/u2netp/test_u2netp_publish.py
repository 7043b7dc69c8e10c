"""From a finished training to the shipped masker: scores, sheet, record."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner

from baselines.u2netp import publish
from baselines.u2netp.export import export_onnx
from baselines.u2netp.network import U2NetP
from robench.contracts import Sample
from robench.data.splits import write_splits
from robench.errors import UsageError


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Bright:
    """A masker that takes what is bright for the person."""

    def mask(self, image):
        return (image[..., 0] > 128).astype(np.float32)


@pytest.fixture
def data(tmp_path):
    """Three test views: one that `Bright` finds, one half found, one whose person is dark."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    (root / "masks").mkdir()
    for name, found in {"all": 40, "half": 20, "none": 0}.items():
        image, mask = np.full((64, 64, 3), 20, np.uint8), np.zeros((64, 64), np.uint8)
        mask[12:52, 20:40] = 255
        image[12 : 12 + found, 20:40] = 220
        cv2.imwrite(str(root / "images" / f"{name}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{name}.png"), mask)
    write_splits(root, {"test": ["all", "half", "none"]})
    return root


def test_iou_by_hand():
    a, b = np.zeros((4, 4), np.float32), np.zeros((4, 4), np.float32)
    assert publish.intersection_over_union(a, b) == 1
    a[:2] = 1
    assert publish.intersection_over_union(a, b) == 0
    b[1:3] = 0.6
    assert publish.intersection_over_union(a, b) == pytest.approx(1 / 3)
    b[1:3] = 0.4
    assert publish.intersection_over_union(a, b) == 0


def test_score_counts_every_view(data):
    samples = [
        Sample(n, n, 0.0, data / "images" / f"{n}.png", data / "masks" / f"{n}.png") for n in ("all", "half", "none")
    ]
    result = publish.score(Bright(), samples)
    assert result == {"views": 3, "iou_mean": 0.5, "iou_p05": 0.05, "iou_min": 0.0, "blank": 1, "worst": "none"}


def test_the_sheet_shows_the_picture_and_green_where_nobody_is(data):
    pictures = sorted((data / "images").iterdir())
    drawn = publish.sheet(Bright(), pictures, side=64, columns=2)
    assert drawn.shape == (128, 256, 3)
    np.testing.assert_array_equal(drawn[30, 30], [220] * 3)  # "all": picture
    np.testing.assert_array_equal(drawn[30, 64 + 30], [220] * 3)  # kept
    np.testing.assert_array_equal(drawn[5, 64 + 5], [0, 170, 0])  # not kept
    np.testing.assert_array_equal(drawn[100, 200], [255] * 3)  # no fourth picture


def test_an_unfinished_training_is_not_installed(tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(UsageError, match="expected a finished training"):
        publish.install(tmp_path / "run", tmp_path / "weights")
    assert not (tmp_path / "weights").exists()


def test_publishing_installs_scores_and_draws(data, tmp_path, monkeypatch):
    run, shipped = tmp_path / "run", tmp_path / "shipped"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = U2NetP().eval()
    sha256 = export_onnx(network, run / "u2netp-anny.onnx")
    (run / "u2netp-anny.json").write_text(json.dumps({"sha256": sha256, "val_iou": 0.25}))
    for where in ("baselines.u2netp.publish", "robench.masking.weights", "robench.masking.rembg"):
        monkeypatch.setattr(f"{where}.SHIPPED", shipped)
    app = typer.Typer()
    app.command()(publish.main)
    arguments = ["--data", data, "--run", run, "--photos", data / "images", "--sheet", tmp_path / "sheet.png"]
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    record = json.loads((shipped / "u2netp-anny.json").read_text())
    assert record["val_iou"] == 0.25
    assert record["clean_test"]["views"] == 3
    assert json.loads(done.output) == record["clean_test"]
    assert cv2.imread(str(tmp_path / "sheet.png")).shape == (256, 2048, 3)
    done = CliRunner().invoke(app, ["--data", str(data), "--split", "train"])
    assert done.exit_code == 2
    assert "error:" in done.output
