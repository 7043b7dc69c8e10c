"""What a user may get wrong: each case ends in one clear sentence and the right exit code, and no other sample pays."""

from __future__ import annotations

import json
import pickle
import signal
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import trimesh
from PIL import Image

from robench import cli
from robench.contracts import Mesh
from robench.data.folder import default_camera
from robench.engine.cset import open_set
from robench.engine.cset_writer import write_set
from robench.engine.evaluate import evaluate
from robench.engine.recipes import choose_recipe
from robench.engine.selection import select
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady, ExitCode, RobenchError, UsageError
from robench.io.images import read_image, write_mask, write_png
from robench.io.meshes import write_mesh
from robench.testing import example_image, example_mask

SHAPE = (96, 80)
UNREADABLE = ("empty", "missing_half", "page", "tiny", "other_mask", "junk_mask")
ODD = ("deep", "exif", "grey", "palette", "strip", "transparent")


def body(height=160.0):
    capsule = trimesh.creation.capsule(height=height - 50, radius=25, count=[12, 12])
    capsule.apply_transform(trimesh.transformations.rotation_matrix(np.pi / 2, [1, 0, 0]))
    capsule.apply_translation(-capsule.bounds.mean(axis=0))
    return Mesh(capsule.vertices.astype(np.float32), capsule.faces.astype(np.int32))


def person(root, name, truth=None):
    """Write a sound sample, with ground truth if there is a mesh."""
    write_png(root / "images" / f"{name}.png", example_image(SHAPE))
    write_mask(root / "masks" / f"{name}.png", example_mask(SHAPE))
    if truth is not None:
        write_mesh(root / "meshes" / f"{name}.ply", truth)
        path = root / "cameras.json"
        cameras = json.loads(path.read_text()) if path.exists() else {}
        cameras[name] = default_camera(*SHAPE, example_mask(SHAPE)).to_json()
        path.write_text(json.dumps(cameras))


@pytest.fixture(scope="module")
def zoo(tmp_path_factory):
    """Two sound samples, and one of everything that is odd or broken."""
    root = tmp_path_factory.mktemp("zoo")
    for name in ("a_sound", "z_sound", "empty_mesh", "open_mesh", "junk_mesh"):
        person(root, name, body())
    write_mesh(root / "meshes" / "empty_mesh.ply", Mesh(body().vertices, body().faces[:0]))
    write_mesh(root / "meshes" / "open_mesh.ply", Mesh(body().vertices, body().faces[1:]))
    (root / "meshes" / "junk_mesh.ply").write_bytes(b"ply\nformat binary_little_endian 1.0\n" + bytes(300))
    for name in (*UNREADABLE, "deep", "grey", "transparent"):
        person(root, name)
    images, picture = root / "images", example_image(SHAPE)
    (images / "empty.png").write_bytes(b"")
    whole = (images / "missing_half.png").read_bytes()
    (images / "missing_half.png").write_bytes(whole[: len(whole) // 2])
    (images / "page.png").write_text("<!doctype html><title>404</title>")
    write_png(images / "tiny.png", picture[:20, :20])
    write_mask(root / "masks" / "tiny.png", example_mask(SHAPE)[:20, :20])
    write_mask(root / "masks" / "other_mask.png", example_mask((80, 96)))
    (root / "masks" / "junk_mask.png").write_bytes(b"junk")
    cv2.imwrite(str(images / "deep.png"), picture[..., ::-1].astype(np.uint16) * 257)
    write_png(images / "grey.png", picture[..., 0])
    Image.fromarray(picture).quantize(32).save(images / "palette.png")
    write_mask(root / "masks" / "palette.png", example_mask(SHAPE))
    (images / "transparent.png").unlink()
    (root / "masks" / "transparent.png").unlink()
    alpha = (example_mask(SHAPE) * 255).astype(np.uint8)
    Image.fromarray(np.dstack([picture, alpha])).save(images / "transparent.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(picture).copy()).save(images / "exif.png", exif=exif)
    write_mask(root / "masks" / "exif.png", example_mask(SHAPE))
    write_png(images / "strip.png", np.tile(picture[:40], (1, 100, 1)))
    write_mask(root / "masks" / "strip.png", np.tile(example_mask(SHAPE)[:40], (1, 100)))
    return root


def options(data, out, **given):
    sensible = {"corruptions": "color_quant,camera_roll", "severities": "3", "masker": "given", "device": "cpu"}
    chosen = sensible | {"metrics": ["p2s_pred_to_gt_cm", "mask_iou"], "keep": "none", "quiet": True} | given
    return Options(model="mean-body", data=data, out=out, in_process=True, **chosen)


def rows_of(result):
    return pd.concat([pd.read_parquet(path) for path in sorted((result.folder / "rows").glob("*.parquet"))])


@pytest.fixture(scope="module")
def run(zoo, tmp_path_factory):
    return rows_of(evaluate(options(zoo, tmp_path_factory.mktemp("runs"))))


def one(rows, sample, metric="p2s_pred_to_gt_cm", corruption="color_quant"):
    found = rows[(rows.sample_id == sample) & (rows.metric == metric) & (rows.corruption == corruption)]
    assert len(found) == 1
    return found.iloc[0]


def test_every_sample_has_every_row(zoo, run):
    samples = {path.stem for path in (zoo / "images").iterdir()}
    assert len(samples) == 17
    counts = run.groupby("sample_id").size()
    assert set(counts.index) == samples
    assert set(counts) == {3 * 2}, "clean and two corruptions, two metrics each"
    assert not run.duplicated(["sample_id", "corruption", "severity", "metric"]).any()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("empty", "empty (0 bytes)"),
        ("missing_half", "truncated"),
        ("page", "not a PNG"),
        ("tiny", "20x20 pixels, smaller than 32"),
        ("other_mask", "the mask is 96x80 pixels but its image is 80x96"),
        ("junk_mask", "junk_mask.png cannot be used"),
        ("empty_mesh", "vertices, 0 faces)"),
        ("junk_mesh", "not a valid PLY"),
    ],
)
def test_what_cannot_be_used_is_a_failed_row_that_says_why(run, name, words):
    metrics = ["p2s_pred_to_gt_cm"] if name.endswith("_mesh") else ["p2s_pred_to_gt_cm", "mask_iou"]
    for metric in metrics:
        for corruption in ("clean", "color_quant", "camera_roll"):
            row = one(run, name, metric, corruption)
            assert row.status == "failed"
            assert pd.isna(row.value)
            assert words in row.message
            assert "\n" not in row.message


@pytest.mark.parametrize("name", ODD)
def test_what_is_only_odd_is_done(run, name):
    row = one(run, name, "mask_iou")
    assert (row.status, row.value) == ("ok", 1.0)
    assert one(run, name).status == "skipped", "a plain photograph has no ground truth"


def test_the_sound_samples_are_as_if_they_were_alone(zoo, run, tmp_path):
    alone = tmp_path / "alone"
    person(alone, "a_sound", body())
    person(alone, "z_sound", body())
    expected = rows_of(evaluate(options(alone, tmp_path / "runs")))
    assert set(expected.status) == {"ok"}
    for _, row in expected.iterrows():
        found = one(run, row.sample_id, row.metric, row.corruption)
        assert (found.status, found.value) == ("ok", row.value)
        assert (found.image_sha256, found.mask_sha256) == (row.image_sha256, row.mask_sha256)


def test_a_small_hole_in_the_ground_truth_changes_little(zoo, tmp_path):
    metrics = ["p2s_pred_to_gt_cm", "iou_3d"]
    rows = rows_of(evaluate(options(zoo, tmp_path, subjects=["open_mesh", "a_sound"], metrics=metrics)))
    for metric, near in zip(metrics, (0.5, 0.02), strict=True):
        holed, whole = one(rows, "open_mesh", metric), one(rows, "a_sound", metric)
        assert (holed.status, whole.status) == ("ok", "ok")
        assert holed.value == pytest.approx(whole.value, abs=near)


def test_a_corrupted_set_holds_what_can_be_made_and_names_the_rest(zoo, tmp_path):
    recipe = choose_recipe(None, "color_quant,camera_roll", "2")
    report = write_set(select(zoo), recipe, 0, tmp_path, jobs=1, quiet=True)
    why = defaultdict(set)
    for failure in report.failed:
        why[failure["sample_id"]].add(failure["message"])
    assert set(why) == set(UNREADABLE)
    assert all(len(messages) == 1 and "\n" not in next(iter(messages)) for messages in why.values())
    made = open_set(report.folder)
    assert len(made.rows) == report.images == 3 * 17 - len(report.failed)
    for row in made.rows.values():
        assert read_image(report.folder / row["path"]).shape[:2] == (row["height"], row["width"])
    again = write_set(select(zoo), recipe, 0, tmp_path, jobs=1, quiet=True)
    assert (again.folder, again.made, again.images) == (report.folder, 0, report.images)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"data": "nowhere"}, "no folder"),
        ({"data": "nothing"}, "is empty"),
        ({"data": "a_sound.png"}, "is a file"),
        ({"model": "pifuu"}, "did you mean 'pifu'"),
        ({"masker": "u2nett"}, "did you mean"),
        ({"metrics": ["chamfer"]}, "chamfer_cm"),
        ({"corruptions": "fog_3"}, "fog_3d"),
        ({"severities": "6"}, "6"),
        ({"severities": "0"}, "0"),
        ({"severities": "x"}, "x"),
        ({"recipe": "robnech", "corruptions": None, "severities": None}, "robench"),
        ({"recipe": "x.yaml", "corruptions": None, "severities": None}, "no recipe file"),
        ({"dataset": "foldr"}, "did you mean 'folder'"),
        ({"subjects": ["a_sond"]}, "a_sound"),
        ({"views": [33.0]}, "33"),
        ({"split": "test"}, "no split 'test'"),
        ({"limit": 0}, "limit"),
        ({"keep": "some"}, "some"),
        ({"cset": "nowhere", "corruptions": None, "severities": None}, "not a corrupted set"),
    ],
)
def test_a_wrong_word_stops_before_any_work(zoo, tmp_path, given, words):
    out = tmp_path / "runs"
    (tmp_path / "nothing").mkdir()
    place = {
        "nowhere": tmp_path / "nowhere",
        "nothing": tmp_path / "nothing",
        "a_sound.png": zoo / "images/a_sound.png",
    }
    chosen = options(zoo, out)
    chosen = replace(chosen, **{k: place.get(v, v) if k in ("data", "cset") else v for k, v in given.items()})
    with pytest.raises(UsageError) as caught:
        evaluate(chosen)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE
    assert not out.exists()


def full_disk_after(monkeypatch, writes):
    """Let the file system refuse to name a file after so many."""
    import errno
    import os

    from robench.io import files

    left, real = [writes], os.replace

    def replace(source, target):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(source, target)

    monkeypatch.setattr(files.os, "replace", replace)


def test_a_full_disk_stops_in_one_sentence_and_the_same_command_resumes(tmp_path, monkeypatch):
    data = tmp_path / "data"
    for name in "abc":
        person(data, name)
    recipe = choose_recipe(None, "color_quant", "1-5")
    whole = write_set(select(data), recipe, 0, tmp_path / "whole", quiet=True)
    with monkeypatch.context() as patched:
        full_disk_after(patched, 12)
        with pytest.raises(EnvironmentNotReady, match="disk is full") as caught:
            write_set(select(data), recipe, 0, tmp_path / "out", quiet=True)
    assert caught.value.exit_code == ExitCode.ENVIRONMENT
    report = write_set(select(data), recipe, 0, tmp_path / "out", quiet=True)
    assert 0 < report.made < report.images == 18
    assert (report.folder / "manifest.json").read_bytes() == (whole.folder / "manifest.json").read_bytes()
    assert sorted(p.name for p in report.folder.rglob(".tmp-*")) == []


def test_an_output_folder_that_cannot_be_is_told_before_any_work(zoo, tmp_path):
    (tmp_path / "file").write_text("x")
    for attempt in (
        lambda: evaluate(options(zoo, tmp_path / "file")),
        lambda: write_set(select(zoo), choose_recipe(None, "color_quant", "1"), 0, tmp_path / "file", quiet=True),
    ):
        with pytest.raises(RobenchError) as caught:
            attempt()
        assert str(tmp_path / "file") in str(caught.value)
        assert "\n" not in str(caught.value)
        assert caught.value.exit_code in (ExitCode.USAGE, ExitCode.ENVIRONMENT)


# --- The same through the command line: one sentence on stderr, the right exit code, no traceback. ---


@pytest.fixture
def robench(monkeypatch, capsys):
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["robench", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            cli.main()
        signal.signal(signal.SIGTERM, before)
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        assert "bug in robench" not in err
        return int(caught.value.code or 0), out, err

    return run


@pytest.fixture
def people(tmp_path):
    for name in "abc":
        person(tmp_path / "people", name)
    return tmp_path / "people"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("corrupt nowhere OUT", "no folder"),
        ("corrupt EMPTY OUT", "is empty"),
        ("corrupt people/images/a.png OUT", "is a file"),
        ("corrupt people OUT -c fog3d", "fog_3d"),
        ("corrupt people OUT -c color_quant -s 6", "6"),
        ("corrupt people OUT --recipe robnech", "robench"),
        ("corrupt people OUT -c color_quant --seed -1", "seed"),
        ("corrupt people OUT -c color_quant -j 0", "jobs"),
        ("corrupt people OUT -c color_quant --preview sheet.jpg", "PNG"),
        ("corrupt people OUT -c fog_3d", "depth"),
        ("evaluate --model mean-bdy --data people --out OUT", "mean-body"),
        ("evaluate --model mean-body --data people --masker nobody --out OUT", "one of"),
        ("evaluate --model mean-body --data people --metrics chamfer --out OUT", "chamfer_cm"),
        ("evaluate --model mean-body --data people --batch-size 0 --out OUT", "batch-size"),
        ("evaluate --model mean-body --data people --max-failures some --out OUT", "some"),
        ("evaluate --model mean-body --data people --keep-meshes some --out OUT", "some"),
        (
            "evaluate --model mean-body --data people -c color_quant --checkpoint people/images/a.png --out OUT",
            "takes no",
        ),
        ("evaluate --model mean-body --cset people --out OUT", "not a corrupted set"),
        ("evaluate --model mean-body --out OUT", "--data FOLDER"),
        ("mask people --masker given", "does not look at pictures"),
        ("mask EMPTY", "EMPTY"),
        ("list modles", "models"),
        ("show corruption fog3d", "fog_3d"),
        ("report EMPTY", "EMPTY"),
        ("corupt people OUT", "corrupt"),
    ],
)
def test_a_wrong_command_is_a_usage_error(robench, people, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    code, _, err = robench(*arguments.split())
    assert code == ExitCode.USAGE == 2
    assert words in err
    assert not (tmp_path / "OUT").exists()


def test_bad_pictures_end_a_corrupt_with_3_and_the_others_are_made(robench, people, tmp_path):
    (people / "images" / "b.png").write_bytes(b"")
    code, out, err = robench("corrupt", people, tmp_path / "out", "-c", "color_quant", "-s", "1,2", "-j", "2", "-q")
    assert code == ExitCode.TOO_MANY_FAILURES == 3
    assert "failed: b (3 images): b.png cannot be used because it is empty (0 bytes)" in err
    assert "6 images (6 made now, 3 failed)" in out
    assert len(list((tmp_path / "out").glob("*/images/**/*.png"))) == 6


def test_evaluate_counts_bad_pictures_against_the_limit(robench, people, tmp_path):
    (people / "images" / "b.png").write_bytes(b"")
    common = ["--model", "mean-body", "--data", people, "--masker", "given", "-c", "color_quant", "-s", "1"]
    common += ["--metrics", "mask_iou", "--out", tmp_path / "out", "-q", "--max-failures"]
    assert robench("evaluate", *common, "2")[0] == 0
    code, out, err = robench("evaluate", *common, "1")
    assert code == ExitCode.TOO_MANY_FAILURES
    assert "2 of 6 reconstructions failed" in err
    assert "2 failed, 4 ok; 0 made now" in out


class Evil:
    """What a hostile checkpoint holds: unpickling it makes a file."""

    def __init__(self, trap):
        self.trap = trap

    def __reduce__(self):
        return Path.touch, (self.trap,)


@pytest.mark.parametrize("kind", ["missing", "empty", "page", "truncated", "another_net", "hostile", "hostile_zip"])
def test_a_bad_checkpoint_is_refused_before_any_work_and_never_run(robench, people, tmp_path, kind):
    path, trap = tmp_path / "net_G", tmp_path / "trap"
    _write_checkpoint(kind, path, trap)
    arguments = ["--model", "pifu", "--data", people, "--masker", "given", "-c", "color_quant", "-s", "1"]
    code, _, err = robench(
        "evaluate", *arguments, "--metrics", "mask_iou", "--checkpoint", path, "--out", tmp_path / "out", "-q"
    )
    assert code in (ExitCode.USAGE, ExitCode.ENVIRONMENT)
    assert "net_G" in err
    assert len(err.strip().splitlines()) == 1
    assert not trap.exists()
    assert not (tmp_path / "out").exists()


def _write_checkpoint(kind, path, trap):
    import torch

    if kind == "empty":
        path.write_bytes(b"")
    elif kind == "page":
        path.write_text("<!doctype html><title>Sign in</title>")
    elif kind == "hostile":
        path.write_bytes(pickle.dumps({"image_filter.conv1.weight": Evil(trap)}))
    elif kind == "hostile_zip":
        torch.save({"image_filter.conv1.weight": Evil(trap)}, path)
    elif kind != "missing":
        torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, path)
        if kind == "truncated":
            data = path.read_bytes()
            path.write_bytes(data[: len(data) // 2])


def test_no_weights_is_an_environment_that_is_not_ready(robench, people, tmp_path):
    arguments = ["--model", "pifu", "--data", people, "--masker", "given", "-c", "color_quant"]
    code, _, err = robench("evaluate", *arguments, "--out", tmp_path / "out")
    assert code == ExitCode.ENVIRONMENT == 7
    assert "ships no weights" in err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["/proc/robench", "/dev/null/robench", "people/images/a.png"])
def test_an_impossible_output_folder_is_told(robench, people, tmp_path, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    evaluate_it = ["evaluate", "--model", "mean-body", "--data", people, "--masker", "given", "--metrics", "mask_iou"]
    for command in (["corrupt", people, out], [*evaluate_it, "--out", out]):
        code, _, err = robench(*command, "-c", "color_quant", "-s", "1", "-q")
        assert code in (ExitCode.USAGE, ExitCode.ENVIRONMENT)
        assert out in err
        assert len(err.strip().splitlines()) == 1


def contents(folder):
    """Return the pictures of a set that are there, by name; temporary files are not there yet."""
    paths = (path for path in sorted(folder.glob("*/images/**/*.png")) if not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_corrupt_resumes_and_ends_with_the_same_bytes(robench, people, tmp_path, number, code):
    for name in "abc":
        write_png(people / "images" / f"{name}.png", np.tile(example_image(SHAPE), (4, 4, 1)))
        write_mask(people / "masks" / f"{name}.png", np.tile(example_mask(SHAPE), (4, 4)))
    conditions = ["-c", "iso_noise,color_quant", "-s", "1-5", "-q"]
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert robench("corrupt", people, whole, *conditions)[0] == 0
    finished = contents(whole)
    assert len(finished) == 33

    command = [sys.executable, "-m", "robench", "corrupt", str(people), str(halved), *conditions]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    while len(contents(halved)) < 3 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code
    assert "Traceback" not in err
    if number == signal.SIGINT:
        assert "resume with" in err
        assert "robench corrupt" in err
    kept = contents(halved)
    assert 3 <= len(kept) < 33
    assert all(finished[name] == data for name, data in kept.items())

    code, out, _ = robench("corrupt", people, halved, *conditions)
    assert code == 0
    # The picture in hand may be there without its line in the journal; it is made again.
    assert f"({33 - len(kept)} made now" in out or f"({34 - len(kept)} made now" in out
    assert contents(halved) == finished
    assert [p for p in halved.rglob("*") if p.name.startswith(".tmp-") or p.name.endswith(".wip.jsonl")] == []
