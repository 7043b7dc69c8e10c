"""Masks: what a reconstructor is given, from whichever masker; and masks stored beside a set or a folder of pictures.

Every mask has 256 levels, as a stored one has, so that a run with stored masks gives the rows of a run without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from robench import registry
from robench.contracts import Mask, Masker, Sample
from robench.data.ids import safe_id
from robench.engine.cells import Cell, Inputs, Picture
from robench.engine.cset import CorruptedSet
from robench.engine.journal import Journal, only_writer, read_lines
from robench.engine.progress import progress
from robench.errors import Mismatch, SampleFailure, UsageError
from robench.io.files import json_text, read_json, safe_join, sha256_bytes, write_json_atomic
from robench.io.images import read_image, read_mask, write_mask
from robench.masking.carry import quantised

FROM_TRUTH = ("given", "corrupted")
"""Sources that move the data set's own mask instead of looking at the picture."""
RECORD, JOURNAL = "masks.json", "masks.wip.jsonl"


def source_of(masker: Masker) -> str:
    """Return ``given``, ``corrupted``, ``none`` or ``predicted``."""
    return str(getattr(masker, "source", "predicted"))


def mask_source(masker: Masker) -> str:
    """Return what a row says in ``mask_source``: ``gt``, ``corrupted``, ``none`` or ``predicted:<masker>``."""
    source = source_of(masker)
    return {"given": "gt", "predicted": f"predicted:{masker.card.name}"}.get(source, source)


def masker_identity(masker: Masker) -> dict[str, Any]:
    """Return what masks depend on beside the picture: name, version and hash of the weights."""
    card = masker.card
    return {"name": card.name, "version": card.version, "weights": str(card.extra.get("weights_hash", ""))}


def folder_name(masker: Masker) -> str:
    """Return ``<masker>-<id8>``."""
    identity = sha256_bytes(json_text(masker_identity(masker)).encode())
    return f"{safe_id(masker.card.name)}-{identity[:8]}"


def refuse_without_masks(masker: Masker, samples: Sequence[Sample]) -> None:
    """Check, before any work, that a masker that moves true masks has them.

    Raises:
        UsageError: Naming how many samples have none.
    """
    lacking = [sample.sample_id for sample in samples if sample.mask is None]
    if source_of(masker) in FROM_TRUTH and lacking:
        raise UsageError(
            f"The masker '{masker.card.name}' needs the data's own masks, "
            f"which {len(lacking)} of {len(samples)} samples do not have",
            got=f"none for '{lacking[0]}'",
            hint="--masker u2netp-anny, which finds the person in the picture",
        )


def mask_for(masker: Masker, picture: Picture, inputs: Inputs) -> Mask:
    """Return the mask that a reconstructor is given for a picture.

    Args:
        masker: Open.
        picture: As corrupted.
        inputs: The clean sample.

    Returns:
        (H, W) float32 in [0, 1], in steps of 1/255.

    Raises:
        SampleFailure: If the masker fails or gives no mask of this picture.
    """
    shape = picture.image.shape[:2]
    if source_of(masker) in FROM_TRUTH:
        if inputs.mask is None:
            raise SampleFailure("failed", f"'{inputs.sample.sample_id}' has no mask to carry")
        carry = masker.carry  # type: ignore[attr-defined]  # what these two sources have instead of looking
        if picture.drawn_mask:
            return quantised(carry(picture.true_mask, None, shape))
        return quantised(carry(inputs.mask, picture.affine, shape))
    mask = np.asarray(masker.mask(picture.image))
    if mask.shape != shape or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise SampleFailure("failed", f"the masker '{masker.card.name}' gave no (H, W) mask in [0, 1]")
    return quantised(mask)


class Item(NamedTuple):
    """A picture to mask: its name in the record, where it is, where its mask shall be (relative)."""

    name: str
    image: Path
    target: str


@dataclass(frozen=True)
class MaskReport:
    """What `write_masks` did: the folder, masks in it, made now, blank ones, and failures as (name, message)."""

    folder: Path
    masks: int
    made: int
    blank: int
    failed: list[tuple[str, str]]
    device: str


def set_items(cset: CorruptedSet) -> list[Item]:
    """Return every picture of a set; masks lie as their pictures do."""
    rows = cset.rows.values()
    return [Item(row["path"], safe_join(cset.folder, row["path"]), _target(row["path"])) for row in rows]


def _target(picture: str) -> str:
    try:
        return str(PurePosixPath(picture).relative_to("images").with_suffix(".png"))
    except ValueError:
        raise Mismatch("A picture of the set lies outside its images/", got=repr(picture)) from None


def folder_items(pictures: Sequence[Path]) -> list[Item]:
    """Return pictures of a plain folder; ``x.jpg`` gets ``x.png``, as in a data folder's ``masks/``."""
    return [Item(path.name, path, f"{path.stem}.png") for path in pictures]


def write_masks(
    items: Sequence[Item], folder: Path, masker: Masker, device: str, *, about: Mapping[str, Any], quiet: bool = False
) -> MaskReport:
    """Mask pictures and store the masks; masks that are there and whole are kept.

    Args:
        items: The pictures.
        folder: Where to; made.
        masker: Not open; one that looks at pictures.
        device: ``cpu``, ``cuda`` or ``auto``.
        about: What the record says about the pictures, e.g. the set's id.
        quiet: Show no progress.

    Raises:
        UsageError: If the masker does not look at pictures, or the folder cannot be written.
        EnvironmentNotReady: If the masker cannot be opened, or the disk is full.
    """
    if source_of(masker) != "predicted":
        raise UsageError(
            f"The masker '{masker.card.name}' does not look at pictures, so there is nothing to store",
            expected="one that finds people, such as u2netp-anny",
            hint="robench evaluate, which makes these masks as it goes",
        )
    with only_writer(folder, "the masks in"):
        done = _whole_masks(folder, masker)
        todo = [item for item in items if item.name not in done]
        used = masker.open(device)
        failed: list[tuple[str, str]] = []
        try:
            with Journal(folder / JOURNAL) as journal, progress("mask", len(todo), "images", quiet=quiet) as advance:
                for item in todo:
                    try:
                        mask = _predicted(masker, item)
                    except SampleFailure as error:
                        failed.append((item.name, error.message))
                        advance(1, 1)
                        continue
                    sha256 = write_mask(safe_join(folder, item.target), mask)
                    done[item.name] = {"path": item.target, "sha256": sha256, "blank": not mask.any()}
                    journal.append({"name": item.name, **done[item.name]})
                    advance()
        finally:
            masker.close()
        kept = {item.name: done[item.name] for item in items if item.name in done}
        record = {"masker": masker_identity(masker), "device": used, "about": dict(about), "masks": kept}
        write_json_atomic(folder / RECORD, record)
        (folder / JOURNAL).unlink(missing_ok=True)
    blank = sum(bool(entry["blank"]) for entry in kept.values())
    return MaskReport(folder, len(kept), len(todo) - len(failed), blank, failed, used)


def _predicted(masker: Masker, item: Item) -> Mask:
    image = read_image(item.image)
    mask = np.asarray(masker.mask(image))
    if mask.shape != image.shape[:2] or not np.isfinite(mask).all() or mask.min() < 0 or mask.max() > 1:
        raise SampleFailure("failed", f"the masker '{masker.card.name}' gave no (H, W) mask in [0, 1]")
    return quantised(mask)


def _whole_masks(folder: Path, masker: Masker) -> dict[str, dict[str, Any]]:
    """Return the entries of masks that are there with the bytes they should have."""
    from robench.io.files import sha256_file

    entries: dict[str, dict[str, Any]] = {}
    if (folder / RECORD).is_file():
        record = _record(folder)
        if record["masker"] != masker_identity(masker):
            raise UsageError(
                f"{folder} holds masks of another masker",
                got=f"{record['masker']['name']} {record['masker']['version']}",
                expected=f"{masker.card.name} {masker.card.version}",
                hint="--out another folder",
            )
        entries |= record["masks"]
    entries |= {line.pop("name"): line for line in read_lines(folder / JOURNAL)}
    return {
        name: entry
        for name, entry in entries.items()
        if (path := safe_join(folder, entry["path"])).is_file() and sha256_file(path) == entry["sha256"]
    }


def _record(folder: Path) -> dict[str, Any]:
    """Read what `write_masks` wrote last.

    Raises:
        Mismatch: If it is something else.
    """
    record = read_json(folder / RECORD)
    try:
        {"name", "version", "weights"} - record["masker"].keys()
        sound = all(isinstance(e["path"], str) and isinstance(e["sha256"], str) for e in record["masks"].values())
    except (TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise Mismatch(f"{folder / RECORD} is damaged", hint="delete the folder and run robench mask again")
    return dict(record)


class StoredMasks:
    """Masks of a set that were made before by the same masker and weights.

    Args:
        cset: The set.
        masker: The masker; its identity names the folder.
    """

    def __init__(self, cset: CorruptedSet, masker: Masker) -> None:
        self.cset = cset
        self.folder = cset.folder / "masks" / folder_name(masker)
        record = _record(self.folder) if (self.folder / RECORD).is_file() else {"masks": {}}
        self._entries: Mapping[str, Mapping[str, Any]] = record["masks"]

    def get(self, cell: Cell) -> Mask | None:
        """Return the stored mask of a cell, or None where there is none.

        Raises:
            Mismatch: If the file is not the one that was stored.
        """
        row = self.cset.rows.get(cell.key)
        entry = self._entries.get(row["path"]) if row is not None else None
        if entry is None:
            return None
        path = safe_join(self.folder, entry["path"])
        if not path.is_file() or sha256_bytes(path.read_bytes()) != entry["sha256"]:
            raise Mismatch(f"The mask {path} is not the one that was stored", hint="robench mask again")
        return read_mask(path)


def load_masker(name: str) -> Masker:
    """Load a masker by name; ``gt`` is another name of ``given``."""
    return registry.load("maskers", "given" if name == "gt" else name)
