"""Pictures to adapt on: corrupted pictures with ground truth, from a corrupted set or made of a data set."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from robench.data.discover import open_dataset
from robench.engine.cells import Cell, OnTheFly, Picture, PictureSource, needs_of, plan_cells
from robench.engine.composed import makers
from robench.engine.cset import CorruptedSet, depth_identity, is_set, open_set, set_identity
from robench.engine.inputs import GIVEN_OR_MESH
from robench.engine.recipes import choose_recipe
from robench.engine.selection import Selection, select
from robench.errors import SampleFailure, UsageError
from robench.rng import generator
from robench.training.corrupter import refuse_lacking
from robench.training.lessons import Lesson

_TRUTH = ("mask", "camera", "mesh")


@dataclass(frozen=True, eq=False)
class Source:
    """Where pictures to learn from come from.

    Attributes:
        selection: Samples of the data set.
        pictures: Makes or reads their corrupted pictures.
        cells: Every corrupted picture that can be had.
        facts: What a checkpoint says of it, JSON-able.
    """

    selection: Selection
    pictures: PictureSource
    cells: tuple[Cell, ...]
    facts: dict[str, Any]

    @property
    def subjects(self) -> set[str]:
        """Ids of the people."""
        return {sample.subject_id for sample in self.selection.samples}


def open_source(
    data: Path,
    *,
    recipe: str | None = None,
    corruptions: str | None = None,
    severities: str | None = None,
    dataset: str | None = None,
    split: str | None = None,
    usual_split: str = "train",
    subjects: Sequence[str] | None = None,
    views: Sequence[float] | None = None,
    seed: int = 0,
) -> Source:
    """Open a corrupted set, or a data set whose pictures are corrupted on the fly.

    Args:
        data: Folder of either.
        recipe: As of ``robench evaluate``; for a data set.
        corruptions: Likewise.
        severities: Likewise.
        dataset: Reader of a data set, None to find it.
        split: Split of a data set; None for `usual_split` if there is one, else all.
        usual_split: See `split`.
        subjects: Only these people.
        views: Only these angles in degrees.
        seed: Of corruptions made on the fly.

    Raises:
        UsageError: If an option is wrong, or a sample lacks ground truth or what a corruption needs.
    """
    choice: dict[str, Any] = {"subjects": subjects, "views": views}
    pictures: PictureSource
    if is_set(data):
        given = {"recipe": recipe, "corruptions": corruptions, "severities": severities, "split": split}
        for name, value in given.items():
            if value is not None:
                raise UsageError(f"A corrupted set already fixes the {name}, but --{name} is given too")
        cset = open_set(data)
        selection, pictures, conditions, seed = cset.select(**choice), cset, cset.recipe, cset.seed
        identity = set_identity(selection, cset.recipe_identity, seed, cset.depth_identity(selection.samples))
    else:
        if recipe is None and corruptions is None:
            raise UsageError(
                f"Nothing says how the pictures of {data} are corrupted",
                expected="-c or --recipe, or a corrupted set",
                hint="-c low_light -s 4",
            )
        conditions = choose_recipe(recipe, corruptions, severities)
        split = split if split is not None else _usual(data, dataset, usual_split)
        selection = select(data, dataset, split, **choice)
        _refuse_without_truth(selection)
        refuse_lacking(selection.samples, conditions, f"The corruptions to adapt on, of '{conditions.name}',")
        pictures = OnTheFly(seed, makers(conditions))
        made = depth_identity(selection.samples, needs_of(conditions), GIVEN_OR_MESH)
        identity = set_identity(selection, conditions.identity(), seed, made)
    _refuse_without_truth(selection)
    cells = [cell for cell in plan_cells(selection.samples, conditions) if cell.severity > 0]
    if isinstance(pictures, CorruptedSet):
        cells = [cell for cell in cells if cell.key in pictures.rows]
    facts = {
        "dataset": selection.dataset,
        "dataset_revision": selection.revision,
        "split": selection.split,
        "recipe": conditions.name,
        "conditions": conditions.identity(),
        "corruption_seed": seed,
        "cset_id": identity,
        "subjects": len({sample.subject_id for sample in selection.samples}),
    }
    return Source(selection, pictures, tuple(cells), facts)


def _usual(data: Path, dataset: str | None, split: str) -> str | None:
    reader = open_dataset(data, dataset).dataset
    try:
        return split if next(iter(reader.samples(data, split)), None) is not None else None
    except UsageError:
        return None


def _refuse_without_truth(selection: Selection) -> None:
    for sample in selection.samples:
        lacking = [name for name in _TRUTH if getattr(sample, name) is None]
        if lacking:
            raise UsageError(
                f"Sample '{sample.sample_id}' cannot be learned from",
                got=f"no {' and no '.join(lacking)}",
                expected="mask, camera and ground-truth mesh",
            )


def deal(cells: Sequence[Cell], count: int, seed: int) -> list[Cell]:
    """Choose pictures: every condition as often as any other, people in an order that is drawn for each condition.

    Args:
        cells: To choose from.
        count: How many; a choice of fewer is the beginning of one of more.
        seed: Of the draw.

    Raises:
        UsageError: If there are too few.
    """
    if len(cells) < count:
        raise UsageError(
            f"{count} different corrupted pictures are asked for", got=f"{len(cells)}",
            hint="more people, views, corruptions or severities, or fewer or smaller batches",
        )  # fmt: skip
    stacks: dict[tuple[str, int], list[Cell]] = defaultdict(list)
    for cell in cells:
        stacks[cell.corruption, cell.severity].append(cell)
    names = sorted(stacks)
    for name in names:
        order = generator(seed, "|".join(map(str, name)), "adaptation-pictures").permutation(len(stacks[name]))
        stacks[name] = [stacks[name][i] for i in order]
    turns = [names[i] for i in generator(seed, "adaptation-conditions").permutation(len(names))]
    found: list[Cell] = []
    while len(found) < count:
        found += [stacks[name].pop() for name in turns if stacks[name]]
    return found[:count]


def lesson_of(source: Source, cell: Cell) -> tuple[Lesson, Picture]:
    """Return a picture as a model learns from it, and how it was made.

    Raises:
        UsageError: If it cannot be had, or its mask leaves nobody to learn from.
    """
    sample = cell.sample
    what = f"The picture of '{sample.sample_id}' under {cell.corruption} at {cell.severity}"
    try:
        picture = source.pictures.picture(cell)
    except SampleFailure as error:
        raise UsageError(f"{what} cannot be had", got=str(error)) from error
    assert picture.true_mask is not None  # refused otherwise, as is the next
    assert sample.mesh is not None
    mask = np.asarray(picture.true_mask, np.float32)
    if not (mask > 0.5).any():
        hint = f"robench data verify {source.selection.root}, or another --seed: other pictures"
        raise UsageError(f"{what} shows nobody to learn from", got="a true mask without a person", hint=hint)
    name = f"{sample.sample_id}|{cell.corruption}:{cell.severity}"
    return Lesson(name, picture.image, mask, picture.camera, sample.mesh), picture
