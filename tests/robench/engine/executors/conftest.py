"""The toy plug-ins, for this process and for those on clusters; a run by this process alone to compare with."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from cluster_harness import TOYS, World, science

from robench import registry
from robench.engine.evaluate import evaluate
from robench.engine.tasks import Options


@pytest.fixture(scope="module")
def environment() -> Mapping[str, str]:
    """More variables for the processes of a module's tests; a module may say otherwise."""
    return {}


@pytest.fixture(scope="module")
def world(
    tmp_path_factory: pytest.TempPathFactory, environment: Mapping[str, str], people_writer: Callable[..., Path]
) -> Iterator[World]:
    """Toys that take 150 ms a picture, installed for every process that is started meanwhile."""
    base, mark = tmp_path_factory.mktemp("world"), f"TOY_MARK_{secrets.token_hex(8)}"
    people, state = people_writer(base / "people"), base / "state"
    state.mkdir()
    asked = {"model": "toy", "corruptions": "toy_dim,toy_step", "severities": "2,4", "masker": "given", "device": "cpu"}
    metrics = ["toy_depth_cm", "toy_height_cm", "mask_iou"]

    def options(out: str, **changes: Any) -> Options:
        fixed: dict[str, Any] = {"data": people, "metrics": metrics, "out": base / out, "keep": "none", "quiet": True}
        return Options(**(asked | fixed | {"workers": 2} | changes))

    def command(out: str, *more: str) -> list[str]:
        words = [word for name, value in asked.items() for word in (f"--{name}", value)]
        words += ["--data", str(people), "--metrics", ",".join(metrics), "--out", str(base / out), "--workers", "2"]
        return [sys.executable, "-m", "robench", "evaluate", *words, "--keep-meshes", "none", "-q", *more]

    ours = {mark: "1", "PYTHONPATH": str(TOYS), "TOY_STATE": str(state), "TOY_MS": "150", "OMP_NUM_THREADS": "1"}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**ours, **environment}.items():
            patch.setenv(name, value)
        patch.setattr(sys, "path", [str(TOYS), *sys.path])
        registry.entries.cache_clear()
        patch.setenv("TOY_MS", "0")
        alone = evaluate(options("alone", workers=1, in_process=True))
        patch.setenv("TOY_MS", ours["TOY_MS"])
        yield World(state, options, command, science(alone.folder), mark)
    registry.entries.cache_clear()
