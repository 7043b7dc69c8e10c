"""Few-sample adaptation of a trained model: pictures chosen, people of the test refused, checkpoints with provenance.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023:
Adam on 2 and 3 batches of 16 corrupted pictures, at a rate chosen on a separate validation set.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import robench
from robench import registry
from robench.engine.model_options import configure, models_with
from robench.errors import UsageError
from robench.io.adaptation_files import FORMAT, RECORD, write_curve
from robench.io.files import json_text, read_json, safe_join, sha256_file, write_json_atomic
from robench.training.lessons import Adaptable, Adapted, AdaptJob, Lesson
from robench.training.overlap import refuse_people_of, refuse_test_people, subjects_of
from robench.training.sources import Source, deal, lesson_of, open_source

_SCRATCH = "work"


@dataclass(frozen=True)
class AdaptOptions:
    """What the user asked of ``robench adapt``.

    Attributes:
        model: Registered reconstructor that can adapt.
        data: Corrupted set or data set.
        out: Folder of the checkpoints.
        checkpoint: Weights to start from; None for the model's own.
        batches: Numbers of batches, a checkpoint each.
        batch_size: Pictures a batch.
        lr: Learning rates; several are tried on `val`.
        epochs: How often the batches are gone through.
        seed: Of the choice of pictures and the points.
        recipe: Of a data set's corruptions; see `open_source`, as the next ones.
        corruptions: See `recipe`.
        severities: See `recipe`.
        dataset: Reader of `data`.
        split: Split of `data`.
        views: Only these angles in degrees.
        corruption_seed: Of corruptions made on the fly.
        val: Corrupted set or data set to choose the rate on.
        val_pictures: At most so many of its pictures.
        test: Data set that the model will be tested on: people of its test split, else all, are refused.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        model_options: Options of the model by name; see `robench.engine.model_options`.
    """

    model: str
    data: Path
    out: Path
    checkpoint: Path | None = None
    batches: tuple[int, ...] = (2,)
    batch_size: int = 16
    lr: tuple[float, ...] = (7e-4,)
    epochs: int = 1
    seed: int = 0
    recipe: str | None = None
    corruptions: str | None = None
    severities: str | None = None
    dataset: str | None = None
    split: str | None = None
    views: Sequence[float] | None = None
    corruption_seed: int = 0
    val: Path | None = None
    val_pictures: int = 32
    test: Path | None = None
    device: str = "auto"
    model_options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Point:
    """A checkpoint of an adaptation.

    Attributes:
        batches: Batches that it learned from.
        weights: The file.
        sha256: Of the file.
        error: On the validation pictures, or None.
        made: False if it was there already.
    """

    batches: int
    weights: Path
    sha256: str
    error: float | None
    made: bool


@dataclass(frozen=True)
class AdaptResult:
    """What `adapt` did.

    Attributes:
        points: A checkpoint for every number of batches, ascending.
        lr: The learning rate that was taken.
        tried: Rates that were tried and their errors, the error of the base (rate 0) first; empty without a search.
    """

    points: list[Point]
    lr: float
    tried: list[tuple[float, float]]


def adapt(options: AdaptOptions, tell: Callable[[str], None] = lambda text: None) -> AdaptResult:
    """Adapt a model; the same command again finds its checkpoints there.

    Args:
        options: See `AdaptOptions`.
        tell: Gets a line of progress now and then.

    Raises:
        UsageError: If an option is wrong, the model cannot adapt, the data are too few or lack ground truth, the folder
            holds another adaptation, or people of the test are among those to learn from.
        EnvironmentNotReady: If weights or the device are not there.
    """
    model, most = _checked(options), max(options.batches)
    card = registry.load("models", options.model).card
    source, val = _sources(options)
    cells = deal(source.cells, most * options.batch_size, options.seed)
    asked = {
        "model": options.model,
        "checkpoint": None if options.checkpoint is None else _sha256(options.checkpoint),
        "own_weights": card.extra.get("checkpoint_sha256") if options.checkpoint is None else None,
        "data": source.facts,
        "samples": [list(cell.key) for cell in cells],
        "model_options": dict(options.model_options),
        "batch_size": options.batch_size,
        "epochs": options.epochs,
        "lr": list(options.lr),
        "seed": options.seed,
        "val": None if val is None else {**val.facts, "pictures": options.val_pictures},
    }
    points = sorted(set(options.batches))
    there = _there(options, asked, points)
    if there is not None:
        return there
    for count in points:
        write_json_atomic(_folder(options, count) / RECORD, {"format": FORMAT, "asked": asked})
    scratch = options.out / _SCRATCH
    try:
        tell(f"corrupting {len(cells)} pictures")
        pairs = [lesson_of(source, cell) for cell in cells]
        hashes = [picture.sha256 for _, picture in pairs]
        size = options.batch_size
        batches = [[lesson for lesson, _ in pairs[i : i + size]] for i in range(0, len(pairs), size)]
        del pairs
        held_out = _held_out(val, options)
        run = _Runner(model, options, batches, held_out, scratch)
        lr, tried = _choose_rate(run, options.lr, most, tell)
        found = []
        for count in points:
            seen = [[*cell.key, sha256] for cell, sha256 in zip(cells, hashes, strict=True)][: count * size]
            search = [{"lr": rate, "error": error} for rate, error in tried]
            facts = {"batches": count, "lr": lr, "lr_search": search, "pictures": seen, "robench": robench.__version__}
            tell(f"adapting with {count} batches of {size} at {lr:g}")
            folder = _folder(options, count)
            made = run(count, lr, folder, {**asked, **facts})
            digest = sha256_file(made.weights)
            record = {
                "format": FORMAT,
                "asked": asked,
                **facts,
                "base_sha256": made.base_sha256,
                "checkpoint": made.weights.name,
                "checkpoint_sha256": digest,
                "error": made.error,
            }
            write_json_atomic(folder / RECORD, record)
            found.append(Point(count, made.weights, digest, made.error, True))
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if len(found) > 1:
        curve = [{"batches": p.batches, "checkpoint": _inside(p, options), "sha256": p.sha256} for p in found]
        write_curve(options.out, options.model, lr, made.base_sha256, curve)
    return AdaptResult(found, lr, tried)


def _checked(options: AdaptOptions) -> Adaptable:
    """Return the model, once what needs no data has been checked."""
    model = registry.load("models", options.model)
    if not isinstance(model, Adaptable):
        raise UsageError(f"The model '{options.model}' cannot be adapted", expected=models_with("adapt"))
    if not options.batches or min(options.batches) < 0 or max(options.batches) < 1 or options.batch_size < 1:
        got = f"{', '.join(map(str, options.batches))} batches of {options.batch_size}"
        raise UsageError("There is nothing to adapt on", got=got, expected="a batch or more of a picture or more")
    if not options.lr or not all(0 < rate < 1 for rate in options.lr):
        got = ", ".join(f"{rate:g}" for rate in options.lr)
        raise UsageError("The learning rate is not possible", got=got, expected="above 0 and below 1, such as 7e-4")
    if options.epochs < 1 or options.val_pictures < 1:
        raise UsageError("An adaptation takes an epoch and a validation picture or more")
    if len(set(options.lr)) > 1 and options.val is None:
        raise UsageError(
            "Learning rates cannot be compared without pictures to judge them by",
            expected="--val: other people than those to learn from and those of the test",
        )
    if options.checkpoint is not None and not options.checkpoint.exists():
        raise UsageError(f"There is no checkpoint {options.checkpoint}", hint="robench show model " + options.model)
    configure(model, options.model_options)
    return cast(Adaptable, model)


def _sources(options: AdaptOptions) -> tuple[Source, Source | None]:
    """Open the pictures to learn from and those to judge by; refuse people in both, or of the test."""
    how: dict[str, Any] = {"recipe": options.recipe, "corruptions": options.corruptions}
    how |= {"severities": options.severities, "views": options.views, "seed": options.corruption_seed}
    source = open_source(options.data, dataset=options.dataset, split=options.split, **how)
    val = None
    if options.val is not None:
        val = open_source(options.val, usual_split="val", **_without_conditions(options.val, how))
        refuse_people_of(source.selection.samples, val.subjects, f"the validation data {options.val}")
    for one in (source, val):
        if one is None:
            continue
        chosen = one.selection
        refuse_test_people(chosen.samples, chosen.root, chosen.dataset, chosen.split)
        if options.test is not None:
            # Its test split where it has one: the same folder may hold who is learned from.
            people = subjects_of(options.test, None, "test") or subjects_of(options.test, None, None)
            refuse_people_of(chosen.samples, people, f"the data {options.test} that the model will be tested on")
    return source, val


def _without_conditions(data: Path, how: dict[str, Any]) -> dict[str, Any]:
    """Return how pictures are corrupted, of which a corrupted set asks nothing."""
    from robench.engine.cset import is_set

    if not is_set(data):
        return how
    return how | dict.fromkeys(("recipe", "corruptions", "severities"))


def _held_out(val: Source | None, options: AdaptOptions) -> list[Lesson]:
    if val is None:
        return []
    count = min(options.val_pictures, len(val.cells))
    return [lesson_of(val, cell)[0] for cell in deal(val.cells, count, options.seed)]


@dataclass(frozen=True)
class _Runner:
    """Adapts on the first so many batches."""

    model: Adaptable
    options: AdaptOptions
    batches: list[list[Lesson]]
    held_out: list[Lesson]
    scratch: Path

    def __call__(self, count: int, lr: float, out: Path, facts: dict[str, Any]) -> Adapted:
        options = self.options
        job = AdaptJob(
            batches=self.batches[:count],
            out=out,
            lr=lr,
            epochs=options.epochs,
            seed=options.seed,
            device=options.device,
            held_out=self.held_out,
            facts=facts,
            scratch=self.scratch,
        )
        return self.model.adapt(options.checkpoint, job)


def _choose_rate(
    run: _Runner, rates: Sequence[float], most: int, tell: Callable[[str], None]
) -> tuple[float, list[tuple[float, float]]]:
    """Return the rate with the smallest error after the most batches, and all that were tried, rate 0 first."""
    if len(set(rates)) == 1:
        return rates[0], []
    tried = []
    for rate in (0.0, *sorted(set(rates))):
        # A rate of 0 learns nothing: the base, which a search must beat to be worth anything.
        found = run(most if rate else 0, rate or rates[0], run.scratch / f"rate-{rate:g}", {})
        assert found.error is not None  # there are lessons held out
        tell(f"learning rate {rate:g}: error {found.error:.5f}")
        tried.append((rate, found.error))
    return min(tried[1:], key=lambda pair: pair[1])[0], tried


def _there(options: AdaptOptions, asked: dict[str, Any], points: Sequence[int]) -> AdaptResult | None:
    """Return what an earlier run of this command made, None if there is nothing yet.

    Raises:
        UsageError: If the folder holds something else.
    """
    found = []
    for count in points:
        folder = _folder(options, count)
        record = read_json(folder / RECORD) if (folder / RECORD).is_file() else None
        if record is None:
            # What lies there might be a training: nothing of it may be lost.
            if folder.is_dir() and any(folder.iterdir()):
                raise UsageError(f"{folder} is not empty and holds no adaptation", hint="another --out")
            continue
        if not isinstance(record, dict) or json_text(record.get("asked")) != json_text(asked):
            raise UsageError(f"{folder} already holds another adaptation", hint="another --out")
        if record.get("batches") != count or "checkpoint_sha256" not in record:
            continue  # begun, not finished
        path = safe_join(folder, str(record["checkpoint"]))
        if path.is_file() and sha256_file(path) == record["checkpoint_sha256"]:
            found.append((Point(count, path, record["checkpoint_sha256"], record["error"], False), record))
    if len(found) < len(points):
        return None
    last = found[-1][1]
    tried = [(one["lr"], one["error"]) for one in last["lr_search"]]
    return AdaptResult([point for point, _ in found], last["lr"], tried)


def _folder(options: AdaptOptions, count: int) -> Path:
    return options.out if len(set(options.batches)) == 1 else options.out / f"batches-{count}"


def _inside(point: Point, options: AdaptOptions) -> str:
    return point.weights.relative_to(options.out).as_posix()


def _sha256(path: Path) -> str:
    return sha256_file(path) if path.is_file() else str(path.resolve().name)
