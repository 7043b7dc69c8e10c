"""Set-up on a fresh machine: what is missing is named, what is up to date is left alone. Nothing is installed here."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("tools/setup.sh", "pyproject.toml", "constraints.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "tools/setup.sh"],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)
    return path


def test_without_a_python_it_says_which_it_wants(checkout: Path) -> None:
    done = setup(checkout, PYTHON="/bin/false")
    assert done.returncode == 1
    assert "found no Python >= 3.11 as /bin/false" in done.stderr
    assert not (checkout / ".venv").exists()


def test_without_the_venv_module_it_names_the_package(checkout: Path) -> None:
    # A Python as Debian ships it: everything but venv and ensurepip.
    python = executable(checkout / "bin" / "python", f'[[ "$*" == *ensurepip* ]] && exit 1\nexec {sys.executable} "$@"')
    done = setup(checkout, PYTHON=str(python))
    assert done.returncode == 1
    assert "apt-get install python3-venv" in done.stderr


def _made(checkout: Path, python: str) -> None:
    """Make a .venv that set-up takes for its own: a stand-in for pip, a command and a stamp."""
    executable(checkout / ".venv/bin/python", python)
    executable(checkout / ".venv/bin/robench", "true")
    wanted = subprocess.run(
        "cat pyproject.toml constraints.txt tools/setup.sh | sha256sum | cut -c1-16",
        shell=True,
        cwd=checkout,
        capture_output=True,
        text=True,
        check=True,
    )
    (checkout / ".venv/robench-setup").write_text(f"{wanted.stdout.strip()} {checkout}\n")


def test_what_is_up_to_date_is_left_alone(checkout: Path) -> None:
    _made(checkout, "exit 0")
    done = setup(checkout)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_changed_constraint_installs_again_torch_first_and_exactly(checkout: Path) -> None:
    log = checkout / "calls.txt"
    _made(checkout, f'echo "$@" >> {log}')
    with (checkout / "constraints.txt").open("a") as file:
        file.write("# changed\n")
    done = setup(checkout, TORCH_INDEX="https://example.org/cpu")
    assert done.returncode == 0, done.stderr
    calls = [line for line in log.read_text().splitlines() if " install " in line]
    assert calls[0].endswith("pip setuptools")
    assert "--extra-index-url https://example.org/cpu torch==" in calls[1]
    assert calls[2].endswith("--editable .[dev]")
    assert all("--constraint constraints.txt" in call for call in calls)
    assert setup(checkout).stderr == "", "the second time there is nothing to do"


def test_a_library_that_opencv_lacks_is_named_by_its_package(checkout: Path) -> None:
    _made(checkout, '[[ "$*" == *"import cv2"* ]] && { echo "ImportError: libGL.so.1" >&2; exit 1; }; exit 0')
    (checkout / "pyproject.toml").write_text("# changed\n")
    done = setup(checkout)
    assert done.returncode == 1
    assert "ImportError: libGL.so.1" in done.stderr
    assert "apt-get install libgl1 libglib2.0-0" in done.stderr
    assert not (checkout / ".venv/robench-setup").exists(), "a set-up that failed is not up to date"


def test_a_download_that_fails_ends_with_the_reason(checkout: Path) -> None:
    _made(checkout, '[[ "$*" == *install* ]] && { echo "no network" >&2; exit 1; }; exit 0')
    (checkout / "pyproject.toml").write_text("# changed\n")
    done = setup(checkout)
    assert done.returncode == 1
    assert "no network" in done.stderr
    assert "Is there a network" in done.stderr
