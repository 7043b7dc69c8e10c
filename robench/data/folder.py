"""A plain folder of pictures, with whatever lies beside them.

Pictures are in the folder itself or in its ``images/``, and in folders below at any depth. For a picture ``x.png``
these belong to it: ``masks/x.*`` or ``x_mask.*``; ``depth/x.*`` or ``x_depth.*``; ``normals/x.png`` or
``x_normals.png``; and ``meshes/x.*``, ``x.obj``, ``x.ply`` or ``x_mesh.*``. For ``monday/x.png`` they are
``masks/monday/x.*``, ``monday/masks/x.*`` or ``monday/x_mask.*``, and so on. A picture with a transparent background is
its own mask. ``cameras.json`` may give, by picture name without suffix (``x``, ``monday/x``), a camera
(`Camera.to_json`) and ``subject`` and ``view``; subjects are else one a picture. ``boxes.json`` may give person
boxes by the same names. Hidden files, and what robench itself wrote into the folder (sets, runs, masks), are no part of
it.

A mesh is used as ground truth only if the camera is given: under an assumed one no distance would mean anything.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from robench.contracts import Box, Camera, Card, Mask, Problem, Sample
from robench.data import splits
from robench.data._tree import has_picture, scan
from robench.data._tree import picture_key as picture_key
from robench.data.boxes import BOXES, read_boxes
from robench.data.ids import safe_id
from robench.data.manifest import MANIFEST, problem, revision, tracked, verify_manifest
from robench.errors import RobenchError, UsageError
from robench.io import images, meshes
from robench.io.depth import declaration_of
from robench.io.files import read_json
from robench.io.images import UnreadableInput, image_size, read_mask, read_rgba

PERSON_CM: Final = 170.0
"""Height that an unmeasured person is taken to have."""
CAMERAS: Final = "cameras.json"


def default_camera(height: int, width: int, mask: Mask | None = None) -> Camera:
    """Return the orthographic camera that is assumed where none is given.

    The person is taken to be `PERSON_CM` tall: as tall as the bounding box of the mask (values of at least 0.5), and
    centred in it; without a mask, or with an empty one, as tall as the picture and in its middle.

    Args:
        height: Of the picture in pixels.
        width: Of the picture in pixels.
        mask: (height, width) in [0, 1], or None.

    Returns:
        A camera that looks along -z of the world, whose origin is the person's middle.
    """
    top, bottom, left, right = 0, height - 1, 0, width - 1
    if mask is not None and bool((mask >= 0.5).any()):
        rows, columns = (np.flatnonzero((mask >= 0.5).any(axis=axis)) for axis in (1, 0))
        top, bottom, left, right = int(rows[0]), int(rows[-1]), int(columns[0]), int(columns[-1])
    scale = (bottom - top + 1) / PERSON_CM
    return Camera(np.eye(4), scale, ((left + right) / 2, (top + bottom) / 2), width, height)


class Folder:
    """Reader of a plain folder of pictures."""

    card = Card(
        name="folder",
        version="1",
        summary="a plain folder of pictures; masks, depth, meshes, cameras.json and boxes.json beside them are used",
        extra={"person_cm": PERSON_CM, "suffixes": images.SUFFIXES},
    )

    def accepts(self, root: Path) -> bool:
        """Return True if there is a picture in the folder or in its ``images/``, at any depth."""
        return has_picture(Path(root))

    def samples(self, root: Path, split: str | None = None) -> Iterator[Sample]:
        """Yield the pictures in natural order (``x2`` before ``x10``).

        A picture that cannot be read is still a sample, without a camera: a run records it as failed and goes on.

        Raises:
            UsageError: If there is no picture, two pictures or companions share a name, ``cameras.json`` or
                ``boxes.json`` is wrong, or there is no such split.
        """
        tree = scan(Path(root))
        if not tree.pictures:
            raise UsageError(f"There is no picture in {root}", expected="files like x.png or x.jpg")
        known, boxes = _cameras(root), read_boxes(root)
        chosen = None if split is None else set(splits.read_split(root, split))
        for key, picture in tree.pictures.items():
            entry = known.get(key, {})
            subject = safe_id(str(entry.get("subject", key)))
            if chosen is None or subject in chosen:
                yield _sample(key, picture, subject, entry, tree.companions, boxes.get(key))

    def verify(self, root: Path) -> list[Problem]:
        """Read every picture and what belongs to it; check the manifest and the split files if there are any."""
        problems = verify_manifest(root) if (root / MANIFEST).is_file() else []
        try:
            samples = list(self.samples(root))
            tables: dict[str, Mapping[str, Any]] = {CAMERAS: _cameras(root), BOXES: read_boxes(root)}
        except RobenchError as error:
            return [*problems, problem(root, error)]
        tree = scan(Path(root))
        for file, table in tables.items():
            unknown = sorted(set(table) - tree.pictures.keys())
            problems += [Problem(root / file, f"names '{name}', and there is no such picture") for name in unknown]
        problems += splits.verify_splits(root, {sample.subject_id for sample in samples})
        problems += [Problem(path, "belongs to no picture") for path in tree.strangers]
        unused = set(tree.companions["mesh"].values()) - {sample.mesh for sample in samples}
        problems += [Problem(path, f"is not used: its picture has no camera in {CAMERAS}") for path in sorted(unused)]
        for sample in tracked(samples, "reading"):
            problems += _sample_problems(sample)
        return problems

    def revision(self, root: Path) -> str:
        """Return the hash of the stored manifest, else of one of the files that are used.

        Other files do not count: a result may lie in the same folder.
        """
        used = {root / CAMERAS, root / BOXES, *(root / splits.FOLDER / f"{name}.txt" for name in splits.NAMES)}
        for sample in self.samples(root):
            companions = (sample.mask, sample.depth, sample.normals, sample.mesh)
            used |= {sample.image, *(path for path in companions if path is not None)}
            if sample.depth is not None and (unit := declaration_of(sample.depth)) is not None:
                used.add(unit)
        return revision(root, sorted(path for path in used if path.is_file()))


def _sample(
    stem: str,
    picture: Path,
    subject: str,
    entry: Mapping[str, Any],
    around: Mapping[str, Mapping[str, Path]],
    box: Box | None,
) -> Sample:
    mask, camera = around["mask"].get(stem), entry.get("camera")
    mesh = around["mesh"].get(stem) if camera is not None else None
    try:
        stamp = picture.stat().st_mtime_ns
        if mask is None and _is_cut_out(picture, stamp):
            mask = picture
        if camera is None:
            camera = _assumed(picture, stamp, mask, mask.stat().st_mtime_ns if mask else 0)
    except (UnreadableInput, OSError):
        camera = None
    return Sample(
        sample_id=safe_id(stem),
        subject_id=subject,
        view=float(entry.get("view", 0.0)),
        image=picture,
        mask=mask,
        depth=around["depth"].get(stem),
        normals=around["normals"].get(stem),
        camera=camera,
        mesh=mesh,
        box=box,
    )


@functools.lru_cache(maxsize=65536)
def _is_cut_out(picture: Path, stamp: int) -> bool:
    """Return True if the picture has pixels that are not opaque; `stamp` is its time of change, for the cache."""
    return images.may_have_alpha(picture) and read_rgba(picture)[1] is not None


@functools.lru_cache(maxsize=65536)
def _assumed(picture: Path, stamp: int, mask: Path | None, mask_stamp: int) -> Camera:
    height, width = image_size(picture)
    try:
        values = read_mask(mask, (height, width)) if mask else None
    except UnreadableInput:
        values = None  # the run, which reads the mask again, records why
    return default_camera(height, width, values)


def _cameras(root: Path) -> dict[str, dict[str, Any]]:
    """Read ``cameras.json``: picture name → ``camera`` (or None), ``subject``, ``view``."""
    path = root / CAMERAS
    if not path.is_file():
        return {}
    data = read_json(path)
    if not isinstance(data, dict):
        raise UsageError(f"{path} is not a table of cameras", expected='{"<picture name>": {"kind": ..., ...}}')
    result = {}
    for stem, values in data.items():
        try:
            plain = dict(values)
            entry: dict[str, Any] = {key: plain.pop(key) for key in ("subject", "view") if key in plain}
            entry["view"] = float(entry.get("view", 0.0))
            entry["camera"] = Camera.from_json(plain) if plain else None
        except (TypeError, ValueError, KeyError, IndexError, OverflowError) as error:
            raise UsageError(
                f"The camera of '{stem}' in {path} is wrong", got=f"{type(error).__name__}: {error}"
            ) from error
        result[unicodedata.normalize("NFC", stem)] = entry
    return result


def _sample_problems(sample: Sample) -> list[Problem]:
    from robench.io.depth import read_depth, read_normals

    try:
        height, width = read_rgba(sample.image)[0].shape[:2]
    except RobenchError as error:
        return [problem(sample.image, error)]
    problems = []
    for path, check in ((sample.mask, _mask_check), (sample.depth, read_depth), (sample.normals, read_normals)):
        if path is not None:
            try:
                check(path, (height, width))
            except RobenchError as error:
                problems.append(problem(path, error))
    if sample.camera is not None and (sample.camera.height, sample.camera.width) != (height, width):
        size = f"{sample.camera.width}x{sample.camera.height}"
        problems.append(Problem(sample.image, f"is {width}x{height} pixels, but its camera in {CAMERAS} is {size}"))
    if sample.box is not None and not sample.box.overlaps(height, width):
        where = f"its person box {sample.box.to_json()} in {BOXES} lies outside its {width}x{height} pixels"
        problems.append(Problem(sample.image, where))
    return problems + _mesh_problems(sample)


def _mask_check(path: Path, shape: tuple[int, int]) -> None:
    mask = read_mask(path, shape)
    if 0 < mask.max() < 0.02:
        largest = round(float(mask.max()) * 255)
        raise UnreadableInput(path, f"its largest value is {largest} of 255; white must be the person")


def _mesh_problems(sample: Sample) -> list[Problem]:
    if sample.mesh is None:
        return []
    problems = []
    try:
        edges = meshes.open_edges(meshes.read_mesh(sample.mesh))
        if edges:
            problems.append(Problem(sample.mesh, f"is not watertight: {edges} open edges"))
    except RobenchError as error:
        problems.append(problem(sample.mesh, error))
    return problems
