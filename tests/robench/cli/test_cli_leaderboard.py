"""``robench publish`` and ``robench leaderboard``: what is printed, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from synthetic_runs import SyntheticRun, write_run


@pytest.fixture
def made(tmp_path: Path) -> SyntheticRun:
    return write_run(tmp_path / "runs", subjects=3, severities=(1, 5), metrics=("chamfer_cm",))


def test_publish_then_verify(run, made: SyntheticRun, tmp_path: Path) -> None:
    boards, said = tmp_path / "leaderboards", tmp_path / "submission.yaml"
    said.write_text("licence: mit\nvariant: small\nhardware: a laptop\n")
    code, out, _ = run("publish", made.folder, "--to", boards, "--submission", said, "--variant", "large")
    assert (code, out.startswith("new: ")) == (0, True)
    text = (boards / "given-mask" / "synthetic-people" / "main.csv").read_text()
    assert ",MIT," in text
    assert ",large," in text
    assert ",a laptop," in text
    assert ",small," not in text  # an option comes before the file
    code, out, _ = run("publish", made.folder, "--to", boards)
    assert (code, out.startswith("same: ")) == (0, True)
    code, out, _ = run("leaderboard", "verify", boards)
    assert code == 0
    assert "1 boards, 1 entries" in out
    assert out.rstrip().endswith("sound")


def test_a_mismatch_is_exit_8_and_named(run, made: SyntheticRun, tmp_path: Path) -> None:
    boards = tmp_path / "leaderboards"
    run("publish", made.folder, "--to", boards)
    table = boards / "given-mask" / "synthetic-people" / "main.csv"
    table.write_text(table.read_text().replace(",camera_roll,", ",fog_3d,"))
    code, out, _ = run("leaderboard", "verify", boards)
    assert code == 8
    assert "worst_corruption: is not what the rows say; got fog_3d, expected camera_roll" in out
    code, out, _ = run("leaderboard", "verify", boards, "--json")
    told = json.loads(out)
    assert (code, told["sound"], told["entries"]) == (8, False, 1)
    assert told["findings"][0]["column"] == "worst_corruption"
    assert run("leaderboard", "recompute", boards)[0] == 0
    assert run("leaderboard", "verify", boards)[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["publish", "{tmp}/nothing"], 2, "is not a run"),
        (["publish", "{run}", "--licence", "mine"], 2, "SPDX"),
        (["publish", "{run}", "--reference", "{tmp}"], 2, "is not a run"),
        (["publish", "{run}", "--submission", "{tmp}/none.yaml"], 2, "cannot be read"),
        (["leaderboard", "verify", "{tmp}/nothing"], 2, "no folder"),
        (["leaderboard", "verify", "{tmp}", "--rerun", "2"], 2, "both, or neither"),
        (["leaderboard", "verify", "{tmp}", "--rows", "{tmp}/none"], 8, "cannot be read"),
    ],
)
def test_mistakes_are_one_sentence(
    run, made: SyntheticRun, tmp_path: Path, arguments: list[str], code: int, told: str
) -> None:
    words = [word.format(tmp=tmp_path, run=made.folder) for word in arguments]
    extra = ["--to", str(tmp_path / "leaderboards")] if words[0] == "publish" else []
    found, _, err = run(*words, *extra)
    assert found == code
    assert told in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "leaderboards").exists()


def test_samples_are_run_again_from_the_command_line(run, made: SyntheticRun, tmp_path: Path) -> None:
    boards = tmp_path / "leaderboards"
    run("publish", made.folder, "--to", boards)
    code, out, _ = run("leaderboard", "verify", boards, "--rerun", "1", "--data", tmp_path)
    assert code == 0
    assert "not run again: " in out
