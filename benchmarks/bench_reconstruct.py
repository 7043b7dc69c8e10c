"""Reconstruction with PIFu: from an encoded picture to a mesh, against the published octree and the dense grid.

Weights that anybody may have make no body in the full-size network (drawn ones make noise), so there the values come
from a body and the cost from the network: at every point that is asked for, the full-size network is evaluated in full,
then its answer is replaced by the body's occupancy there. Which points are asked follows from the body alone. The two
bodies are the man of capsules of PIFu's golden values and a dressed person of robench's own maker, both a sigmoid of
the distance to their surface, as steep as that man's. `pifu-mini` has weights that make bodies, and answers for itself
on a rendered picture of the same person.

The yardstick is the published way, written plainly (`baselines.pifu.octree`): its octree at a threshold of 0.01, the
network's own query in batches of 10,000 points, marching cubes on the whole volume. The dense grid is extrapolated from
a slab of two of its layers. CPU seconds on one thread, which other work on the machine touches least: ratios are of
them; and wall-clock seconds on two threads, which mean something on a machine with two idle cores. Each is the least of
some rounds in which everybody has a turn. How far apart two meshes are is the greatest distance from a vertex of either
to the nearest one of the other, in voxels.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor

from baselines.pifu.checkpoint import load_weights
from baselines.pifu.config import OFFICIAL
from baselines.pifu.inputs import network_image, prepare
from baselines.pifu.network import Encoded, ShapeNet, init_weights
from baselines.pifu.octree import octree_grid
from baselines.pifu.parity_geometry import body_field
from baselines.pifu.rays import RayClassifier
from baselines.pifu.reconstruct import Volume, dense, refine, silhouette, surface
from robench.contracts import Mesh
from robench.geometry import Surface

TARGET = 4.0
"""Times as fast as the published octree, at full size."""
BATCH = 10_000
STEEPNESS = 0.01
SLAB = 2
MINI = Path(__file__).parents[1] / "baselines" / "weights" / "pifu-mini.safetensors"

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """A body's occupancies on the lattice of `resolution` cells an axis, kept where they are not nothing.

    Attributes:
        origin: Lowest node of the box.
        values: (X, Y, Z) float32 in the box; 0 elsewhere.
        resolution: Cells an axis of [-1, 1].
    """

    origin: NDArray[np.int64]
    values: NDArray[np.float32]
    resolution: int

    def at(self, nodes: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the occupancies of (N, 3) nodes."""
        local = nodes - self.origin
        inside = ((local >= 0) & (local < self.values.shape)).all(axis=1)
        found = np.zeros(len(nodes), np.float32)
        found[inside] = self.values[tuple(local[inside].T)]
        return found

    def volume(self) -> Volume:
        """Return the dense grid's volume."""
        whole = np.zeros((self.resolution,) * 3, np.float32)
        cut = [slice(o, o + n) for o, n in zip(self.origin, self.values.shape, strict=True)]
        # The published grid ends one node before 1.
        whole[tuple(cut)] = self.values[tuple(slice(0, r.stop - r.start) for r in _clipped(cut, self.resolution))]
        return Volume(torch.from_numpy(whole), self.resolution**3)

    def silhouette(self) -> Tensor:
        """Return the (R, R) mask of the body seen along z, rows downwards."""
        return (self.volume().values > 0.5).any(dim=2).t().flip(0).to(torch.uint8)


def _clipped(cut: list[slice], resolution: int) -> list[slice]:
    return [slice(c.start, min(c.stop, resolution)) for c in cut]


def tabulated(
    occupancy: Callable[[Points], NDArray[np.floating]], low: Points, high: Points, resolution: int, margin: float = 0.1
) -> Body:
    """Return a body from a function of (N, 3) points and the corners of a box around its surface."""
    start = np.maximum(np.floor((low - margin + 1) * resolution / 2), 0).astype(np.int64)
    stop = np.minimum(np.ceil((high + margin + 1) * resolution / 2), resolution - 1).astype(np.int64) + 1
    nodes = np.stack(np.meshgrid(*map(np.arange, start, stop), indexing="ij"), axis=-1).reshape(-1, 3)
    values = occupancy(nodes * (2.0 / resolution) - 1.0).astype(np.float32)
    return Body(start, values.reshape(stop - start), resolution)


def capsules(resolution: int) -> Body:
    """Return the man of capsules."""
    return tabulated(body_field, np.array([-0.43, -0.96, -0.17]), np.array([0.43, 0.84, 0.18]), resolution)


def placed(mesh: Mesh) -> Mesh:
    """Return a person as in PIFu's renders: 450 of 512 pixels tall in [-1, 1]."""
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    scale = 2 * 450 / 512 / float(high[1] - low[1])
    return Mesh(((mesh.vertices - (low + high) / 2) * scale).astype(np.float32), mesh.faces)


def solid(mesh: Mesh, resolution: int) -> Body:
    """Return a closed mesh in [-1, 1] as a body."""
    searched = Surface(mesh)

    def occupancy(points: Points) -> NDArray[np.floating]:
        return np.asarray(1 / (1 + np.exp(np.clip(searched.signed_distances(points) / STEEPNESS, -60, 60))))

    return tabulated(occupancy, mesh.vertices.min(axis=0), mesh.vertices.max(axis=0), resolution)


@dataclass(frozen=True)
class Case:
    """A network, an encoded picture, and perhaps the body that answers in its place."""

    name: str
    net: ShapeNet
    encoded: Encoded
    focus: Tensor
    resolution: int
    body: Body | None = None

    def published(self) -> tuple[Volume, Any]:
        """Run the published octree and marching cubes; return the volume and the mesh."""
        calib = torch.diag(torch.tensor([1.0, -1.0, 1.0, 1.0]))[None]

        def field(points: Points) -> NDArray[np.floating]:
            columns = torch.from_numpy(points.T.astype(np.float32))[None]
            parts = [self.net.query(self.encoded, p, calib)[-1][0, 0] for p in columns.split(BATCH, dim=2)]
            found: NDArray[np.floating] = torch.cat(parts).numpy()
            if self.body is None:
                return found
            return self.body.at(np.rint((points + 1) * (self.resolution / 2)).astype(np.int64))

        tree = octree_grid(field, self.resolution)
        volume = Volume(torch.from_numpy(tree.values.astype(np.float32)), sum(tree.evaluated))
        return volume, surface(volume)

    def field(self, rays: RayClassifier) -> Callable[[Tensor], Tensor]:
        """Return the field that `refine` asks: the network's work, and the body's answers if there is one."""
        asked = rays.lattice(self.encoded, self.resolution)
        body = self.body
        if body is None:
            return asked
        n = self.resolution + 1

        def answered(keys: Tensor) -> Tensor:
            asked(keys)
            nodes = torch.stack([keys // n**2, keys // n % n, keys % n], dim=1)
            return torch.from_numpy(body.at(nodes.numpy()))

        return answered

    def ours(self) -> tuple[Volume, Any]:
        """Run robench's way; return the volume and the mesh."""
        volume = refine(self.field(RayClassifier(self.net)), self.resolution, self.focus)[0]
        return volume, surface(volume)

    def slab(self) -> None:
        """Ask the network for two layers of the dense grid, as published."""
        axis = torch.arange(self.resolution) * (2.0 / self.resolution) - 1.0
        points = torch.cartesian_prod(axis[:SLAB] + 1.0, axis, axis).t()[None]
        for part in points.split(BATCH, dim=2):
            self.net.query(self.encoded, part, torch.eye(4)[None])

    def truth(self) -> Any:
        """Return the dense grid's mesh."""
        if self.body is not None:
            return surface(self.body.volume())
        return surface(dense(self.field(RayClassifier(self.net, chunk=8192)), self.resolution))


def least(jobs: dict[str, Callable[[], Any]], rounds: int) -> tuple[dict[str, tuple[float, float]], dict[str, Any]]:
    """Return each job's least seconds of some rounds, CPU on one thread and wall clock on two, and its last result."""
    times: dict[str, list[float]] = {name: [np.inf, np.inf] for name in jobs}
    results = {}
    before = torch.get_num_threads()
    try:
        for i, clock in enumerate((time.process_time, time.perf_counter)):
            torch.set_num_threads(i + 1)
            for _ in range(rounds):
                for name, job in jobs.items():
                    start = clock()
                    results[name] = job()
                    times[name][i] = min(times[name][i], clock() - start)
    finally:
        torch.set_num_threads(before)
    return {name: (cpu, wall) for name, (cpu, wall) in times.items()}, results


def apart(a: Any, b: Any, resolution: int) -> float:
    """Return the greatest distance in voxels from a vertex of either mesh to the nearest one of the other."""
    found = [cKDTree(x[0]).query(y[0])[0].max() for x, y in ((a, b), (b, a))]
    return float(max(found)) * resolution / 2


def rows_of(case: Case, rounds: int, target: float | str) -> list[dict[str, Any]]:
    """Measure one case."""
    image = torch.zeros(1, 3, *(2 * [case.net.config.image_size]))
    jobs: dict[str, Callable[[], Any]] = {
        "published octree": case.published,
        "robench": case.ours,
        "dense grid, extrapolated": case.slab,
        "image filter": lambda: case.net.filter(image),
    }
    times, results = least(jobs, rounds)
    truth = case.truth()
    layers = case.resolution / SLAB
    rows = []
    for name, (cpu, wall) in times.items():
        factor = layers if name.startswith("dense") else 1.0
        row: dict[str, Any] = {"case": case.name, "resolution": case.resolution, "what": name, "points": ""}
        row |= {"cpu_s": cpu * factor, "wall_s": wall * factor, "octree_ratio": "", "off_voxel": "", "target": ""}
        if results[name] is not None and name != "image filter":
            volume, mesh = results[name]
            row["points"], row["off_voxel"] = volume.evaluated, apart(mesh, truth, case.resolution)
        elif factor > 1:
            row["points"] = case.resolution**3
        if name != "image filter":
            row["octree_ratio"] = times["published octree"][0] / row["cpu_s"]
        if name == "robench":
            row["target"] = target
        rows.append(row)
    return rows


def full_size(bodies: dict[str, Body]) -> list[Case]:
    """Return the cases of the published architecture, with drawn weights."""
    net = ShapeNet(OFFICIAL).eval()
    init_weights(net, torch.Generator().manual_seed(0))
    size = OFFICIAL.image_size
    encoded = net.filter(torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1)
    return [
        Case(f"pifu, {name}", net, encoded, silhouette(b.silhouette(), b.resolution)[None], b.resolution, b)
        for name, b in bodies.items()
    ]


def mini(mesh: Mesh) -> Case:
    """Return the case of the network that robench ships."""
    from robench.data.anny_humans.synth import render_view
    from robench.rendering import RayScene

    weights = load_weights(MINI)
    view = render_view(RayScene(mesh), mesh, "bench", 0.0, 512, 0)
    ready = prepare(view.image, view.mask, view.camera, weights.config.image_size)
    encoded = weights.shape.filter(torch.from_numpy(network_image(ready.image, ready.mask))[None])
    focus = silhouette(torch.from_numpy(ready.mask.copy()), 128)[None]
    return Case("pifu-mini, its own answers", weights.shape, encoded, focus, 128)


@torch.inference_mode()
def run(resolution: int = 256, rounds: int = 1) -> dict[str, Any]:
    """Measure; return a row a program and case."""
    from robench.data.anny_humans.subject import build, draw_person

    mesh = build(draw_person("bench", 0))
    bodies = {"capsules": capsules(resolution), "person": solid(placed(mesh), resolution)}
    rows = [row for case in full_size(bodies) for row in rows_of(case, rounds, TARGET)]
    return {"rows": rows + rows_of(mini(mesh), rounds, "")}


def show(result: dict[str, Any]) -> None:
    """Print the rows as a table."""
    print("An encoded picture to a mesh: CPU seconds on one thread, and their ratios; wall-clock seconds on two")
    for row in result["rows"]:
        line = f"  {row['case']:<27} {row['resolution']}³ {row['what']:<25} {row['points'] or '':>10}"
        line += f" {row['cpu_s']:8.2f} CPU {row['wall_s']:8.2f} wall"
        if row["octree_ratio"] != "":
            line += f"  {row['octree_ratio']:6.2f} x the octree"
        if row["off_voxel"] != "":
            line += f", {row['off_voxel']:.4f} voxel off"
        print(line + (f", target {row['target']:g} x" if row["target"] != "" else ""))
