"""Training of PIFuHD: rendered normals, windows, levels that freeze one another, resuming, our own files."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file

from baselines.pifu import training as pifu_training
from baselines.pifu.augment import Draw, move_points
from baselines.pifu.items import load_items
from baselines.pifu.network import blank, index
from baselines.pifu.train_config import read_train_config
from baselines.pifu.weight_rules import fill
from baselines.pifuhd import PifuHD, training
from baselines.pifuhd.checkpoint import load_weights, save_own
from baselines.pifuhd.config import MINI, PifuHDConfig
from baselines.pifuhd.items import LEVELS, hd_item, level_batch, normal_maps, warped, warped_normals
from baselines.pifuhd.network import PifuHDNet
from baselines.pifuhd.train_config import PifuHDTrainConfig
from baselines.pifuhd.training import PifuHDRun, in_window, occupancy_loss, part_of, windows
from robench import testing
from robench.contracts import Camera, Mesh, Sample
from robench.errors import UsageError
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh
from robench.rendering import RayScene

CONFIG = Path(training.__file__).with_name("configs") / "mini.yaml"
NETS = {
    "preset": "mini",
    "coarse_size": 32,
    "fine_size": 64,
    "width": 8,
    "hourglass_depth": 2,
    "hourglass_dim": 8,
    "mlp": [16, 12, 8, 8, 1],
    "fine_width": 8,
    "fine_depth": 2,
    "fine_dim": 4,
    "fine_mlp": [12, 8, 8, 1],
    "normal_width": 4,
    "normal_downs": 2,
    "normal_blocks": 1,
}
TINY = PifuHDTrainConfig.from_mapping(
    {
        "hd": NETS,
        "normal_steps": 6,
        "steps": 6,
        "fine_steps": 6,
        "window": 32,
        "batch": 2,
        "points": 100,
        "pool": 2000,
        "warmup": 2,
        "log_every": 2,
        "val_every": 3,
        "val_points": 200,
        "save_every": 4,
        "precision": "float32",
    }
)


def sphere(radius=70.0, centre=(0.0, 0.0, 0.0), rings=60):
    theta, phi = np.pi * np.arange(1, rings) / rings, 2 * np.pi * np.arange(2 * rings) / (2 * rings)
    t, p = np.meshgrid(theta, phi, indexing="ij")
    body = np.stack([np.sin(t) * np.cos(p), np.cos(t), np.sin(t) * np.sin(p)], axis=-1).reshape(-1, 3)
    unit = np.concatenate([[[0, 1, 0]], body, [[0, -1, 0]]])
    n, last, faces = 2 * rings, len(unit) - 1, []
    for s in range(n):
        e = (s + 1) % n
        faces += [[0, 1 + e, 1 + s], [last, 1 + (rings - 2) * n + s, 1 + (rings - 2) * n + e]]
        for r in range(rings - 2):
            a, b, c, d = (1 + k * n + j for k, j in ((r, s), (r, e), (r + 1, e), (r + 1, s)))
            faces += [[a, b, c], [a, c, d]]
    return Mesh((unit * radius + centre).astype(np.float32), np.array(faces, np.int32))


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """Ellipsoids before a chequered wall, off the middle of a picture that is no square."""
    root, found = tmp_path_factory.mktemp("people"), []
    for i in range(3):
        radii, centre = np.array([25.0 + 5 * i, 70.0 + 5 * i, 18.0 + 4 * i]), np.array([10.0, -5.0, 3.0])
        camera = Camera(np.eye(4), 0.4, (39.5, 47.5), 80, 96)
        v, u = np.mgrid[0:96, 0:80]
        a, b = ((u - 39.5) / 0.4 - 10) / radii[0], (-(v - 47.5) / 0.4 + 5) / radii[1]
        mask = (a**2 + b**2 <= 1).astype(np.float32)
        wall = np.where((u // 5 + v // 5) % 2 == 0, 40, 90)
        shade = np.stack([127.5 + 100 * a, 127.5 + 100 * b, np.full_like(a, 200)], axis=-1)
        image = np.clip(np.where(mask[..., None] > 0, shade, wall[..., None]), 0, 255).astype(np.uint8)
        ball = sphere(1.0, rings=12)
        mesh = Mesh((ball.vertices * radii + centre).astype(np.float32), ball.faces)
        paths = [root / f"{i}.png", root / f"{i}_mask.png", root / f"{i}.ply"]
        write_png(paths[0], image)
        write_mask(paths[1], mask)
        write_mesh(paths[2], mesh)
        found.append(Sample(f"s{i}", f"s{i}", 0.0, paths[0], paths[1], camera=camera, mesh=paths[2]))
    return found


@pytest.fixture(scope="module")
def items(people, tmp_path_factory):
    return load_items(people, TINY, tmp_path_factory.mktemp("points"), lambda text: None, make=hd_item)


def fit(config, people, out, **more):
    return pifu_training.fit(
        config, people[:2], people[2:], out, {"dataset": "x"}, kind=PifuHDRun, make=hd_item, **more
    )


@pytest.fixture(scope="module")
def finished(people, tmp_path_factory):
    return fit(TINY, people, tmp_path_factory.mktemp("run"))


def rows(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


# What is aimed at


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_normals_of_a_sphere_are_its_radii_in_front_and_behind(kind):
    radius, distance = 70.0, 400.0
    scale = 0.4 if kind == "orthographic" else 0.4 * distance
    turn = np.array([[0.0, 0.0, -1.0, 2.0], [0.0, 1.0, 0.0, 3.0], [1.0, 0.0, 0.0, -4.0], [0.0, 0.0, 0.0, 1.0]])
    camera = Camera(turn, scale, (33.0, 30.0), 64, 64, distance, kind)
    maps = normal_maps(sphere(radius), camera)
    # By hand: where the ray of a pixel goes in and out of the sphere about (2, 3, -4) of the view frame.
    v, u = np.mgrid[0:64, 0:64].astype(float)
    k = scale if kind == "orthographic" else scale / distance
    through = np.stack([(u - 33) / k, -(v - 30) / k, np.zeros_like(u)], axis=-1)
    eye = (
        through + np.array([0.0, 0.0, distance])
        if kind == "orthographic"
        else np.broadcast_to([0.0, 0.0, distance], through.shape)
    )
    way = through - eye
    way /= np.linalg.norm(way, axis=-1, keepdims=True)
    from_middle = eye - (2.0, 3.0, -4.0)
    half = (way * from_middle).sum(axis=-1)
    room = half**2 - (from_middle**2).sum(axis=-1) + radius**2
    sure = room > 15.0**2
    for part, sign in ((maps[..., :3], -1), (maps[..., 3:], 1)):
        point = from_middle + way * (-half + sign * np.sqrt(np.maximum(room, 0)))[..., None]
        np.testing.assert_allclose(part[sure], point[sure] / radius, atol=0.03)
        assert not part[room < -200].any()
    assert (maps[..., 2][sure] > 0).all()
    assert (maps[..., 5][sure] < 0).all()


def test_what_a_ray_hits_last_is_as_deep_as_the_far_side():
    camera = Camera(np.eye(4), 0.4, (31.5, 31.5), 64, 64, 500.0)
    two = [sphere(40.0, (0, 0, z)) for z in (-100.0, 0.0, 90.0)]
    offsets = np.cumsum([0, *(len(m.vertices) for m in two)])
    mesh = Mesh(
        np.concatenate([m.vertices for m in two]),
        np.concatenate([m.faces + o for m, o in zip(two, offsets, strict=False)]).astype(np.int32),
    )
    hits = RayScene(mesh).cast(camera, last=True)
    assert hits.depth[31, 31] == pytest.approx(6.4, abs=0.01)
    assert np.isposinf(hits.depth[0, 0])
    np.testing.assert_array_equal(hits.mask, RayScene(mesh).cast(camera).mask)


def test_items_are_cropped_as_in_evaluation_and_keep_their_normals(people, items, tmp_path):
    item = items[2]
    assert item.image.shape == (32, 32, 3)
    assert item.fine.shape == (64, 64, 3)
    # A person 160 cm tall fills 1/1.138 of the square.
    inside = item.normals.any(axis=2)
    lines = np.nonzero(inside.any(axis=1))[0]
    assert np.ptp(lines) + 1 == pytest.approx(32 / 1.138, abs=1.5)
    assert (item.image[~inside].max(axis=1) > 30).mean() > 0.9, "the wall is seen"
    load_items(people, TINY, tmp_path, lambda text: None, make=hd_item)
    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("normals-*.npz")}
    again = load_items(people, TINY, tmp_path, lambda text: None, make=hd_item)
    assert len(stamps) == 3
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.glob("normals-*.npz")}
    np.testing.assert_array_equal(again[2].normals, item.normals)


def test_pictures_and_normals_follow_an_augmentation_as_points_do():
    """A mirrored, larger, shifted sphere's normals are those of the sphere so moved."""
    size, change = 64, Draw(True, 1.08, 3, -2)
    camera = Camera(np.eye(4), 0.32, (31.5, 31.5), size, size)
    middle, half = np.array([12.0, -8.0, 0.0]), size / 2 / 0.32
    kept = np.rint(normal_maps(sphere(60.0, middle), camera) * 127).astype(np.int8)
    found = warped_normals(kept, change).transpose(1, 2, 0)
    moved = move_points((middle * (1, -1, 1) / half)[None], change, size)[0] * half * (1, -1, 1)
    expected = normal_maps(sphere(60.0 * 1.08, moved), camera)
    solid = expected.any(axis=2) & (expected[..., 2] > 0.45)
    assert np.abs(found - expected)[solid].max() < 0.08
    assert not found[~warped(kept.any(axis=2).astype(np.float32), change, size).astype(bool)].any()
    picture, change = np.zeros((size, size, 3), np.float32), Draw(True, 1.9, 3, -2)
    picture[28, 40] = 255
    spot = move_points(np.array([[(2 * 40 + 1) / size - 1, (2 * 28 + 1) / size - 1, 0.0]]), change, size)[0]
    weights = warped(picture, change, size)[..., 0].astype(float)
    v, u = np.mgrid[0:size, 0:size]
    centre = [(weights * axis).sum() / weights.sum() for axis in (u, v)]
    np.testing.assert_allclose(centre, ((spot[:2] + 1) * size - 1) / 2, atol=0.05)
    assert warped(picture, Draw(), size) is picture


def test_batches_depend_on_seed_step_and_level_only(items):
    for level in LEVELS:
        a, b, other = (level_batch(items, TINY, step, level) for step in (5, 5, 6))
        for name in ("images", "normals", "points", "targets", "fine", "corners"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        assert not np.array_equal(a.images, other.images)
    fine = level_batch(items, TINY, 5, "fine")
    assert fine.fine.shape == (2, 3, 32, 32)
    assert fine.points.shape == (2, 3, 100)
    assert level_batch(items, TINY, 5, "normals").points.shape == (2, 3, 0)


def test_a_window_holds_its_points_and_shows_the_picture_there(items):
    config = replace(TINY, batch=12, flip=0.0, zoom=0.0, shift=0.0)
    batch = level_batch(items, config, 0, "fine")
    low = batch.corners[:, :, None] / 32 - 1
    uv = batch.points[:, :2]
    assert ((uv >= low) & (uv <= low + 1)).all()
    assert (batch.targets.sum(axis=2) == 50).all()
    assert (batch.corners % 2 == 0).all()
    assert len(np.unique(batch.corners, axis=0)) > 6
    pictures = {item.fine.tobytes(): item.fine for item in items}.values()
    for window, (left, top) in zip(batch.fine, batch.corners, strict=True):
        shown = np.rint((window.transpose(1, 2, 0) + 1) * 127.5)
        assert any(np.array_equal(p[top : top + 32, left : left + 32], shown) for p in pictures)


def test_a_windows_maps_are_asked_at_the_whole_pictures_cells():
    """Where the filter is a plain average of each cell, window and whole picture give the same features."""
    torch.manual_seed(0)
    picture, uv = torch.rand(2, 3, 64, 64), torch.rand(2, 2, 200) * 2 - 1
    corners = torch.tensor([[10, 24], [32, 0]])
    whole = F.avg_pool2d(picture, 2)
    part = F.avg_pool2d(windows(picture, corners, 32), 2)
    places = in_window(uv, corners, 32, 64, 16)
    inside = (places.abs() <= 1).all(dim=1, keepdim=True).expand(-1, 3, -1)
    assert 60 < int(inside.sum()) < 600
    np.testing.assert_allclose(index(part, places)[inside], index(whole, uv)[inside], atol=1e-5)


def test_the_loss_is_the_cross_entropy_of_the_points_that_count():
    found = torch.tensor([[[0.9, 0.2, 0.0, 0.5]]])
    labels, counted = torch.tensor([[[1.0, 0.0, 1.0, 1.0]]]), torch.tensor([[[1.0, 1.0, 0.0, 1.0]]])
    expected = -(np.log(0.9) + np.log(0.8) + np.log(0.5)) / 3
    assert float(occupancy_loss(found, labels, counted)) == pytest.approx(expected, rel=1e-6)


# Runs


def test_a_run_writes_weights_that_load_and_reconstruct(finished, people):
    weights = load_weights(finished)
    assert weights.config == TINY.hd
    assert weights.provenance["dataset"] == "x"
    assert weights.provenance["subjects"] == 2
    assert weights.provenance["options"]["window"] == 32
    assert load_weights(finished.parent).sha256 == weights.sha256
    log = rows(finished.parent)
    assert [(r["phase"], r["step"]) for r in log if "loss" in r] == [(p, s) for p in LEVELS for s in (2, 4, 6)]
    assert [(r["phase"], r["step"]) for r in log if "val_mse" in r] == [(p, s) for p in LEVELS for s in (3, 6)]
    assert all(0 < r["val_degrees"] < 180 for r in log if "val_degrees" in r)
    testing.check_model(PifuHD(resolution=16), finished)


def test_levels_are_frozen_bit_by_bit_once_they_are_trained(finished):
    """The exported network is the kept average of each level, whatever was trained after it."""
    net = load_weights(finished).net
    for level in LEVELS:
        kept = load_file(finished.parent / f"{level}.safetensors")
        exported = part_of(net, level).state_dict()
        assert kept.keys() == exported.keys()
        assert all(torch.equal(kept[key], exported[key]) for key in kept), level


def test_the_fine_phase_moves_its_own_weights_alone(people, tmp_path, monkeypatch):
    seen = {}
    train = PifuHDRun._train

    def watching(self, level, state):
        before = {key: value.clone() for key, value in self.net.state_dict().items()}
        train(self, level, state)
        seen[level] = {k for k, v in self.net.state_dict().items() if not torch.equal(v, before[k])}

    monkeypatch.setattr(PifuHDRun, "_train", watching)
    fit(TINY, people, tmp_path)
    coarse = ("netG.image_filter.", "netG.mlp.")
    for level, own in (
        ("normals", ("netG.netF.", "netG.netB.")),
        ("coarse", coarse),
        ("fine", ("image_filter.", "mlp.")),
    ):
        assert seen[level], level
        assert all(key.startswith(own) for key in seen[level]), level


@pytest.mark.parametrize("stop", [3, 9, 17])
def test_resuming_ends_in_the_same_weights(people, finished, tmp_path, monkeypatch, stop):
    """Killed between checkpoints in each of the levels, and resumed."""
    killed_after(stop, monkeypatch, lambda: fit(TINY, people, tmp_path))
    same_weights(finished, fit(TINY, people, tmp_path, resume=True))


def test_what_stood_on_a_level_cut_short_is_forgotten_even_if_it_is_caught_up_in_parts(
    people, finished, tmp_path, monkeypatch
):
    fit(TINY, people, tmp_path, max_minutes=0.0)
    killed_after(9, monkeypatch, lambda: fit(TINY, people, tmp_path, resume=True))
    assert {p.name for p in tmp_path.glob("*.pt")} == {"last.pt"}
    same_weights(finished, fit(TINY, people, tmp_path, resume=True))


def killed_after(steps, monkeypatch, run):
    calls, step = 0, pifu_training.Run._step

    def stopping(self, *args):
        nonlocal calls
        calls += 1
        if calls > steps:
            raise RuntimeError("power cut")
        return step(self, *args)

    monkeypatch.setattr(pifu_training.Run, "_step", stopping)
    with pytest.raises(RuntimeError, match="power cut"):
        run()
    monkeypatch.undo()


def same_weights(one, other):
    a, b = (load_weights(path).net.state_dict() for path in (one, other))
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_time_limit_gives_every_level_its_turn_and_is_caught_up(people, finished, tmp_path):
    path = fit(TINY, people, tmp_path, max_minutes=0.0)
    assert load_weights(path).config == TINY.hd
    assert {p.name for p in tmp_path.glob("*.pt")} == {"last.pt", "normals.pt", "coarse.pt", "fine.pt"}
    same_weights(finished, fit(TINY, people, tmp_path, resume=True))
    steps = [(r["phase"], r["step"]) for r in rows(tmp_path) if "loss" in r]
    assert steps == [(p, s) for p in LEVELS for s in (2, 4, 6)]


def test_losses_of_all_levels_fall(people, tmp_path):
    config = replace(TINY, normal_steps=40, steps=40, fine_steps=40, batch=3, lr=3e-3, fine_lr=3e-3, normal_lr=3e-3)
    config = replace(config, points=200, log_every=8, val_every=100, optimizer="muon")
    fit(config, people, tmp_path)
    for level, share in zip(LEVELS, (0.8, 0.93, 0.93), strict=True):
        losses = [r["loss"] for r in rows(tmp_path) if r["phase"] == level and "loss" in r]
        assert losses[-1] < share * losses[0], (level, losses)


def test_true_normals_make_another_training(people, finished, tmp_path):
    path = fit(replace(TINY, normals="true"), people, tmp_path)
    a, b = (load_weights(p).net for p in (finished, path))
    for level, same in (("normals", True), ("coarse", False), ("fine", False)):
        one, other = (part_of(net, level).state_dict() for net in (a, b))
        assert all(torch.equal(one[key], other[key]) for key in one) == same, level


# Options and files


def test_the_shipped_options_are_valid_and_the_small_net_is_small():
    config = read_train_config(CONFIG, PifuHDTrainConfig)
    assert config.hd == MINI
    assert config.network.image_size == 128
    with torch.device("meta"):
        count = sum(p.numel() for p in PifuHDNet(MINI).parameters())
    assert 2_000_000 < count < 12_000_000
    assert PifuHDConfig.from_mapping({}) == PifuHDConfig()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"network": {}}, "no option 'network'"),
        ({"hd": {"preset": "big"}}, "no such preset"),
        ({"hd": 3}, "'hd' is not possible"),
        ({"hd": NETS, "window": 20}, "'window'.*a multiple of 8"),
        ({"hd": NETS, "window": 128}, "'window'"),
        ({"normals": "none"}, "'normals'.*predicted or true"),
        ({"colour_steps": 5}, "'colour_steps'"),
        ({"corruptions": [{"condition": "fog_3d", "share": 0.5}]}, "'corruptions'.*clean pictures"),
        ({"start": "pifu-mini"}, "'start'.*drawn weights"),
        ({"masks": {"masker": "u2netp-anny", "share": 0.5}}, "'masks'"),
        ({"fine_steps": 0}, "'fine_steps'"),
        ({"normal_stepz": 3}, "no such option"),
    ],
)
def test_wrong_options_are_refused(options, match):
    with pytest.raises(UsageError, match=match):
        PifuHDTrainConfig.from_mapping(options)


def test_our_files_are_read_strictly(tmp_path):
    from safetensors.torch import save_file

    config = TINY.hd
    net = blank(PifuHDNet, config)
    fill(net, "hash")
    save_own(tmp_path / "half.safetensors", net, {"by": "me"}, torch.float16)
    found = load_weights(tmp_path / "half.safetensors")
    assert found.provenance == {"by": "me"}
    key = "netG.mlp.filters.0.weight"
    np.testing.assert_array_equal(found.net.state_dict()[key], net.state_dict()[key].half().float())
    tensors = load_file(tmp_path / "half.safetensors")
    tensors["more"] = tensors.pop(key)
    from safetensors import safe_open

    with safe_open(tmp_path / "half.safetensors", "pt") as file:
        metadata = file.metadata()
    save_file(tensors, tmp_path / "other.safetensors", metadata)
    with pytest.raises(UsageError, match=rf"1 missing: {key}; 1 unexpected: more"):
        load_weights(tmp_path / "other.safetensors")
    save_file(tensors, tmp_path / "bare.safetensors")
    with pytest.raises(UsageError, match="holds no PIFuHD"):
        load_weights(tmp_path / "bare.safetensors")
    save_file(tensors, tmp_path / "odd.safetensors", {**metadata, "config": "[]"})
    with pytest.raises(UsageError, match=r"metadata .* are damaged"):
        load_weights(tmp_path / "odd.safetensors")
    with pytest.raises(UsageError, match="no such checkpoint"):
        load_weights(tmp_path / "none.safetensors")


def test_a_blank_mask_cannot_train(people, tmp_path):
    write_mask(tmp_path / "m.png", np.zeros((96, 80), np.float32))
    blanked = replace(people[0], mask=tmp_path / "m.png")
    with pytest.raises(UsageError, match="s0 cannot train PIFuHD; got a mask without a person"):
        load_items([blanked], TINY, tmp_path, lambda text: None, make=hd_item)
