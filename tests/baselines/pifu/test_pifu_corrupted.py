"""Training on corrupted pictures: points stay under their pictures, batches are pure, runs resume."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pifu_scenes as scenes
import pytest
from test_pifu_training import TINY, rows

from baselines.pifu import training
from baselines.pifu.checkpoint import load_weights
from baselines.pifu.corrupted import RECORD, CorruptedItems, corrupted_items
from baselines.pifu.items import load_items, shape_batch
from baselines.pifu.train_config import TrainConfig, read_train_config
from baselines.pifu.training import fit
from robench import registry
from robench.errors import UsageError
from robench.io.files import read_json
from robench.training.mixing import Mixing

CONFIGS = Path(training.__file__).with_name("configs")
ROLL = Mixing.from_value([{"condition": "camera_roll", "severities": [2, 5], "share": 1.0}])
HALF = Mixing.from_value([{"condition": "low_light", "severities": [4], "share": 0.5}])


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return scenes.samples(tmp_path_factory.mktemp("people"), 3, 64)


@pytest.fixture(scope="module")
def items(people, tmp_path_factory):
    return load_items(people, TINY, tmp_path_factory.mktemp("points"), print)


def shown(config, people, out):
    return corrupted_items(config, people, out, resume=False)


def test_points_lie_under_their_rolled_pictures(people, items, tmp_path):
    """Inside points project onto the person in the rolled, then mirrored, zoomed and shifted picture."""
    config = replace(TINY, corruptions=ROLL, batch=12)
    show = shown(config, people, tmp_path)
    batch = shape_batch(items, config, 0, show)
    hits, turned = [], 0
    for image, points, labels in zip(batch.images, batch.points, batch.targets, strict=True):
        u, v = np.rint((points[:2, labels[0] > 0] + 1) * 16 - 0.5).astype(int)
        seen = (u >= 0) & (u < 32) & (v >= 0) & (v < 32)
        hits.append((np.abs(image[:, v[seen], u[seen]]).sum(axis=0) > 0).mean())
        turned += np.ptp(points[0, labels[0] > 0]) > 1.5 * np.ptp(points[1, labels[0] > 0])
    assert min(hits) > 0.9
    assert turned >= 3  # by 80 degrees: people lie

    # Had the points stayed behind, half of them would lie beside the person.
    left = shape_batch(items, config, 0)
    misses = []
    for image, points, labels in zip(batch.images, left.points, left.targets, strict=True):
        u, v = np.rint((points[:2, labels[0] > 0] + 1) * 16 - 0.5).astype(int).clip(0, 31)
        misses.append((np.abs(image[:, v, u]).sum(axis=0) == 0).mean())
    assert max(misses) > 0.3


def test_a_picture_is_corrupted_at_its_own_size(people, items, tmp_path):
    """Noise of 64 pixels a side, averaged to 32, is half as strong as noise put on 32 pixels would be."""
    config = replace(TINY, corruptions=Mixing.from_value([{"condition": "iso_noise:3", "share": 1.0}]))
    (noisy,) = shown(config, people, tmp_path)(items[:1], ["t"])
    inner = noisy.mask == 255
    own = (noisy.image.astype(float) - items[0].image)[inner].std()
    import corruptions

    small = corruptions.corrupt(items[0].image, "iso_noise", severity=3, seed=1, key="k")
    assert own < 0.75 * (small.astype(float) - items[0].image)[inner].std()


def test_batches_are_pure_and_do_not_depend_on_threads(people, items, tmp_path):
    config = replace(TINY, corruptions=HALF, batch=6)
    one = shown(config, people, tmp_path)
    other = CorruptedItems(one.corrupter, people, config.network.image_size, workers=5)
    for step in (3, 0):
        a, b = shape_batch(items, config, step, one), shape_batch(items, config, step, other)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.points, b.points)
    assert not np.array_equal(shape_batch(items, config, 4, one).images, a.images)


def test_clean_items_are_left_alone_and_corrupted_ones_get_names(people, items, tmp_path):
    show = shown(replace(TINY, corruptions=HALF), people, tmp_path)
    turns = [str(i) for i in range(20)]
    found = show([items[0]] * 20, turns)
    drawn = show.choices([items[0]] * 20, turns)
    assert 4 <= sum(choice.severity > 0 for choice in drawn) <= 16
    for item, choice in zip(found, drawn, strict=True):
        if choice.severity == 0:
            assert item is items[0]
        else:
            assert item.sample_id.startswith("s0|low_light@")
            assert item.image.mean() < 0.7 * items[0].image.mean()
            np.testing.assert_array_equal(item.mask, items[0].mask)
    assert len({item.sample_id for item in found}) == 1 + sum(choice.severity > 0 for choice in drawn)


def test_a_run_says_what_it_saw_and_resumes_exactly(people, tmp_path, monkeypatch):
    config = replace(TINY, corruptions=HALF, steps=6, colour_steps=0, save_every=2, val_every=6)
    whole = fit(config, people[:2], people[2:], tmp_path / "whole", {})
    record = read_json(tmp_path / "whole" / RECORD)
    weights = load_weights(whole)
    assert weights.provenance["corruptions"] == record
    assert record["conditions"][0][0] == "low_light"
    assert TrainConfig.from_mapping(weights.provenance["options"]) == config
    calls, step = 0, training.Run._step

    def stopping(self, *args):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError("power cut")
        return step(self, *args)

    monkeypatch.setattr(training.Run, "_step", stopping)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(config, people[:2], people[2:], tmp_path / "cut", {})
    monkeypatch.undo()
    resumed = load_weights(fit(config, people[:2], people[2:], tmp_path / "cut", {}, resume=True))
    for key, value in weights.shape.state_dict().items():
        assert np.array_equal(value.numpy(), resumed.shape.state_dict()[key].numpy()), key
    assert rows(tmp_path / "whole")[-1]["val_mse"] == rows(tmp_path / "cut")[-1]["val_mse"]
    (tmp_path / "cut" / RECORD).write_text("{}")
    with pytest.raises(UsageError, match="other corruptions or versions"):
        fit(config, people[:2], people[2:], tmp_path / "cut", {}, resume=True)


def test_a_picture_that_cannot_be_made_is_shown_clean_and_told_once(people, items, tmp_path, monkeypatch):
    """A training of days must not end at a draw that would fail at every resumption."""
    config = replace(TINY, corruptions=Mixing.from_value([{"condition": "low_light", "share": 1.0}]))
    show = shown(config, people, tmp_path)
    told = []
    show.tell = told.append

    def broken(*args):
        raise ZeroDivisionError("no light at all")

    monkeypatch.setattr(type(registry.load("corruptions", "low_light")), "apply", broken)
    found = show(items, ["a", "b", "c"])
    assert [one is item for one, item in zip(found, items, strict=True)] == [True] * 3
    assert len(told) == 1
    assert "under low_light at" in told[0]
    assert "no light at all" in told[0]


def test_corruptions_change_what_is_learned(people, tmp_path):
    config = replace(TINY, steps=2, colour_steps=0)
    clean = load_weights(fit(config, people[:2], [], tmp_path / "a", {}))
    other = load_weights(fit(replace(config, corruptions=HALF), people[:2], [], tmp_path / "b", {}))
    key = "image_filter.conv1.weight"
    assert not np.array_equal(clean.shape.state_dict()[key].numpy(), other.shape.state_dict()[key].numpy())
    assert "corruptions" not in clean.provenance


def test_samples_without_depth_are_refused_before_any_work(people, tmp_path):
    config = replace(TINY, corruptions=Mixing.from_value([{"condition": "fog_3d", "share": 0.5}]))
    with pytest.raises(UsageError, match=r"need depth \(fog_3d\), which 1 of 2"):
        fit(config, [people[0], replace(people[1], mesh=None)], [], tmp_path, {})
    assert not (tmp_path / "points").exists()


def test_the_shipped_recipes_are_the_paper_s_and_ours():
    paper = read_train_config(CONFIGS / "paper-corruptions.yaml", TrainConfig)
    assert paper.corruptions.clean_share == pytest.approx(0.2)
    found = {portion.condition: (portion.severities, portion.share) for portion in paper.corruptions.portions}
    expected = {"low_light": 4, "iso_noise": 4, "camera_roll": 5, "zoom_blur_2d": 2}
    assert found == {name: ((level,), 0.2) for name, level in expected.items()}
    published = read_train_config(CONFIGS / "paper.yaml", TrainConfig)
    assert (paper.network, paper.optimizer, paper.lr) == (published.network, "rmsprop", published.lr)
    mini = read_train_config(CONFIGS / "mini-corruptions.yaml", TrainConfig)
    shipped = read_train_config(CONFIGS / "mini.yaml", TrainConfig)
    assert replace(mini, corruptions=None) == shipped
    assert 0.1 < mini.corruptions.clean_share < 0.5


def test_a_mixture_that_cannot_be_is_refused_with_the_option_s_name(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text("corruptions: {recipe: 2d-priors}\n")
    with pytest.raises(UsageError, match="'corruptions' has clean_share"):
        read_train_config(path, TrainConfig)
