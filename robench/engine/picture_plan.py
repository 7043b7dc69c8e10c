"""Which pictures a command works on, where no model is evaluated: samples by conditions, from a data set or a set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.contracts import Sample
from robench.data.depth_sources import choose_depth
from robench.engine.cells import Cell, OnTheFly, PictureSource, is_able, needs_of, refuse_unable
from robench.engine.composed import makers
from robench.engine.cset import CorruptedSet, depth_identity, is_set, open_set, set_identity
from robench.engine.inputs import GIVEN_OR_MESH
from robench.engine.recipes import Recipe, choose_recipe, load_recipe
from robench.engine.selection import Selection, select
from robench.errors import UsageError

CLEAN_ONLY = Recipe("clean", "1", (), reference="ours")
"""The recipe without a corruption."""


@dataclass(frozen=True)
class PictureOptions:
    """What the user said of the pictures; the command line's options by the same names.

    Attributes:
        data: Folder of a data set; with `cset`, where its data lies now.
        cset: Folder of a corrupted set, or None to corrupt on the fly.
        recipe: Installed recipe or YAML file.
        corruptions: Names with commas between, or ``all``.
        severities: As ``1-5`` or ``2,4``.
        dataset: Reader of `data`, None to find it.
        split: Split of the data set.
        limit: At most so many samples.
        subjects: Only these.
        views: Only these angles, degrees.
        seed: Of the corruptions; None for 0, or for the seed of `cset`.
        depth: Where depth comes from; see `robench.data.depth_sources.choose_depth`.
        depth_weights: Folder of a depth network.
        depth_unit: Unit of depth files that do not declare one.
        skip_unable: Leave out cells whose sample lacks what the corruption needs.
    """

    data: Path | None = None
    cset: Path | None = None
    recipe: str | None = None
    corruptions: str | None = None
    severities: str | None = None
    dataset: str | None = None
    split: str | None = None
    limit: int | None = None
    subjects: list[str] | None = None
    views: list[float] | None = None
    seed: int | None = None
    depth: str | None = None
    depth_weights: Path | None = None
    depth_unit: str | None = None
    skip_unable: bool = False


@dataclass(frozen=True, eq=False)
class PicturePlan:
    """Samples and conditions.

    Attributes:
        selection: The samples.
        recipe: The corruptions; the clean picture comes first whatever they are.
        source: Where pictures come from.
        cset_id: Hash of the pictures, whether stored or made on the fly.
        seed: Of the corruptions.
        cset: The stored set, or None.
        needs: What each corruption needs beside the picture; empty for a stored set.
    """

    selection: Selection
    recipe: Recipe
    source: PictureSource
    cset_id: str
    seed: int
    cset: CorruptedSet | None
    needs: Mapping[str, frozenset[str]]

    def cells(self, sample: Sample) -> Iterator[Cell]:
        """Yield the cells of a sample that can be made, the clean one first."""
        for corruption, severity in self.recipe.conditions():
            cell = Cell(sample, corruption, severity)
            able = self.cset.able(cell) if self.cset is not None else is_able(cell, self.needs, self._depths)
            if able:
                yield cell

    def facts(self) -> dict[str, Any]:
        """Return what a plan says of the pictures, for people and programs."""
        samples = self.selection.samples
        return {
            "dataset": self.selection.dataset,
            "samples": len(samples),
            "subjects": len({sample.subject_id for sample in samples}),
            "recipe": self.recipe.name,
            "conditions": len(self.recipe.conditions()),
            "cset_id": self.cset_id,
        }

    def identity(self) -> dict[str, Any]:
        """Return what results depend on of the pictures, JSON-able."""
        return {
            "dataset": self.selection.dataset,
            "dataset_revision": self.selection.revision,
            "split_sha256": self.selection.split_sha256,
            "cset_id": self.cset_id,
            "recipe": self.recipe.name,
            "seed": self.seed,
        }

    @property
    def _depths(self) -> Any:
        return self.source.depths if isinstance(self.source, OnTheFly) else GIVEN_OR_MESH


def plan_pictures(options: PictureOptions, default: Recipe | str) -> PicturePlan:
    """Settle which pictures there are; makes none.

    Args:
        options: What the user said.
        default: The recipe, or its name, where the user named neither recipe nor corruptions nor a set.

    Raises:
        UsageError: If an option is wrong, or the data lacks what corruptions need.
        NotComparable: If a stored set does not belong to the data.
    """
    choice: dict[str, Any] = {"limit": options.limit, "subjects": options.subjects, "views": options.views}
    if options.cset is not None:
        _refuse_both(options)
        cset = open_set(options.cset)
        selection, recipe, seed = cset.select(options.data, **choice), cset.recipe, cset.seed
        cset_id = set_identity(selection, cset.recipe_identity, seed, cset.depth_identity(selection.samples))
        return PicturePlan(selection, recipe, cset, cset_id, seed, cset, {})
    if options.data is None:
        raise UsageError("There are no pictures to work on", expected="--data FOLDER or --cset FOLDER")
    if is_set(options.data):
        raise UsageError(f"{options.data} is a corrupted set, not a data set", hint=f"--cset {options.data}")
    if options.recipe is None and options.corruptions is None:
        if options.severities is not None:
            raise UsageError("Severities go with corruptions", got=f"-s {options.severities} alone", hint="-c NAMES")
        recipe = load_recipe(default) if isinstance(default, str) else default
    else:
        recipe = choose_recipe(options.recipe, options.corruptions, options.severities)
    depths = choose_depth(options.depth, options.depth_weights, options.depth_unit)
    selection = select(options.data, options.dataset, options.split, **choice)
    if not options.skip_unable:
        refuse_unable(selection.samples, recipe, depths)
    seed, needs = options.seed or 0, needs_of(recipe)
    cset_id = set_identity(selection, recipe.identity(), seed, depth_identity(selection.samples, needs, depths))
    return PicturePlan(selection, recipe, OnTheFly(seed, makers(recipe), depths), cset_id, seed, None, needs)


def _refuse_both(options: PictureOptions) -> None:
    fixed = ("recipe", "corruptions", "severities", "seed", "split", "dataset", "depth", "depth_weights", "depth_unit")
    for name in fixed:
        if getattr(options, name) is not None:
            said = name.replace("_", "-")
            raise UsageError(
                f"A corrupted set already fixes the {said}, but --{said} is given too", expected="only one of them"
            )
