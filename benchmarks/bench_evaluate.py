"""``robench evaluate`` as a whole: overhead beside its model's calls, time to its first row, time to plan.

Overhead: `pifu-mini` at 256^3 on rendered people, recipe ``2d-priors`` at severity 3, masks by `u2netp-anny`: the
network is then the bottleneck, and corruption, masking, metrics, process and files have to hide behind it. Beside the
ratio to the calls as they were in the run stands the ratio to the same calls by themselves, on a machine where nothing
else runs. Start: seconds from the command to its first row, caches warm. Plan: cells settled by ``--plan``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from robench.data.anny_humans import synthesise
from robench.engine.evaluate import evaluate
from robench.engine.model_process import ModelProcess, Opening
from robench.engine.pipeline import Prepared
from robench.engine.profile import read_profile
from robench.engine.tasks import Options, plan_task
from robench.engine.workplace import Workplace
from robench.io.images import write_mask, write_png

PEOPLE, SIDE, RESOLUTION = 3, 256, 256
PLANNED = 4000
TARGETS = {"overhead": 1.15, "first_row_s": 8.0}


def options(data: Path, out: Path) -> Options:
    """What the run is."""
    return Options(
        "pifu-mini",
        data=data,
        recipe="2d-priors",
        limit=PEOPLE,
        model_options={"resolution": str(RESOLUTION)},
        out=out,
        keep="none",  # three people would all be examples, which a real run has few of
        quiet=True,
    )


def alone(asked: Options) -> tuple[float, int]:
    """Return seconds of the model's calls by themselves, and how many."""
    task = plan_task(asked)
    with Workplace(task, asked) as place:
        run = Path(tempfile.mkdtemp())
        crew = place.crew(run)
        items: list[Prepared] = list(crew.prepared(range(task.size), 2))
    model = ModelProcess(Opening(asked.model, asked.device, None, dict(asked.model_options)))
    model.start()
    model.opened()
    seconds = 0.0
    for item in items:
        if item.failure is None:
            model.send([item.request])
            seconds += model.receive(None).seconds
    model.close()
    return seconds, len(items)


def first_row(asked: Options, out: Path) -> float:
    """Return seconds from the command to its first row."""
    words = [
        "evaluate",
        "--model",
        asked.model,
        "--data",
        str(asked.data),
        "--recipe",
        str(asked.recipe),
        "--limit",
        "1",
    ]
    before = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "robench", *words, "--out", str(out), "-q"],
        stdout=subprocess.DEVNULL,
        env={**os.environ},
    )
    try:
        while process.poll() is None:
            if any(path.stat().st_size for path in out.glob("*/rows/*.wip.jsonl")):
                return time.perf_counter() - before
            time.sleep(0.02)
        raise RuntimeError("the run ended before its first row was seen")
    finally:
        process.kill()
        process.wait()


def planned(root: Path) -> tuple[int, float]:
    """Return how many cells were planned, and in how many seconds."""
    picture, mask = np.full((48, 48, 3), 90, np.uint8), np.ones((48, 48), np.float32)
    write_png(root / "images" / "s0.png", picture)
    write_mask(root / "masks" / "s0.png", mask)
    for number in range(1, PLANNED):
        for folder in ("images", "masks"):
            (root / folder / f"s{number}.png").write_bytes((root / folder / "s0.png").read_bytes())
    before = time.perf_counter()
    task = plan_task(
        Options("mean-body", data=root, recipe="full", masker="given", skip_unable=True, out=root / "runs", quiet=True)
    )
    assert 0 < task.left_out < task.size
    return task.size, time.perf_counter() - before


def run() -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        synthesise(root / "people", subjects=PEOPLE, views=(0.0,), size=SIDE, seed=0, split="test")
        asked = options(root / "people", root / "runs")
        calls, count = alone(asked)
        before = time.perf_counter()
        result = evaluate(asked)
        whole = time.perf_counter() - before
        profile = read_profile(result.folder)
        starts = [first_row(asked, root / f"start-{attempt}") for attempt in range(2)]
        cells, seconds = planned(root / "many")
    figures = {
        "overhead": (profile.wall_s / profile.model_s, "wall time of the run / of its model's calls in it"),
        "overhead_alone": (profile.wall_s / calls, "wall time of the run / of the same calls by themselves"),
        "whole_command": (whole / calls, "the same with start-up and opening the model"),
        "model_s_a_cell": (calls / count, "seconds of a call by itself"),
        "first_row_s": (min(starts), "seconds from the command to its first row"),
        "cells_planned": (cells, "cells of recipe full on a folder of small pictures"),
        "plan_s": (seconds, "seconds to plan them"),
    }
    rows = [{"figure": n, "value": v, "target": TARGETS.get(n, ""), "what": what} for n, (v, what) in figures.items()]
    return {"rows": rows, "stages": profile.table()}


def show(result: dict[str, Any]) -> None:
    print(f"robench evaluate --model pifu-mini --resolution {RESOLUTION} --recipe 2d-priors")
    for row in result["rows"]:
        print(f"  {row['figure']:>16}  {row['value']:<10.4g}  target {row['target'] or '-':<5}  {row['what']}")
    for row in result["stages"]:
        print(f"  {row['stage']:>16}  {row['ms_per_cell']:8.1f} ms a cell")
