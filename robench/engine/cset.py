"""Corrupted sets on disk: their name, their index, reading them, and making one image again from its index row.

A set is a folder ``<dataset>-<recipe>-<id8>/`` with ``manifest.json``, ``index.parquet`` (a row an image),
``images/<corruption>/<severity>/<sample>.png``, and true masks and depth in ``masks/true/`` and ``depth/``. Its id is a
hash of what its pixels depend on: data, recipe and versions of its corruptions, seed, samples, made depth.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import numpy as np

from robench import registry
from robench.contracts import Camera, Depth, Image, Mask, Sample
from robench.data.depth_sources import DepthSources
from robench.data.ids import safe_id
from robench.engine.cells import Cell, Change, Inputs, OnTheFly, Picture, apply, moved
from robench.engine.composed import replayed
from robench.engine.conditions import is_composed
from robench.engine.cset_index import INDEX, read_index, rows_sha256
from robench.engine.cset_manifest import MANIFEST, REPAIR, checked, resume_command
from robench.engine.cset_manifest import is_set as is_set
from robench.engine.recipes import CLEAN, Recipe, RecipeCell
from robench.engine.selection import Selection, select
from robench.errors import Mismatch, NotComparable, SampleFailure, UsageError
from robench.io.files import json_text, read_json, safe_join, sha256_bytes
from robench.io.images import STORED, PictureFormat, pixels_sha256, read_image, read_mask

FORMAT = 2
"""Version of the folder's layout; goes up when a reader must know."""
Key = tuple[str, str, int]
"""(sample_id, corruption, severity)"""


def set_identity(
    selection: Selection, recipe_identity: Sequence[Any], seed: int, depth: Mapping[str, Any] | None = None
) -> str:
    """Return the full id of the set that these make: also the identity of pictures that are never stored.

    Args:
        selection: The samples.
        recipe_identity: `Recipe.identity`.
        seed: The user's seed.
        depth: `depth_identity`.
    """
    parts: dict[str, Any] = {
        "format": FORMAT,
        "dataset": selection.dataset,
        "revision": selection.revision,
        "samples": selection.split_sha256,
        "recipe": list(recipe_identity),
        "seed": seed,
    }
    if depth is not None:
        parts["depth"] = dict(depth)
    return sha256_bytes(json_text(parts).encode())


def depth_identity(
    samples: Sequence[Sample], needs: Mapping[str, frozenset[str]], depths: DepthSources
) -> dict[str, Any] | None:
    """Return what the pixels of a set owe to made depth; None where no corruption asks, or all depth is the data's."""
    return depths.identity(samples) if any("depth" in names for names in needs.values()) else None


def set_name(selection: Selection, recipe: Recipe, cset_id: str, picture_format: PictureFormat = "png") -> str:
    """Return the folder's name. The format of the pictures is no part of the id: their pixels are the same."""
    form = "" if picture_format == "png" else STORED[picture_format].replace(".", "-")
    return f"{selection.title}-{safe_id(recipe.name)}-{cset_id[:8]}{form}"


def image_path(cell: Cell, picture_format: PictureFormat = "png") -> str:
    """Return where a picture lies in its set, as a relative POSIX path."""
    name = safe_id(cell.sample.sample_id) + STORED[picture_format]
    return f"images/{safe_id(cell.corruption)}/{cell.severity}/{name}"


def clean_path(sample: Sample) -> str:
    """Return where the clean picture of a sample lies in a set of PNGs."""
    return image_path(Cell(sample, CLEAN, 0))


def companion_path(folder: str, picture: str) -> str:
    """Return where the PNG lies that belongs to a picture (both relative POSIX paths)."""
    return f"{folder}/{PurePosixPath(picture).relative_to('images').with_suffix('.png')}"


def true_mask_path(picture: str) -> str:
    """Return where the true mask lies that a corruption drew with a picture (both relative POSIX paths)."""
    return companion_path("masks/true", picture)


def replay(
    row: Mapping[str, Any],
    image: Image,
    depth: Depth | None = None,
    mask: Mask | None = None,
    scene: Any = None,
    camera: Camera | None = None,
) -> Image:
    """Make the picture of an index row again from its clean picture and the parameters drawn.

    Args:
        row: A row of the index.
        image: (H, W, 3) uint8 clean picture.
        depth: (H, W) float32 metres, for corruptions that need it.
        mask: (H, W) float32 true mask, for corruptions that look at it.
        scene: The mesh behind the picture (`Inputs.scene`), for corruptions that look at it.
        camera: The camera that took the clean picture, for corruptions that look at it.

    Returns:
        (H, W, 3) uint8; its `robench.io.images.pixels_sha256` is the row's.

    Raises:
        NotComparable: If a corruption installed is of another version than the row's.
        SampleFailure: If the corruption cannot do it.
    """
    if row["corruption"] == CLEAN:
        return image.copy()
    aux, params = SimpleNamespace(depth=depth, mask=mask, scene=scene, camera=camera), json.loads(row["params"])
    if is_composed(row["corruption_version"]):
        return replayed(image, params, aux)
    corruption = registry.load("corruptions", row["corruption"])
    if corruption.card.version != row["corruption_version"]:
        raise NotComparable(
            f"The picture cannot be replayed by this version of '{row['corruption']}'",
            got=corruption.card.version,
            expected=row["corruption_version"],
        )
    return apply(image, corruption, params, aux).image


@dataclass(frozen=True, eq=False)
class CorruptedSet:
    """A finished set, read from disk; a `robench.engine.cells.PictureSource`.

    Attributes:
        folder: Where it is.
        manifest: Content of ``manifest.json``.
        rows: Index by (sample_id, corruption, severity).
        clean: Reads the clean samples' files.
    """

    folder: Path
    manifest: Mapping[str, Any]
    rows: Mapping[Key, Mapping[str, Any]]
    clean: OnTheFly

    @property
    def seed(self) -> int:
        """The seed it was made with."""
        return int(self.manifest["seed"])

    @property
    def recipe(self) -> Recipe:
        """The recipe it was made by."""
        stored = self.manifest["recipe"]
        cells = tuple(RecipeCell.from_json(cell) for cell in stored["cells"])
        return Recipe(stored["name"], stored["version"], cells, stored["description"], stored["reference"])

    @property
    def recipe_identity(self) -> list[list[Any]]:
        """`Recipe.identity` as it was then, whatever versions are installed now."""
        cells = self.manifest["recipe"]["cells"]
        return sorted([c["corruption"], c["version"], list(c["severities"])] for c in cells)

    def depth_identity(self, samples: Sequence[Sample]) -> dict[str, Any] | None:
        """Return what the pixels of these samples owe to made depth; see `depth_identity`."""
        stored = self.manifest["depth"]
        return None if stored is None else DepthSources.from_facts(stored).identity(samples)

    def able(self, cell: Cell) -> bool:
        """True if the set has the picture, or tried to make it and failed."""
        return cell.key in self.rows or cell.key in self._failures

    @functools.cached_property
    def _failures(self) -> dict[Key, str]:
        return {(f["sample_id"], f["corruption"], f["severity"]): f["message"] for f in self.manifest["failed"]}

    def select(self, data: Path | None = None, **choice: Any) -> Selection:
        """Return the set's samples, read from the data set that it was made from.

        Args:
            data: Where the data set lies now; None for where it lay when the set was made.
            **choice: ``limit``, ``subjects``, ``views`` of `robench.engine.selection.select`.

        Raises:
            UsageError: If the data set is not there.
            NotComparable: If its content is another than the set was made from.
        """
        stored = self.manifest["dataset"]
        root = data if data is not None else Path(os.path.normpath(self.folder / stored["root"]))
        if not root.is_dir():
            raise UsageError(
                f"The data set that {self.folder.name} was made from is not at {root}",
                hint="--data FOLDER to say where it is",
            )
        selection = select(root, stored["name"], stored["split"], **choice)
        if selection.revision != stored["revision"]:
            raise NotComparable(
                f"The data in {root} is not what {self.folder.name} was made from",
                got=f"revision {selection.revision[:12]}",
                expected=stored["revision"][:12],
            )
        known = {sample_id for sample_id, _, _ in {*self.rows, *self._failures}}
        kept = tuple(sample for sample in selection.samples if sample.sample_id in known)
        if not kept:
            raise UsageError(f"None of these samples is in {self.folder}")
        partial = stored["partial"] or len(kept) < len(known)
        return Selection(selection.dataset, root, selection.revision, kept, selection.split, partial)

    def inputs(self, sample: Sample) -> Inputs:
        """Return what lies on disk for the clean sample."""
        return self.clean.inputs(sample)

    def picture(self, cell: Cell) -> Picture:
        """Read the picture of a cell and check it against the index.

        Raises:
            SampleFailure: If this one could not be made when the set was written, or its sample cannot be read.
            Mismatch: If the file is not what the index says.
        """
        row = self.rows.get(cell.key)
        if row is None:
            if cell.key in self._failures:
                raise SampleFailure("failed", self._failures[cell.key])
            raise Mismatch(f"{self.folder} has no picture of {cell.key}", hint=REPAIR)
        path = safe_join(self.folder, row["path"])
        try:
            image = read_image(path)
        except SampleFailure as error:
            raise Mismatch(f"A picture of {self.folder} is damaged", got=str(error), hint=REPAIR) from error
        try:
            affine, view_change = (
                None if row[key] is None else np.asarray(json.loads(row[key]), np.float64).reshape(shape)
                for key, shape in (("affine", (2, 3)), ("view_change", (4, 4)))
            )
            params, notes = json.loads(row["params"]), json.loads(row["notes"])
        except (ValueError, TypeError, RecursionError) as error:
            raise Mismatch(f"A row of the index of {self.folder} is damaged", got=str(error), hint=REPAIR) from error
        change = Change(image, affine, notes, view_change, self._true_mask(row))
        picture = moved(self.inputs(cell.sample), change, params, row["corruption_version"])
        if picture.sha256 != row["pixels_sha256"]:
            raise Mismatch(f"{path} is not the picture that the index describes", got="other pixels", hint=REPAIR)
        return picture

    def _true_mask(self, row: Mapping[str, Any]) -> Mask | None:
        """Return the true mask that the corruption drew, or None where the clean one moved is it."""
        if row["true_mask"] is None:
            return None
        path = safe_join(self.folder, true_mask_path(row["path"]))
        try:
            mask = read_mask(path, (row["height"], row["width"]))
        except SampleFailure as error:
            raise Mismatch(f"A true mask of {self.folder} is damaged", got=str(error), hint=REPAIR) from error
        if pixels_sha256(mask) != row["true_mask"]:
            raise Mismatch(f"{path} is not the mask that the index describes", got="other pixels", hint=REPAIR)
        return mask


def open_set(folder: Path) -> CorruptedSet:
    """Open a finished set.

    Raises:
        UsageError: If the folder is no set, or an unfinished one.
        Mismatch: If manifest and index do not belong together.
        NotComparable: If the set was written in a layout that this robench does not know.
    """
    if not is_set(folder):
        raise UsageError(f"{folder} is not a corrupted set", expected=f"its {MANIFEST}", hint="robench corrupt --help")
    manifest = read_json(folder / MANIFEST)
    if manifest.get("format") != FORMAT:
        raise NotComparable(
            f"{folder} is of another layout", got=f"format {manifest.get('format')}", expected=str(FORMAT)
        )
    if not manifest.get("complete"):
        raise UsageError(f"{folder} is not finished", hint=f"{resume_command(manifest)}, which resumes")
    checked(manifest, folder)
    rows = read_index(folder / INDEX)
    if rows_sha256(rows) != manifest.get("index_sha256"):
        raise Mismatch(f"The index of {folder} is not the one of its manifest", hint=REPAIR)
    keyed = {(row["sample_id"], row["corruption"], row["severity"]): row for row in rows}
    return CorruptedSet(folder, manifest, keyed, OnTheFly(int(manifest["seed"])))
