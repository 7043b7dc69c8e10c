"""``robench status``, ``robench resume``, ``--profile``, ``--plan`` with times, and progress for other programs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest

from robench.analysis import read_rows
from robench.contracts import Failure, Reconstruction
from robench.engine.profile import read_profile
from robench.engine.rows import COST

OURS = ("--plugins", "darker,height_error_cm,toy", "-q")
KEY = ["sample_id", "corruption", "severity", "metric"]


@pytest.fixture
def command(people: Path, tmp_path: Path) -> list[object]:
    base = ["evaluate", "--model", "toy", "--data", people, "-c", "darker", "-s", "1,3", "--masker", "given"]
    return [*base, "--in-process", "-q", "--out", tmp_path / "runs"]


@pytest.fixture
def interrupted(run, plugins, command, tmp_path: Path) -> Path:
    """A run of nine cells of which four are done, one of them failed."""
    plugins.add_model(_stop_after(4))
    assert run(*command)[0] == 130
    return next((tmp_path / "runs").iterdir())


def _stop_after(count: int):
    calls = []

    def behave(request):
        if len(calls) == count:
            raise KeyboardInterrupt
        calls.append(request.sample_id)
        return Failure("no_detection", "nobody there") if len(calls) == 2 else None

    return behave


def science(folder: Path) -> pd.DataFrame:
    return read_rows(folder).sort_values(KEY).reset_index(drop=True).drop(columns=list(COST))


def test_status_of_a_run_that_was_interrupted(run, interrupted: Path) -> None:
    code, out, _ = run("status", interrupted)
    assert code == 0
    assert "interrupted, 4 of 9 cells (1 no_detection, 3 ok)" in out
    assert "1 x no_detection: nobody there (such as 's0_0')" in out
    assert f"robench resume {interrupted} --plugins darker,height_error_cm,toy" in out
    said = json.loads(run("status", interrupted, "--json")[1])[0]
    assert (said["cells"], said["done"], said["failed"], said["left"]) == (9, 4, 1, 5)
    assert said["state"] == "interrupted"


def test_status_of_a_run_under_way(run, interrupted: Path) -> None:
    from robench.engine.journal import only_writer

    with only_writer(interrupted, "the run"):
        code, out, _ = run("status", interrupted)
    assert code == 0
    assert "running, 4 of 9 cells" in out
    assert "cells/s" in out
    assert "left" in out


def test_status_of_what_is_no_run(run, tmp_path: Path) -> None:
    code, _, err = run("status", tmp_path)
    assert code == 2
    assert "is not a run" in err


def test_resume_needs_nothing_but_the_folder(run, plugins, interrupted: Path, command, tmp_path: Path) -> None:
    plugins.add_model()
    code, out, _ = run("resume", interrupted, *OURS)
    assert code == 0
    assert "9 reconstructions (1 no_detection, 8 ok; 5 made now)" in out
    assert "complete, 9 of 9" in run("status", interrupted)[1]
    assert "0 made now" in run("resume", interrupted, *OURS)[1]
    whole = [*command[:-1], tmp_path / "whole"]
    assert run(*whole)[0] == 0
    assert "9 reconstructions (9 ok; 1 made now)" in run("resume", interrupted, *OURS, "--redo", "no_detection")[1]
    pd.testing.assert_frame_equal(science(interrupted), science(next((tmp_path / "whole").iterdir())))


def test_resume_names_the_ingredient_that_changed(run, plugins, interrupted: Path, people: Path) -> None:
    plugins.add_model(sha256="deadbeef" * 8)
    code, _, err = run("resume", interrupted, *OURS)
    assert code == 6
    assert "its checkpoint_sha256 differs" in err
    assert "deadbeef" in err
    plugins.add_model()
    (people / "masks" / "s1_0.png").write_bytes((people / "masks" / "s2_0.png").read_bytes())
    code, _, err = run("resume", interrupted, *OURS)
    assert code == 6
    assert "its dataset.revision differs" in err


def test_resume_of_options_from_elsewhere(run, interrupted: Path) -> None:
    said = json.loads((interrupted / "run.json").read_text())
    (interrupted / "run.json").write_text(json.dumps(said | {"options": {**said["options"], "colour": "blue"}}))
    code, _, err = run("resume", interrupted, *OURS)
    assert code == 2
    assert "got colour" in err


def test_profile_says_where_the_time_went(run, plugins, command, tmp_path: Path) -> None:
    class Timed:
        def __init__(self) -> None:
            self.toy = plugins.add_model()
            self.card = self.toy.card

        def open(self, device, weights=None):
            return self.toy.open(device, weights)

        def reconstruct(self, requests):
            made = self.toy.reconstruct(requests)
            return [Reconstruction(one.mesh, one.inputs_read, {"encode": 0.25, "query": 0.5}) for one in made]

        def close(self) -> None:
            pass

    timed = Timed()
    plugins.add("models", "toy", lambda: timed)
    code, out, _ = run(*command, "--profile")
    folder = next((tmp_path / "runs").iterdir())
    assert code == 0
    assert "9 cells on cpu" in out
    profile = read_profile(folder)
    assert profile.cells == 9
    assert profile.seconds["encode"] == pytest.approx(9 * 0.25)
    assert profile.model_s == pytest.approx(9 * 0.75)
    table = pd.read_csv(folder / "profile.csv")
    assert list(table["stage"])[:4] == ["corrupt", "mask", "encode", "query"]
    assert table["share"].sum() == pytest.approx(1.0, abs=1e-4)
    assert (folder / "profile.png").read_bytes().startswith(b"\x89PNG")


def test_plan_tells_time_and_disk_from_what_was_measured(run, plugins, command) -> None:
    plan = json.loads(run(*command, "--plan", "--json")[1])
    assert (plan["hours"], plan["rows_mb"], plan["measured_on"]) == (None, None, None)
    assert "has no run of this model" in run(*command, "--plan")[1]
    assert run(*command)[0] == 0
    plan = json.loads(run(*command, "--plan", "--json")[1])
    assert plan["hours"] > 0
    assert plan["rows_mb"] > 0
    assert "9 cells on cpu" in plan["measured_on"]
    halved = json.loads(run(*command, "--workers", "2", "--plan", "--json")[1])
    assert halved["hours"] == pytest.approx(plan["hours"] / 2)


def test_json_events(run, command) -> None:
    loud = [word for word in command if word != "-q"]
    code, out, err = run(*loud, "--json")
    assert code == 0
    assert json.loads(out)["cells"] == 9, "one document on stdout"
    events = [json.loads(line) for line in err.splitlines()]
    assert {event["event"] for event in events} == {"progress"}
    assert (events[-1]["done"], events[-1]["total"], events[-1]["failed"]) == (9, 9, 0)


def test_a_damaged_run_is_told_apart(run, interrupted: Path) -> None:
    shutil.copy(interrupted / "run.json", interrupted / "kept.json")
    (interrupted / "run.json").write_text("[]")
    code, _, err = run("status", interrupted)
    assert code == 8
    assert "is damaged" in err


def test_a_folder_does_not_choose_which_plug_ins_run(run, interrupted: Path) -> None:
    code, _, err = run("resume", interrupted, "--plugins", "darker,height_error_cm")
    assert code == 2
    assert "not robench's own: toy" in err
    assert "--plugins darker,height_error_cm,toy" in err


@pytest.mark.parametrize(("name", "value"), [("workers", "2"), ("data", 5), ("model_options", []), ("timeout_s", True)])
def test_options_of_another_type_are_damage(run, interrupted: Path, name: str, value: object) -> None:
    said = json.loads((interrupted / "run.json").read_text())
    (interrupted / "run.json").write_text(json.dumps(said | {"options": {**said["options"], name: value}}))
    code, _, err = run("resume", interrupted, *OURS)
    assert code == 8
    assert f"'{name}' of this run is damaged" in err
