"""Training pictures and training: repeatable, resumable, and it learns."""

from __future__ import annotations

import json
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from baselines.muon import optimisers, orthogonalised
from baselines.u2netp import train as training
from baselines.u2netp.backgrounds import background
from baselines.u2netp.composites import Views, load_views, training_picture
from baselines.u2netp.network import U2NetP
from baselines.u2netp.normalise import SIDE
from baselines.u2netp.schedule import Phase, Settings, parsed_plan
from baselines.u2netp.train import Training, clean_iou, supervised_loss, train
from robench.errors import UsageError
from robench.io.files import sha256_file

TOY = Settings(seed=1, steps=4, plan=(Phase(0.5, 32, 2), Phase(1.0, 64, 2)), warmup=2, calibration=2, ema=0.8)


def figure(rng, size=64):
    """A stick figure in one colour on a wall of another."""
    mask = np.zeros((size, size), np.uint8)
    c, u = size // 2 + int(rng.integers(-4, 5)), size / 64
    cv2.circle(mask, (c, int(14 * u)), int(6 * u), 255, -1)
    cv2.ellipse(mask, (c, int(30 * u)), (int(9 * u), int(13 * u)), 0, 0, 360, 255, -1)
    for side in (-1, 1):
        cv2.line(mask, (c + int(4 * side * u), int(40 * u)), (c + int(8 * side * u), int(58 * u)), 255, int(5 * u))
    wall, cloth = rng.integers(100, 200, 3), rng.integers(0, 90, 3)
    return np.where(mask[..., None] > 0, cloth, wall).astype(np.uint8), mask


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def views():
    rng = np.random.default_rng(0)
    pairs = [figure(rng) for _ in range(6)]
    return Views(tuple("abcdef"), np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs]))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A plain folder of pictures with masks and two splits."""
    root = tmp_path_factory.mktemp("figures")
    rng = np.random.default_rng(5)
    (root / "images").mkdir()
    (root / "masks").mkdir()
    names = {"train": [f"t{i}" for i in range(5)], "val": ["v0", "v1"]}
    for name in names["train"] + names["val"]:
        image, mask = figure(rng, 96)
        cv2.imwrite(str(root / "images" / f"{name}.png"), image)
        cv2.imwrite(str(root / "masks" / f"{name}.png"), mask)
    from robench.data.splits import write_splits

    write_splits(root, names)
    return root


def test_backgrounds_are_repeatable_and_of_many_kinds():
    pictures = [background(np.random.default_rng(i), 48) for i in range(40)]
    assert all(p.shape == (48, 48, 3) and p.dtype == np.uint8 for p in pictures)
    np.testing.assert_array_equal(pictures[7], background(np.random.default_rng(7), 48))
    spread = [float(p.std()) for p in pictures]
    assert min(spread) < 8
    assert max(spread) > 40


def test_composites_are_repeatable_and_their_masks_are_where_the_person_is(views):
    areas = []
    for i in range(60):
        image, mask = training_picture(views, np.random.default_rng(i), 64)
        again, _ = training_picture(views, np.random.default_rng(i), 64)
        np.testing.assert_array_equal(image, again)
        assert (image.shape, mask.shape) == ((64, 64, 3), (64, 64))
        assert image.dtype == mask.dtype == np.uint8
        areas.append(float((mask > 127).mean()))
    assert 0 < sum(a == 0 for a in areas) < 12  # pictures of nobody, now and then
    assert max(areas) > 0.35  # close-ups
    assert 0.02 < np.median(areas) < 0.4


def test_a_pasted_person_brings_no_fringe_of_the_old_wall():
    # A black person in front of a white wall, on a black wall: nothing may be bright.
    from baselines.u2netp.composites import _cutout, _placed

    mask = np.zeros((64, 64), np.uint8)
    cv2.ellipse(mask, (32, 32), (12, 24), 0, 0, 360, 255, -1, cv2.LINE_AA)
    image = np.repeat((255 - mask)[..., None], 3, 2)
    person, alpha = _cutout(image, mask)
    person, alpha = _placed(person, alpha, np.random.default_rng(0), 64)
    assert alpha.max() == 1
    assert float((alpha[..., None] * person).max()) < 25


def test_a_view_without_a_person_makes_a_picture_without_a_person(views):
    blank = Views(("x",), views.images[:1], np.zeros_like(views.masks[:1]))
    for i in range(20):
        image, mask = training_picture(blank, np.random.default_rng(i), 48)
        assert image.shape == (48, 48, 3)
        assert mask.max() == 0


def test_loss_is_zero_for_the_truth_and_falls_towards_it():
    target = torch.zeros(2, 1, 8, 8)
    target[0, :, 2:6, 2:6] = 1  # the second picture is empty
    perfect, unsure, wrong = ([(k * (2 * target - 1))] * 7 for k in (40.0, 0.0, -40.0))
    assert float(supervised_loss(perfect, target)) == pytest.approx(0, abs=1e-5)
    assert float(supervised_loss(perfect, target)) < float(supervised_loss(unsure, target))
    assert float(supervised_loss(unsure, target)) < float(supervised_loss(wrong, target))


def test_schedule_goes_from_small_and_warm_to_large_and_cool():
    s = Settings(steps=100)
    sides = [s.phase(step / 100).side for step in range(101)]
    assert sides == sorted(sides)
    assert sides[0] < 200
    assert sides[-1] == sides[90] == SIDE
    assert [s.phase(p.until - 1e-9) for p in s.plan] == list(s.plan)
    rates = [s.pace(step, step / 100) for step in range(101)]
    assert rates[0] < rates[s.warmup] > rates[60] > rates[100] > 0


def test_a_plan_is_read_and_nonsense_is_refused():
    assert parsed_plan("0.4:96:4,1.0:320:2") == (Phase(0.4, 96, 4), Phase(1.0, 320, 2))
    for text in ("", "0.4:96:4", "0.5:96:4,0.4:96:4,1.0:96:4", "1.0:96", "1.0:8:4", "1.0:96:1", "x:96:4,1.0:96:4"):
        with pytest.raises(UsageError, match="plan of sizes cannot be read"):
            parsed_plan(text)


def test_muon_makes_singular_values_alike():
    rng = np.random.default_rng(0)
    tall = torch.from_numpy(rng.normal(0, 1, (3, 64, 16)) * np.geomspace(1, 8, 16)).float()
    for matrices in (tall, tall.mT):
        values = torch.linalg.svdvals(orthogonalised(matrices))
        assert 0.6 < float(values.min()) <= float(values.max()) < 1.3
    # The directions stay: the result is near the polar factor.
    u, _, vh = torch.linalg.svd(tall, full_matrices=False)
    cosine = (orthogonalised(tall) * (u @ vh)).sum() / (orthogonalised(tall).norm() * (u @ vh).norm())
    assert float(cosine) > 0.97


def test_every_parameter_has_exactly_one_optimiser():
    network = U2NetP()
    muon, adam = optimisers(network, 0.02, 1e-3)
    owned = [p for o in (muon, adam) for g in o.param_groups for p in g["params"]]
    assert len(owned) == len({id(p) for p in owned}) == len(list(network.parameters()))
    assert all(p.ndim == 4 for g in muon.param_groups for p in g["params"])


def test_training_begins_from_another_runs_weights(data, tmp_path):
    first = train(data, tmp_path / "first", settings=TOY)
    start = tmp_path / "first" / "checkpoint.pt"
    one = replace(TOY, steps=1, rate=0.0, adam_rate=0.0, ema=0.0)
    second = train(data, tmp_path / "second", settings=one, start=start)
    assert second["settings"]["start"] == sha256_file(start)
    # With steps of size zero the weights are those that the first run ended with.
    ended, begun = (
        torch.load(tmp_path / r / "checkpoint.pt", weights_only=True)["average"] for r in ("first", "second")
    )
    for key in ended:
        if key.endswith("conv.weight"):
            torch.testing.assert_close(begun[key], ended[key])
    assert first["settings"]["start"] is None


def test_training_learns_the_toy_figures(views):
    settings = replace(TOY, steps=16, plan=(Phase(1.0, 48, 3),), warmup=3)
    run = Training(settings, "toy")
    losses = [run.advance(views)["loss"] for _ in range(16)]
    run.calibrate(views)
    assert np.mean(losses[-4:]) < 0.85 * np.mean(losses[:4])
    assert clean_iou(run.average, views, side=48, limit=3) > 0.5


def test_an_interrupted_training_gives_the_same_bytes(data, tmp_path):
    straight = train(data, tmp_path / "straight", settings=TOY)

    class Stopped(Exception):
        pass

    def stop(record):
        if record["step"] == 2:
            raise Stopped

    before = torch.random.get_rng_state()
    with pytest.raises(Stopped):
        train(data, tmp_path / "halves", settings=TOY, save_every_s=0, watch=stop)
    resumed = train(data, tmp_path / "halves", settings=TOY)
    assert torch.equal(torch.random.get_rng_state(), before)  # the global generator is left alone
    assert resumed["sha256"] == straight["sha256"]
    assert resumed["val_iou"] == straight["val_iou"]
    lines = [json.loads(x) for x in (tmp_path / "halves" / "log.jsonl").read_text().splitlines()]
    assert [x["step"] for x in lines] == [1, 2, 3, 4, 4]
    assert [x["side"] for x in lines[:4]] == [32, 32, 64, 64]
    assert lines[-1]["done"]
    with pytest.raises(UsageError, match="other settings or other data"):
        train(data, tmp_path / "halves", settings=replace(TOY, seed=2))


def test_the_clock_ends_a_timed_training(data, tmp_path):
    record = train(data, tmp_path, settings=replace(TOY, steps=None, minutes=0.01))
    assert record["steps"] >= 1
    assert record["minutes"] < 0.5
    assert record["parameters"] == 1_131_181
    assert json.loads((tmp_path / f"{training.NAME}.json").read_text()) == record


def test_data_without_masks_is_a_clear_error(tmp_path):
    cv2.imwrite(str(tmp_path / "x.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UsageError, match="no view with a mask"):
        load_views(tmp_path, None, 64)


def test_views_are_read_in_order_and_thinned_evenly(data):
    assert load_views(data, "train", 32).names == ("t0", "t1", "t2", "t3", "t4")
    assert load_views(data, "train", 32, limit=3).names == ("t0", "t2", "t4")
    loaded = load_views(data, "val", 48)
    assert loaded.images.shape == (2, 48, 48, 3)
    assert loaded.masks.max() == 255
