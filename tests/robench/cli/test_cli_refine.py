"""refine as a user types it: files, output, exit codes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.io.images import read_image
from robench.io.meshes import read_mesh, write_mesh

BASE = ("refine", "--model", "pifu-mini", "--prior", "tiny-random", "--masker", "given", "--device", "cpu")
SMALL = ("--model-option", "resolution=32", "--size", "64", "--iterations", "5")


def test_refine(run, make_people, tmp_path: Path) -> None:
    people = make_people(2)
    for path in (people / "meshes").iterdir():
        mesh = read_mesh(path)
        write_mesh(path, replace(mesh, colours=np.full((len(mesh.vertices), 3), (200, 120, 80), np.uint8)))
    out = tmp_path / "refined"
    code, said, err = run(*BASE, *SMALL, "--data", people, "--out", out, "--batch-size", "2")
    assert code == 0, err
    assert "PSNR to the true views" in said
    assert "4 samples refined now" in err
    assert "refine: 20/20 iterations" in err
    log = pd.read_csv(out / "log.csv")
    assert len(log) == 2 * 2 * 5
    assert {"iteration", "view", "loss", "psnr", "ssim", "truth_distance", "comparison"} <= set(log)
    assert log["loss"].notna().all()
    changes = pd.read_csv(out / "changes.csv")
    assert list(changes["measure"]) == ["loss", "psnr", "ssim", "truth_distance", "comparison"] * 2
    stored = json.loads((out / "refinement.json").read_text())
    assert stored["failed"] == []
    assert stored["facts"]["settings"]["embeddings"] == "both"
    assert "| clean | 0 | average |" in (out / "refinement.md").read_text()
    assert len(pd.read_csv(out / "curves.csv")) == 5 * (5 + 2)
    for name in ("curves.png", "before_after.png"):
        assert len(np.unique(read_image(out / name))) > 10
    code, said, err = run(*BASE, *SMALL, "--data", people, "--out", out, "--json")
    assert code == 0
    assert json.loads(said) == stored


def test_a_plan_touches_nothing(run, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "refined"
    code, said, _ = run(*BASE, *SMALL, "--data", people, "--out", out, "--plan", "--json")
    assert code == 0
    facts = json.loads(said)
    assert (facts["samples"], facts["refinements"], facts["iterations"]) == (3, 6, 30)
    assert facts["embeddings"] == ["sequential", "average"]
    code, said, _ = run(*BASE, *SMALL, "--data", people, "--out", out, "--plan", "-c", "darker", "-s", "1,2")
    assert code == 0
    assert "refinements  18" in said
    assert not out.exists()


def test_ctrl_c_says_how_to_go_on_and_the_same_command_does(run, make_people, tmp_path: Path, monkeypatch) -> None:
    from robench.engine.refine_work import RefineWork

    words = (*BASE, *SMALL, "--data", make_people(3), "--embeddings", "average", "--batch-size", "2")
    assert run(*words, "--out", tmp_path / "whole")[0] == 0
    kept, calls = RefineWork._kept, list[int]()

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return kept(*args)

    with monkeypatch.context() as patch:
        patch.setattr(RefineWork, "_kept", interrupted)
        code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 130
    assert "Interrupted. Finished work is kept; resume with:" in err
    code, _, err = run(*words, "--out", tmp_path / "out")
    assert code == 0
    assert "2 samples refined now" in err
    whole, resumed = (pd.read_csv(tmp_path / name / "log.csv") for name in ("whole", "out"))
    pd.testing.assert_frame_equal(whole, resumed, rtol=1e-4)


def test_a_person_whom_nobody_finds_is_counted_and_ends_with_3(run, make_people, tmp_path: Path) -> None:
    from robench.io.images import write_mask

    people = make_people(2)
    write_mask(people / "masks" / "s1_0.png", np.zeros((48, 48), np.float32))
    code, said, err = run(*BASE, *SMALL, "--data", people, "--out", tmp_path, "--embeddings", "average")
    assert code == 3
    assert "no_detection: s1_0 (clean): the mask has no person" in err
    assert "2 samples refined now; 1 of 2 could not be" in err
    assert "need ground-truth meshes with colours" in err
    assert "1/2" in said


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--model", "mean-body"], 2, "no colours that could be refined; expected pifu or pifu-mini."),
        (["--model", "pifuhd"], 2, "no colours that could be refined; expected pifu or pifu-mini."),
        (["--model", "pifu-experts"], 2, "no colours that could be refined; expected pifu or pifu-mini."),
        (["--model", "pifu"], 7, "ships no weights"),
        (["--prior", "clip-vit-l14:nowhere"], 7, "nowhere"),
        (["--prior", "dino"], 2, "no encoder 'dino'"),
        (["--checkpoint", "nowhere"], 2, "no checkpoint nowhere"),
        (["--embeddings", "mean"], 2, "sequential, average, both"),
        (["--protocol", "coded"], 2, "described, as-coded"),
        (["--batch-size", "0"], 2, "A batch has a sample at least"),
        (["--batch-size", "2", "--protocol", "as-coded"], 2, "no two can be refined together"),
        (["--lr", "0"], 2, "must be positive"),
        (["--size", "4"], 2, "16 to 2048"),
        (["--model-option", "crop"], 2, "NAME=VALUE"),
        (["-s", "3"], 2, "Severities go with corruptions"),
    ],
)
def test_mistakes_are_told_in_one_sentence(run, people: Path, tmp_path: Path, words, code, text) -> None:
    out = tmp_path / "refined"
    found, _, err = run(*BASE, *SMALL, "--data", people, "--out", out, *words)
    assert (found, text in err) == (code, True), err
    assert not out.exists()


def test_weights_without_colours_are_told_before_anything_is_written(run, people: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import save_file

    from baselines.pifu.adapter import MINI_WEIGHTS

    path = tmp_path / "shape.safetensors"
    with safe_open(MINI_WEIGHTS, "pt") as file:
        kept = {key: file.get_tensor(key) for key in list(file.keys()) if "colour" not in key and "net_C" not in key}
        save_file(kept, path, file.metadata())
    out = tmp_path / "refined"
    code, _, err = run(*BASE, *SMALL, "--data", people, "--out", out, "--checkpoint", path)
    assert code == 2
    assert "no colour network" in err
    assert not out.exists()
