"""Make the data set: people, cameras, light and backgrounds to files. The same seed gives the same bytes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from robench import rng as seeds
from robench.contracts import Camera, Depth, Image, Mask, Mesh
from robench.data.anny_humans.layout import DATASET, RECORD_NAME, VIEW_FILES, subject_folder, view_folder
from robench.errors import UsageError

VERSION = "2"
"""Goes up whenever the same seed gives other files. 2: the floor's depth runs on to the last row."""
_DRAWS = "1"
"""Of what chance decides about a view: as long as it stays, so do the pictures."""
PERSON_M = 3.5
"""Distance of the camera from the person, metres."""
_SHARE_HIGH, _SHARE_WIDE = 450 / 512, 490 / 512


def orbit_camera(mesh: Mesh, yaw: float, size: int) -> Camera:
    """Return the orthographic camera that looks at a person from `yaw` degrees towards their left.

    As in PIFu's renders, one scale per subject: the person fills 450 of 512 pixels in height, less if arms or legs
    would leave the frame at some yaw. The view frame's origin is the middle of the person's box.

    Args:
        mesh: The person in the world frame.
        yaw: Degrees; 0 looks into the face, 90 at the person's left side.
        size: Side of the picture in pixels.
    """
    low, high = mesh.vertices.min(0).astype(np.float64), mesh.vertices.max(0).astype(np.float64)
    centre = (low + high) / 2
    radius = float(np.hypot(*(mesh.vertices[:, [0, 2]] - centre[[0, 2]]).T).max())
    scale = size * min(_SHARE_HIGH / (high[1] - low[1]), _SHARE_WIDE / (2 * radius))
    a = np.deg2rad(yaw)
    view = np.eye(4)
    view[:3, :3] = [[np.cos(a), 0, -np.sin(a)], [0, 1, 0], [np.sin(a), 0, np.cos(a)]]
    view[:3, 3] = -view[:3, :3] @ centre
    middle = (size - 1) / 2
    return Camera(view, float(scale), (middle, middle), size, size, distance=100 * PERSON_M)


@dataclass(frozen=True)
class View:
    """One rendered view; `record` tells what was drawn."""

    image: Image
    mask: Mask
    depth: Depth
    normals: Any
    camera: Camera
    record: dict[str, Any]


def render_view(scene: Any, mesh: Mesh, subject_id: str, yaw: float, size: int, seed: int) -> View:
    """Render one view of a subject.

    Args:
        scene: The mesh's `robench.rendering.RayScene`.
        mesh: The person.
        subject_id: Decides, with yaw and seed, light and background.
        yaw: Degrees, as in `orbit_camera`.
        size: Side of the picture in pixels.
        seed: The data set's seed.
    """
    from robench.data.anny_humans.background import draw_background
    from robench.rendering.light import Lamps, Light, SphericalHarmonics, shade

    rng = seeds.generator(seed, subject_id, f"view@{_DRAWS}", f"{yaw:g}")
    camera = orbit_camera(mesh, yaw, size)
    light: Light = SphericalHarmonics.random(rng) if rng.random() < 0.5 else Lamps.random(rng)
    feet = camera.project(mesh.vertices[[mesh.vertices[:, 1].argmin()]])[0, 1]
    behind = draw_background(size, float(feet), PERSON_M, rng)
    hits = scene.cast(camera)
    total = np.zeros((size, size, 3), np.float32)
    # Two samples a pixel soften the outline; mask, depth and normals are those of pixel centres.
    for sample in (scene.cast(camera, offset=(-0.25, -0.25)), scene.cast(camera, offset=(0.25, 0.25))):
        picture = behind.image.copy()
        inside = sample.mask
        albedo = np.clip(np.rint(sample.colours[inside]), 0, 255).astype(np.uint8)
        picture[inside] = shade(albedo, sample.normals[inside], light)
        total += picture
    image = np.clip(np.rint(total / 2), 0, 255).astype(np.uint8)
    depth = np.where(hits.mask, hits.depth, behind.depth).astype(np.float32)
    record = {"light": type(light).__name__, "background": behind.kind, "camera": camera.to_json(), "yaw": yaw}
    return View(image, hits.mask.astype(np.float32), depth, hits.normals, camera, record)


def make_subject(out: Path, subject_id: str, views: Sequence[float], size: int, seed: int) -> None:
    """Make one subject's mesh and views under `out`; a finished subject of the same recipe is left alone."""
    from robench.data.anny_humans.subject import build, draw_person
    from robench.io.depth import write_depth, write_normals
    from robench.io.files import read_json, write_json_atomic
    from robench.io.images import write_mask, write_png
    from robench.io.meshes import write_mesh
    from robench.rendering import RayScene

    folder = subject_folder(out, subject_id)
    wanted = {"views": [float(v) for v in views], "size": size, "seed": seed, "version": VERSION}
    record_path = folder / RECORD_NAME
    if record_path.exists() and read_json(record_path).get("recipe") == wanted:
        return
    person = draw_person(subject_id, seed)
    mesh = build(person)
    write_mesh(folder / "mesh.ply", mesh)
    scene = RayScene(mesh)
    records = []
    for yaw in views:
        view = render_view(scene, mesh, subject_id, yaw, size, seed)
        here = view_folder(out, subject_id, yaw)
        write_png(here / VIEW_FILES["image"], view.image)
        write_mask(here / VIEW_FILES["mask"], view.mask)
        write_depth(here / VIEW_FILES["depth"], view.depth)
        write_normals(here / VIEW_FILES["normals"], view.normals)
        records.append(view.record)
    # Written last: its presence says that the subject is whole.
    write_json_atomic(record_path, {"recipe": wanted, "person": person.to_json(), "views": records})


def _task(arguments: tuple[Path, str, tuple[float, ...], int, int]) -> str:
    make_subject(*arguments)
    return arguments[1]


def synthesise(
    out: Path,
    subjects: int,
    views: Sequence[float],
    size: int = 512,
    seed: int = 0,
    split: str = "test",
    workers: int = 1,
    start: int = 0,
) -> str:
    """Make (or finish, or extend) an `anny-humans` data set.

    Args:
        out: Its folder.
        subjects: How many subjects of the split.
        views: Yaw angles in degrees.
        size: Side of the pictures in pixels, at least 64.
        seed: The seed of everything.
        split: ``train``, ``val`` or ``test``; ids carry it, so splits never share a person.
        workers: Processes; the bytes do not depend on them.
        start: Index of the first subject.

    Returns:
        The data set's revision.

    Raises:
        UsageError: If an argument makes no sense, or `out` holds an `anny-humans` set of another seed or size.
    """
    from robench.data.manifest import write_manifest
    from robench.data.splits import NAMES, read_split, split_names, write_splits
    from robench.io.files import make_folder, read_json, write_json_atomic

    if split not in NAMES:
        raise UsageError("Unknown split", got=repr(split), expected="one of " + ", ".join(NAMES))
    if subjects < 1 or not views or size < 64 or workers < 1:
        raise UsageError(
            "The data set would be empty or too small",
            got=f"{subjects} subjects, {len(views)} views, {size} pixels, {workers} workers",
            expected="at least 1, 1, 64 and 1",
        )
    make_folder(out)
    head = {"name": "anny-humans", "version": VERSION, "seed": seed, "size": size}
    if (out / DATASET).exists():
        old = read_json(out / DATASET)
        if {k: old.get(k) for k in head} != head:
            raise UsageError(f"{out} holds another data set", got=str(old), expected=str(head), hint="another folder")
    elif any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no anny-humans set", hint="another folder")
    write_json_atomic(out / DATASET, head)
    ids = [f"{split}-{k:04d}" for k in range(start, start + subjects)]
    tasks = [(out, name, tuple(float(v) % 360 for v in views), size, seed) for name in ids]
    for _ in _progress(_run(tasks, workers), len(tasks)):
        pass
    splits = {name: read_split(out, name) for name in split_names(out)}
    splits[split] = sorted({*splits.get(split, []), *ids})
    write_splits(out, splits)
    return write_manifest(out)


def _run(tasks: list[Any], workers: int) -> Iterator[str]:
    if workers == 1 or len(tasks) == 1:
        yield from map(_task, tasks)
        return
    from robench.data.anny_humans.body import template
    from robench.io.processes import end_with_parent

    template()  # fills anny's cache once, before several processes want to
    with ProcessPoolExecutor(min(workers, len(tasks)), get_context("spawn"), end_with_parent) as pool:
        yield from pool.map(_task, tasks)


def _progress(done: Iterator[str], total: int) -> Iterator[str]:
    """Show a bar on a terminal, a line every so often otherwise."""
    if sys.stderr.isatty() and "ROBENCH_NO_PROGRESS" not in os.environ:
        from rich.console import Console
        from rich.progress import track

        yield from track(done, "people", total=total, console=Console(stderr=True))
        return
    for count, name in enumerate(done, 1):
        if count % max(1, total // 10) == 0 or count == total:
            sys.stderr.write(f"people: {count} of {total} ({name})\n")
        yield name
