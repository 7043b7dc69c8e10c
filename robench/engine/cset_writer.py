"""Writing a corrupted set: in one process or several, the same bytes; re-running the same command resumes."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import Any

import robench
from robench.contracts import Sample
from robench.data.depth_sources import DepthSources
from robench.engine.batches import batched
from robench.engine.cells import Cell, is_able, needs_of, plan_cells, refuse_unable
from robench.engine.composed import makers
from robench.engine.cset import FORMAT, Key, depth_identity, set_identity, set_name
from robench.engine.cset_index import COLUMNS, FILES, INDEX, JOURNAL, read_index, write_index
from robench.engine.cset_manifest import MANIFEST, manifest_sha256
from robench.engine.estimates import ESTIMATES, estimate_hashes, write_estimates
from robench.engine.inputs import GIVEN_OR_MESH
from robench.engine.journal import Journal, only_writer, read_lines
from robench.engine.progress import progress
from robench.engine.recipes import Recipe
from robench.engine.selection import Selection
from robench.engine.set_maker import Condition, SetSpec
from robench.engine.set_pool import made
from robench.errors import Mismatch, TooManyFailures
from robench.io.depth import DECLARATION
from robench.io.files import TEMP_PREFIX, make_folder, safe_join, sha256_file, sync_disk, write_json_atomic
from robench.io.images import PictureFormat

_TASK, _TASKS = 16, 8
"""Most pictures of one sample in a task, and tasks that every process shall have at least: a sample's files are read
once a task, but the processes shall end together, and stop soon."""
_CODECS = ("numpy", "opencv-python", "pillow", "scikit-image", "scipy", "av")


@dataclass(frozen=True)
class SetReport:
    """What `write_set` did.

    Attributes:
        folder: The set.
        images: Pictures in it.
        made: Pictures made by this call; the others were there.
        failed: Cells that could not be made: ``sample_id, corruption, severity, message``.
        left_out: Cells left out because the sample lacks what the corruption needs.
    """

    folder: Path
    images: int
    made: int
    failed: list[dict[str, Any]]
    left_out: int


@dataclass(frozen=True)
class SetPlan:
    """What `write_set` would do.

    Attributes:
        folder: The set's folder, which may exist.
        cset_id: Hash of everything that its bytes depend on.
        cells: Pictures it will have, failures apart.
        left_out: Cells left out because the sample lacks what the corruption needs.
        spec: What processes that work on it must know.
    """

    folder: Path
    cset_id: str
    cells: int
    left_out: int
    spec: SetSpec


def plan_set(
    selection: Selection,
    recipe: Recipe,
    seed: int,
    out: Path,
    *,
    skip_unable: bool = False,
    depths: DepthSources = GIVEN_OR_MESH,
    picture_format: PictureFormat = "png",
) -> SetPlan:
    """Check that a set can be made, and say what and where it would be; touches nothing.

    Raises:
        UsageError: If a sample lacks what a corruption needs and `skip_unable` is not set.
    """
    if not skip_unable:
        refuse_unable(selection.samples, recipe, depths)
    needs = needs_of(recipe)
    able = [is_able(cell, needs, depths) for cell in plan_cells(selection.samples, recipe)]
    cset_id = set_identity(selection, recipe.identity(), seed, depth_identity(selection.samples, needs, depths))
    folder = out / set_name(selection, recipe, cset_id, picture_format)
    with_depth = any("depth" in names for names in needs.values())
    spec = SetSpec(folder, selection.root, seed, makers(recipe), depths, with_depth, picture_format)
    return SetPlan(folder, cset_id, sum(able), len(able) - sum(able), spec)


def write_set(
    selection: Selection,
    recipe: Recipe,
    seed: int,
    out: Path,
    *,
    jobs: int = 1,
    skip_unable: bool = False,
    depths: DepthSources = GIVEN_OR_MESH,
    picture_format: PictureFormat = "png",
    fail_fast: bool = False,
    fresh: bool = False,
    command: str = "robench corrupt",
    quiet: bool = False,
) -> SetReport:
    """Make a corrupted set, or finish one.

    Pictures that are there and whole (by hash) are kept; everything else is made. Bytes do not depend on `jobs`.

    Args:
        selection: The samples.
        recipe: The corruptions.
        seed: From 0 up.
        out: Parent folder of the set's folder.
        jobs: Processes.
        skip_unable: Leave out the cells whose sample lacks what the corruption needs.
        depths: Where depth comes from.
        picture_format: How pictures are stored.
        fail_fast: Stop at the first picture that cannot be made.
        fresh: Make every picture again.
        command: What the user typed, kept in the manifest of an unfinished set.
        quiet: Show no progress.

    Returns:
        What was done; a picture that could not be made is in ``failed`` and does not stop the others.

    Raises:
        UsageError: If the set cannot be made from this data, or the folder cannot be written.
        EnvironmentNotReady: If the disk is full or read-only, or a worker process died. Finished work is kept.
        TooManyFailures: If `fail_fast` is set and a picture could not be made. Finished work is kept.
    """
    plan = plan_set(selection, recipe, seed, out, skip_unable=skip_unable, depths=depths, picture_format=picture_format)
    needs = needs_of(recipe)
    cells = [cell for cell in plan_cells(selection.samples, recipe) if is_able(cell, needs, depths)]
    with_depth = plan.spec.with_depth
    make_folder(plan.folder)
    with only_writer(plan.folder, "the set"):
        _sweep(plan.folder)
        done = {} if fresh else _whole_rows(plan.folder)
        todo = [cell for cell in cells if cell.key not in done]
        manifest = _manifest(selection, recipe, seed, plan, picture_format)
        manifest["depth"] = depths.facts(selection.samples) if with_depth else None
        if todo or not (plan.folder / MANIFEST).is_file():
            write_json_atomic(plan.folder / MANIFEST, manifest | {"complete": False, "command": command})
        if with_depth and "dpt" in manifest["depth"]["samples"]:
            depths = replace(depths, stored=plan.folder / ESTIMATES)
            samples = {cell.sample.sample_id: cell.sample for cell in todo if "depth" in needs.get(cell.corruption, ())}
            write_estimates(list(samples.values()), depths, fresh=fresh, quiet=quiet)
            manifest["depth"]["files"] = estimate_hashes(plan.folder, selection.samples, depths)
        spec = replace(plan.spec, depths=depths)
        failed: list[dict[str, Any]] = []
        with (
            Journal(plan.folder / JOURNAL) as journal,
            progress("corrupt", len(todo), "images", quiet=quiet) as advance,
            contextlib.closing(made(_tasks(todo, jobs), spec, jobs)) as results,
        ):
            for rows, failures in results:
                for row in rows:
                    journal.append(row)
                    done[_key(row)] = row
                failed += failures
                advance(len(rows) + len(failures), len(failures))
                if failed and fail_fast:
                    raise TooManyFailures(_told(failed[0]), hint="the same command without --fail-fast: it resumes")
        rows = [done[cell.key] for cell in cells if cell.key in done]
        failed.sort(key=lambda f: (f["sample_id"], f["corruption"], f["severity"]))
        manifest["index_sha256"] = write_index(plan.folder / INDEX, rows)
        manifest |= {"complete": True, "images": len(rows), "failed": failed, "versions": _versions()}
        if any(row["depth_path"] for row in rows):
            write_json_atomic(plan.folder / "depth" / DECLARATION, {"unit": "mm"})
        sync_disk()
        write_json_atomic(plan.folder / MANIFEST, manifest | {"manifest_sha256": manifest_sha256(manifest)})
        (plan.folder / JOURNAL).unlink(missing_ok=True)
    return SetReport(plan.folder, len(rows), len(todo) - len(failed), failed, plan.left_out)


def _told(failure: Mapping[str, Any]) -> str:
    where = f"{failure['sample_id']} {failure['corruption']} {failure['severity']}"
    return f"Stopped at the first failure: {where}: {failure['message']}"


def _manifest(
    selection: Selection, recipe: Recipe, seed: int, plan: SetPlan, picture_format: PictureFormat
) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "cset_id": plan.cset_id,
        "picture_format": picture_format,
        "dataset": {
            "name": selection.dataset,
            # Relative, so that data and sets can be moved together and no home folder is published.
            "root": Path(os.path.relpath(selection.root, plan.folder)).as_posix(),
            "revision": selection.revision,
            "split": selection.split,
            "split_sha256": selection.split_sha256,
            "samples": len(selection.samples),
            "partial": selection.partial,
        },
        "recipe": {
            "name": recipe.name,
            "version": recipe.version,
            "description": recipe.description,
            "reference": recipe.reference,
            "sha256": recipe.sha256(),
            "cells": [cell.to_json() for cell in recipe.cells],
        },
        "seed": seed,
        "seed_rule": "PCG64(SeedSequence(sha256('robench/1|seed|sample_id|corruption@version')))",
        "seed_rule_of_parts": "part k > 1 of a chain: '...|part k'; a mixture: '...|sample_id|version'",
        "left_out": plan.left_out,
        "failed": [],
    }


def _versions() -> dict[str, str]:
    found = {"robench": robench.__version__}
    for name in _CODECS:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _key(row: Mapping[str, Any]) -> Key:
    return row["sample_id"], row["corruption"], row["severity"]


def _whole_rows(folder: Path) -> dict[Key, dict[str, Any]]:
    """Return the index rows whose picture, mask and depth are there with the bytes they should have."""
    rows: list[dict[str, Any]] = []
    # A damaged record is not an obstacle: what it described is made again.
    with contextlib.suppress(Mismatch):
        if (folder / INDEX).is_file():
            rows += read_index(folder / INDEX)
    with contextlib.suppress(Mismatch):
        rows += read_lines(folder / JOURNAL)
    hashes: dict[str, str | None] = {}

    def is_whole(name: str | None, sha256: str | None) -> bool:
        if name is None:
            return True
        if name not in hashes:  # the clean mask and depth belong to many rows
            path = safe_join(folder, name)
            hashes[name] = sha256_file(path) if path.is_file() else None
        return hashes[name] == sha256

    return {
        _key(row): row
        for row in rows
        if row.keys() >= COLUMNS.keys() and all(is_whole(row[path], row[sha256]) for path, sha256 in FILES)
    }


def _sweep(folder: Path) -> None:
    """Remove what a process that was killed while it wrote left behind; the caller is the folder's only writer."""
    for path in folder.rglob(f"{TEMP_PREFIX}*"):
        path.unlink(missing_ok=True)


def _tasks(cells: Sequence[Cell], jobs: int) -> Iterator[tuple[Sample, list[Condition]]]:
    """Yield each sample with some of its conditions at a time."""
    size = max(1, min(_TASK, len(cells) // (jobs * _TASKS)))
    for _, group in itertools.groupby(cells, key=lambda cell: cell.sample.sample_id):
        for part in batched(group, size):
            yield part[0].sample, [(cell.corruption, cell.severity) for cell in part]
