"""similarity as a user types it: files, output, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.io.images import read_image

BASE = ("similarity", "--encoder", "tiny-random", "-c", "darker,side_step", "-s", "1,4", "--device", "cpu")


def test_similarity(run, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, said, err = run(*BASE, "--data", people, "--out", out, "--step", "90")
    assert code == 0
    assert "view: front–left" in said
    assert "Left and right are the person's own" in said
    assert "24 comparisons made now" in err
    table = pd.read_csv(out / "similarity.csv")
    assert list(table["condition"]) == [
        *["darker"] * 3, *["side_step"] * 3, "view", "front–left", "front–back", "front–right",
    ]  # fmt: skip
    assert table["similarity"].between(-1, 1).all()
    means = table[table["condition"] == "darker"]["similarity"].to_numpy()
    assert means[0] == pytest.approx(means[1:].mean())
    assert means[1] > means[2], "a darker picture is less alike"
    stored = json.loads((out / "similarity.json").read_text())
    assert stored["facts"]["encoder"]["name"] == "tiny-random"
    assert len(stored["table"]) == 10
    rows = pd.read_json(out / "rows.jsonl", lines=True)
    assert len(rows) == 24
    assert rows["similarity"].notna().all()
    assert "| darker | all |" in (out / "similarity.md").read_text()
    for name in ("similarity.png", "views.png"):
        assert len(np.unique(read_image(out / name))) > 10
    before = (out / "similarity.csv").read_bytes()
    code, said, err = run(*BASE, "--data", people, "--out", out, "--step", "90", "--json")
    assert code == 0
    assert json.loads(said) == stored
    assert (out / "similarity.csv").read_bytes() == before


def test_a_plan_touches_nothing(run, people: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    code, said, _ = run(*BASE, "--data", people, "--out", out, "--plan", "--json")
    assert code == 0
    facts = json.loads(said)
    assert (facts["comparisons_of_pictures"], facts["comparisons_of_views"]) == (3 * 4, 3 * 24)
    assert run(*BASE, "--data", people, "--plan", "--step", "7")[0] == 2
    assert not out.exists()


def test_without_meshes_there_are_no_views_and_it_is_said(run, make_people, tmp_path: Path) -> None:
    people = make_people(1, mesh=False)
    code, said, err = run(*BASE, "--data", people, "--out", tmp_path / "found", "-q")
    assert code == 0
    assert "view:" not in said
    assert "no views were compared" in err
    assert not (tmp_path / "found" / "views.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (["--encoder", "clpi-vit-l14"], 2, "did you mean 'clip-vit-l14'"),
        (["--encoder", "tiny-random:"], 2, "NAME or NAME:FOLDER"),
        (["--encoder", "tiny-random:weights"], 2, "takes no weights"),
        (["--encoder", "clip-vit-l14:nowhere"], 7, "nowhere"),
        (["--step", "7"], 2, "must divide 90"),
        (["--level", "95"], 2, "between 0 and 1"),
        (["-c", "gloom"], 2, "no corruption 'gloom'"),
    ],
)
def test_mistakes_are_told_in_one_sentence(run, people: Path, tmp_path: Path, words, code, text) -> None:
    found, _, err = run(*BASE, "--data", people, "--out", tmp_path / "found", *words)
    assert (found, text in err) == (code, True), err
    assert not (tmp_path / "found").exists()


def test_a_folder_of_other_pictures_is_not_comparable(run, people: Path, tmp_path: Path) -> None:
    assert run(*BASE, "--data", people, "--out", tmp_path, "--step", "0")[0] == 0
    code, _, err = run(*BASE, "--data", people, "--out", tmp_path, "--step", "0", "--seed", "1")
    assert code == 6
    assert "--fresh" in err
