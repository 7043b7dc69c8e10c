"""Exact surface distances against trimesh and libigl, and all metrics of a cell, in one run on one thread.

The job is what Chamfer and both P2S of a person ask for: the distances of 10,000 samples of a prediction to the truth
and of 10,000 samples of the truth to the prediction, surfaces of about 100,000 faces. Every program gets the same
points and meshes and answers both directions once, by the exact distance to the nearest triangle: trimesh with
`proximity.closest_point`, libigl with its `AABB`. "Truth kept" is what an evaluation does: the truth's tree is there
already, and the prediction's, which is new in every cell, is built. The first row sets that beside the others' plain
calls on two meshes; in the following ones everybody keeps the same. Drawing the samples is in none of it.

The metric stage is every registered metric of a new prediction in turn, samples, trees and checks included; beside it
stands what the same metrics take if each starts from nothing but the truth's own kept parts. CPU seconds, the least of
some rounds in which everybody has a turn.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh

from robench import registry
from robench.contracts import Mesh, Scene
from robench.geometry import Surface, marching_cubes, sample_surface
from robench.rng import generator

POINTS = 10_000
TARGET = 25.0
"""Times as fast as trimesh's plain calls, with the truth's tree kept."""
CASES = (
    ("truth kept by robench alone", "truth kept", "nothing kept"),
    ("truth kept", "truth kept", "truth kept"),
    ("nothing kept", "nothing kept", "nothing kept"),
    ("both kept", "both kept", "both kept"),
)
"""What a row says, our case, and that of the others."""
# Capsules of a standing figure, centimetres: two ends and a radius.
LIMBS = [
    ((0, 95, 0), (0, 140, 0), 17),
    ((0, 165, 0), (0, 172, 2), 10),
    ((-18, 142, 0), (-45, 90, 5), 5),
    ((18, 142, 0), (45, 90, 5), 5),
    ((-10, 90, 0), (-16, 6, 2), 8),
    ((10, 90, 0), (16, 6, 2), 8),
]


def figure(step: float = 0.8, bump: float = 0.0) -> Mesh:
    """Return a smooth, closed figure of capsules; a smaller step gives more faces."""
    axes = [np.arange(low, high, step) for low, high in ((-60, 60), (-10, 190), (-30, 30))]
    at = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).astype(np.float32)
    inside = np.zeros(at.shape[:3], np.float32)
    for start, end, radius in LIMBS:
        a, along = np.array(start, np.float32), np.array(end, np.float32) - np.array(start, np.float32)
        t = np.clip((at - a) @ along / (along @ along), 0, 1)[..., None]
        inside += np.exp((radius - np.linalg.norm(at - a - t * along, axis=-1)) / 2.0)
    field = np.log(np.maximum(inside, 1e-20)) + bump * np.sin(at * 0.3).sum(axis=-1)
    return marching_cubes(field, 0.0, origin=[axis[0] for axis in axes], spacing=step)


Job = Callable[[], list[np.ndarray]]


def best(jobs: dict[Any, Callable[[], Any]], rounds: int) -> tuple[dict[Any, float], dict[Any, Any]]:
    """Return the least CPU seconds of each job over some rounds, and its last result."""
    seconds, results = dict.fromkeys(jobs, float("inf")), {}
    for _ in range(rounds):
        for name, job in jobs.items():
            start = time.process_time()
            results[name] = job()
            seconds[name] = min(seconds[name], time.process_time() - start)
    return seconds, results


def ours(meshes: list[Mesh], points: list[np.ndarray]) -> dict[str, Job]:
    """Return our jobs by case. `meshes` are truth and prediction; `points` the samples that are measured to each."""
    truth, prediction = (Surface(mesh) for mesh in meshes)

    def answer(surfaces: list[Surface]) -> list[np.ndarray]:
        return [surface.distances(p) for surface, p in zip(surfaces, points, strict=True)]

    return {
        "truth kept": lambda: answer([truth, Surface(meshes[1])]),
        "nothing kept": lambda: answer([Surface(mesh) for mesh in meshes]),
        "both kept": lambda: answer([truth, prediction]),
    }


def with_trimesh(meshes: list[Mesh], points: list[np.ndarray]) -> dict[str, Job]:
    """Return trimesh's jobs by case."""

    def made(mesh: Mesh) -> trimesh.Trimesh:
        return trimesh.Trimesh(mesh.vertices, mesh.faces, process=False)

    def answer(found: list[trimesh.Trimesh]) -> list[np.ndarray]:
        return [trimesh.proximity.closest_point(mesh, p)[1] for mesh, p in zip(found, points, strict=True)]

    truth, prediction = (made(mesh) for mesh in meshes)
    assert truth.triangles_tree is not None  # trimesh keeps it from here on
    assert prediction.triangles_tree is not None
    return {
        "truth kept": lambda: answer([truth, made(meshes[1])]),
        "nothing kept": lambda: answer([made(mesh) for mesh in meshes]),
        "both kept": lambda: answer([truth, prediction]),
    }


def with_libigl(meshes: list[Mesh], points: list[np.ndarray]) -> dict[str, Job]:
    """Return libigl's jobs by case.

    Raises:
        ImportError: If it is not installed.
    """
    import igl

    corners = [(mesh.vertices.astype("f8"), mesh.faces.astype("i8")) for mesh in meshes]
    where = [p.astype("f8") for p in points]

    def made(at: int) -> Any:
        tree = igl.AABB()
        tree.init(*corners[at])
        return tree

    def answer(trees: list[Any]) -> list[np.ndarray]:
        return [
            np.sqrt(tree.squared_distance(*mesh, p)[0]) for tree, mesh, p in zip(trees, corners, where, strict=True)
        ]

    truth, prediction = made(0), made(1)
    return {
        "truth kept": lambda: answer([truth, made(1)]),
        "nothing kept": lambda: answer([made(0), made(1)]),
        "both kept": lambda: answer([truth, prediction]),
    }


def distances(truth: Mesh, prediction: Mesh, points: int, rounds: int) -> list[dict[str, Any]]:
    """Measure the job in its three cases; a row each."""
    meshes = [truth, prediction]
    samples = [sample_surface(mesh, points, generator(0, "benchmark"))[0] for mesh in (prediction, truth)]
    programs = {"robench": ours(meshes, samples), "trimesh": with_trimesh(meshes, samples)}
    with contextlib.suppress(ImportError):  # its columns stay empty
        programs["libigl"] = with_libigl(meshes, samples)
    seconds, values = best({(name, case): job for name, jobs in programs.items() for case, job in jobs.items()}, rounds)
    rows: list[dict[str, Any]] = []
    for what, case, theirs in CASES:
        mine = seconds["robench", case]
        row: dict[str, Any] = {"what": f"Chamfer + both P2S, {what}", "robench_ms": 1e3 * mine}
        for peer in ("trimesh", "libigl"):
            row |= dict.fromkeys((f"{peer}_ms", f"{peer}_ratio", f"{peer}_differs_cm"), "")
            if peer in programs:
                pairs = zip(values["robench", case], values[peer, theirs], strict=True)
                row[f"{peer}_ms"] = 1e3 * seconds[peer, theirs]
                row[f"{peer}_ratio"] = seconds[peer, theirs] / mine
                row[f"{peer}_differs_cm"] = float(max(np.abs(a - b).max() for a, b in pairs))
        rows.append({**row, "target": "" if rows else TARGET})
    return rows


def metric_stage(truth: Mesh, prediction: Mesh, rounds: int) -> list[dict[str, Any]]:
    """Measure all metrics of a cell together, and the sum of what each takes alone; a row each."""
    metrics = [registry.load("metrics", name) for name in registry.entries("metrics")]
    mask = (np.indices((512, 512)).sum(axis=0) % 7 > 2).astype(np.float32)

    def stage(chosen: list[Any]) -> None:
        new = dataclasses.replace(prediction, vertices=prediction.vertices.copy())
        scene = Scene(new, truth, mask, mask, None, truth)
        for metric in chosen:
            metric(scene)

    stage(metrics)  # the truth's parts are made, the kernels loaded
    alone: dict[Any, Callable[[], Any]] = {m.card.name: functools.partial(stage, [m]) for m in metrics}
    seconds, _ = best({"all": lambda: stage(metrics), **alone}, rounds)
    together = seconds.pop("all")
    blank = {f"{peer}_{figure}": "" for peer in ("trimesh", "libigl") for figure in ("ms", "ratio", "differs_cm")}
    return [
        {"what": what, "robench_ms": 1e3 * value, **blank, "target": ""}
        for what, value in (
            (f"all {len(metrics)} metrics of a cell, truth kept", together),
            ("the same, each metric by itself", sum(seconds.values())),
        )
    ]


def run(points: int = POINTS, step: float = 0.8, rounds: int = 5) -> dict[str, Any]:
    """Measure; a smaller `step` of the figures, in centimetres, gives them more faces."""
    truth, prediction = figure(step), figure(step, bump=0.4)
    Surface(truth).distances(truth.vertices[:1])  # compiles and loads the kernels
    rows = distances(truth, prediction, points, rounds) + metric_stage(truth, prediction, rounds)
    faces = [len(truth.faces), len(prediction.faces)]
    return {"points": points, "faces": faces, "rows": [{**row, "faces": "/".join(map(str, faces))} for row in rows]}


def show(result: dict[str, Any]) -> None:
    """Print the rows as a table."""
    print(f"{result['points']} points each way, {' and '.join(map(str, result['faces']))} faces, CPU milliseconds")
    for row in result["rows"]:
        line = f"  {row['what']:<47} {row['robench_ms']:7.1f}"
        for peer in ("trimesh", "libigl"):
            if row[f"{peer}_ms"] != "":
                line += f"   {peer} {row[f'{peer}_ms']:.0f} = {row[f'{peer}_ratio']:.1f} x"
                line += f" ({row[f'{peer}_differs_cm']:.0e} cm apart)"
        if row["target"] != "":
            line += f"   target {row['target']:g} x trimesh"
        print(line)
