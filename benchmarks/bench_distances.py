"""Exact surface distances against trimesh (and libigl where it is installed), in one run on one thread.

The job is one Chamfer distance: 10,000 samples each way between two person-sized surfaces of about 100,000 faces, trees
built anew; then the same with the truth's tree kept, as it is during an evaluation. CPU seconds, best of three.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import trimesh

from robench.contracts import Mesh
from robench.geometry import Surface, marching_cubes, sample_surface
from robench.rng import generator

POINTS = 10_000
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


def best(job: Callable[[], Any], repeats: int = 3) -> tuple[float, Any]:
    """Return the least CPU seconds of some runs, and the last result."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        result = job()
        seconds.append(time.process_time() - start)
    return min(seconds), result


def run() -> dict[str, Any]:
    """Measure; return CPU seconds of each program, our ratio to each, and how far results differ in centimetres."""
    truth, prediction = figure(), figure(bump=0.4)
    samples = [sample_surface(mesh, POINTS, generator(0, "benchmark"))[0] for mesh in (prediction, truth)]
    Surface(truth).distances(samples[0])  # compiles and loads the kernels
    kept = Surface(truth)
    kept.distances(samples[0][:10])

    def ours() -> list[np.ndarray]:
        return [Surface(truth).distances(samples[0]), Surface(prediction).distances(samples[1])]

    def ours_kept() -> list[np.ndarray]:
        return [kept.distances(samples[0]), Surface(prediction).distances(samples[1])]

    def with_trimesh() -> list[np.ndarray]:
        meshes = [trimesh.Trimesh(mesh.vertices, mesh.faces, process=False) for mesh in (truth, prediction)]
        return [trimesh.proximity.closest_point(m, p)[1] for m, p in zip(meshes, samples, strict=True)]

    def with_libigl() -> list[np.ndarray]:
        import igl

        return [
            np.sqrt(igl.point_mesh_squared_distance(p.astype("f8"), m.vertices.astype("f8"), m.faces.astype("i8"))[0])
            for m, p in zip((truth, prediction), samples, strict=True)
        ]

    seconds, values = best(ours)
    report: dict[str, Any] = {
        "name": "chamfer_10k",
        "faces": [len(truth.faces), len(prediction.faces)],
        "points": POINTS,
        "chamfer_cm": float(np.mean([v.mean() for v in values])),
        "robench_s": seconds,
        "robench_truth_kept_s": best(ours_kept)[0],
    }
    for name, job, repeats in (("trimesh", with_trimesh, 1), ("libigl", with_libigl, 3)):
        try:
            taken, others = best(job, repeats)
        except ImportError:
            continue
        report[f"{name}_s"] = taken
        report[f"{name}_ratio"] = taken / seconds
        report[f"{name}_differs_cm"] = float(max(np.abs(a - b).max() for a, b in zip(values, others, strict=True)))
    return report


if __name__ == "__main__":
    print(json.dumps(run(), indent=2))
