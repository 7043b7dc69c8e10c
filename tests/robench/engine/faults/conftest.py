"""Toy plug-ins that do wrong, in this process and in commands; nothing may be left behind by any test here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fault_harness import MARK, TOYS, Commands

from robench import registry
from robench.engine.tasks import Options


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    """Toys installed for this process and for commands, whose processes are all gone in the end."""
    found = Commands(tmp_path / "commands")
    for name in (MARK, "PYTHONPATH", "TOY_STATE", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, found.environment[name])
    monkeypatch.setattr(sys, "path", [str(TOYS), *sys.path])
    registry.entries.cache_clear()
    yield found
    monkeypatch.undo()
    registry.entries.cache_clear()
    assert found.leftover() == {}, "processes were left behind"


@pytest.fixture
def crowd(make_people: Callable[..., Path]) -> Path:
    """Four subjects from three sides."""
    return make_people(4, (0.0, 90.0, 180.0))


@pytest.fixture
def toy_options(commands: Commands, people: Path, tmp_path: Path) -> Callable[..., Options]:
    """A function of changes that returns options: 3 subjects, clean and 2 corruptions at 2 severities, 15 cells."""
    base = Options(
        model="toy",
        data=people,
        corruptions="toy_dim,toy_step",
        severities="2,4",
        masker="given",
        metrics=("toy_depth_cm", "toy_height_cm", "mask_iou"),
        out=tmp_path / "runs",
        device="cpu",
        quiet=True,
        in_process=True,
        keep="none",
    )

    def make(**changes: Any) -> Options:
        return replace(base, **changes)

    return make


@pytest.fixture
def toy_command(commands: Commands, people: Path, tmp_path: Path) -> list[str]:
    """The words of the command of `toy_options`, with the model in a process of its own."""
    words = ["evaluate", "--model", "toy", "--data", str(people), "-c", "toy_dim,toy_step", "-s", "2,4"]
    words += ["--masker", "given", "--metrics", "toy_depth_cm,toy_height_cm,mask_iou", "--device", "cpu"]
    return [*words, "--out", str(tmp_path / "runs"), "--keep-meshes", "none", "-q"]


@pytest.fixture
def faults(monkeypatch: pytest.MonkeyPatch, commands: Commands) -> Callable[..., None]:
    """A function of ``sample=(what, how often)`` that tells the toys what to do, here and in commands."""
    import json

    def tell(**by_name: tuple[str, int]) -> None:
        text = json.dumps(by_name)
        monkeypatch.setenv("TOY_FAULTS", text)
        commands.environment["TOY_FAULTS"] = text
        assert os.environ["TOY_STATE"]

    return tell
