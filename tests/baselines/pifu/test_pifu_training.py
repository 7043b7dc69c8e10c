"""Training: points, seeds, resuming, what is written."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pifu_scenes as scenes
import pytest
import torch

from baselines.pifu import training
from baselines.pifu.checkpoint import load_weights
from baselines.pifu.items import colour_batch, load_items, order, shape_batch
from baselines.pifu.sampling import choose, load_pool, make_pool
from baselines.pifu.train_config import TrainConfig, read_train_config
from baselines.pifu.train_state import Average, learning_rate
from baselines.pifu.training import fit, reduced_precision, resolve_device
from robench.errors import EnvironmentNotReady, UsageError

CONFIGS = Path(training.__file__).with_name("configs")
TINY = TrainConfig.from_mapping(
    {
        "network": {
            "preset": "mini",
            "image_size": 32,
            "width": 8,
            "num_stack": 1,
            "hourglass_depth": 2,
            "hourglass_dim": 8,
            "mlp": [16, 1],
            "colour_width": 8,
            "colour_blocks": 1,
            "colour_mlp": [8, 3],
        },
        "steps": 12,
        "batch": 2,
        "points": 100,
        "pool": 2000,
        "warmup": 2,
        "log_every": 2,
        "val_every": 6,
        "val_points": 200,
        "save_every": 4,
        "colour_steps": 6,
        "colour_batch": 2,
        "colour_points": 50,
        "precision": "float32",
    }
)


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    return scenes.samples(tmp_path_factory.mktemp("people"), 3, 64)


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory):
    out = tmp_path_factory.mktemp("run")
    return fit(TINY, people[:2], people[2:], out, {"dataset": "ellipsoids"})


def rows(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def test_pool_labels_are_the_analytic_truth():
    rng = np.random.default_rng(0)
    pool = make_pool(scenes.ellipsoid(rings=48, segments=72), 20_000, (5.0,), 1 / 17, rng)
    level = lambda p: (p / np.array(scenes.RADII)) ** 2 @ np.ones(3)  # noqa: E731
    # The mesh is inscribed, so the two may differ in a thin skin.
    assert (level(pool.inside) < 1.0).all()
    assert (level(pool.outside) > 0.97).all()
    assert len(pool.inside) + len(pool.outside) == 20_000
    assert 0.25 < len(pool.inside) / 20_000 < 0.55
    np.testing.assert_allclose(level(pool.surface), 1.0, atol=0.02)
    outward = pool.surface / np.array(scenes.RADII) ** 2
    outward /= np.linalg.norm(outward, axis=1, keepdims=True)
    assert (np.sum(outward * pool.normals, axis=1) > 0.98).all()
    expected = 127.5 + 100 * pool.surface / np.array(scenes.RADII)
    np.testing.assert_allclose(pool.colours, expected, atol=6)


def test_near_points_spread_by_sigma():
    rng = np.random.default_rng(1)
    from baselines.pifu.sampling import draw_points

    mesh = scenes.ellipsoid((80.0, 80.0, 80.0), rings=48, segments=72)
    points = draw_points(mesh, 20_000, (5.0,), 0.0, rng)
    assert (np.linalg.norm(points, axis=1) - 80).std() == pytest.approx(5.0, rel=0.05)
    mixed = draw_points(mesh, 20_000, (5.0, 1.0), 0.0, rng)
    assert (np.linalg.norm(mixed, axis=1) - 80).std() == pytest.approx(np.sqrt(13), rel=0.05)


def test_uniform_points_fill_the_published_cube_about_the_mesh():
    from baselines.pifu.sampling import draw_points
    from robench.contracts import Mesh

    mesh = scenes.ellipsoid((30.0, 80.0, 20.0))
    shift = np.array([500.0, -70.0, 3.0], np.float32)
    mesh = Mesh(mesh.vertices + shift, mesh.faces)
    points = draw_points(mesh, 20_000, (5.0,), 1.0, np.random.default_rng(2)) - shift
    assert np.abs(points).max() <= 128.01
    # Uniform on [-128, 128]: deviation 256 / sqrt(12) in each axis, and no axis knows of another.
    np.testing.assert_allclose(points.std(axis=0), 256 / np.sqrt(12), rtol=0.02)
    np.testing.assert_allclose(np.corrcoef(points.T), np.eye(3), atol=0.03)


def test_a_pool_is_cached_by_content(people, tmp_path):
    first = load_pool(people[0].mesh, tmp_path, 1000, (5.0,), 0.1, 0)
    (cached,) = tmp_path.glob("*.npz")
    stamp = cached.stat().st_mtime_ns
    again = load_pool(people[0].mesh, tmp_path, 1000, (5.0,), 0.1, 0)
    np.testing.assert_array_equal(first.inside, again.inside)
    assert cached.stat().st_mtime_ns == stamp
    load_pool(people[0].mesh, tmp_path, 1000, (4.0,), 0.1, 0)
    assert len(list(tmp_path.glob("*.npz"))) == 2


def test_open_meshes_are_refused(tmp_path):
    from robench.contracts import Mesh
    from robench.io.meshes import write_mesh

    mesh = scenes.ellipsoid()
    write_mesh(tmp_path / "open.ply", Mesh(mesh.vertices, mesh.faces[3:]))
    with pytest.raises(UsageError, match=r"open\.ply cannot supervise"):
        load_pool(tmp_path / "open.ply", tmp_path, 500, (5.0,), 0.1, 0)


def test_an_item_is_half_inside():
    pool = make_pool(scenes.ellipsoid(), 2000, (5.0,), 0.1, np.random.default_rng(0))
    points, labels = choose(pool, 101, np.random.default_rng(1))
    assert points.shape == (101, 3)
    assert labels.tolist() == [1.0] * 50 + [0.0] * 51


def test_each_epoch_shows_every_item_once():
    for epoch in range(3):
        assert sorted(order(7, 7 * epoch + i, 0) for i in range(7)) == list(range(7))
    assert [order(7, i, 0) for i in range(7)] != [order(7, 7 + i, 0) for i in range(7)]


def test_a_batch_depends_on_seed_and_step_only(people, tmp_path):
    items = load_items(people, TINY, tmp_path, print)
    for make in (shape_batch, colour_batch):
        a, b = make(items, TINY, 5), make(items, TINY, 5)
        np.testing.assert_array_equal(a.images, b.images)
        np.testing.assert_array_equal(a.points, b.points)
        assert not np.array_equal(make(items, TINY, 6).points, a.points)
        assert not np.array_equal(make(items, replace(TINY, seed=1), 5).points, a.points)
    batch = shape_batch(items, TINY, 0)
    assert batch.images.shape == (2, 3, 32, 32)
    assert batch.points.shape == (2, 3, 100)
    assert batch.targets.shape == (2, 1, 100)


def test_points_lie_under_their_pictures(people, tmp_path):
    """Inside points project onto the person in the augmented picture."""
    items = load_items(people, TINY, tmp_path, print)
    batch = shape_batch(items, replace(TINY, batch=8), 0)
    hits = []
    for image, points, labels in zip(batch.images, batch.points, batch.targets, strict=True):
        u, v = np.rint((points[:2, labels[0] > 0] + 1) * 16 - 0.5).astype(int).clip(0, 31)
        hits.append((np.abs(image[:, v, u]).sum(axis=0) > 0).mean())
    assert min(hits) > 0.93


def test_a_run_writes_weights_that_load(finished):
    weights = load_weights(finished)
    assert weights.colour is not None
    assert weights.provenance["dataset"] == "ellipsoids"
    assert weights.provenance["subjects"] == 2
    log = rows(finished.parent)
    assert [r["step"] for r in log if "loss" in r and r["phase"] == "shape"] == [2, 4, 6, 8, 10, 12]
    assert [r["step"] for r in log if "val_iou" in r] == [6, 12]


@pytest.mark.parametrize(("keep", "expected"), [("last", 12), ("best", 6)])
def test_the_exported_weights_are_the_ones_asked_for(people, tmp_path, monkeypatch, keep, expected):
    """Validation is made to worsen, so that the best step is not the last."""
    errors = iter((0.1, 0.2, 0.3))
    shape_phase = training.Run._shape_phase

    def worsening(self, net):
        return replace(shape_phase(self, net), validate=lambda module: {"val_mse": next(errors), "val_iou": 0.5})

    monkeypatch.setattr(training.Run, "_shape_phase", worsening)
    path = fit(replace(TINY, keep=keep, colour_steps=0), people[:2], people[2:], tmp_path, {})
    weights = load_weights(path)
    assert weights.provenance["validation"]["step"] == expected
    last = torch.load(tmp_path / "last.pt", weights_only=True)["average"]["image_filter.conv1.weight"]
    same = torch.equal(weights.shape.state_dict()["image_filter.conv1.weight"], last)
    assert same == (keep == "last")


@pytest.mark.parametrize("stop", [3, 5, 14])
def test_resuming_ends_in_the_same_weights(people, finished, tmp_path, monkeypatch, stop):
    """Killed between checkpoints (3, 5 of the shape net; 14 is 2 of the colour net) and resumed."""
    calls = 0
    step = training.Run._step

    def stopping(self, *args):
        nonlocal calls
        calls += 1
        if calls > stop:
            raise RuntimeError("power cut")
        return step(self, *args)

    monkeypatch.setattr(training.Run, "_step", stopping)
    with pytest.raises(RuntimeError, match="power cut"):
        fit(TINY, people[:2], people[2:], tmp_path, {"dataset": "ellipsoids"})
    monkeypatch.undo()
    path = fit(TINY, people[:2], people[2:], tmp_path, {"dataset": "ellipsoids"}, resume=True)
    undisturbed, resumed = load_weights(finished), load_weights(path)
    for a, b in ((undisturbed.shape, resumed.shape), (undisturbed.colour, resumed.colour)):
        for key, value in a.state_dict().items():
            assert torch.equal(value, b.state_dict()[key]), key
    shape = lambda log: [(r["phase"], r["step"], r.get("loss"), r.get("val_mse")) for r in log]  # noqa: E731
    losses = [x for x in shape(rows(finished.parent)) if x[1] % 4 == 0]
    assert [x for x in shape(rows(tmp_path)) if x[1] % 4 == 0] == losses


def test_a_training_begins_from_given_weights(people, finished, tmp_path):
    """At a rate too small to move them, both networks stay those that it began from; the file says which."""
    still = {"lr": 1e-12, "colour_lr": 1e-12, "start": str(finished), "steps": 2, "colour_steps": 2, "ema": 0.0}
    path = fit(replace(TINY, **still), people[:2], people[2:], tmp_path, {})
    began, ended = load_weights(finished), load_weights(path)
    assert ended.provenance["start_sha256"] == began.sha256
    for a, b in ((began.shape, ended.shape), (began.colour, ended.colour)):
        for key, value in a.state_dict().items():
            assert torch.allclose(value, b.state_dict()[key], atol=1e-6), key


def test_weights_of_other_networks_are_no_start(people, finished, tmp_path):
    (tmp_path / "options.yaml").write_text(f"start: {finished}\n")
    with pytest.raises(UsageError, match=r"not those to be trained; got image_size 32, not 128"):
        training.train(tmp_path / "options.yaml", tmp_path / "nowhere", tmp_path / "run")
    assert TINY.to_json() == replace(TINY, start="").to_json()
    assert "start" not in json.loads(TINY.to_json())  # runs from before the option can be resumed


def test_an_interrupt_saves_the_step_it_reached(people, tmp_path, monkeypatch):
    calls = 0
    step = training.Run._step

    def stopping(self, *args):
        nonlocal calls
        calls += 1
        if calls > 3:
            raise KeyboardInterrupt
        return step(self, *args)

    monkeypatch.setattr(training.Run, "_step", stopping)
    with pytest.raises(KeyboardInterrupt):
        fit(TINY, people[:2], [], tmp_path, {})
    assert torch.load(tmp_path / "last.pt", weights_only=True)["step"] == 3


def test_a_time_limit_leaves_weights_and_can_be_resumed(people, finished, tmp_path):
    path = fit(TINY, people[:2], people[2:], tmp_path, {}, max_minutes=0.0)
    assert load_weights(path).colour is None
    path = fit(TINY, people[:2], people[2:], tmp_path, {}, resume=True)
    key = "image_filter.conv1.weight"
    expected = load_weights(finished).shape.state_dict()[key]
    assert torch.equal(load_weights(path).shape.state_dict()[key], expected)


def test_a_run_folder_is_not_overwritten_or_mixed(people, finished):
    with pytest.raises(UsageError, match="already holds a training run"):
        fit(TINY, people[:2], [], finished.parent, {})
    with pytest.raises(UsageError, match="other options"):
        fit(replace(TINY, lr=0.5), people[:2], [], finished.parent, {}, resume=True)


def test_global_random_state_is_untouched(people, tmp_path):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    fit(replace(TINY, steps=1, colour_steps=0), people[:1], [], tmp_path, {})
    assert torch.equal(torch.rand(3), expected)


def test_learning_lowers_the_loss(people, tmp_path):
    config = replace(TINY, steps=60, colour_steps=0, lr=3e-3, batch=4, points=300, log_every=10)
    fit(config, people, [], tmp_path, {})
    losses = [r["loss"] for r in rows(tmp_path)]
    assert losses[-1] < 0.93 * losses[0]


def test_the_average_starts_as_a_short_one_and_copies_buffers():
    net = torch.nn.BatchNorm2d(2)
    average = Average(net, 0.9)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.running_mean.fill_(5.0)
    average.update(net, 1)
    assert average.net.weight[0].item() == pytest.approx(1 + (1 - 2 / 11))
    assert average.net.running_mean[0].item() == 5.0
    exact = Average(net, 0.0)
    with torch.no_grad():
        net.weight.fill_(3.0)
    exact.update(net, 1)
    assert torch.equal(exact.net.weight, net.weight)


def test_learning_rates():
    cosine = replace(TINY, steps=100, warmup=10)
    assert learning_rate(cosine, 1.0, 0, 100) == pytest.approx(0.1)
    assert learning_rate(cosine, 1.0, 50, 100) == pytest.approx(0.5)
    steps = replace(TINY, schedule="steps", warmup=0)
    assert [round(learning_rate(steps, 1.0, s, 100), 4) for s in (59, 60, 79, 80)] == [1.0, 0.1, 0.1, 0.01]


@pytest.mark.parametrize("name", ["mini", "paper"])
def test_shipped_options_are_valid(name):
    config = read_train_config(CONFIGS / f"{name}.yaml", TrainConfig)
    if name == "paper":
        assert (config.optimizer, config.batch, config.points, config.lr) == ("rmsprop", 2, 5000, 1e-3)
        assert config.network.image_size == 512


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("steps: [", "Cannot read"),
        ("- 1", "holds no training options"),
        ("stepz: 3", "no such option"),
        ("steps: many", "'steps' is not possible"),
        ("steps: 0", "at least 1"),
        ("optimizer: sgd", "one of adam"),
        ("network: {preset: big}", "network.preset"),
        ("network: {width: 3}", "even"),
        ("points: 60000", "'pool'"),
        ("sigmas_cm: []", "positive distances"),
        ("flip: 2.0", "in \\[0"),
    ],
)
def test_wrong_options_are_refused(tmp_path, text, match):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match=match):
        read_train_config(path, TrainConfig)


def test_samples_without_a_mesh_or_mask_are_refused(people, tmp_path):
    with pytest.raises(UsageError, match="s0 cannot train PIFu; got no mask and no mesh"):
        load_items([replace(people[0], mask=None, mesh=None)], TINY, tmp_path, print)
    with pytest.raises(UsageError, match="nothing to train on"):
        fit(TINY, [], [], tmp_path, {})


def test_devices():
    assert resolve_device("cpu").type == "cpu"
    assert not reduced_precision(torch.device("cpu"), "float32")
    assert reduced_precision(torch.device("cpu"), "bfloat16")
    with pytest.raises(UsageError, match="Unknown device"):
        resolve_device("gpu")
    if not torch.cuda.is_available():
        with pytest.raises(EnvironmentNotReady, match="No CUDA device"):
            resolve_device("cuda")
