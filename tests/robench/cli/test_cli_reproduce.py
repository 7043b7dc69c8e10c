"""`robench reproduce` as a user types it, with a real model and a tiny encoder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from robench.reproduce.settings import MEASURED


@pytest.fixture
def asked(plugins, make_people, tmp_path: Path):
    plugins.keep_only("metrics", *MEASURED)
    common = ["--data", make_people(2), "--out", tmp_path / "out", "--encoder", "tiny-random", "--device", "cpu"]
    return ["reproduce", "2d-priors", *common, "--model-option", "resolution=32", "--masker", "corrupted"]


def test_tables_are_printed_and_told_as_json(run, asked, tmp_path: Path) -> None:
    code, out, err = run(*asked, "--table", "1", "--table", "2", "--quiet")
    assert code == 0, err
    assert "Table II. Maskers under the most critical corruptions" in out
    assert "paper: Camera roll with the true mask multiplies the Chamfer distance by 5.97." in out
    assert f"{tmp_path / 'out' / 'README.md'}: 2 made" in err
    code, out, _ = run(*asked, "--table", "2", "--quiet", "--json")
    assert code == 0
    facts = json.loads(out)
    assert [(one["output"], one["state"], one["files"]) for one in facts["outputs"]] == [
        ("table2", "made", ["table2.csv"])
    ]
    (run_folder,) = (tmp_path / "out" / "runs").iterdir()
    assert run_folder.name.startswith("pifu-mini@")
    assert json.loads((run_folder / "run.json").read_text())["protocol"]["model_options"]["resolution"] == 32


def test_plan_is_for_people_and_programs(run, asked, tmp_path: Path) -> None:
    code, out, _ = run(*asked, "--table", "2", "--plan")
    assert code == 0
    assert "2 people, 26 pictures to reconstruct" in out
    assert "pifu-mini, masks by corrupted, all conditions: 26 pictures" in out
    code, out, _ = run(*asked, "--table", "2", "--plan", "--json")
    assert json.loads(out)["outputs"][0]["runs"][0]["cells"] == 26
    assert not (tmp_path / "out").exists()


def test_what_is_skipped_is_said_and_ends_with_7(run, asked, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setattr("robench.io.weights.hub_cache", lambda repository: None)
    asked[asked.index("tiny-random")] = "clip-vit-l14"
    code, _, err = run(*asked, "--table", "1")
    assert code == 7
    assert "skipped. The weights of 'clip-vit-l14' are not there. Try: hf download openai/clip-vit-large-patch14" in err
    assert "README.md: 1 skipped" in err


def test_unknown_papers_and_numbers_are_named(run, asked) -> None:
    code, _, err = run("reproduce", "2d-prior")
    assert (code, "There is no paper '2d-prior' to reproduce; expected 2d-priors" in err) == (2, True)
    code, _, err = run(*asked, "--figure", "2")
    assert code == 2
    assert "There is no figure 2 to reproduce; expected --figure 3, 4, 5, 6, 7, 8, 9, 10" in err
