"""corrupt, mask, evaluate, train, parity as a user types them: output, exit codes, Ctrl-C, kill."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from robench import cli, registry
from robench.analysis import read_rows
from robench.contracts import Card, Failure
from robench.io.images import read_image, read_mask

runner = CliRunner()

# corrupt


def test_corrupt(run, people: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker,side_step", "-s", "1-3", "--preview", sheet)
    code, out, err = run(*command)
    assert code == 0
    folder = next((tmp_path / "csets").iterdir())
    assert f"{folder}: 21 images (21 made now)" in out
    assert "21/21 images" in err
    height, width = read_image(sheet).shape[:2]
    assert width > 4 * 48
    assert height > 2 * 48
    code, out, _ = run(*command)
    assert (code, "0 made now" in out) == (0, True)


def test_corrupt_json_and_plan(run, people: Path, tmp_path: Path) -> None:
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "2", "-q", "--json")
    code, out, _ = run(*command, "--plan")
    plan = json.loads(out)
    assert (code, plan["images"], plan["left_out"]) == (0, 6, 0)
    assert not (tmp_path / "csets").exists()
    code, out, err = run(*command)
    assert (code, json.loads(out)["folder"], err) == (0, plan["folder"], "")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["-s", "6"], "1 to 5"),
        (["-c", "darkr"], "did you mean 'darker'"),
        (["--recipe", "2d-prior"], "did you mean '2d-priors'"),
        (["--recipe", "2d-priors", "-c", "darker"], "already says"),
        (["--preview", "sheet.jpg"], ".png"),
        (["--views", "a"], "0,90,180"),
        (["--subjects", ","], "empty"),
        (["--dataset", "foldr"], "did you mean 'folder'"),
    ],
)
def test_corrupt_usage(run, people: Path, tmp_path: Path, options: list[str], says: str) -> None:
    code, _, err = run("corrupt", people, tmp_path / "csets", *options)
    assert code == 2
    assert says in err
    assert not (tmp_path / "csets").exists()


def test_corrupt_without_depth(run, make_people, tmp_path: Path) -> None:
    people = make_people(depth=False, mesh=False, name="bare")
    code, _, err = run("corrupt", people, tmp_path / "csets", "--recipe", "2d-priors")
    assert code == 2
    assert "3 of 3 samples" in err
    assert "fog_3d" in err
    code, out, _ = run("corrupt", people, tmp_path / "csets", "-c", "foggy,darker", "-s", "1", "--skip-unable", "-q")
    assert code == 0
    assert "6 images (6 made now, 3 left out)" in out


def test_corrupt_into_a_file(run, people: Path, tmp_path: Path) -> None:
    (tmp_path / "csets").write_text("in the way")
    code, _, err = run("corrupt", people, tmp_path / "csets", "-c", "darker")
    assert code == 2
    assert "cannot be written" in err


def test_corrupt_with_a_bad_picture(run, people: Path, tmp_path: Path) -> None:
    (people / "images" / "s2_0.png").write_bytes(b"")
    code, out, err = run("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1", "-q")
    assert code == 3
    assert "4 images (4 made now, 2 failed)" in out
    assert "failed: s2_0 (2 images): s2_0.png cannot be used because it is empty" in err, "one line a reason"
    assert err.count("s2_0") == 2


def test_corrupt_interrupted(run, plugins, people: Path, tmp_path: Path) -> None:
    class Slow(type(registry.load("corruptions", "darker"))):
        left = 2

        def apply(self, image, params, aux):
            Slow.left -= 1
            if Slow.left < 0:
                raise KeyboardInterrupt
            return super().apply(image, params, aux)

    plugins.add("corruptions", "darker", Slow)
    command = ("corrupt", people, tmp_path / "csets", "-c", "darker", "-s", "1,2", "-q")
    code, _, err = run(*command)
    assert code == 130
    assert shlex.join(["robench", *map(str, command)]) in err
    Slow.left = 99
    code, out, _ = run(*command)
    assert code == 0
    assert "9 images (5 made now)" in out


# mask


@pytest.fixture
def finder(plugins):
    class Finder(type(registry.load("maskers", "none"))):
        source = "predicted"
        card = Card("finder", "1", "finds bright red", extra={"weights_hash": "sha256:1"})

        def mask(self, image):
            return (image[..., 0] > 150).astype(np.float32)

    plugins.add("maskers", "finder", Finder)
    return Finder


def test_mask_a_set(run, finder, people: Path, tmp_path: Path) -> None:
    run("corrupt", people, tmp_path / "csets", "-c", "side_step", "-s", "2", "-q")
    cset = next((tmp_path / "csets").iterdir())
    code, out, _ = run("mask", cset, "--masker", "finder", "-q")
    assert code == 0
    assert "6 masks" in out
    folder = next((cset / "masks").iterdir())
    assert folder.name.startswith("finder-")
    moved, clean = read_mask(folder / "side_step/2/s0_0.png"), read_mask(folder / "clean/0/s0_0.png")
    assert np.array_equal(moved[:, 2:], clean[:, :-2])
    (folder / "clean/0/s0_0.png").unlink()
    _, out, _ = run("mask", cset, "--masker", "finder", "--json", "-q")
    assert json.loads(out)["made"] == 1


def test_mask_a_folder(run, finder, people: Path, tmp_path: Path) -> None:
    assert run("mask", people, "--masker", "finder", "-q")[0] == 0
    masks = tmp_path / "people-masks"
    assert sorted(p.name for p in masks.glob("*.png")) == ["s0_0.png", "s1_0.png", "s2_0.png"]
    finder.card = dataclasses.replace(finder.card, version="2")
    code, _, err = run("mask", people, "--masker", "finder", "-q")
    assert (code, "another masker" in err) == (2, True)
    assert run("mask", people, "--masker", "finder", "-q", "--out", tmp_path / "new")[0] == 0


def test_mask_failures_and_blanks(run, finder, people: Path, tmp_path: Path, monkeypatch) -> None:
    (people / "images" / "s1_0.png").write_bytes(b"junk")
    monkeypatch.setattr(finder, "mask", lambda self, image: np.zeros(image.shape[:2], np.float32))
    code, out, err = run("mask", people, "--masker", "finder", "-q")
    assert code == 3
    assert "2 masks, 2 of them blank" in out
    assert "s1_0" in err


def test_mask_by_the_truth_is_refused(run, people: Path) -> None:
    code, _, err = run("mask", people, "--masker", "given", "-q")
    assert code == 2
    assert "does not look at pictures" in err


# evaluate


@pytest.fixture
def command(people: Path, tmp_path: Path) -> list[object]:
    base = ["evaluate", "--model", "toy", "--data", people, "-c", "darker", "-s", "1,3", "--masker", "given"]
    return [*base, "--in-process", "--out", tmp_path / "runs"]


def test_evaluate_ends_with_the_table(run, command, tmp_path: Path) -> None:
    code, out, err = run(*command)
    assert code == 0
    folder = next((tmp_path / "runs").iterdir())
    assert out.index("clean") < out.index("darker")
    assert f"{folder}: 9 reconstructions (9 ok; 9 made now)" in out
    assert f"next: robench report {folder}" in out
    assert "9/9 samples" in err
    code, out, _ = run(*command)
    assert (code, "0 made now" in out) == (0, True)


def test_evaluate_json(run, command) -> None:
    code, out, err = run(*command, "--json", "-q")
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert (said["cells"], said["failed"], said["statuses"]) == (9, 0, {"ok": 9})
    assert [row["corruption"] for row in said["table"]] == ["clean", "darker"]


def test_evaluate_plan_touches_nothing(run, command, tmp_path: Path) -> None:
    code, out, _ = run(*command, "--plan", "--json")
    plan = json.loads(out)
    assert code == 0
    assert (plan["samples"], plan["conditions"], plan["reconstructions"], plan["rows"]) == (3, 3, 9, 18)
    assert not (tmp_path / "runs").exists()
    assert "reconstructions  9" in run(*command, "--plan")[1]


@pytest.mark.parametrize(
    ("limit", "code"),
    [([], 0), (["--max-failures", "3"], 0), (["--max-failures", "2"], 3), (["--max-failures", "20%"], 3)],
)
def test_evaluate_failure_limit(run, plugins, command, limit: list[str], code: int) -> None:
    plugins.add_model(lambda request: Failure("failed", "no") if request.sample_id == "s1_0" else None)
    done = run(*command, *limit, "-q")
    assert done[0] == code
    if code == 0:
        assert "9 reconstructions (3 failed, 6 ok; 9 made now)" in done[1]
        return
    assert "cells failed, more than allowed" in done[2]
    again = run(*command, *limit, "-q")
    assert again == done, "nothing more is tried while too many have failed"
    finished = run(*command, "-q")
    assert finished[0] == 0
    assert "9 reconstructions (3 failed, 6 ok; " in finished[1]
    assert "9 made now" not in finished[1], "what was done is kept"


def test_evaluate_fail_fast_and_redo(run, plugins, command) -> None:
    plugins.add_model(lambda request: Failure("failed", "no") if request.sample_id == "s1_0" else None)
    code, _, err = run(*command, "--fail-fast", "-q")
    assert code == 3
    assert "1 of 4 cells failed" in err
    assert run(*command, "-q")[0] == 0
    plugins.add_model()
    assert "9 reconstructions (3 failed, 6 ok; 0 made now)" in run(*command, "-q")[1], "a failure is a result"
    assert "9 reconstructions (9 ok; 3 made now)" in run(*command, "--redo", "failed", "-q")[1]


def test_evaluate_when_all_fail(run, plugins, command) -> None:
    plugins.add_model(lambda request: Failure("failed", "no"))
    code, _, err = run(*command, "-q")
    assert code == 3
    assert "9 of 9 reconstructions failed" in err


def test_evaluate_tells_of_rows_without_penalty(run, command, people: Path) -> None:
    (people / "meshes" / "s1_0.ply").write_bytes(b"junk")
    code, _, err = run(*command, "-q")
    assert code == 0
    assert "1 samples have neither value nor penalty, such as 's1_0'" in err


def test_evaluate_photographs(run, make_people, tmp_path: Path) -> None:
    photos = make_people(mesh=False, mask=False, depth=False, name="photos")
    arguments = ["--model", "toy", "--data", photos, "-c", "darker", "-s", "1", "--masker", "none", "-q"]
    code, out, _ = run("evaluate", *arguments, "--in-process", "--out", tmp_path / "runs")
    assert code == 0
    assert "no ground truth" in out


def test_evaluate_interrupted(run, plugins, command) -> None:
    def behave(request):
        if len(model.seen) == 4:
            raise KeyboardInterrupt

    model = plugins.add_model(behave)
    code, _, err = run(*command, "-q", "--fresh")
    assert code == 130
    line = err.splitlines()[-1].strip()
    assert line == shlex.join(["robench", *map(str, command), "-q"]), "the way to resume does not start over"
    plugins.add_model()
    code, out, _ = run(*shlex.split(line)[1:])
    assert code == 0
    assert "5 made now" in out


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--max-failures", "many"], "5%"),
        (["--masker", "u2netp-any"], "did you mean 'u2netp-anny'"),
        (["--keep-meshes", "example"], "did you mean 'examples'"),
        (["--cset", "/nowhere"], "already fixes"),
        (["--model-option", "crop"], "NAME=VALUE"),
        (["--model-option", "crop=auto"], "no option 'crop'"),
        (["--resolution", "64"], "no option 'resolution'"),
    ],
)
def test_evaluate_usage(run, command, options: list[str], says: str, tmp_path: Path) -> None:
    code, _, err = run(*command, *options)
    assert code == 2
    assert says in err
    assert not (tmp_path / "runs").exists()


SLOW = """
import time
from robench.cli import main
from robench.engine.journal import Journal
append = Journal.append
Journal.append = lambda self, item: (append(self, item), time.sleep(0.1))[0]
main()
"""
"""A program that can be hit in the middle, however fast or busy the machine is."""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_killed_run_resumes_to_the_same_rows(make_people, tmp_path: Path, number: int, code: int) -> None:
    people = make_people(8, name="crowd")
    words = ["evaluate", "--model", "mean-body", "--data", str(people), "-c", "color_quant", "-s", "1-5", "-q"]
    words += ["--masker", "given", "--metrics", "mask_iou", "--keep-meshes", "none", "--device", "cpu"]

    def start(out: str) -> subprocess.Popen[str]:
        program = [sys.executable, "-c", SLOW, *words, "--out", str(tmp_path / out)]
        return subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    killed = start("runs")
    while killed.poll() is None:
        journals = list((tmp_path / "runs").glob("*/rows/*.wip.jsonl"))
        if journals and journals[0].read_bytes().count(b"\n") >= 3:
            os.kill(killed.pid, number)
            break
        time.sleep(0.02)
    _, err = killed.communicate(timeout=120)
    assert killed.returncode == code
    folder = next((tmp_path / "runs").iterdir())
    done = len(read_rows(folder))
    assert 3 <= done < 48
    if number == signal.SIGINT:
        assert f"resume with:\n  robench {shlex.join(words)}" in err

    finished = runner.invoke(cli.app, [*words, "--out", str(tmp_path / "runs"), "--json"])
    assert finished.exit_code == 0, finished.output
    assert json.loads(finished.stdout)["made"] == 48 - done
    whole = runner.invoke(cli.app, [*words, "--out", str(tmp_path / "whole"), "--json"])
    other = Path(json.loads(whole.stdout)["run"])
    cost = ["time_s", "gpu_mem_mb", "device", "attempt", "shard", "robench_version"]
    one, two = (
        read_rows(f).drop(columns=cost).sort_values(["sample_id", "severity"]).reset_index(drop=True)
        for f in (folder, other)
    )
    pd.testing.assert_frame_equal(one, two)


# train and parity


def test_train(run, plugins, tmp_path: Path) -> None:
    asked = {}

    def train(config, data, out, **kwargs):
        asked.update(kwargs, config=config)
        return out / "model.safetensors"

    model = plugins.add_model()
    model.train = train
    config = tmp_path / "c.yaml"
    config.write_text("steps: 3\n")
    words = ("--config", config, "--data", "d", "--out", tmp_path / "t")
    code, out, _ = run("train", "toy", *words, "--device", "cpu", "--max-minutes", "2", "--resume")
    assert code == 0
    assert asked == {"config": config, "device": "cpu", "max_minutes": 2.0, "resume": True}
    assert f"{tmp_path / 't' / 'model.safetensors'}: the weights" in out

    def stopped(*args, **kwargs):
        raise KeyboardInterrupt

    model.train = stopped
    code, _, err = run("train", "toy", *words)
    assert code == 130
    assert err.rstrip().endswith("--resume")


def test_train_usage(run, plugins, tmp_path: Path) -> None:
    words = ("--config", tmp_path / "c.yaml", "--data", "d", "--out", tmp_path / "t")
    code, _, err = run("train", "toy", *words)
    assert (code, "cannot be trained" in err) == (2, True)
    plugins.add_model().train = lambda *args, **kwargs: None
    code, _, err = run("train", "toy", *words)
    assert (code, "no file of training options" in err) == (2, True)
    (tmp_path / "c.yaml").write_text("")
    code, _, err = run("train", "toy", *words, "--max-minutes", "0")
    assert (code, "more than 0" in err) == (2, True)


@pytest.mark.parametrize(("error", "code"), [(1e-7, 0), (1e-2, 8)])
def test_parity(run, plugins, tmp_path: Path, error: float, code: int) -> None:
    golden = tmp_path / "g.npz"
    golden.write_bytes(b"")
    lines = [SimpleNamespace(array="pred", error=error, tolerance=1e-5, ok=error < 1e-5)]
    plugins.add_model().parity = lambda path: lines
    done = run("parity", "toy", golden)
    assert done[0] == code
    assert done[1].splitlines() == [f"{'ok  ' if code == 0 else 'FAIL'} g.npz pred  error {error:.3g}  tolerance 1e-05"]
    done = run("parity", "toy", golden, golden, "--json")
    said = json.loads(done[1])
    assert (done[0], said["ok"], len(said["arrays"])) == (code, code == 0, 2)


def test_parity_usage(run, plugins, tmp_path: Path) -> None:
    golden = tmp_path / "g.npz"
    assert "no parity check" in run("parity", "toy", golden)[2]
    plugins.add_model().parity = lambda path: []
    code, _, err = run("parity", "toy", golden)
    assert (code, "no file of golden values" in err) == (2, True)
    golden.write_bytes(b"")
    code, _, err = run("parity", "toy", golden)
    assert (code, "no array was compared" in err) == (8, True)
