"""Where the files of an `anny-humans` data set lie."""

from __future__ import annotations

from pathlib import Path

DATASET = "dataset.json"
RECORD_NAME = "subject.json"
VIEW_FILES = {"image": "image.png", "mask": "mask.png", "depth": "depth.npz", "normals": "normals.png"}


def subject_folder(root: Path, subject_id: str) -> Path:
    """Return the folder of one subject."""
    return root / "subjects" / subject_id


def view_name(yaw: float) -> str:
    """Return the name of a view: its yaw in degrees, three digits (and decimals where there are any)."""
    return f"{yaw:03.0f}" if float(yaw).is_integer() else f"{yaw:06.2f}"


def view_folder(root: Path, subject_id: str, yaw: float) -> Path:
    """Return the folder of one view."""
    return subject_folder(root, subject_id) / view_name(yaw)
