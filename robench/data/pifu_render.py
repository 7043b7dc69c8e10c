"""PIFu's training layout: rendered views of scans with camera parameters, masks and meshes.

``GEO/OBJ/<s>/<s>_100k.obj``, ``RENDER/<s>/<yaw>_<pitch>_00.jpg``, ``MASK/<s>/<yaw>_<pitch>_00.png``,
``PARAM/<s>/<yaw>_<pitch>_00.npy`` and ``val.txt``, which names the held-out subjects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Card, Problem, Sample
from robench.data.ids import by_stem, natural_key, safe_id
from robench.data.manifest import MANIFEST, data_files, problem, revision, tracked, verify_manifest
from robench.errors import RobenchError, UsageError
from robench.io.images import SUFFIXES, UnreadableInput, image_size, read_image, read_mask

_VIEW = re.compile(r"(-?\d+)_(-?\d+)_(\d+)")
_LAYOUT = ("RENDER", "MASK", "PARAM", "GEO", "val.txt")
_FIELDS = ("ortho_ratio", "scale", "center", "R")


def camera_from_params(
    rotation: NDArray[Any], centre: NDArray[Any], scale: float, ortho_ratio: float, height: int, width: int
) -> Camera:
    """Return the orthographic camera of a PIFu rendering.

    PIFu maps a point p to pixels ``(s/r) R (p - c)``, y down, measured from the middle of the picture, whose left edge
    is -1 in its normalised coordinates; so the middle is ``(width - 1) / 2`` where integers are pixel centres.

    Args:
        rotation: (3, 3) world to view, ``R``.
        centre: (3,) point of the mesh that is in the middle of the picture, ``c``, centimetres.
        scale: ``s``: 180 divided by the height of the person.
        ortho_ratio: ``r``: 0.4 * 512 / image size.
        height: Of the picture in pixels.
        width: Of the picture in pixels.

    Raises:
        ValueError: If a value is not finite or positive where it must be, or the rotation is none.

    Reference:
        Saito et al., PIFu (ICCV 2019), the released training code's calibration.
    """
    r = np.asarray(rotation, np.float64).reshape(3, 3)
    c = np.asarray(centre, np.float64).reshape(3)
    if not np.allclose(r @ r.T, np.eye(3), atol=1e-3) or np.linalg.det(r) < 0:
        raise ValueError("R is not a rotation")
    if not (np.isfinite(c).all() and np.isfinite([scale, ortho_ratio]).all() and scale > 0 and ortho_ratio > 0):
        raise ValueError("scale, ortho_ratio and center must be finite, the first two positive")
    view = np.eye(4)
    view[:3, :3], view[:3, 3] = r, -r @ c
    return Camera(view, float(scale) / float(ortho_ratio), ((width - 1) / 2, (height - 1) / 2), width, height)


def read_camera(param: Path, height: int, width: int) -> Camera:
    """Read a ``PARAM`` file and return the camera of a picture of the given size.

    Raises:
        UnreadableInput: If the file is missing, damaged, hostile or lacks a value.
    """
    from robench.data._safe_npy import read_pickled_dict

    values = read_pickled_dict(param)
    missing = [name for name in _FIELDS if name not in values]
    if missing:
        raise UnreadableInput(param, f"it lacks {', '.join(missing)}")
    try:
        return camera_from_params(
            values["R"], values["center"], float(values["scale"]), float(values["ortho_ratio"]), height, width
        )
    except (TypeError, ValueError) as error:
        raise UnreadableInput(param, f"its camera is wrong ({error})") from error


class PifuRender:
    """Reader of PIFu's layout. Splits: ``train``, and ``val`` or ``test`` for the subjects of ``val.txt``."""

    card = Card(
        name="pifu-render",
        version="1",
        summary="PIFu's rendered scans: RENDER, MASK, PARAM and GEO/OBJ folders",
        reference="Saito et al., PIFu, ICCV 2019, section 5.1",
        extra={"splits": ("train", "val", "test"), "unit": "cm"},
    )

    def accepts(self, root: Path) -> bool:
        """Return True if the folder has ``RENDER`` and ``PARAM``."""
        return (root / "RENDER").is_dir() and (root / "PARAM").is_dir()

    def samples(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """Yield one sample a view, by subject and then by yaw.

        A view without readable parameters has no camera and no mesh.

        Raises:
            UsageError: If the split is unknown, ``val.txt`` is missing, or there is no view.
        """
        found = False
        for subject in self._subjects(root, split):
            for name, picture in _views(root, subject).items():
                found = True
                yield self._sample(root, subject, name, picture)
        if not found:
            raise UsageError(f"There is no view in {root / 'RENDER'}", expected="RENDER/<subject>/<yaw>_<pitch>_00.jpg")

    def verify(self, root: Path) -> list[Problem]:
        """Read every picture, mask, parameter file and mesh, and hash them if there is a manifest."""
        problems = verify_manifest(root) if (root / MANIFEST).is_file() else []
        subjects = self._subjects(root, None)
        if (root / "val.txt").is_file():
            unknown = sorted(set(_val(root)) - set(subjects))
            problems += [Problem(root / "val.txt", f"names the unknown subject '{name}'") for name in unknown]
        for subject in tracked(subjects, "reading"):
            try:
                views = _views(root, subject)
            except UsageError as error:
                problems.append(problem(root / "RENDER" / subject, error))
                continue
            problems += _mesh_problems(root, subject)
            for name, picture in views.items():
                problems += _view_problems(root, subject, name, picture)
        return problems

    def revision(self, root: Path) -> str:
        """Return the hash of the stored manifest, else of one of the files that belong to the layout."""
        used = [path for path in data_files(root) if path.relative_to(root).parts[0] in _LAYOUT]
        return revision(root, used)

    def _subjects(self, root: Path, split: str | None) -> list[str]:
        folder = root / "RENDER"
        subjects = sorted((p.name for p in folder.iterdir() if p.is_dir() and p.name[0] != "."), key=natural_key)
        if split is None:
            return subjects
        if split not in ("train", "val", "test"):
            raise UsageError(f"There is no split '{split}'", expected="one of train, val, test")
        if not (root / "val.txt").is_file():
            raise UsageError(
                f"The data set {root} has no val.txt", hint="leave the split out, or list held-out subjects"
            )
        held_out = set(_val(root))
        return [name for name in subjects if (name in held_out) == (split != "train")]

    def _sample(self, root: Path, subject: str, name: str, picture: Path) -> Sample:
        mask, mesh = _mask(root, subject, name), _mesh(root, subject)
        try:
            camera = read_camera(root / "PARAM" / subject / f"{name}.npy", *image_size(picture))
        except UnreadableInput:
            # `verify` says why. Without its camera there is no truth either: a distance would mean nothing.
            camera = None
        return Sample(
            sample_id=f"{safe_id(subject)}_{name}",
            subject_id=safe_id(subject),
            view=float(name.split("_")[0]),
            image=picture,
            mask=mask if mask.is_file() else None,
            camera=camera,
            mesh=mesh if camera is not None and mesh.is_file() else None,
        )


def _views(root: Path, subject: str) -> dict[str, Path]:
    pictures = (p for p in (root / "RENDER" / subject).iterdir() if p.suffix.lower() in SUFFIXES)
    return by_stem(p for p in pictures if _VIEW.fullmatch(p.stem))


def _val(root: Path) -> list[str]:
    try:
        text = (root / "val.txt").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{root / 'val.txt'} cannot be read", got=str(error)) from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _mask(root: Path, subject: str, name: str) -> Path:
    return root / "MASK" / subject / f"{name}.png"


def _mesh(root: Path, subject: str) -> Path:
    return root / "GEO" / "OBJ" / subject / f"{subject}_100k.obj"


def _mesh_problems(root: Path, subject: str) -> list[Problem]:
    from robench.io.meshes import open_edges, read_mesh

    path = _mesh(root, subject)
    try:
        edges = open_edges(read_mesh(path))
    except RobenchError as error:
        return [problem(path, error)]
    return [Problem(path, f"is not watertight: {edges} open edges")] if edges else []


def _view_problems(root: Path, subject: str, name: str, picture: Path) -> list[Problem]:
    problems = []
    try:
        shape = read_image(picture).shape[:2]
    except RobenchError as error:
        return [problem(picture, error)]
    mask, param = _mask(root, subject, name), root / "PARAM" / subject / f"{name}.npy"
    try:
        read_mask(mask, (shape[0], shape[1]))
    except RobenchError as error:
        problems.append(problem(mask, error))
    try:
        read_camera(param, shape[0], shape[1])
    except RobenchError as error:
        problems.append(problem(param, error))
    return problems
