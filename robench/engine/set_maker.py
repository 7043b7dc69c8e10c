"""Making the pictures of a set in one process, with what belongs to them: true mask, depth, camera, truth.

A stranger's code reads a set without robench: beside each picture lie its true mask and its depth where the data has
them, once for the clean picture and again where a corruption moved or drew them; the index says which belongs to which.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from robench.contracts import Sample
from robench.data.depth_sources import DepthSources
from robench.data.folder import default_camera
from robench.engine.cells import Cell, Inputs, Maker, OnTheFly, Picture
from robench.engine.cset import clean_path, companion_path, image_path
from robench.engine.cset_index import index_row
from robench.errors import RobenchError, SampleFailure, UsageError
from robench.io.depth import encode_depth_mm
from robench.io.files import sha256_bytes, write_bytes_atomic
from robench.io.images import PictureFormat, encode_mask, encode_picture
from robench.io.memory import give_back
from robench.masking.carry import carried_depth

Condition = tuple[str, int]
Result = tuple[list[dict[str, Any]], list[dict[str, Any]]]
"""Index rows, and failures as ``sample_id, corruption, severity, message``."""
_KEPT = 8
_TIDY = 16
"""Pictures made on a mesh between two returns of freed memory (3 ms): what such a picture takes on the way, tens of
megabytes, else stays in pieces that grow from picture to picture."""


@dataclass(frozen=True)
class SetSpec:
    """What every process that works on a set must know. Plain values, for worker processes.

    Attributes:
        folder: The set.
        root: Folder of the data set, to which paths of pictures and meshes in the index are relative.
        seed: The user's seed.
        makers: What makes the composed conditions, by name.
        depths: Where depth comes from.
        with_depth: True if a corruption of the recipe needs depth, so that it is made where it is not given.
        picture_format: How pictures are stored.
    """

    folder: Path
    root: Path
    seed: int
    makers: Mapping[str, Maker]
    depths: DepthSources
    with_depth: bool
    picture_format: PictureFormat = "png"


class SetMaker:
    """Makes and stores pictures. Keeps the last samples' files, so give the conditions of a sample one after another.

    Args:
        spec: The set.
        write: Takes each file's path and content; None to write it into the set, so that it appears whole.
    """

    def __init__(self, spec: SetSpec, write: Callable[[Path, bytes], None] | None = None) -> None:
        self.spec = spec
        self._write = write or _to_disk
        self.source = OnTheFly(spec.seed, spec.makers, spec.depths)
        self._kept: dict[str, dict[str, Any]] = {}
        self._made_on_meshes = 0

    def make(self, sample: Sample, conditions: Sequence[Condition]) -> Result:
        """Make and store the pictures of one sample; one that cannot be made is a failure and no end."""
        rows, failures = [], []
        for corruption, severity in conditions:
            cell = Cell(sample, corruption, severity)
            try:
                picture = self.source.picture(cell)
                inputs = self.source.inputs(sample)
                source_sha256 = inputs.source_sha256
                data = encode_picture(picture.image, self.spec.picture_format)
                beside = self._beside(cell, picture, inputs)
            except SampleFailure as error:
                failures.append({"sample_id": sample.sample_id, "corruption": corruption, "severity": severity})
                failures[-1]["message"] = error.message
                continue
            self._tidy(inputs)
            path = image_path(cell, self.spec.picture_format)
            self._write(self.spec.folder / path, data)
            rows.append(index_row(cell, picture, path, source_sha256, sha256_bytes(data), beside))
        return rows, failures

    def _tidy(self, inputs: Inputs) -> None:
        if inputs.has_scene_in_memory:
            self._made_on_meshes += 1
            if self._made_on_meshes % _TIDY == 0:
                give_back()

    def _beside(self, cell: Cell, picture: Picture, inputs: Inputs) -> dict[str, Any]:
        """Store mask and depth of a picture, and return the columns of its row that tell of them and of the truth."""
        sample = cell.sample
        clean = self._clean(sample, inputs)
        columns = dict(clean)
        own = image_path(cell, self.spec.picture_format)
        if picture.true_mask is not None and (picture.drawn_mask or picture.affine is not None):
            columns |= self._stored("mask", companion_path("masks/true", own), encode_mask(picture.true_mask))
        if clean["depth_path"] is not None and not (picture.depth is None and picture.affine is None):
            depth = picture.depth
            if depth is None:
                assert inputs.depth is not None
                assert picture.affine is not None
                depth = carried_depth(inputs.depth, picture.affine)
            columns |= self._stored("depth", companion_path("depth", own), encode_depth_mm(depth))
        return columns | {"camera": json.dumps(picture.camera.to_json(), sort_keys=True)}

    def _clean(self, sample: Sample, inputs: Inputs) -> dict[str, Any]:
        """Store mask and depth of the clean picture once, and return the columns that tell of them."""
        if sample.sample_id in self._kept:
            return self._kept[sample.sample_id]
        path = clean_path(sample)
        nothing = dict.fromkeys(("mask_path", "mask_sha256", "depth_path", "depth_sha256", "depth_source"))
        columns: dict[str, Any] = {
            **nothing,
            "depth_invalid": None,
            "camera_source": _camera_source(inputs),
            "source": _relative(sample.image, self.spec.root),
            "mesh": _relative(sample.mesh, self.spec.root),
        }
        if inputs.mask is not None:
            columns |= self._stored("mask", companion_path("masks/true", path), encode_mask(inputs.mask))
        if self.spec.with_depth or self.spec.depths.source_of(sample) == "given":
            try:
                found = inputs.depth_map
            except (SampleFailure, UsageError) as error:
                # A corruption that needs it fails with this reason; the others do not depend on it. But a unit that is
                # not declared is a mistake about all files, to be mended before anything is made.
                if isinstance(error, UsageError) and self.spec.with_depth:
                    raise
                columns |= {"depth_source": f"unreadable: {_reason(error)}"}
                found = None
            if found is not None:
                columns |= self._stored("depth", companion_path("depth", path), encode_depth_mm(found.depth))
                invalid = json.dumps(dict(found.invalid), sort_keys=True)
                columns |= {"depth_source": found.source, "depth_invalid": invalid}
        while len(self._kept) >= _KEPT:
            self._kept.pop(next(iter(self._kept)))
        self._kept[sample.sample_id] = columns
        return columns

    def _stored(self, kind: str, path: str, data: bytes) -> dict[str, str]:
        self._write(self.spec.folder / path, data)
        return {f"{kind}_path": path, f"{kind}_sha256": sha256_bytes(data)}


def _to_disk(path: Path, data: bytes) -> None:
    # Not synced one by one, which took a tenth of the time: what a power cut spoils has another hash and is made again.
    # The manifest calls the set complete only after `sync_disk`.
    write_bytes_atomic(path, data, durable=False)


def _camera_source(inputs: Inputs) -> str:
    """Return ``assumed`` where the camera is the one that a plain photograph is taken to have, else ``given``."""
    assumed = default_camera(*inputs.shape, inputs.mask)
    return "assumed" if inputs.camera.to_json() == assumed.to_json() else "given"


def _relative(path: Path | None, root: Path) -> str | None:
    if path is None:
        return None
    # Bytes of a name that are no text have no place in a table of texts; they are shown as their codes.
    return PurePosixPath(os.path.relpath(path, root)).as_posix().encode("utf-8", "backslashreplace").decode()


def _reason(error: RobenchError) -> str:
    return error.message if isinstance(error, SampleFailure) else error.what
