"""`anny-humans`: dressed, watertight people made from anny bodies, with exact masks, depth, normals and cameras."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from robench.contracts import Camera, Card, Problem, Sample
from robench.data.anny_humans.layout import DATASET, RECORD_NAME, VIEW_FILES, subject_folder, view_folder, view_name

__all__ = ["AnnyHumans", "synthesise"]


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
    """Make the data set; see `robench.data.anny_humans.synth.synthesise`."""
    from robench.data.anny_humans import synth

    return synth.synthesise(out, subjects, views, size, seed, split, workers, start)


class AnnyHumans:
    """Reads what ``robench data synth`` wrote."""

    card = Card(
        name="anny-humans",
        version="1",
        summary="synthetic dressed people with watertight ground truth, made by 'robench data synth'",
        licence="Apache-2.0 (bodies: anny, Apache-2.0 code and CC0 data)",
        extra={
            "unit": "cm",
            "frame": "y up, facing +z",
            "camera": "orthographic",
            "depth": "metres, finite everywhere",
            "made_by": "robench data synth people --subjects {subjects} --views {views} --split {split}",
        },
    )

    def accepts(self, root: Path) -> bool:
        """True if the folder's ``dataset.json`` names this data set."""
        from robench.io.files import read_json

        path = root / DATASET
        head = read_json(path) if path.is_file() else None
        return isinstance(head, dict) and head.get("name") == "anny-humans"

    def samples(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """Yield samples by subject, then by yaw in the order made.

        Args:
            root: The data set's folder.
            split: Only this split's subjects; None for all, in the order train, val, test.

        Raises:
            UsageError: If the split does not exist.
        """
        from robench.data.splits import read_split, split_names
        from robench.io.files import read_json

        for name in [split] if split else split_names(root):
            for subject_id in read_split(root, name):
                folder = subject_folder(root, subject_id)
                for record in read_json(folder / RECORD_NAME)["views"]:
                    yaw = float(record["yaw"])
                    here = view_folder(root, subject_id, yaw)
                    yield Sample(
                        sample_id=f"{subject_id}_{view_name(yaw)}",
                        subject_id=subject_id,
                        view=yaw,
                        image=here / VIEW_FILES["image"],
                        mask=here / VIEW_FILES["mask"],
                        depth=here / VIEW_FILES["depth"],
                        normals=here / VIEW_FILES["normals"],
                        camera=Camera.from_json(record["camera"]),
                        mesh=folder / "mesh.ply",
                    )

    def verify(self, root: Path) -> list[Problem]:
        """Hash every file again and check the splits."""
        from robench.data.manifest import verify_manifest
        from robench.data.splits import verify_splits

        subjects = {path.name for path in (root / "subjects").iterdir()} if (root / "subjects").is_dir() else set()
        return [*verify_manifest(root), *verify_splits(root, subjects)]

    def revision(self, root: Path) -> str:
        """Return the SHA-256 of the manifest."""
        from robench.data.manifest import revision

        return revision(root)
