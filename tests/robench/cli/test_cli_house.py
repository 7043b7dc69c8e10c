"""The command line as a house: verbs, one place for errors, list, show, doctor, fetch."""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import robench
from robench import cli
from robench.errors import ExitCode, NotComparable, UsageError

runner = CliRunner()


def run(*arguments: str, **kwargs: object) -> tuple[int, str, str]:
    """Run the real entry point, errors and all, in this process."""
    done = runner.invoke(cli.app, list(arguments), catch_exceptions=True, **kwargs)
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def end(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Return a function that runs `main` with a command that raises, and returns (exit code, stderr)."""

    def act(error: BaseException) -> tuple[int, str]:
        def app(prog_name: str) -> None:
            raise error

        monkeypatch.setattr(cli, "app", app)
        before = signal.getsignal(signal.SIGTERM)
        try:
            with pytest.raises(SystemExit) as caught:
                cli.main()
        finally:
            signal.signal(signal.SIGTERM, before)
        return int(caught.value.code or 0), capsys.readouterr().err

    return act


def test_help_lists_every_verb() -> None:
    code, out, _ = run("--help")
    assert code == 0
    for verb in cli.VERBS:
        assert f" {verb} " in out


def test_every_verb_has_a_help_text_with_a_summary() -> None:
    for verb in cli.VERBS:
        code, out, _ = run(verb, "--help")
        assert code == 0, verb
        assert "Usage: " in out


def test_every_verb_module_registers() -> None:
    for verb in cli.VERBS:
        assert callable(importlib.import_module(f"robench.cli.{verb}").register)


def test_version() -> None:
    assert run("--version") == (0, f"robench {robench.__version__}\n", "")


def test_no_command_shows_the_help() -> None:
    code, out, err = run()
    assert code == 2
    assert "Usage" in out + err


def test_a_mistyped_verb_is_answered_by_a_near_one() -> None:
    code, _, err = run("evalute")
    assert code == 2
    assert "evaluate" in err


# --- errors ---


@pytest.mark.parametrize("error", [UsageError("No such file", got="x.png"), NotComparable("Two protocols")])
def test_a_robench_error_is_one_sentence_and_its_code(end, error) -> None:
    assert end(error) == (int(error.exit_code), f"{error}\n")


def test_an_interrupt_ends_with_130(end) -> None:
    assert end(KeyboardInterrupt()) == (130, "Interrupted.\n")


def test_a_full_disk_is_told_in_one_sentence(end) -> None:
    code, err = end(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/x.png"))
    assert code == ExitCode.ENVIRONMENT
    assert err.startswith("The disk is full at /data/x.png.")
    assert err.count("\n") == 1


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_path_that_cannot_be_written_is_a_usage_error(end, number: int) -> None:
    code, err = end(OSError(number, os.strerror(number), "/usr/x.png"))
    assert code == ExitCode.USAGE
    assert "/usr/x.png" in err
    assert err.count("\n") == 1


def test_a_bug_keeps_its_traceback_in_a_file_and_prints_one_line(end, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    code, err = end(ZeroDivisionError("inside"))
    assert code == ExitCode.BUG
    assert err.count("\n") == 1
    (kept,) = tmp_path.glob("robench-*.txt")
    assert str(kept) in err
    assert "ZeroDivisionError: inside" in kept.read_text()
    assert "Traceback" in kept.read_text()


def test_a_bug_whose_traceback_cannot_be_kept_prints_it(end, monkeypatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    code, err = end(ZeroDivisionError("inside"))
    assert code == ExitCode.BUG
    assert "Traceback" in err


def test_sigterm_runs_what_is_to_be_done_last_and_ends_with_143(tmp_path: Path) -> None:
    script = f"""
import time
from robench import cli
def app(prog_name):
    try:
        open({str(tmp_path / "started")!r}, "w").close()
        time.sleep(60)
    finally:
        open({str(tmp_path / "tidied")!r}, "w").close()
cli.app = app
cli.main()
"""
    process = subprocess.Popen([sys.executable, "-c", script])
    deadline = time.monotonic() + 30
    while not (tmp_path / "started").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.terminate()
    assert process.wait(30) == ExitCode.TERMINATED
    assert (tmp_path / "tidied").exists()


# --- list and show ---


def test_list_without_a_kind_lists_all_kinds() -> None:
    code, out, _ = run("list", "--names")
    assert code == 0
    assert {"pifu", "fog_3d", "u2netp-anny", "chamfer_cm", "folder", "2d-priors"} <= set(out.split())


@pytest.mark.parametrize("kind", ["models", "corruptions", "maskers", "metrics", "datasets", "recipes"])
def test_list_json_has_a_row_a_name_and_none_of_ours_is_broken(kind: str) -> None:
    code, out, _ = run("list", kind, "--json")
    assert code == 0
    rows = json.loads(out)
    names = run("list", kind, "--names")[1].split()
    assert [row["name"] for row in rows] == names
    for row in rows:
        assert row["status"] == "ok", row
        assert row["summary"]
        assert row["kind"] == kind
        assert row["origin"].startswith("robench (")


def test_list_for_people_shows_summaries_and_on_wish_origins() -> None:
    plain, more = run("list", "metrics")[1], run("list", "metrics", "--origin")[1]
    assert "chamfer_cm" in plain
    assert "robench.metrics.distance" not in plain
    assert "robench.metrics.distance" in more


def test_a_wrong_kind_is_answered_by_a_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'corruptions'"):
        run("list", "corrupptions")


@pytest.mark.parametrize("kind", ["corruption", "corruptions", "Corruption"])
def test_show_takes_singular_and_plural(kind: str) -> None:
    code, out, _ = run("show", kind, "fog_3d")
    assert code == 0
    assert "fog_3d (corruption, version" in out
    assert "beta_per_m" in out
    assert "needs: depth" in out
    assert "deviations" in out


def test_show_json_is_the_card() -> None:
    from robench import registry

    facts = json.loads(run("show", "corruption", "camera_roll", "--json")[1])
    card = registry.load("corruptions", "camera_roll").card
    assert facts["version"] == card.version
    assert list(facts["extra"]["severities"]) == ["1", "2", "3", "4", "5"]
    assert facts["extra"]["severities"]["5"]["degrees"] == card.extra["severities"][5]["degrees"]


def test_show_prints_every_registered_thing() -> None:
    for kind in ("models", "corruptions", "maskers", "metrics", "datasets", "recipes"):
        for name in run("list", kind, "--names")[1].split():
            code, out, _ = run("show", kind, name)
            assert code == 0
            assert name in out


def test_show_prints_markup_of_a_card_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    from robench.cli.show import _print_card

    card = {"name": "x", "kind": "metric", "version": "1", "summary": "values in [0, 1] [bold]", "licence": "MIT"}
    _print_card({**card, "reference": "[1]", "origin": "p (m:x)", "needs": [], "extra": {"range": "[red]0[/red]"}})
    out = capsys.readouterr().out
    assert "[0, 1] [bold]" in out
    assert "reference: [1]" in out
    assert "[red]0[/red]" in out


def test_show_recipe_prints_its_file() -> None:
    out = run("show", "recipe", "2d-priors")[1]
    assert "camera_roll" in out
    facts = json.loads(run("show", "recipe", "2d-priors", "--json")[1])
    assert Path(facts["path"]).is_file()
    assert facts["recipe"]["name"] == "2d-priors"


def test_an_unknown_recipe_is_answered_by_a_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean '2d-priors'"):
        run("show", "recipe", "2d-prior")


# --- doctor ---


def test_doctor_finds_this_machine_fit_with_the_model_free_canary() -> None:
    code, out, _ = run("doctor", "--model", "mean-body", "--json", "--device", "cpu")
    report = json.loads(out)
    failed = [finding for finding in report["findings"] if finding["verdict"] == "failed"]
    assert failed == []
    assert (code, report["ok"]) == (0, True)
    areas = {finding["area"] for finding in report["findings"]}
    assert areas >= {"system", "library", "device", "gl", "codec", "cache", "weights", "plug-in", "canary"}
    (canary,) = [finding for finding in report["findings"] if finding["area"] == "canary"]
    assert "170 cm tall" in canary["detail"]


def test_doctor_names_the_packages_that_opencv_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    from robench.cli import _checks

    real = importlib.import_module

    def without_gl(name: str, package: str | None = None):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, package)

    monkeypatch.setattr(_checks.importlib, "import_module", without_gl)
    (finding,) = [f for f in _checks.libraries() if f.verdict == "failed"]
    assert finding.name == "opencv-python"
    assert "libgl1" in finding.hint


def test_doctor_stops_at_a_missing_library_and_exits_7(monkeypatch: pytest.MonkeyPatch) -> None:
    from robench.cli import _checks

    monkeypatch.setattr(_checks, "libraries", lambda: iter([_checks.Finding("library", "torch", "failed", "gone")]))
    code, out, _ = run("doctor", "--json")
    assert code == ExitCode.ENVIRONMENT
    assert [finding["area"] for finding in json.loads(out)["findings"]] == ["system", "system", "library"]


def test_doctor_needs_a_gpu_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from robench.cli import _checks

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    verdicts = {wanted: next(iter(_checks.devices(wanted))).verdict for wanted in ("cpu", "auto", "cuda", "cuda:1")}
    assert verdicts == {"cpu": "absent", "auto": "absent", "cuda": "failed", "cuda:1": "failed"}


def test_doctor_with_an_unknown_model_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="did you mean 'mean-body'"):
        run("doctor", "--model", "mean_body")


def test_the_canary_is_a_person_of_the_height_it_says() -> None:
    from robench.cli._checks import CANARY_HEIGHT, canary_request

    request = canary_request()
    lines = np.flatnonzero(request.mask.any(axis=1))
    height = (lines[-1] - lines[0] + 1) / request.camera.scale
    assert height == pytest.approx(CANARY_HEIGHT, abs=2 / request.camera.scale)
    assert np.array_equal(request.mask, request.mask[:, ::-1])
    assert (request.image[request.mask == 0] == 0).all()


def test_a_canary_with_an_empty_mesh_fails() -> None:
    from robench.cli._checks import _look_at
    from robench.contracts import Mesh, OpenReport

    report = OpenReport("cpu", 0, "0" * 64)
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    broken = Mesh(np.full((3, 3), np.nan, np.float32), np.array([[0, 1, 2]], np.int32))
    assert {_look_at("m", mesh, report).verdict for mesh in (empty, broken)} == {"failed"}


def test_doctor_finds_weights_with_wrong_bytes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from robench.cli import _checks

    (tmp_path / "silueta.onnx").write_bytes(b"an HTML page, not a network")
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path))
    (finding,) = [f for f in _checks.weights() if f.name == "silueta"]
    assert finding.verdict == "failed"


# --- fetch ---


def test_fetch_shows_the_licence_and_takes_nothing_without_consent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("robench.masking.rembg.fetch", lambda *a: pytest.fail("it fetched"))
    with pytest.raises(UsageError, match="--yes"):
        run("fetch", "weights", "silueta", "--to", str(tmp_path))


def test_fetch_with_consent_fetches_to_the_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked = []
    monkeypatch.setattr("robench.masking.rembg.fetch", lambda name, to: asked.append((name, to)) or to / name)
    code, out, _ = run("fetch", "weights", "silueta", "--to", str(tmp_path), "--yes")
    assert code == 0
    assert asked == [("silueta", tmp_path)]
    assert "licence of the weights: Apache-2.0" in out


def test_fetch_of_an_unknown_name_is_answered_by_a_near_one() -> None:
    with pytest.raises(UsageError, match="did you mean 'silueta'"):
        run("fetch", "weights", "silvetta")
