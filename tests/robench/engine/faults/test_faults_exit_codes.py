"""Every exit code that ``robench evaluate`` can give, by the real command, and what it leaves to go on with."""

from __future__ import annotations

import os
import shlex
import signal
import time
from pathlib import Path

import pytest
from fault_harness import assert_same, assert_tidy, run_folder, science

from robench.engine.evaluate import evaluate


def wait_for(commands, head, name: str, times: int) -> None:
    """Wait until the toys have counted something."""
    while commands.count(name) < times:
        assert head.poll() is None, commands.done(head)
        time.sleep(0.005)


def test_0_done_also_when_some_failed(commands, toy_command, faults) -> None:
    faults(s1_0=("raises", -1))
    done = commands.run(*toy_command)
    assert done.code == 0
    assert "15 reconstructions (5 failed, 10 ok; 15 made now)" in done.out


def test_1_a_bug_keeps_its_traceback_and_finished_work(
    commands, toy_command, toy_options, faults, tmp_path: Path
) -> None:
    faults(open=("raises", 1))
    done = commands.run(*toy_command)
    assert done.code == 1
    assert "Unexpected ZeroDivisionError: by hand" in done.err
    kept = Path(done.err.rpartition("The traceback is in ")[2].strip().removesuffix("."))
    assert "Traceback" in kept.read_text()
    kept.unlink()


def test_2_two_commands_on_one_run(commands, toy_command, toy_options, tmp_path: Path) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    made = commands.count("calls")
    first = commands.start(*toy_command, TOY_MS="150")
    wait_for(commands, first, "calls", made + 1)
    second = commands.run(*toy_command)
    assert second.code == 2
    assert "Another robench is writing the run" in second.err
    assert first.wait(60) == 0
    assert_same(run_folder(tmp_path / "runs"), clean.folder)
    assert commands.count("calls") == made + 15, "the second one disturbed nothing"


@pytest.mark.parametrize(
    ("limit", "options"),
    [(["--fail-fast"], []), (["--max-failures", "1"], ["-j", "1"]), (["--max-failures", "1%"], ["--workers", "2"])],
    ids=["alone", "crew", "workers"],
)
def test_3_too_many_failures_stop_the_run(
    commands, toy_command, toy_options, faults, limit: list[str], options: list[str]
) -> None:
    faults(s0_0=("raises", -1))
    done = commands.run(*toy_command, *limit, *options, TOY_MS="20")
    assert done.code == 3
    assert "cells failed, more than allowed" in done.err
    assert commands.leftover(5.0) == {}
    faults()
    result = evaluate(toy_options(redo=("failed",)))
    assert result.statuses == {"ok": 15}
    assert_tidy(result.folder)


def test_3_all_cells_failed(commands, toy_command, faults, tmp_path: Path) -> None:
    faults(**dict.fromkeys(("s0_0", "s1_0", "s2_0"), ("nobody", -1)))
    done = commands.run(*toy_command)
    assert done.code == 3
    assert len(science(run_folder(tmp_path / "runs"))) == 45, "all rows are there"


def test_6_a_changed_checkpoint_is_another_run_and_resume_names_it(
    commands, toy_command, toy_options, monkeypatch, tmp_path: Path
) -> None:
    head = commands.start(*toy_command, TOY_MS="100")
    wait_for(commands, head, "calls", 3)
    head.kill()
    assert commands.done(head).code == -signal.SIGKILL
    old = run_folder(tmp_path / "runs")
    commands.environment["TOY_SHA"] = "beef" * 16
    plugins = ["--plugins", "toy,toy_depth_cm,toy_dim,toy_height_cm,toy_step"]
    refused = commands.run("resume", old, *plugins)
    assert refused.code == 6
    assert "its checkpoint_sha256 differs" in refused.err
    monkeypatch.setenv("TOY_SHA", "beef" * 16)
    assert evaluate(toy_options()).folder != old, "evaluate makes a run of its own"
    del commands.environment["TOY_SHA"]
    resumed = commands.run("resume", old, *plugins)
    assert resumed.code == 0, resumed.err
    assert "15 ok" in resumed.out
    assert set(science(old)["checkpoint_sha256"]) == {"c0ffee" * 10}


def test_6_a_checkpoint_that_changes_under_way(commands, toy_command, faults, tmp_path: Path) -> None:
    sha = tmp_path / "sha"
    sha.write_text("c0ffee" * 10)
    faults(s1_0=("killed", 1))
    head = commands.start(*toy_command, TOY_SHA=str(sha), TOY_MS="50")
    wait_for(commands, head, "calls", 1)
    sha.write_text("beef" * 16)
    done = commands.done(head)
    assert done.code == 6
    assert "The checkpoint changed while the run was under way" in done.err


def test_7_a_model_that_cannot_be_opened(commands, toy_command, faults, tmp_path: Path) -> None:
    faults(open=("exit", -1))
    done = commands.run(*toy_command)
    assert done.code == 7
    assert "ended while it was opened; got the model's process ended: exit code 3" in done.err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("options", [[], ["--workers", "2"]], ids=["alone", "workers"])
def test_7_a_machine_that_fails_under_way(
    commands, toy_command, toy_options, faults, tmp_path: Path, options: list[str]
) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    faults(s1_0=("machine", 1))
    done = commands.run(*toy_command, *options)
    assert done.code == 7
    assert "the accelerator fell off the bus" in done.err
    assert commands.leftover(5.0) == {}
    result = evaluate(toy_options())
    assert result.made < 15 or options, "what came before is kept"
    assert_same(result.folder, clean.folder)


def test_8_damaged_rows(commands, toy_command, toy_options) -> None:
    run = evaluate(toy_options()).folder
    (run / "rows" / "part-0000.parquet").write_bytes(b"PAR1")
    done = commands.run(*toy_command)
    assert done.code == 8
    assert "is damaged" in done.err
    assert "--fresh" in done.err
    assert commands.run(*toy_command, "--fresh").code == 0
    assert_tidy(run)


CTRL_C, TERM = (signal.SIGINT, 130, "Interrupted."), (signal.SIGTERM, 143, "Terminated.")


@pytest.mark.parametrize(
    ("number", "code", "says", "options"),
    [(*CTRL_C, []), (*CTRL_C, ["--workers", "2"]), (*TERM, ["-j", "1"]), (*TERM, ["--workers", "2"])],
    ids=["130 alone", "130 workers", "143 crew", "143 workers"],
)
def test_130_143_a_signal_ends_the_run_cleanly_and_soon(
    commands, toy_command, toy_options, tmp_path: Path, number: signal.Signals, code: int, says: str, options: list[str]
) -> None:
    clean = evaluate(toy_options(out=tmp_path / "clean"))
    made = commands.count("calls")
    command = [*toy_command, *options]
    head = commands.start(*command, TOY_MS="100")
    wait_for(commands, head, "calls", made + 8)
    # A terminal sends Ctrl-C to everybody, kill and Slurm send SIGTERM to the parent alone.
    os.killpg(head.pid, number) if number == signal.SIGINT else os.kill(head.pid, number)
    done = commands.done(head)
    assert done.code == code
    assert says in done.err
    assert "Finished work is kept; resume with" in done.err
    assert shlex.join(["robench", *command]) in done.err
    assert "Traceback" not in done.err
    assert commands.leftover(2.0) == {}
    result = evaluate(toy_options())
    assert result.made < 15
    assert_same(result.folder, clean.folder)
    assert_tidy(result.folder)


def test_130_ctrl_c_while_workers_are_starting(commands, toy_command, tmp_path: Path) -> None:
    head = commands.start(*toy_command, "--workers", "2", TOY_MS="2000")
    while sum(role == "worker" for role in commands.alive().values()) < 2 or commands.count("calls"):
        assert head.poll() is None
        time.sleep(0.005)
    head.send_signal(signal.SIGINT)
    started = time.monotonic()
    assert commands.done(head).code == 130
    assert time.monotonic() - started < 15, "no worker finishes its shard first, which takes 30 s"
    assert commands.leftover(2.0) == {}
