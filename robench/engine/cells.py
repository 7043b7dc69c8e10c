"""Cells: one sample under one corruption at one severity, and the picture that follows from it.

A picture depends on its cell and the seed only: not on order, batch, worker or machine.
"""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robench import registry
from robench.contracts import Affine, Box, Camera, Corruption, Depth, Image, Mask, Params, Sample
from robench.data.depth_sources import DepthSources
from robench.engine.inputs import GIVEN_OR_MESH
from robench.engine.inputs import Inputs as Inputs
from robench.engine.recipes import CLEAN, Recipe
from robench.errors import RobenchError, SampleFailure, UsageError
from robench.io.images import pixels_sha256
from robench.io.memory import give_back
from robench.rng import generator

_KEPT_INPUTS = 4


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture to make."""

    sample: Sample
    corruption: str
    severity: int

    @property
    def key(self) -> tuple[str, str, int]:
        """What makes the cell unique in a run."""
        return self.sample.sample_id, self.corruption, self.severity


def plan_cells(samples: Iterable[Sample], recipe: Recipe) -> Iterator[Cell]:
    """Yield every cell, all conditions of a sample together and its clean picture first.

    Sample by sample, so that ground truth is read once and an interrupted run has whole subjects.
    """
    conditions = recipe.conditions()
    for sample in samples:
        for corruption, severity in conditions:
            yield Cell(sample, corruption, severity)


def has(sample: Sample, need: str, depths: DepthSources = GIVEN_OR_MESH) -> bool:
    """True if the sample has, beside the picture, what a corruption needs (a path that is named, not yet opened)."""
    if need == "depth":
        return depths.source_of(sample) is not None
    return getattr(sample, need, None) is not None


def is_able(cell: Cell, needs: Mapping[str, frozenset[str]], depths: DepthSources = GIVEN_OR_MESH) -> bool:
    """True if the sample has everything that the corruption needs beside the picture."""
    return all(has(cell.sample, need, depths) for need in needs.get(cell.corruption, frozenset()))


def needs_of(recipe: Recipe) -> dict[str, frozenset[str]]:
    """Return what each condition of a recipe needs beside the picture."""
    return {cell.corruption: cell.needs() for cell in recipe.cells}


def refuse_unable(samples: Sequence[Sample], recipe: Recipe, depths: DepthSources = GIVEN_OR_MESH) -> None:
    """Check, before any work, that every sample has what every corruption needs.

    Raises:
        UsageError: Naming the corruptions, the count of samples that lack something, and the first of them.
    """
    needs = needs_of(recipe)
    lacking: dict[str, list[str]] = {}
    first: Sample | None = None
    count = 0
    for sample in samples:
        missing = {
            (corruption, need) for corruption, names in needs.items() for need in names if not has(sample, need, depths)
        }
        if missing:
            first, count = first or sample, count + 1
            for corruption, need in missing:
                lacking.setdefault(need, []).append(corruption)
    if first is not None:
        what = " and ".join(f"{need} ({', '.join(sorted(set(names)))})" for need, names in sorted(lacking.items()))
        raise UsageError(
            f"The recipe '{recipe.name}' needs {what}, which {count} of {len(samples)} samples do not have",
            got=f"none for '{first.sample_id}'",
            hint="give the missing files, choose others with -c, leave these cells out with --skip-unable"
            + (", or see --depth" if "depth" in lacking else ""),
        )


@dataclass(frozen=True, eq=False)
class Change:
    """What a corruption made of a picture.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        affine: (2, 3) map from old to new pixels, or None where nothing moved.
        notes: What the corruption says it did.
        view_change: (4, 4) rigid map from the old view frame to the new one, before `affine`; or None.
        mask: (H, W) float32 in steps of 1/255, the true mask of the new picture where it is not the old one moved by
            `affine`; or None.
        depth: (H, W) float32 metres of the new picture, likewise; or None.
    """

    image: Image
    affine: Affine | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    view_change: NDArray[np.float64] | None = None
    mask: Mask | None = None
    depth: Depth | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as corrupted, and everything that moved with it.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        params: The parameters drawn, JSON-able; enough to make the picture again.
        affine: (2, 3) map from old to new pixels, or None where nothing moved.
        notes: What the corruption says it did.
        camera: The camera that would have taken this picture.
        true_mask: (H, W) float32 true mask of this picture, or None.
        corruption_version: Version of the corruption, "" for the clean picture.
        view_change: (4, 4) rigid map of the view frame, before `affine`; or None where the camera stood still.
        drawn_mask: True if `true_mask` was drawn by the corruption, and so cannot be had by moving the clean one.
        depth: (H, W) float32 metres where the corruption drew it; None where it is the clean one moved by `affine`.
        box: The data's person box, where the person now is; or None.
    """

    image: Image
    params: Params
    affine: Affine | None
    notes: Mapping[str, Any]
    camera: Camera
    true_mask: Mask | None
    corruption_version: str
    view_change: NDArray[np.float64] | None = None
    drawn_mask: bool = False
    depth: Depth | None = None
    box: Box | None = None

    @functools.cached_property
    def sha256(self) -> str:
        """Hash of the pixels."""
        return pixels_sha256(self.image)


class PictureSource(Protocol):
    """Where pictures come from: made on the fly, or read from a corrupted set."""

    def picture(self, cell: Cell) -> Picture:
        """Return the picture of a cell.

        Raises:
            SampleFailure: If this one cannot be had.
        """
        ...

    def inputs(self, sample: Sample) -> Inputs:
        """Return what lies on disk for the clean sample."""
        ...


def draw_params(
    corruption: Corruption, sample_id: str, severity: int, shape: tuple[int, int], seed: int, *where: str
) -> Params:
    """Draw the parameters of a cell by the seed rule, in the form in which a manifest gives them back.

    Args:
        corruption: Loaded.
        sample_id: The sample's id.
        severity: 1..5.
        shape: (H, W) of the picture.
        seed: The user's seed.
        *where: What else goes into the key of the generator: the place in a chain.

    Raises:
        SampleFailure: If the corruption draws something that JSON cannot hold.
    """
    card = corruption.card
    # Not the severity: a sample keeps its draw at every level, so that levels differ in strength alone.
    rng = generator(seed, sample_id, f"{card.name}@{card.version}", *where)
    drawn = corruption.sample(severity, shape, rng)
    try:
        # Through JSON and back, so that a replay from the manifest takes exactly this path.
        params: Params = json.loads(json.dumps(dict(drawn), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise SampleFailure("failed", f"{card.name} drew parameters that are not JSON: {error}") from error
    return params


def corrupt(inputs: Inputs, corruption: Corruption | None, severity: int, seed: int) -> Picture:
    """Make one picture.

    Args:
        inputs: The clean sample.
        corruption: Loaded corruption, or None for the clean picture.
        severity: 1..5, or 0 for the clean picture.
        seed: The user's seed.

    Raises:
        SampleFailure: If a file cannot be read or the corruption breaks its contract.
    """
    if corruption is None:
        return Picture(inputs.image, {}, None, {}, inputs.camera, inputs.mask, "", box=inputs.sample.box)
    params = draw_params(corruption, inputs.sample.sample_id, severity, inputs.shape, seed)
    return moved(inputs, apply(inputs.image, corruption, params, inputs), params, corruption.card.version)


def apply(image: Image, corruption: Corruption, params: Params, aux: Any) -> Change:
    """Apply a corruption with given parameters and check that it kept its contract.

    Args:
        image: (H, W, 3) uint8 sRGB; not changed.
        corruption: Loaded corruption.
        params: As `draw_params` or an index row gives them.
        aux: Has ``depth``, ``mask``, ``scene`` and ``camera``.

    Returns:
        Image of the same shape, and what moved with it.

    Raises:
        SampleFailure: If a file cannot be read, the corruption fails, or what it returns is no picture of this size.
    """
    name = corruption.card.name
    try:
        result = corruption.apply(image.copy(), params, aux)
    except (RobenchError, MemoryError):
        raise
    except Exception as error:
        raise SampleFailure("failed", f"{name} raised {type(error).__name__}: {error}") from error
    changed = np.ascontiguousarray(result.image)
    if changed.shape != image.shape or changed.dtype != np.uint8:
        raise SampleFailure("failed", f"{name} returned {changed.shape} {changed.dtype} for {image.shape} uint8")
    maps = {key: getattr(result, key, None) for key in ("mask", "depth")}
    for key, values in maps.items():
        if values is not None and np.shape(values) != image.shape[:2]:
            raise SampleFailure("failed", f"{name} returned a {key} of shape {np.shape(values)} for {image.shape}")
    transforms = [getattr(result, key, None) for key in ("affine", "view_change")]
    affine, view_change = (None if t is None else np.asarray(t, np.float64) for t in transforms)
    from robench.masking.carry import quantised

    # In the steps in which a set stores it, so that a picture read back has the very same mask.
    mask = None if maps["mask"] is None else quantised(np.clip(maps["mask"], 0.0, 1.0))
    depth = None if maps["depth"] is None else np.asarray(maps["depth"], np.float32)
    return Change(changed, affine, result.notes, view_change, mask, depth)


def moved(inputs: Inputs, change: Change, params: Params, version: str) -> Picture:
    """Let camera, true mask and person box follow the pixels.

    Raises:
        SampleFailure: If the pixels moved in a way that no camera can.
    """
    try:
        camera, box = inputs.camera.followed(change.affine, change.view_change), inputs.sample.box
        if box is not None:
            box = box.followed(inputs.camera, change.affine, change.view_change)
    except ValueError as error:
        raise SampleFailure("failed", str(error)) from error
    mask = inputs.mask
    drawn = mask is not None and change.mask is not None
    if drawn:
        mask = change.mask
    elif mask is not None and change.affine is not None:
        from robench.masking.carry import carried_mask

        mask = carried_mask(mask, change.affine, inputs.shape, soft=True)
    return Picture(
        change.image,
        params,
        change.affine,
        change.notes,
        camera,
        mask,
        version,
        change.view_change,
        drawn,
        change.depth,
        box,
    )


class Maker(Protocol):
    """Makes the pictures of a condition that is more than one corruption."""

    def picture(self, inputs: Inputs, severity: int, seed: int) -> Picture:
        """Return one picture; raises `SampleFailure` if it cannot be made."""
        ...


class OnTheFly:
    """Makes pictures when asked. Keeps a few samples' files and the loaded corruptions.

    Args:
        seed: The user's seed.
        makers: What makes the conditions that are no single corruption, by name; see `robench.engine.composed.makers`.
        depths: Where depth comes from.
    """

    def __init__(
        self, seed: int, makers: Mapping[str, Maker] | None = None, depths: DepthSources = GIVEN_OR_MESH
    ) -> None:
        self.seed, self.makers, self.depths = seed, dict(makers or {}), depths
        self._corruptions: dict[str, Corruption] = {}
        self._inputs: OrderedDict[str, Inputs] = OrderedDict()

    def picture(self, cell: Cell) -> Picture:
        """Return the picture of a cell; raises `SampleFailure` if it cannot be made."""
        inputs, maker = self.inputs(cell.sample), self.makers.get(cell.corruption)
        if maker is not None:
            return maker.picture(inputs, cell.severity, self.seed)
        return corrupt(inputs, self.corruption(cell.corruption), cell.severity, self.seed)

    def corruption(self, name: str) -> Corruption | None:
        """Return the loaded corruption, or None for the clean picture."""
        if name == CLEAN:
            return None
        if name not in self._corruptions:
            self._corruptions[name] = registry.load("corruptions", name)
        return self._corruptions[name]

    def inputs(self, sample: Sample) -> Inputs:
        """Return what lies on disk for a sample; the last few are kept."""
        found = self._inputs.pop(sample.sample_id, None)
        if found is None:
            if any([other.forget_scene() for other in self._inputs.values()]):
                give_back()
            found = Inputs(sample, self.depths)
        self._inputs[sample.sample_id] = found
        while len(self._inputs) > _KEPT_INPUTS:
            self._inputs.popitem(last=False)
        return found


def corrupt_cell(cell: Cell, seed: int) -> Picture:
    """Make the picture of one cell from its files: pure, whatever was made before.

    Raises:
        SampleFailure: If a file cannot be read or the corruption breaks its contract.
        UsageError: If the corruption is not registered.
    """
    return OnTheFly(seed).picture(cell)
