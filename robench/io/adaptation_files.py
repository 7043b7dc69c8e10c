"""What an adaptation leaves beside its checkpoints: a record each, and which checkpoint is of how many batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.errors import Mismatch, UsageError
from robench.io.files import read_json, write_json_atomic

FORMAT = "robench-adaptation/1"
RECORD, CURVE = "adaptation.json", "curve.json"


def write_curve(folder: Path, model: str, lr: float, base_sha256: str, points: Sequence[Mapping[str, Any]]) -> None:
    """Write which checkpoint of a folder is of how many batches.

    Args:
        folder: Of the adaptation.
        model: Name of the model.
        lr: The learning rate.
        base_sha256: Of the checkpoint that all started from.
        points: ``batches``, ``checkpoint`` (relative to the folder) and ``sha256`` of each.
    """
    said = {"format": FORMAT, "model": model, "lr": lr, "base_sha256": base_sha256, "points": list(points)}
    write_json_atomic(folder / CURVE, said)


def read_curve(folder: Path) -> dict[str, int]:
    """Return how many batches each checkpoint of an adaptation learned from, by its sha256; the base learned from 0.

    Args:
        folder: What ``robench adapt --out`` made, with a curve or a single checkpoint.

    Raises:
        UsageError: If it holds no finished adaptation.
        Mismatch: If its files are damaged.
    """
    path = folder / CURVE
    if not path.is_file():
        path = folder / RECORD
    if not path.is_file():
        raise UsageError(f"{folder} holds no adaptation", expected=f"its {CURVE} or {RECORD}", hint="robench adapt")
    said = read_json(path)
    try:
        if said["format"] != FORMAT:
            raise ValueError(f"format {said['format']!r}")
        if path.name == RECORD and "checkpoint_sha256" not in said:
            raise UsageError(f"The adaptation in {folder} is not finished", hint="the same robench adapt again")
        single = {"batches": said.get("batches"), "sha256": said.get("checkpoint_sha256")}
        own = [single] if path.name == RECORD else said["points"]
        found = {str(said["base_sha256"]): 0}
        return found | {str(point["sha256"]): int(point["batches"]) for point in own}
    except (KeyError, TypeError, ValueError) as error:
        raise Mismatch(
            f"{path} is damaged", got=f"{type(error).__name__}: {error}", hint="robench adapt again"
        ) from error
