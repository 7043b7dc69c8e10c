"""What stays on disk of a run beside its numbers: pictures, masks and meshes, for the eye and for the report's grid."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from robench.contracts import Reconstruction
from robench.data.ids import safe_id
from robench.engine.pipeline import Outcome, Prepared
from robench.io.files import write_json_atomic


def is_kept(keep: str, sample_id: str, failed: bool, examples: AbstractSet[str]) -> bool:
    """True if ``--keep-meshes`` asks for this cell."""
    if keep == "none":
        return False
    return keep == "all" or (keep == "failed" and failed) or sample_id in examples


def keep_example(run: Path, item: Prepared, outcome: Outcome, keep: str, examples: AbstractSet[str]) -> None:
    """Store a cell's picture and mask under ``examples/`` and its mesh under ``meshes/``, if it is to be kept.

    ``examples/<corruption>/<severity>/<sample>.json`` says which files there are (relative to the run), with the
    camera of the picture as corrupted, in whose view frame the mesh is.

    Raises:
        UsageError, EnvironmentNotReady: If a file cannot be written.
    """
    from robench.io.images import write_mask, write_png
    from robench.io.meshes import write_mesh

    cell, result = item.cell, outcome.result
    made = isinstance(result, Reconstruction)
    if not is_kept(keep, cell.sample.sample_id, not made, examples):
        return
    place = f"{safe_id(cell.corruption)}/{cell.severity}/{safe_id(cell.sample.sample_id)}"
    about: dict[str, Any] = {
        "sample_id": cell.sample.sample_id,
        "subject_id": cell.sample.subject_id,
        "view_id": f"{cell.sample.view:g}",
        "corruption": cell.corruption,
        "severity": cell.severity,
        "status": "ok" if isinstance(result, Reconstruction) else result.kind,
        "message": "" if isinstance(result, Reconstruction) else result.message,
        "image": None,
        "mask": None,
        "mesh": None,
        "camera": None,
    }
    if item.picture is not None:
        about["image"], about["camera"] = f"examples/{place}.png", item.picture.camera.to_json()
        write_png(run / about["image"], item.picture.image)
    if item.mask is not None:
        about["mask"] = f"examples/{place}_mask.png"
        write_mask(run / about["mask"], item.mask)
    if isinstance(result, Reconstruction):
        about["mesh"] = f"meshes/{place}.ply.gz"
        write_mesh(run / about["mesh"], result.mesh)
    write_json_atomic(run / "examples" / f"{place}.json", about)
