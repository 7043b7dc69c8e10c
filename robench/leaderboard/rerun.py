"""``robench leaderboard verify --rerun``: some samples of an entry again on CPU, compared cell by cell."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from robench import registry
from robench.analysis.rows import read_rows
from robench.data.depth_sources import choose_depth
from robench.engine.cells import needs_of
from robench.engine.conditions import Mixture, Recipe, RecipeCell
from robench.engine.cset import depth_identity, set_identity
from robench.engine.evaluate import evaluate
from robench.engine.masks import load_masker, masker_identity
from robench.engine.protocol import metric_facts
from robench.engine.selection import Selection, select
from robench.engine.tasks import Options, plan_task
from robench.engine.workplace import Workplace
from robench.errors import RobenchError, UsageError
from robench.io.files import write_text_atomic
from robench.leaderboard.entry import Entry, published_metrics, recipe_identity
from robench.rng import generator

RELATIVE, ABSOLUTE = 0.01, 0.005
"""How far a value may lie from the published one: 1 % of it, or 0.005 of its unit, whichever is more. Other processors
round a network otherwise; on the same one values are equal."""
_CELL = ["sample_id", "corruption", "severity", "metric"]


class NotRerun(Exception):
    """Why an entry cannot be run again here; one phrase."""


@dataclass(frozen=True)
class Difference:
    """A cell that came out otherwise: which, what of it, the new and the published text."""

    cell: str
    what: str
    got: str
    expected: str


@dataclass
class Rerun:
    """What came of running samples of an entry again.

    Attributes:
        values: How many were compared.
        largest: Largest difference, relative to the published value.
        differences: Cells beyond the tolerance.
    """

    values: int = 0
    largest: float = 0.0
    differences: list[Difference] = field(default_factory=list)


@dataclass(frozen=True)
class Means:
    """What samples are run again with.

    Attributes:
        count: Samples of an entry, each under so many conditions and clean.
        seed: Of the draw of samples and conditions.
        data: Folders of data sets.
        checkpoints: Files of weights by their SHA-256, for models that do not bring theirs.
        in_process: Open the models in this process, for a debugger.
    """

    count: int
    seed: int
    data: Sequence[Path]
    checkpoints: Mapping[str, Path]
    in_process: bool = False


def rerun(entry: Entry, means: Means) -> Rerun:
    """Run drawn samples of an entry again on CPU, and compare.

    Drawn are subjects, one of their views, and conditions; a mixture is not drawn, for one of several draws cannot be
    asked for alone. Another ``seed`` draws others.

    Raises:
        NotRerun: If model, weights, data or versions are not at hand.
    """
    if entry.run is None:
        raise NotRerun("its rows lie elsewhere")
    facts, rows = entry.record.run, entry.run.rows
    if facts["model"] not in registry.entries("models"):
        raise NotRerun(f"the model '{facts['model']}' is not installed")
    try:
        recipe = _recipe(rows, facts)
        metrics = _metrics(rows, facts)
        root = _data(facts, recipe, means.data)
        with tempfile.TemporaryDirectory(prefix="robench-rerun-") as folder:
            options = _options(entry, _drawn(entry, recipe, means), metrics, root, means, Path(folder))
            _check_weights(options, facts)
            found = read_rows(evaluate(options).folder)
    except RobenchError as error:
        raise NotRerun(f"{error.what[:1].lower()}{error.what[1:]}{f' ({error.got})' if error.got else ''}") from error
    return compare(found, rows)


def compare(found: pd.DataFrame, published: pd.DataFrame) -> Rerun:
    """Compare rows with published ones: pictures and statuses must be equal, values within the tolerance."""
    made = Rerun()
    both = found.merge(published, on=_CELL, how="left", suffixes=("", "_published"), indicator=True)
    for _, row in both.iterrows():
        cell = f"{row['sample_id']}, {row['corruption']} {row['severity']}, {row['metric']}"
        if row["_merge"] != "both":
            made.differences.append(Difference(cell, "row", "a row", "none"))
            continue
        for what in ("image_sha256", "status"):
            ours, theirs = row[what], row[f"{what}_published"]
            if str(ours) != str(theirs):
                made.differences.append(Difference(cell, what, str(ours), str(theirs)))
        value, expected = float(row["value"]), float(row["value_published"])
        if row["status"] != "ok" or row["status_published"] != "ok":
            continue
        made.values += 1
        off = abs(value - expected)
        made.largest = max(made.largest, off / abs(expected) if expected else 0.0)
        if not off <= max(RELATIVE * abs(expected), ABSOLUTE):
            made.differences.append(Difference(cell, "value", f"{value:.6g}", f"{expected:.6g}"))
    return made


def _recipe(rows: pd.DataFrame, facts: Mapping[str, Any]) -> Recipe:
    """Return the recipe that was run, if the installed corruptions are of its versions."""
    composed = facts["recipe"]["composed"]
    told = recipe_identity(rows)
    try:
        cells = tuple(
            RecipeCell.from_json({"corruption": name, "severities": levels, **composed.get(name, {})})
            for name, _, levels in told
        )
    except (KeyError, TypeError, ValueError) as error:
        raise NotRerun("what its chains and mixtures are made of is damaged") from error
    for cell, (name, version, _) in zip(cells, told, strict=True):
        now = cell.version()
        if now != version:
            raise NotRerun(f"'{name}' was of version {version}, and is of {now} here")
    return Recipe(facts["recipe"]["name"], facts["recipe"]["version"], cells)


def _metrics(rows: pd.DataFrame, facts: Mapping[str, Any]) -> list[str]:
    """Return the published metrics that are still measured in the same way."""
    told = {metric["name"]: metric for metric in facts["protocol"]["metrics"]}
    known = registry.entries("metrics")
    same = [
        name
        for name in published_metrics(rows)
        if name in known and metric_facts(registry.load("metrics", name).card) == told[name]
    ]
    if not same:
        raise NotRerun("its metrics are of other versions")
    return same


def _data(facts: Mapping[str, Any], recipe: Recipe, folders: Sequence[Path]) -> Path:
    """Return the folder with the data of an entry, if they make its pictures here."""
    told = facts["dataset"]
    for folder in folders:
        try:
            selection = select(folder, told["name"], told["split"])
        except UsageError:
            continue  # another data set
        if (selection.revision, selection.split_sha256) == (told["revision"], told["split_sha256"]):
            _check_pictures(facts, recipe, selection)
            return folder
    raise NotRerun(f"no --data is {told['name']} of revision {told['revision'][:12]}")


def _check_pictures(facts: Mapping[str, Any], recipe: Recipe, selection: Selection) -> None:
    depth = depth_identity(selection.samples, needs_of(recipe), choose_depth(facts["depth"]))
    found = set_identity(selection, recipe.identity(), facts["seed"], depth)
    if found != facts["cset_id"]:
        raise NotRerun(f"its pictures are {facts['cset_id'][:12]}, and these data make {found[:12]}")


def _drawn(entry: Entry, recipe: Recipe, means: Means) -> tuple[list[str], float, list[RecipeCell]]:
    """Draw subjects, a view that all of them have if any is, and conditions."""
    assert entry.run is not None
    rows = entry.run.rows
    rng = generator(means.seed, entry.record.run_id, "rerun@1")
    subjects = sorted(set(rows["subject_id"]))
    chosen = sorted(str(name) for name in rng.choice(subjects, min(means.count, len(subjects)), replace=False))
    of_chosen = rows[rows["subject_id"].isin(chosen)].groupby("view_id")["subject_id"].nunique()
    views = sorted(of_chosen[of_chosen == of_chosen.max()].index, key=str)
    view = float(rng.choice(views))
    known = [
        (cell, level) for cell in recipe.cells if not isinstance(cell.made_of, Mixture) for level in cell.severities
    ]
    if not known:
        raise NotRerun("its recipe has nothing but mixtures")
    picks = sorted(int(i) for i in rng.choice(len(known), min(means.count, len(known)), replace=False))
    levels: dict[str, tuple[RecipeCell, list[int]]] = {}
    for cell, level in (known[i] for i in picks):
        levels.setdefault(cell.corruption, (cell, []))[1].append(level)
    return chosen, view, [RecipeCell(cell.corruption, tuple(each), cell.made_of) for cell, each in levels.values()]


def _options(
    entry: Entry,
    drawn: tuple[list[str], float, list[RecipeCell]],
    metrics: list[str],
    root: Path,
    means: Means,
    folder: Path,
) -> Options:
    facts, (subjects, view, cells) = entry.record.run, drawn
    told = facts["protocol"]["masker"]
    if masker_identity(load_masker(told["name"])) != told:
        raise NotRerun(f"the masker '{told['name']}' is another here")
    write_text_atomic(folder / "recipe.yaml", recipe_yaml(cells))
    return Options(
        facts["model"],
        data=root,
        recipe=str(folder / "recipe.yaml"),
        masker=told["name"],
        metrics=metrics,
        checkpoint=means.checkpoints.get(facts["checkpoint_sha256"]),
        out=folder / "runs",
        dataset=facts["dataset"]["name"],
        split=facts["dataset"]["split"],
        subjects=subjects,
        views=[view],
        seed=facts["seed"],
        depth=facts["depth"],
        device="cpu",
        model_options={name: str(value) for name, value in facts["protocol"].get("model_options", {}).items()},
        keep="none",
        quiet=True,
        threads=facts["threads"],
        jobs=0,
        in_process=means.in_process,
    )


def recipe_yaml(cells: Sequence[RecipeCell]) -> str:
    """Return a recipe file of single corruptions and chains; JSON, which is YAML, too."""
    entries: list[dict[str, Any]] = []
    for cell in cells:
        if cell.made_of is None:
            entries.append({"corruption": cell.corruption, "severities": list(cell.severities)})
            continue
        assert not isinstance(cell.made_of, Mixture)
        one: dict[str, Any] = {"name": cell.corruption, "chain": [str(part) for part in cell.made_of.parts]}
        if cell.made_of.fixed_severity is None:
            one["severities"] = list(cell.severities)
        entries.append(one)
    return json.dumps({"name": "rerun", "version": "1", "cells": entries}, indent=1)


def _check_weights(options: Options, facts: Mapping[str, Any]) -> None:
    """Open the model and see that it is the one.

    Raises:
        NotRerun: If its weights or its adapter are others.
        EnvironmentNotReady: If it cannot be opened.
    """
    with Workplace(plan_task(options), options) as place:
        found = place.identity
    for what in ("checkpoint_sha256", "adapter_version"):
        ours, theirs = getattr(found, what), facts[what]
        if ours != theirs:
            raise NotRerun(f"its {what} is {theirs[:12]}, and the one at hand {ours[:12]}")
