"""Boards with known truth: ties, a stale line, failures, missing values, a malicious name."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from robench.leaderboard import publish as publishing
from tests.robench import synthetic_runs
from tests.robench.synthetic_runs import MEAN_BODY, write_run

ATTACK = "<img src=x onerror=alert(1)><b>evil</b>"
EVIL_LINK = "javascript:alert(document.domain)"
PLAIN_LINK = "http://example.org/run"
DATASET = "synthetic-people"
SAID = {"licence": "MIT", "date": "2026-11-20", "code_url": "https://example.org/code?a=1&b=2"}


def effects(roll: float, fog: float, noise: float) -> dict[str, float]:
    return {"camera_roll": roll, "fog_3d": fog, "iso_noise": noise}


# Ratios to clean. Noise spreads them, so that the first two cannot be told apart.
STEADY, ALIKE, WEAK = effects(1.1, 1.1, 1.1), effects(1.1, 1.1, 1.1), effects(1.6, 1.6, 1.6)


def write(runs: Path, model: str, **wishes: Any) -> Any:
    """Write a small synthetic run."""
    small = {"subjects": 10, "severities": (1, 3, 5), "metrics": ("chamfer_cm", "fscore_1cm", "mask_iou")}
    return write_run(runs, model, **{**small, **wishes})


def _publish(root: Path, run: Any, recipe: str = "everything", **said: str) -> str:
    """Publish a run under a recipe's name, and return its id."""
    reference = said.pop("reference", None)
    about = json.loads((run.folder / "run.json").read_text())
    about["recipe"]["name"] = recipe
    (run.folder / "run.json").write_text(json.dumps(about))
    publishing.publish([run.folder], root, publishing.Wishes({**SAID, **said}, "2026-11-20", reference))
    return str(run.run_id)


def publish_boards(folder: Path) -> Path:
    """Publish two boards: masks given, with two recipes and seven models; picture alone, with two models."""
    root, runs = folder / "leaderboards", folder / "runs"
    _publish(root, write(runs, "mean-body", effects=MEAN_BODY, clean_cm=3.0), variant="reference")
    steady = {"noise": 0.04, "seed": 1}
    _publish(root, write(runs, "steady", effects=STEADY, **steady), verified="ci", hardware="Some GPU")
    _publish(root, write(runs, "alike", effects=ALIKE, clean_cm=0.8, noise=0.04, seed=2), licence="CC-BY-NC-4.0")
    fails = {("fog_3d", 3): 3}
    _publish(root, write(runs, ATTACK, effects=WEAK, noise=0.04, seed=3, fails=fails), date="2026-11-19")
    hermit = write(runs, "hermit", effects=effects(2.2, 2.2, 2.2))
    _publish(root, hermit, reference=publishing.NO_REFERENCE)  # so it has no corruption error
    _publish(root, write(runs, "perfect", clean_cm=0.0))  # so it has no ratio
    with pytest.MonkeyPatch.context() as patch:
        facts = synthetic_runs._metric_facts
        patch.setattr(synthetic_runs, "_metric_facts", lambda name: {**facts(name), "version": "0"})
        old = write(runs, "old", effects=effects(1.01, 1.01, 1.01), columns={"metric_version": "0"})
    _publish(root, old, reference=publishing.NO_REFERENCE)
    for model, kind in (("mean-body", MEAN_BODY), ("steady", STEADY)):
        single = write(runs, model, effects=kind, severities=(3,), clean_cm=3.0 if model == "mean-body" else 1.0)
        _publish(root, single, "one-level")
        predicted = write(runs, model, effects=kind, masker="u2netp")
        _publish(root, predicted, reference=publishing.NO_REFERENCE if model == "steady" else None)
    (home,) = (root / "given-mask").iterdir()
    lines = (home / "main.csv").read_text().splitlines(keepends=True)
    # What `robench publish` refuses, a pull request may still hold.
    told = [
        line.replace("https://example.org/code?a=1&b=2", EVIL_LINK).replace(",,2026-11-19", f",{PLAIN_LINK},2026-11-19")
        if ATTACK in line
        else line
        for line in lines
    ]
    assert told != lines
    (home / "main.csv").write_text("".join(told))
    return root


def read_lines(path: Path) -> list[Mapping[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
