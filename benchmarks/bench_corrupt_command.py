"""The whole of ``robench corrupt`` against the sum of its parts: kernels and PNG encoding alone.

512 x 512 pictures with masks and depth, recipe ``2d-priors``. One worker, in CPU seconds: how much of the command's
time is kernels and encoding. Two workers, in wall-clock seconds of the steady state (the difference between many and
few pictures, so that starting Python does not count): that figure means something only on a machine with two idle
cores. CPU seconds a picture with one and with two workers stand beside it, and bound it from above. Memory is the
largest process's; it is measured a second time with the corruptions that light and draw the person anew, on people with
meshes as large as a scan's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from robench.contracts import Camera, Mesh
from robench.engine.cells import Inputs, corrupt
from robench.engine.composed import makers
from robench.engine.cset_writer import write_set
from robench.engine.recipes import CLEAN, load_recipe
from robench.engine.selection import Selection, select
from robench.io._png import encode_png
from robench.io.depth import encode_depth_mm, write_depth
from robench.io.images import encode_mask, write_mask, write_png
from robench.io.meshes import write_mesh
from robench.registry import load
from robench.rendering.frame import render
from robench.rng import generator

SIDE, FEW, MANY = 512, 6, 14
RECIPE = "2d-priors"
FEW_MESHES, MANY_MESHES = 2, 8
MESH_MODE = ("-c", "shadow,multi_illumination,camera_pitch,field_of_view,view_jitter,occlusion", "-s", "1,3,5")
TARGETS = {"one_worker": 0.9, "two_workers": 1.8, "memory_mb": 400, "memory_mesh_mb": 400}
# From a process that is small itself: Linux counts the memory of the one that starts a program as the program's, too.
_MEASURE = """
import json, os, subprocess, sys, time
before = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, used = os.wait4(process.pid, 0)
wall, cpu = time.perf_counter() - before, used.ru_utime + used.ru_stime
print(json.dumps([os.waitstatus_to_exitcode(status), wall, cpu, used.ru_maxrss]))
"""


def write_people(root: Path, count: int) -> Path:
    """Write pictures with the detail of photographs: soft shapes, texture, a person-sized ellipse with depth."""
    v, u = np.mgrid[:SIDE, :SIDE]
    for number in range(count):
        rng = generator(0, f"bench-{number}")
        coarse = cv2.resize(rng.uniform(40, 215, (9, 9, 3)).astype(np.float32), (SIDE, SIDE))
        fine = cv2.GaussianBlur(rng.normal(0, 25, (SIDE, SIDE, 3)).astype(np.float32), (0, 0), 1.2)
        person = ((u - 256) / 90) ** 2 + ((v - 260) / 220) ** 2 <= 1
        picture = np.clip(coarse + fine + person[..., None] * (30, -20, -35), 0, 255)
        write_png(root / "images" / f"p{number}.png", picture.astype(np.uint8))
        write_mask(root / "masks" / f"p{number}.png", person.astype(np.float32))
        write_depth(root / "depth" / f"p{number}.npz", np.where(person, 3 + (u - 256) / 900, np.inf))
    return root


def write_bodies(root: Path, count: int) -> Path:
    """Write pictures rendered of meshes of 100,000 to 140,000 coloured faces: dented ellipsoids as tall as people."""
    cameras = {}
    for number in range(count):
        rng = generator(0, f"bench-body-{number}")
        rings = int(rng.integers(225, 266))
        polar, turn = np.meshgrid(np.linspace(0, np.pi, rings), np.linspace(0, 2 * np.pi, rings, False), indexing="ij")
        waves = sum(rng.uniform(-1, 1) * np.sin(k * polar) * np.cos(k * turn + rng.uniform(0, 6)) for k in range(1, 9))
        radius = 1 + 0.06 * np.asarray(waves)
        unit = np.stack([np.sin(polar) * np.cos(turn), np.cos(polar), np.sin(polar) * np.sin(turn)], axis=-1)
        vertices = (radius[..., None] * unit * (30, 80, 22)).reshape(-1, 3)
        index = np.arange(rings * rings).reshape(rings, rings)
        rolled = (index, np.roll(index, -1, 1), np.roll(index, -1, 0), np.roll(index, (-1, -1), (0, 1)))
        a, b, c, d = (corner[:-1].ravel() for corner in rolled)
        faces = np.concatenate([np.stack([a, b, d], axis=1), np.stack([a, d, c], axis=1)])
        colours = rng.integers(40, 216, (rings, rings, 3)).astype(np.uint8).reshape(-1, 3)
        mesh = Mesh(vertices.astype(np.float32), faces.astype(np.int32), colours)
        camera = Camera(np.eye(4), 2.7, ((SIDE - 1) / 2, (SIDE - 1) / 2), SIDE, SIDE)
        frame = render(mesh, camera, background=(90, 100, 110))
        write_png(root / "images" / f"p{number}.png", frame.colour)
        write_mask(root / "masks" / f"p{number}.png", frame.mask)
        write_mesh(root / "meshes" / f"p{number}.ply", mesh)
        cameras[f"p{number}"] = camera.to_json()
    (root / "cameras.json").write_text(json.dumps(cameras))
    return root


def parts(selection: Selection) -> tuple[float, int]:
    """Return CPU seconds of kernels and encoding alone, and the number of pictures."""
    recipe = load_recipe(RECIPE)
    composed, loaded = makers(recipe), {c.corruption: load("corruptions", c.corruption) for c in recipe.cells}
    seconds, pictures = 0.0, 0
    for sample in selection.samples:
        inputs = Inputs(sample)
        masks = [inputs.mask]
        depths = [inputs.depth]
        assert inputs.image.size  # all is read before the clock starts
        for name, severity in recipe.conditions():
            before = time.process_time()
            if name in composed:
                picture = composed[name].picture(inputs, severity, 0)
            else:
                picture = corrupt(inputs, None if name == CLEAN else loaded[name], severity, 0)
            encode_png(picture.image)
            if picture.affine is not None:  # mask and depth that moved are pictures of the set, too
                masks.append(picture.true_mask)
                depths.append(inputs.depth)
            seconds += time.process_time() - before
            pictures += 1
        before = time.process_time()
        for mask, depth in zip(masks, depths, strict=True):
            encode_mask(mask)
            encode_depth_mm(depth)
        seconds += time.process_time() - before
    return seconds, pictures


def whole(root: Path, jobs: int, limit: int, chosen: tuple[str, ...] = ("--recipe", RECIPE)) -> tuple[float, ...]:
    """Run the command; returns wall seconds, CPU seconds of all processes, and MB of the largest one."""
    with tempfile.TemporaryDirectory() as out:
        words = ["corrupt", str(root), out, *chosen, "-q", "-j", str(jobs), "--limit", str(limit)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        line = [sys.executable, "-S", "-c", _MEASURE, sys.executable, "-m", "robench", *words]
        told = subprocess.run(line, env=environment, check=True, capture_output=True, text=True).stdout
        code, wall, cpu, kilobytes = json.loads(told)
        assert code == 0
        return wall, cpu, kilobytes / 1024


def run() -> dict[str, Any]:
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = write_people(Path(folder) / "people", MANY)
        recipe = load_recipe(RECIPE)
        few = select(root, limit=FEW)
        parts(select(root, limit=1))  # libraries and tables are loaded
        alone, together, pictures = [], [], 0
        for attempt in range(2):
            seconds, pictures = parts(few)
            alone.append(seconds)
            before = time.process_time()
            write_set(few, recipe, 0, Path(folder) / f"out-{attempt}", quiet=True)
            together.append(time.process_time() - before)
        found: dict[int, dict[str, float]] = {}
        memory = []
        for jobs in (1, 2):
            small, large = whole(root, jobs, FEW), whole(root, jobs, MANY)
            count = (MANY - FEW) * pictures / FEW
            found[jobs] = {
                "wall_ms": 1e3 * (large[0] - small[0]) / count,
                "cpu_ms": 1e3 * (large[1] - small[1]) / count,
            }
            memory += [small[2], large[2]]
        bodies = write_bodies(Path(folder) / "bodies", MANY_MESHES)
        on_meshes = {
            count: max(whole(bodies, jobs, count, MESH_MODE)[2] for jobs in (1, 2))
            for count in (FEW_MESHES, MANY_MESHES)
        }
    result: dict[str, Any] = {
        "recipe": RECIPE,
        "pictures": pictures,
        "kernels_and_encoding_cpu_ms": round(1e3 * min(alone) / pictures, 2),
        "command_cpu_ms": round(1e3 * min(together) / pictures, 2),
        "one_worker": round(min(alone) / min(together), 3),
        "two_workers": round(found[1]["wall_ms"] / found[2]["wall_ms"], 2),
        "two_workers_by_cpu": round(2 * found[1]["cpu_ms"] / found[2]["cpu_ms"], 2),
        "a_picture": {f"{jobs}_worker_{name}": round(ms, 2) for jobs, by in found.items() for name, ms in by.items()},
        "memory_mb_few": round(max(memory[0::2])),
        "memory_mb_many": round(max(memory[1::2])),
        "memory_mesh_mb_few": round(on_meshes[FEW_MESHES]),
        "memory_mesh_mb_many": round(on_meshes[MANY_MESHES]),
    }
    reached = {
        "one_worker": (result["one_worker"], "kernels and encoding / command, CPU"),
        "two_workers": (result["two_workers"], "speed of two workers / of one, wall clock"),
        "two_workers_by_cpu": (result["two_workers_by_cpu"], "the same if both had a core of their own"),
        "memory_mb": (result["memory_mb_many"], f"largest process, {MANY} people"),
        "memory_mb_few": (result["memory_mb_few"], f"the same, {FEW} people"),
        "memory_mesh_mb": (result["memory_mesh_mb_many"], f"largest process on meshes, {MANY_MESHES} people"),
        "memory_mesh_mb_few": (result["memory_mesh_mb_few"], f"the same, {FEW_MESHES} people"),
    }
    rows = [{"figure": n, "value": v, "target": TARGETS.get(n, ""), "what": what} for n, (v, what) in reached.items()]
    return {**result, "rows": rows}


def show(result: dict[str, Any]) -> None:
    print(f"robench corrupt --recipe {result['recipe']}, {SIDE} x {SIDE} pictures")
    for row in result["rows"]:
        print(f"  {row['figure']:>20}  {row['value']:<7}  target {row['target'] or '-':<5}  {row['what']}")
    cost = ", ".join(f"{name.replace('_', ' ')} {ms}" for name, ms in result["a_picture"].items())
    print(f"  a picture: {cost}")
