"""What a run has to do, settled before anything heavy is loaded: pictures, cells, masks, metrics."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robench import registry
from robench.contracts import Masker, Metric
from robench.data.depth_sources import DepthSources, choose_depth
from robench.engine.cells import Cell, OnTheFly, PictureSource, is_able, needs_of, plan_cells, refuse_unable
from robench.engine.composed import makers
from robench.engine.cset import CorruptedSet, depth_identity, is_set, open_set, set_identity
from robench.engine.inputs import GIVEN_OR_MESH
from robench.engine.ledger import Ledger
from robench.engine.masks import StoredMasks, load_masker, refuse_without_masks
from robench.engine.protocol import plain
from robench.engine.recipes import Recipe, choose_recipe
from robench.engine.selection import Selection, select, spread
from robench.errors import Mismatch, UsageError

KEEP = ("none", "examples", "failed", "all")
"""Whose picture, mask and mesh stay on disk; ``failed`` keeps the examples too."""
EXAMPLES = 3
"""Samples that are kept as examples, of different subjects where there are as many, the same in every condition."""


@dataclass(frozen=True)
class Options:
    """What the user asked of ``robench evaluate``; the command line's options by the same names.

    Attributes:
        model: Registered reconstructor.
        data: Folder of a data set; with `cset`, where its data lies now.
        cset: Folder of a corrupted set, or None to corrupt on the fly.
        recipe: Installed recipe or YAML file.
        corruptions: Names with commas between, or ``all``.
        severities: As ``1-5`` or ``2,4``.
        masker: Registered masker.
        metrics: Registered metrics, None for all.
        checkpoint: Weights, None for the model's own.
        out: Parent folder of runs.
        dataset: Reader of `data`, None to find it.
        split: Split of the data set.
        limit: At most so many samples.
        subjects: Only these.
        views: Only these angles, degrees.
        seed: Of the corruptions, from 0 up; None for 0, or for the seed of `cset`.
        depth: Where depth comes from; see `robench.data.depth_sources.choose_depth`.
        depth_weights: Folder of a depth network.
        depth_unit: Unit of depth files that do not declare one.
        device: ``cpu``, ``cuda`` or ``auto``.
        model_options: Options of the model by name; see `robench.engine.model_options`.
        batch_size: Requests at once.
        keep: One of `KEEP`: whose meshes, pictures and masks stay on disk.
        skip_unable: Leave out cells whose sample lacks what the corruption needs.
        fresh: Forget what is done.
        quiet: Show no progress.
        in_process: Open the model in this process, for a debugger; its crash is then the run's.
        threads: Of the model on CPU; part of the run's identity, because last digits depend on it.
        workers: Processes that each open the model and work on shards of the run.
        jobs: Processes that prepare and score for each model; 0 for a thread beside it; None for a choice by device
            and cores.
        retries: How often a sample is tried again whose model died, hung or ran out of memory.
        timeout_s: Seconds that a sample may take in the model; 0 waits for ever.
        max_failures: A count (``20``) or a share (``5%``) of cells; the run stops where more fail. None: if all do.
        fail_fast: Stop at the first cell that fails.
        redo: Statuses whose cells are done again.
        shard_size: Cells a shard: how often rows become a file of their own.
        json_events: Tell progress as JSON lines.
        executor: Who runs the shards; see `robench.engine.executors`.
        cluster: What the executor is told, by name.
    """

    model: str
    data: Path | None = None
    cset: Path | None = None
    recipe: str | None = None
    corruptions: str | None = None
    severities: str | None = None
    masker: str = "u2netp-anny"
    metrics: Sequence[str] | None = None
    checkpoint: Path | None = None
    out: Path = Path("runs")
    dataset: str | None = None
    split: str | None = None
    limit: int | None = None
    subjects: Sequence[str] | None = None
    views: Sequence[float] | None = None
    seed: int | None = None
    depth: str | None = None
    depth_weights: Path | None = None
    depth_unit: str | None = None
    device: str = "auto"
    model_options: Mapping[str, str] = field(default_factory=dict)
    batch_size: int = 1
    keep: str = "examples"
    skip_unable: bool = False
    fresh: bool = False
    quiet: bool = False
    in_process: bool = False
    threads: int = 1
    workers: int = 1
    jobs: int | None = None
    retries: int = 2
    timeout_s: float = 1800.0
    max_failures: str | None = None
    fail_fast: bool = False
    redo: tuple[str, ...] = ()
    shard_size: int = 512
    json_events: bool = False
    executor: str = "local"
    cluster: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain values; paths are absolute, so that they hold from another folder."""
        return {
            name: str(value.resolve()) if isinstance(value, Path) else plain(value)
            for name, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Options:
        """Return the options that `to_json` was given.

        Raises:
            UsageError: If they are not of this version.
            Mismatch: If a value is of another type.
        """
        hints = typing.get_type_hints(cls)
        unknown = sorted(set(data) - set(hints))
        if unknown or "model" not in data:
            raise UsageError("The options of this run are not understood", got=", ".join(unknown) or "no model")
        values = dict(data) | {"redo": tuple(data.get("redo", ()))}
        for name, value in values.items():
            if value is not None and Path in (hints[name], *typing.get_args(hints[name])) and isinstance(value, str):
                values[name] = Path(value)
            elif not _fits(value, hints[name]):
                raise Mismatch(f"The option '{name}' of this run is damaged", got=repr(value)[:80])
        return cls(**values)


def _fits(value: Any, hint: Any) -> bool:
    """True if a plain value may be one of a type of `Options`, as far as containers go."""
    kinds = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    for kind in (typing.get_origin(kind) or kind for kind in kinds):
        if isinstance(value, bool) and kind is not bool:
            continue
        if isinstance(value, kind) or (kind is float and isinstance(value, int)):
            return not (isinstance(value, str) and kind is Sequence)
    return False


@dataclass(frozen=True, eq=False)
class Task:
    """What a run has to do.

    Attributes:
        selection: The samples.
        recipe: The corruptions.
        seed: Of the corruptions.
        cset_id: Hash of the pictures, whether stored or made on the fly.
        pictures: Where they come from.
        cset: The stored set, or None.
        masker: Not open.
        stored_masks: Masks made before, or None.
        metrics: In order of names.
        needs: What each corruption needs beside the picture.
        depths: Where depth comes from, when pictures are made on the fly.
    """

    selection: Selection
    recipe: Recipe
    seed: int
    cset_id: str
    pictures: PictureSource
    cset: CorruptedSet | None
    masker: Masker
    stored_masks: StoredMasks | None
    metrics: tuple[Metric, ...]
    needs: Mapping[str, frozenset[str]]
    depths: DepthSources = GIVEN_OR_MESH

    def cells(self) -> Iterator[Cell]:
        """Yield every cell, sample by sample, clean first."""
        return plan_cells(self.selection.samples, self.recipe)

    def cell(self, number: int) -> Cell:
        """Return a cell by its place in `cells`."""
        sample, condition = divmod(number, len(self.conditions))
        return Cell(self.selection.samples[sample], *self.conditions[condition])

    @functools.cached_property
    def conditions(self) -> tuple[tuple[str, int], ...]:
        """Corruption and severity of each condition, clean first."""
        return tuple(self.recipe.conditions())

    def ledger(self) -> Ledger:
        """Return a ledger of the cells, with none done."""
        return Ledger([sample.sample_id for sample in self.selection.samples], self.conditions)

    def able(self, cell: Cell) -> bool:
        """True if the picture of a cell can be had."""
        return self.cset.able(cell) if self.cset is not None else is_able(cell, self.needs, self.depths)

    @functools.cached_property
    def left_out(self) -> int:
        """How many cells have no picture, because their sample lacks what the corruption needs."""
        return sum(not self.able(cell) for cell in self.cells())

    @property
    def size(self) -> int:
        """Number of cells."""
        return len(self.selection.samples) * len(self.conditions)

    @functools.cached_property
    def examples(self) -> frozenset[str]:
        """Ids of the samples that are kept as examples."""
        return frozenset(sample.sample_id for sample in spread(self.selection.samples, EXAMPLES))


def plan_task(options: Options) -> Task:
    """Settle what a run has to do; touches nothing and loads no weights.

    Raises:
        UsageError: If an option is wrong, or the data lacks what corruptions or masker need.
        NotComparable: If a stored set does not belong to the data.
    """
    _check(options)
    masker = load_masker(options.masker)
    metrics = load_metrics(options.metrics)
    choice: dict[str, Any] = {"limit": options.limit, "subjects": options.subjects, "views": options.views}
    if options.cset is not None:
        cset = open_set(options.cset)
        selection, recipe, seed = cset.select(options.data, **choice), cset.recipe, cset.seed
        cset_id = set_identity(selection, cset.recipe_identity, seed, cset.depth_identity(selection.samples))
        refuse_without_masks(masker, selection.samples)
        stored = StoredMasks(cset, masker)
        return Task(selection, recipe, seed, cset_id, cset, cset, masker, stored, metrics, {})
    if options.data is None:
        raise UsageError("There is nothing to evaluate on", expected="--data FOLDER or --cset FOLDER")
    if is_set(options.data):
        raise UsageError(f"{options.data} is a corrupted set, not a data set", hint=f"--cset {options.data}")
    recipe = choose_recipe(options.recipe, options.corruptions, options.severities)
    needs = needs_of(recipe)
    depths = choose_depth(options.depth, options.depth_weights, options.depth_unit)
    selection = select(options.data, options.dataset, options.split, **choice)
    if not options.skip_unable:
        refuse_unable(selection.samples, recipe, depths)
    refuse_without_masks(masker, selection.samples)
    seed = options.seed or 0
    made = depth_identity(selection.samples, needs, depths)
    cset_id = set_identity(selection, recipe.identity(), seed, made)
    pictures = OnTheFly(seed, makers(recipe), depths)
    return Task(selection, recipe, seed, cset_id, pictures, None, masker, None, metrics, needs, depths)


def failure_limit(text: str | None) -> Callable[[int], float]:
    """Read ``--max-failures``: a count (``20``), a share (``5%``), or None for "not every one".

    Returns:
        A function from the number of cells to how many may fail.

    Raises:
        UsageError: If the text is neither.
    """
    if text is None:
        return lambda cells: max(cells - 1, 0)
    number = text.strip().removesuffix("%")
    is_share = text.strip().endswith("%")
    if not number.replace(".", "", 1).isdecimal() or ("." in number and not is_share):
        raise UsageError("The limit of failures is not understood", got=f"'{text}'", expected="such as 20 or 5%")
    value = float(number)
    return lambda cells: value / 100 * cells if is_share else value


def load_metrics(names: Sequence[str] | None) -> tuple[Metric, ...]:
    """Load metrics by name, sorted; None for every registered one.

    Raises:
        UsageError: If a name is unknown.
        EnvironmentNotReady: If a metric is broken.
    """
    return tuple(registry.load("metrics", name) for name in sorted(set(names or registry.entries("metrics"))))


def _check(options: Options) -> None:
    known = registry.entries("models")
    if options.model not in known:
        raise registry.unknown_name("models", options.model, known)
    if options.keep not in KEEP:
        close = registry.did_you_mean(options.keep, KEEP)
        raise UsageError(
            f"Meshes cannot be kept as '{options.keep}'",
            expected=f"{', '.join(KEEP)} {close}".strip(),
            hint="--keep-meshes",
        )
    if options.checkpoint is not None and not options.checkpoint.exists():
        raise UsageError(f"There is no checkpoint {options.checkpoint}", hint="robench show model " + options.model)
    if options.cset is not None:
        fixed = ("recipe", "corruptions", "severities", "seed", "split", "dataset")
        for name in (*fixed, "depth", "depth_weights", "depth_unit"):
            if getattr(options, name) is not None:
                said = name.replace("_", "-")
                raise UsageError(
                    f"A corrupted set already fixes the {said}, but --{said} is given too", expected="only one of them"
                )
