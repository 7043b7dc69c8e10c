"""``kill -9`` of anybody at any moment, then the same command: the rows of a run that nobody disturbed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fault_harness import assert_same, assert_tidy, chaos, run_folder

from robench.engine.evaluate import evaluate

# Who works: options, who is killed how often (of those who work alone, a "worker" is a model that is just opening), and
# how many pictures that the model had finished a kill may cost: the one in its answer, the one that is being scored,
# and those in the hands of a crew.
CASES = {
    "alone": ([], {"model": 16, "worker": 3, "head": 3, "all": 2}, 2),
    "crew": (["-j", "2"], {"model": 5, "worker": 6, "head": 2, "all": 1}, 7),
    "workers": (["--workers", "2"], {"model": 8, "worker": 6, "head": 2, "all": 2}, 4),
}


def test_there_are_fifty_kills() -> None:
    assert sum(sum(kills.values()) for _, kills, _ in CASES.values()) >= 50


@pytest.mark.parametrize("case", CASES)
def test_kills_change_no_row(commands, toy_options, toy_command, crowd: Path, tmp_path: Path, case: str) -> None:
    options, kills, redone = CASES[case]
    base = replace(toy_options(), data=crowd, severities="1-5", keep="all", out=tmp_path / "undisturbed")
    undisturbed = evaluate(base)
    made = commands.count("calls")
    words = [*toy_command, *options, "--data", crowd, "-s", "1-5", "--keep-meshes", "all", "--retries", "9"]
    commands.environment["TOY_MS"] = "15"
    seed = sum(map(ord, case))
    seen = chaos(commands, words, np.random.Generator(np.random.PCG64(seed)), kills, (0.01, 0.12))
    assert seen.kills == kills
    run = run_folder(tmp_path / "runs")
    assert run.name == undisturbed.folder.name
    assert_same(run, undisturbed.folder)
    assert_tidy(run)
    again = commands.count("calls") - 2 * made
    assert 0 <= again <= redone * seen.total
