"""Training on a masker's masks: what is shown, what is kept, and that a training without them is as it was."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pifu_scenes as scenes
import pytest
from test_pifu_training import TINY

from baselines.pifu import training
from baselines.pifu.checkpoint import load_weights
from baselines.pifu.corrupted import RECORD, CorruptedItems, corrupted_items
from baselines.pifu.items import load_items, shape_batch
from baselines.pifu.train_config import TrainConfig, read_train_config
from baselines.pifu.training import fit
from robench import registry
from robench.engine import masks as engine_masks
from robench.errors import UsageError
from robench.io.files import read_json
from robench.training.masks import Masking
from robench.training.mixing import Mixing

CONFIGS = Path(training.__file__).with_name("configs")
MIXING = Mixing.from_value(
    [
        {"condition": "low_light", "severities": [2], "share": 0.4},
        {"condition": "camera_roll", "severities": [5], "share": 0.3},
    ]
)
CONFIG = replace(TINY, corruptions=MIXING, masks=Masking("left", 0.5), batch=6)


class Left:
    """Finds what is not black in the left half of a picture: unlike every true mask, and never the same mask twice."""

    card = replace(registry.load("maskers", "none").card, name="left", version="3", extra={"weights_hash": "sha256:ab"})
    source = "predicted"
    calls = 0

    def open(self, device):
        return device

    def mask(self, image):
        Left.calls += 1
        found = (image.max(axis=2) > 3).astype(np.float32)
        found[:, image.shape[1] // 2 :] = 0
        return found


@pytest.fixture
def left(monkeypatch):
    monkeypatch.setattr(engine_masks, "load_masker", lambda name: Left())
    monkeypatch.setattr(Left, "calls", 0)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return scenes.samples(tmp_path_factory.mktemp("people"), 3, 64)


@pytest.fixture(scope="module")
def items(people, tmp_path_factory):
    return load_items(people, TINY, tmp_path_factory.mktemp("points"), print)


def shown(config, people, out):
    return corrupted_items(config, people, out, resume=False)


def test_a_share_is_shown_with_masks_of_the_corrupted_pictures(left, people, items, tmp_path):
    show = shown(CONFIG, people, tmp_path)
    plain = shown(replace(CONFIG, masks=None), people, tmp_path)
    turns, many = [str(i) for i in range(60)], [items[1]] * 60
    found, without, drawn = show(many, turns), plain(many, turns), show.choices(many, turns)
    seen = set()
    for item, other, choice in zip(found, without, drawn, strict=True):
        np.testing.assert_array_equal(item.image, other.image)
        np.testing.assert_array_equal(item.camera.view_from_world, other.camera.view_from_world)
        if not choice.masker:
            assert item.sample_id == other.sample_id
            np.testing.assert_array_equal(item.mask, other.mask)
            continue
        seen.add(choice.condition)
        assert item.sample_id == f"{other.sample_id}|left"
        assert other.mask[:, 16:].max() == 255
        assert item.mask[:, 17:].max() == 0  # column 16 is half of the left half
        person = other.mask[:, :15] == 255
        # The person's own pixels; those too dark for the masker are lost, as they are in evaluation.
        assert (item.mask[:, :15][person] > 127).mean() > 0.9
    assert seen == {"clean", "low_light", "camera_roll"}


def test_a_clean_picture_is_masked_once(left, people, items, tmp_path):
    show = shown(replace(CONFIG, corruptions=None, masks=Masking("left", 1.0)), people, tmp_path)
    first = show(items, ["a"] * 3)
    assert Left.calls == 3
    again = show(items, ["b"] * 3)
    assert Left.calls == 3
    for one, other, item in zip(first, again, items, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)
        assert one.sample_id == f"{item.sample_id}|left"
    assert not (tmp_path / RECORD).exists()


def test_with_draws_a_picture_is_masked_once_and_looks_the_same_again(left, people, items, tmp_path):
    """Kept masks are those that are made anew, by a second one that has kept nothing."""
    config = replace(CONFIG, masks=Masking("left", 1.0, 2))
    fresh, many = shown(config, people, tmp_path), [items[0]] * 12
    show = CorruptedItems(fresh.corrupter, people, config.network.image_size, workers=1)
    show(many, [str(i) for i in range(12)])
    calls = Left.calls
    turns = [str(i) for i in range(100, 112)]
    again = show(many, turns)
    assert Left.calls == calls
    assert calls == len(set(show.choices(many, turns))) == 2
    for one, other in zip(again, fresh(many, turns), strict=True):
        assert one.sample_id == other.sample_id
        np.testing.assert_array_equal(one.mask, other.mask)
        np.testing.assert_array_equal(one.image, other.image)


def test_batches_are_pure_and_do_not_depend_on_threads(left, people, items, tmp_path):
    one = shown(CONFIG, people, tmp_path)
    other = CorruptedItems(one.corrupter, people, CONFIG.network.image_size, workers=5)
    for step in (3, 0, 3):
        a, b = shape_batch(items, CONFIG, step, one), shape_batch(items, CONFIG, step, other)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.points, b.points)


def test_nobody_found_is_shown_with_the_true_mask_and_told_once(left, people, items, tmp_path, monkeypatch):
    show = shown(CONFIG, people, tmp_path)
    plain = shown(replace(CONFIG, masks=None), people, tmp_path)
    told = []
    show.tell = told.append
    monkeypatch.setattr(Left, "mask", lambda self, image: np.zeros(image.shape[:2], np.float32))
    turns, many = [str(i) for i in range(30)], [items[0]] * 30
    for item, other in zip(show(many, turns), plain(many, turns), strict=True):
        assert item.sample_id == other.sample_id
        np.testing.assert_array_equal(item.mask, other.mask)
    assert len(told) == 1
    assert "finds nobody" in told[0]
    assert "shown with its true mask" in told[0]


def test_a_run_keeps_whose_masks_it_saw_and_resumes_exactly(left, people, tmp_path, monkeypatch):
    masks = Masking("left", 0.5, 2)
    config = replace(CONFIG, masks=masks, batch=2, steps=6, colour_steps=0, save_every=2, val_every=6)
    whole = load_weights(fit(config, people[:2], people[2:], tmp_path / "whole", {}))
    identity = {"name": "left", "version": "3", "weights": "sha256:ab", "share": 0.5, "draws": 2}
    assert whole.provenance["masks"] == read_json(tmp_path / "whole" / "masks.json") == identity
    assert whole.provenance["corruptions"] == read_json(tmp_path / "whole" / RECORD)
    assert TrainConfig.from_mapping(whole.provenance["options"]) == config
    calls, step = 0, training.Run._step

    def stopping(self, *args):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("power cut")
        return step(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(training.Run, "_step", stopping)
        with pytest.raises(RuntimeError, match="power cut"):
            fit(config, people[:2], people[2:], tmp_path / "cut", {})
    resumed = load_weights(fit(config, people[:2], people[2:], tmp_path / "cut", {}, resume=True))
    other = load_weights(fit(replace(config, masks=None), people[:2], people[2:], tmp_path / "without", {}))
    differ = False
    for key, value in whole.shape.state_dict().items():
        assert np.array_equal(value.numpy(), resumed.shape.state_dict()[key].numpy()), key
        differ |= not np.array_equal(value.numpy(), other.shape.state_dict()[key].numpy())
    assert differ
    assert "masks" not in other.provenance
    assert "masks" not in other.provenance["options"]
    assert not (tmp_path / "without" / "masks.json").exists()
    monkeypatch.setattr(Left, "card", replace(Left.card, extra={"weights_hash": "sha256:cd"}))
    with pytest.raises(UsageError, match="other masks or versions"):
        fit(config, people[:2], people[2:], tmp_path / "cut", {}, resume=True)


def test_the_shipped_recipe_is_the_one_without_masks_but_for_them():
    masked = read_train_config(CONFIGS / "mini-corruptions-masks.yaml", TrainConfig)
    assert masked.masks == Masking("u2netp-anny", 0.5, 4)
    assert replace(masked, masks=None) == read_train_config(CONFIGS / "mini-corruptions.yaml", TrainConfig)


def test_an_impossible_option_is_refused_with_its_name(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("masks: {masker: u2netp-anny, share: 2}\n")
    with pytest.raises(UsageError, match="'masks' has share"):
        read_train_config(path, TrainConfig)
