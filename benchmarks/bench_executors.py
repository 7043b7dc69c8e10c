"""Two workers against one, and what a shard costs by itself: with a toy model that only burns processor time.

Efficiency: cells a second of two workers over twice those of one, in the steady state (from the moment when every
worker has done its first shard, so that opening the model does not count). It means something only on a machine with
two idle cores. So the share of the workers' time stands beside it in which their models ran or stood in the system's
queue for a core: the rest is what the engine let them wait, whatever else the machine did. The load is told as well.

Overhead of a shard: the time of a worker by shard, in the steady state of a run whose model does nothing, less the
stages of its cells (corrupt, mask, model, metric, keep, write): what it takes to give a shard out, to open and close
its journal, to turn it into a part and to note it. For workers of this machine and of Ray; the median of several runs.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robench import registry
from robench.contracts import Camera, Mesh
from robench.engine.evaluate import evaluate
from robench.engine.tasks import Options
from robench.io.files import write_json_atomic
from robench.io.images import write_mask, write_png
from robench.io.meshes import write_mesh

SIDE, SCALE = 48, 0.25
TARGET = 0.85
REPEATS = 3
_TOYS = """
import numpy as np
from pathlib import Path
from types import SimpleNamespace
from robench.contracts import Card, Degenerate, Mesh, OpenReport, Reconstruction

def scheduled():
    # Nanoseconds that this process ran, and stood in the queue for a core.
    return [int(word) for word in Path("/proc/self/schedstat").read_text().split()[:2]]

class Burner:
    card = Card("burner", "1", "counts", extra={"inputs_used": ["mask"], "options": {"loops": "how far it counts"}})
    loops = 0

    def open(self, device, weights=None):
        return OpenReport("cpu", 0, "c0ffee" * 10)

    def reconstruct(self, requests):
        return [self._one(request) for request in requests]

    def _one(self, request):
        count, before = 0, scheduled()
        for number in range(self.loops):
            count += number & 1
        points = np.eye(4, 3, dtype=np.float32) * 100 + count % 2
        mesh = Mesh(points, np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]]))
        spent = [(b - a) / 1e9 for a, b in zip(before, scheduled())]
        return Reconstruction(mesh, frozenset({"mask"}), {"ran": spent[0], "queued": spent[1]})

    def close(self):
        pass

class Dim:
    moves_pixels = False
    card = Card("bench_dim", "1", "less light", extra={"severities": {s: {"share": s / 6} for s in range(1, 6)}})

    def sample(self, severity, shape, rng):
        return {"share": severity / 6}

    def apply(self, image, params, aux):
        return SimpleNamespace(image=(image * (1 - params["share"])).astype(np.uint8), affine=None, notes={})

class Height:
    card = Card("bench_height_cm", "1", "difference of heights", extra={"unit": "cm", "direction": "lower"})

    def __call__(self, scene):
        if scene.prediction is None:
            return Degenerate("no mesh")
        return abs(float(np.ptp(scene.prediction.vertices[:, 1]) - np.ptp(scene.truth.vertices[:, 1])))
"""
_ENTRY_POINTS = """
[robench.models]
burner = bench_toys:Burner
[robench.corruptions]
bench_dim = bench_toys:Dim
[robench.metrics]
bench_height_cm = bench_toys:Height
"""


@contextlib.contextmanager
def installed(folder: Path) -> Iterator[None]:
    """Install the toys for this process and those it starts."""
    info = folder / "bench_toys-1.0.dist-info"
    info.mkdir(parents=True)
    (folder / "bench_toys.py").write_text(_TOYS)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: bench-toys\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(_ENTRY_POINTS)
    before = os.environ.get("PYTHONPATH")
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    registry.entries.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        os.environ.pop("PYTHONPATH")
        os.environ.update({} if before is None else {"PYTHONPATH": before})
        registry.entries.cache_clear()


def write_boxes(root: Path, count: int) -> Path:
    """Write a data set of pictures of one tetrahedron each."""
    v, u = np.mgrid[:SIDE, :SIDE]
    mesh = Mesh(
        (np.eye(4, 3) * 80).astype(np.float32), np.array([[0, 1, 2], [0, 3, 1], [0, 2, 3], [1, 3, 2]], np.int32)
    )
    cameras = {}
    for number in range(count):
        name = f"p{number:03d}"
        write_png(root / "images" / f"{name}.png", np.stack([40 + 2 * u, 60 + 3 * v, 90 + u + v], -1).astype(np.uint8))
        write_mask(root / "masks" / f"{name}.png", (abs(u - 24) < 10).astype(np.float32))
        write_mesh(root / "meshes" / f"{name}.ply", mesh)
        camera = Camera(np.eye(4), SCALE, ((SIDE - 1) / 2, (SIDE - 1) / 2), SIDE, SIDE)
        cameras[name] = camera.to_json() | {"subject": name, "view": 0.0}
    write_json_atomic(root / "cameras.json", cameras)
    return root


def loops_for(seconds: float) -> int:
    """Return how far to count to burn so much processor time here; the fastest of several tries."""
    probe = 2_000_000
    best = float("inf")
    for _ in range(5):
        before, count = time.process_time(), 0
        for number in range(probe):
            count += number & 1
        best = min(best, time.process_time() - before)
    return int(seconds / best * probe)


def measure(options: Options) -> dict[str, float]:
    """Run and return its wall time, cells and shards; and how busy its models were in the steady state."""
    load, started = os.getloadavg()[0], time.perf_counter()
    result = evaluate(options)
    wall = time.perf_counter() - started
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    shards = [event for event in events if event["event"] == "shard"]
    since, last = (datetime.datetime.fromisoformat(shards[n]["time"]) for n in (options.workers - 1, -1))
    later, elapsed = shards[options.workers :], max((last - since).total_seconds(), 1e-9)
    ran, queued = (sum(shard["seconds"][name] for shard in later) for name in ("ran", "queued"))
    stages = sum(sum(shard["seconds"].values()) for shard in later)
    return {
        "cells": result.made,
        "shards": len(shards),
        "wall_s": wall,
        "cells_per_s": sum(shard["made"] for shard in later) / elapsed,
        "ran": ran / (options.workers * elapsed),
        "ready": (ran + queued) / (options.workers * elapsed),
        "beside_cells_ms": 1000 * (options.workers * elapsed - stages) / max(len(later), 1),
        "load_before": load,
    }


def run(
    samples: int = 20,
    seconds: float = 0.1,
    repeats: int = REPEATS,
    idle_samples: int = 80,
    executors: Sequence[str] = ("local", "ray"),
) -> dict[str, Any]:
    """Measure with so many samples of six cells, each of so many processor seconds, and with so many of none."""
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        data, loops = write_boxes(folder / "data", max(samples, idle_samples)), loops_for(seconds)

        def measured(kind: str, executor: str, workers: int, samples: int, loops: int) -> dict[str, Any]:
            options = Options(
                "burner",
                data=data,
                limit=samples,
                corruptions="bench_dim",
                severities="1-5",
                masker="given",
                metrics=["bench_height_cm"],
                model_options={"loops": str(loops)},
                out=folder / f"run-{len(rows)}",
                device="cpu",
                keep="none",
                quiet=True,
                workers=workers,
                executor=executor,
                shard_size=6,  # a sample in all its conditions, the least there is
            )
            rows.append({"what": kind, "executor": executor, "workers": workers, **measure(options)})
            return rows[-1]

        with installed(folder / "toys"):
            one, two = [], []
            for _ in range(repeats):  # in turn, so that what else the machine does falls on both
                one.append(measured("efficiency", "local", 1, samples, loops))
                two.append(measured("efficiency", "local", 2, samples, loops))
            overheads = {}
            for executor in executors:
                found = [measured("overhead", executor, 2, idle_samples, 0) for _ in range(repeats)]
                overheads[executor] = statistics.median(row["beside_cells_ms"] for row in found)
    best = [max(row["cells_per_s"] for row in half) for half in (one, two)]
    ready = [max(row["ready"] for row in half) for half in (one, two)]
    return {
        "rows": rows,
        "efficiency": best[1] / (2 * best[0]),
        "efficiency_of_the_engine": ready[1] / ready[0],
        "beside_cells_ms": overheads,
    }


def sweep_hours(
    seconds_a_sample: float,
    gpus: int,
    *,
    models: int = 10,
    conditions: int = 30 * 5 + 1,
    images: int = 5260,
    efficiency: float = TARGET,
    shard_size: int = 512,
    shard_s: float = 0.1,
    start_s: float = 60.0,
) -> float:
    """Return the hours of a sweep: cells and overhead of shards, shared by GPUs, and a start of each model on each."""
    cells = conditions * images
    shards = -(-cells // shard_size)
    one_model = (cells * seconds_a_sample + shards * shard_s) / (gpus * efficiency) + start_s
    return models * one_model / 3600


def show(result: dict[str, Any]) -> None:
    """Print the runs and what follows from them."""
    for row in result["rows"]:
        print(", ".join(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()))
    print(f"Efficiency of two workers: {result['efficiency']:.2f} by the clock (target {TARGET}; on idle cores),")
    print(f"{result['efficiency_of_the_engine']:.2f} by how long the engine let models wait, whatever else ran here.")
    for executor, milliseconds in result["beside_cells_ms"].items():
        print(f"A shard of {executor}: {milliseconds:.0f} ms beside its cells.")
    for gpus in (8, 64):
        hours = ", ".join(f"{sweep_hours(s, gpus):.0f} h at {s:g} s" for s in (0.2, 0.5, 2.0))
        print(f"10 models x 151 conditions x 5,260 images on {gpus} GPUs, by seconds a sample: {hours}.")
