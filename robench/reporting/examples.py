"""Examples that a run kept: picture, mask and mesh of a few samples under every condition, with their ground truth."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robench.contracts import Camera, Image, Mask, Mesh
from robench.errors import RobenchError, UsageError


@dataclass(frozen=True, eq=False)
class Example:
    """One stored cell of a run.

    Attributes:
        corruption: Name; ``clean`` at severity 0.
        severity: 0 to 5.
        sample_id: The sample.
        image: (H, W, 3) uint8, as corrupted.
        mask: (H, W) in [0, 1], as the model was given it.
        camera: Of the picture as corrupted.
        prediction: In the camera's view frame, centimetres; None where reconstruction failed.
        truth: In the same frame; None where there is none.
        note: Why there is no prediction.
    """

    corruption: str
    severity: int
    sample_id: str
    image: Image
    mask: Mask
    camera: Camera
    prediction: Mesh | None
    truth: Mesh | None
    note: str = ""


def find_examples(run: Path) -> list[Mapping[str, Any]]:
    """Return the records of the examples that have a picture, sorted, clean first.

    Args:
        run: Run folder, with ``examples/<corruption>/<severity>/<sample>.json``.

    Raises:
        UsageError: If a record is damaged.
    """
    from robench.io.files import read_json

    paths = sorted(Path(run).glob("examples/*/*/*.json"))
    usable = [record for record in map(_checked, paths, map(read_json, paths)) if record["image"] and record["camera"]]
    return sorted(usable, key=lambda r: (r["severity"] != 0, r["corruption"], r["severity"], r["sample_id"]))


def _checked(path: Path, record: Any) -> Mapping[str, Any]:
    try:
        sound = isinstance(record["severity"], int)
        sound &= all(isinstance(record[key], str) for key in ("sample_id", "corruption", "status"))
        sound &= all(isinstance(record[key], str | None) for key in ("image", "mask", "mesh"))
        if record["camera"] is not None:
            frame = Camera.from_json(record["camera"]).view_from_world
            sound &= frame.shape == (4, 4) and bool(np.isfinite(frame).all() and abs(np.linalg.det(frame)) > 1e-9)
    except (KeyError, TypeError, ValueError, IndexError, OverflowError):
        sound = False
    if not sound:
        raise UsageError(f"{path} is not a record of an example", hint="robench evaluate again")
    return dict(record)


def choose(records: Sequence[Mapping[str, Any]], sample_id: str | None = None) -> list[Mapping[str, Any]]:
    """Choose the rows of a grid: one sample, each corruption at its highest severity, clean first.

    Args:
        records: What `find_examples` returns.
        sample_id: The sample; None for the one with most conditions (the first of several).
    """
    counts: dict[str, int] = {}
    for record in records:
        counts[record["sample_id"]] = counts.get(record["sample_id"], 0) + 1
    if sample_id is None and counts:
        sample_id = min(counts, key=lambda name: (-counts[name], name))
    strongest: dict[str, Mapping[str, Any]] = {}
    for record in records:
        if record["sample_id"] == sample_id:
            strongest[record["corruption"]] = record
    return list(strongest.values())


def load_examples(run: Path, records: Sequence[Mapping[str, Any]]) -> Iterator[Example]:
    """Read examples; ground truth comes from the data set that ``run.json`` names, where it still lies there.

    Raises:
        RobenchError: If a stored file is missing or damaged.
    """
    from robench.io.files import safe_join
    from robench.io.images import read_image, read_mask
    from robench.io.meshes import read_mesh

    meshes = truth_meshes(run, {record["sample_id"] for record in records})
    for record in records:
        image = read_image(safe_join(run, record["image"]))
        size = image.shape[:2]
        mask = read_mask(safe_join(run, record["mask"]), size) if record["mask"] else np.zeros(size, np.float32)
        camera = Camera.from_json(record["camera"])
        world = meshes.get(record["sample_id"])
        yield Example(
            record["corruption"],
            record["severity"],
            record["sample_id"],
            image,
            mask,
            camera,
            prediction=read_mesh(safe_join(run, record["mesh"])) if record["mesh"] else None,
            truth=world.transformed(camera.view_from_world) if world is not None else None,
            note="" if record["status"] == "ok" else str(record["status"]).replace("_", " "),
        )


def truth_meshes(run: Path, sample_ids: set[str]) -> dict[str, Mesh]:
    """Return the ground truth of samples in the world frame; without those whose data is no longer there."""
    from robench import registry
    from robench.io.files import read_json
    from robench.io.meshes import read_mesh

    found: dict[str, Mesh] = {}
    # The grid can do without ground truth: data sets move and licences keep them off a laptop.
    with contextlib.suppress(RobenchError, OSError, KeyError, TypeError, ValueError):
        dataset = read_json(Path(run) / "run.json")["dataset"]
        for sample in registry.load("datasets", dataset["name"]).samples(Path(dataset["root"]), None):
            if sample.sample_id in sample_ids and sample.mesh is not None:
                found[sample.sample_id] = read_mesh(sample.mesh)
            if len(found) == len(sample_ids):
                break
    return found
