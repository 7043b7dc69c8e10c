"""Few-sample adaptation of PIFu: what learns, from what, and what the new checkpoint is."""

from dataclasses import replace

import numpy as np
import pifu_scenes as scenes
import pytest
import torch
from test_pifu_training import TINY

from baselines.pifu.adaptation import HISTORY, adapt, adapting, items_of, lesson_batch
from baselines.pifu.adapter import Pifu, PifuMini
from baselines.pifu.checkpoint import load_weights, save_weights
from baselines.pifu.training import fit
from robench.contracts import Reconstruction, Request
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.images import read_image, read_mask
from robench.training.corrupter import Choice, Corrupter
from robench.training.lessons import Adaptable, AdaptJob, Lesson
from robench.training.mixing import Mixing


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return scenes.samples(tmp_path_factory.mktemp("people"), 3, 64)


@pytest.fixture(scope="module")
def base(people, tmp_path_factory):
    return fit(
        replace(TINY, steps=15, colour_steps=1, lr=3e-3),
        people,
        [],
        tmp_path_factory.mktemp("base"),
        {"dataset": "ellipsoids"},
    )


@pytest.fixture(scope="module")
def lessons(people):
    """Six pictures: three people in low light, and rolled by 80 degrees."""
    corrupter = Corrupter(
        Mixing.from_value([{"condition": name, "share": 0.5} for name in ("low_light", "camera_roll")]), 0
    )
    found = []
    for name, severity in (("low_light", 4), ("camera_roll", 5)):
        for sample in people:
            picture = corrupter.picture(sample, Choice(name, severity, 1))
            found.append(
                Lesson(f"{sample.sample_id}|{name}", picture.image, picture.true_mask, picture.camera, sample.mesh)
            )
    return found


def job(batches, out, **changes):
    how = {"lr": 7e-4, "epochs": 1, "seed": 0, "device": "cpu", "held_out": (), "facts": {"batches": len(batches)}}
    return AdaptJob(batches, out, **{**how, "scratch": out.parent / "work", **changes})


def run(weights, batches, out, **changes):
    return adapt(weights, job(batches, out, **changes))


def states(path):
    weights = load_weights(path)
    return {key: value.clone() for key, value in weights.shape.state_dict().items()}, weights


def test_one_step_is_one_step_of_adam(base, lessons, tmp_path):
    """The first step of Adam moves every weight that has a gradient by the rate, whatever the gradient is."""
    made = run(base, [lessons[:3]], tmp_path / "a", lr=1e-3)
    before, _ = states(base)
    after, _ = states(made.weights)
    moved = torch.cat([(after[key] - before[key]).abs().flatten() for key in before])
    assert float(moved.max()) == pytest.approx(1e-3, rel=2e-3)
    # Adam's epsilon of 1e-8 leaves weights behind whose gradient is as small.
    assert float((moved > 0.9e-3).float().mean()) > 0.6


def test_a_step_is_the_one_written_out_here(base, lessons, tmp_path):
    """Independently: the loss of the batch by the network's own parts, one step of torch's Adam."""
    made = run(base, [lessons[:2]], tmp_path / "a")
    weights = load_weights(base)
    config = adapting(replace(TINY, steps=30), job([lessons[:2]], tmp_path))
    batch = lesson_batch(items_of([lessons[:2]], config, tmp_path / "work"), config, 0)
    net = weights.shape.train()
    optimizer = torch.optim.Adam(net.parameters(), lr=7e-4)
    encoded = net.filter(torch.from_numpy(batch.images))
    found = net.query(encoded, torch.from_numpy(batch.points), torch.eye(4).expand(2, 4, 4), every_stack=True)
    loss = sum(torch.nn.functional.mse_loss(one, torch.from_numpy(batch.targets)) for one in found) / len(found)
    loss.backward()
    optimizer.step()
    after, _ = states(made.weights)
    for key, value in net.state_dict().items():
        torch.testing.assert_close(after[key], value, rtol=1e-4, atol=2e-6, msg=key)


def test_no_batch_writes_the_base(base, lessons, tmp_path):
    made = run(base, [], tmp_path / "a", held_out=lessons[:2])
    before, weights = states(base)
    after, same = states(made.weights)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert made.base_sha256 == weights.sha256
    assert made.error > 0
    assert same.colour is not None


def test_colours_and_history_are_kept(base, lessons, tmp_path):
    first = run(base, [lessons[:3]], tmp_path / "a", facts={"batches": 1})
    second = run(first.weights, [lessons[3:]], tmp_path / "b", facts={"batches": 9})
    original, weights = load_weights(base), load_weights(second.weights)
    for key, value in original.colour.state_dict().items():
        assert torch.equal(value, weights.colour.state_dict()[key])
    assert weights.provenance[HISTORY] == [{"batches": 1}, {"batches": 9}]
    assert weights.provenance["options"] == original.provenance["options"]
    assert second.base_sha256 == load_weights(first.weights).sha256
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["log.jsonl", "model.safetensors"]


def test_adapting_lowers_the_error_on_what_it_sees(base, lessons, tmp_path):
    before = run(base, [], tmp_path / "a", held_out=lessons).error
    after = run(base, [lessons], tmp_path / "b", held_out=lessons, epochs=15, lr=2e-3).error
    assert after < 0.93 * before


def test_the_same_seed_gives_the_same_bits(base, lessons, tmp_path):
    batches = [lessons[:3], lessons[3:]]
    one, other = (states(run(base, batches, tmp_path / name).weights)[0] for name in "ab")
    assert all(torch.equal(one[key], other[key]) for key in one)
    third, _ = states(run(base, batches, tmp_path / "c", seed=1).weights)
    assert not all(torch.equal(one[key], third[key]) for key in one)


def test_what_was_cut_off_is_begun_anew(base, lessons, tmp_path):
    whole, _ = states(run(base, [lessons[:3]], tmp_path / "a").weights)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "last.pt").write_bytes(b"half a file")
    again, _ = states(run(base, [lessons[:3]], tmp_path / "b").weights)
    assert all(torch.equal(whole[key], again[key]) for key in whole)


def test_points_follow_a_rolled_picture(base, lessons, tmp_path):
    config = adapting(TINY, job([lessons[3:]], tmp_path))
    batch = lesson_batch(items_of([lessons[3:]], config, tmp_path), config, 0)
    for image, points, labels in zip(batch.images, batch.points, batch.targets, strict=True):
        u, v = np.rint((points[:2, labels[0] > 0] + 1) * 16 - 0.5).astype(int)
        assert np.ptp(u) > np.ptp(v)  # they lie
        seen = (u >= 0) & (u < 32) & (v >= 0) & (v < 32)
        assert (np.abs(image[:, v[seen], u[seen]]).sum(axis=0) > 0).mean() > 0.9


def test_official_weights_become_a_checkpoint_of_ours(base, lessons, people, tmp_path):
    """The authors' format says nothing of a training; what comes out is opened by the model `pifu`."""
    source = load_weights(base)
    folder = tmp_path / "net"
    folder.mkdir()
    torch.save(source.shape.state_dict(), folder / "net_G")
    (folder / "pifu.json").write_text(source.config.to_json())
    asked = job([lessons[:1]], tmp_path / "a", lr=1e-6)
    made = Pifu().adapt(folder, asked)
    model = Pifu(resolution=16)
    assert model.open("cpu", made.weights).checkpoint_sha256 != made.base_sha256
    sample = people[0]
    image = read_image(sample.image)
    request = Request("s0", image, read_mask(sample.mask, image.shape[:2]), sample.camera)
    (found,) = model.reconstruct([request])
    assert isinstance(found, Reconstruction) or found.kind == "degenerate"
    with pytest.raises(EnvironmentNotReady, match="ships no weights"):
        Pifu().adapt(None, asked)


def test_only_models_that_can_say_so():
    from baselines.mean_body import MeanBody
    from baselines.pifuhd.adapter import PifuHD

    assert isinstance(PifuMini(), Adaptable)
    assert PifuMini().card.extra["adaptable"] is True
    assert not isinstance(MeanBody(), Adaptable)
    assert not isinstance(PifuHD(), Adaptable)


def test_batches_of_different_sizes_are_refused(base, lessons, tmp_path):
    with pytest.raises(UsageError, match="must be of one size; got 1, 2"):
        run(base, [lessons[:2], lessons[2:3]], tmp_path / "a")
    with pytest.raises(UsageError, match="learning rate above 0"):
        run(base, [lessons[:2]], tmp_path / "a", lr=float("inf"))


def test_half_precision_files_are_adapted_in_full(base, lessons, tmp_path):
    weights = load_weights(base)
    save_weights(tmp_path / "half.safetensors", weights.shape, None, weights.provenance, torch.float16)
    made = run(tmp_path / "half.safetensors", [lessons[:1]], tmp_path / "a", lr=1e-6)
    before, _ = states(tmp_path / "half.safetensors")
    after, _ = states(made.weights)
    key = "image_filter.conv1.weight"
    assert 0 < float((after[key] - before[key]).abs().max()) < 1.1e-6
