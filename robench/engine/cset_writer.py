"""Writing a corrupted set: in one process or several, the same bytes; re-running the same command resumes."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Generator, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import robench
from robench.contracts import Sample
from robench.engine.batches import batched
from robench.engine.cells import Cell, OnTheFly, is_able, needs_of, plan_cells, refuse_unable
from robench.engine.composed import Composed, makers
from robench.engine.cset import (
    FORMAT,
    INDEX,
    JOURNAL,
    MANIFEST,
    Key,
    image_path,
    index_row,
    read_index,
    set_identity,
    set_name,
    true_mask_path,
    write_index,
)
from robench.engine.journal import Journal, only_writer, read_lines
from robench.engine.progress import progress
from robench.engine.recipes import Recipe
from robench.engine.selection import Selection
from robench.errors import EnvironmentNotReady, Mismatch, SampleFailure
from robench.io.files import make_folder, safe_join, sha256_file, write_json_atomic
from robench.io.images import pixels_sha256, read_mask, write_mask, write_png

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_AHEAD = 3
"""Tasks per process that wait in the queue: enough to keep it busy, few enough to stop soon."""
_TASK = 4
"""Pictures of one sample in a task."""
_CODECS = ("numpy", "opencv-python", "pillow", "scikit-image", "scipy", "av")

Condition = tuple[str, int]


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
    """

    folder: Path
    cset_id: str
    cells: int
    left_out: int


def plan_set(selection: Selection, recipe: Recipe, seed: int, out: Path, *, skip_unable: bool = False) -> SetPlan:
    """Check that a set can be made, and say what and where it would be; touches nothing.

    Raises:
        UsageError: If a sample lacks what a corruption needs and `skip_unable` is not set.
    """
    if not skip_unable:
        refuse_unable(selection.samples, recipe)
    needs = needs_of(recipe)
    able = [is_able(cell, needs) for cell in plan_cells(selection.samples, recipe)]
    cset_id = set_identity(selection, recipe.identity(), seed)
    return SetPlan(out / set_name(selection, recipe, cset_id), cset_id, sum(able), len(able) - sum(able))


def write_set(
    selection: Selection,
    recipe: Recipe,
    seed: int,
    out: Path,
    *,
    jobs: int = 1,
    skip_unable: bool = False,
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
        fresh: Make every picture again.
        command: What the user typed, kept in the manifest of an unfinished set.
        quiet: Show no progress.

    Returns:
        What was done; a picture that could not be made is in ``failed`` and does not stop the others.

    Raises:
        UsageError: If the set cannot be made from this data, or the folder cannot be written.
        EnvironmentNotReady: If the disk is full or read-only, or a worker process died. Finished work is kept.
    """
    plan = plan_set(selection, recipe, seed, out, skip_unable=skip_unable)
    needs = needs_of(recipe)
    cells = [cell for cell in plan_cells(selection.samples, recipe) if is_able(cell, needs)]
    make_folder(plan.folder)
    with only_writer(plan.folder, "the set"):
        done = {} if fresh else _whole_rows(plan.folder)
        todo = [cell for cell in cells if cell.key not in done]
        manifest = _manifest(selection, recipe, seed, plan, command)
        if todo or not (plan.folder / MANIFEST).is_file():
            write_json_atomic(plan.folder / MANIFEST, manifest)
        failed: list[dict[str, Any]] = []
        with (
            Journal(plan.folder / JOURNAL) as journal,
            progress("corrupt", len(todo), "images", quiet=quiet) as advance,
            contextlib.closing(_made(_tasks(todo), plan.folder, seed, makers(recipe), jobs)) as results,
        ):
            for rows, failures in results:
                for row in rows:
                    journal.append(row)
                    done[_key(row)] = row
                failed += failures
                advance(len(rows) + len(failures), len(failures))
        rows = [done[cell.key] for cell in cells if cell.key in done]
        failed.sort(key=lambda f: (f["sample_id"], f["corruption"], f["severity"]))
        manifest["index_sha256"] = write_index(plan.folder / INDEX, rows)
        manifest |= {"complete": True, "images": len(rows), "failed": failed, "versions": _versions()}
        del manifest["command"]
        write_json_atomic(plan.folder / MANIFEST, manifest)
        (plan.folder / JOURNAL).unlink(missing_ok=True)
    return SetReport(plan.folder, len(rows), len(todo) - len(failed), failed, plan.left_out)


def _manifest(selection: Selection, recipe: Recipe, seed: int, plan: SetPlan, command: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "cset_id": plan.cset_id,
        "complete": False,
        "command": command,
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
        "seed_rule": "PCG64(SeedSequence(sha256('robench/1|seed|sample_id|corruption@version|severity')))",
        "seed_rule_of_parts": "part k > 1 of a chain: '...|severity|part k'; a mixture: '...|sample_id|version'",
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
    """Return the index rows whose pictures are there with the bytes they should have."""
    rows: list[dict[str, Any]] = []
    # A damaged record is not an obstacle: what it described is made again.
    with contextlib.suppress(Mismatch):
        if (folder / INDEX).is_file():
            rows += read_index(folder / INDEX)
    with contextlib.suppress(Mismatch):
        rows += read_lines(folder / JOURNAL)
    whole = {}
    for row in rows:
        path = safe_join(folder, row["path"])
        if path.is_file() and sha256_file(path) == row["file_sha256"] and _mask_is_whole(folder, row):
            whole[_key(row)] = row
    return whole


def _mask_is_whole(folder: Path, row: Mapping[str, Any]) -> bool:
    if row.get("true_mask") is None:
        return True
    path = safe_join(folder, true_mask_path(row["path"]))
    try:
        return bool(pixels_sha256(read_mask(path, (row["height"], row["width"]))) == row["true_mask"])
    except SampleFailure:
        return False


def _tasks(cells: Sequence[Cell]) -> Iterator[tuple[Sample, list[Condition]]]:
    """Yield each sample with a few of its conditions at a time: few enough to stop soon."""
    for _, group in itertools.groupby(cells, key=lambda cell: cell.sample.sample_id):
        for part in batched(group, _TASK):
            yield part[0].sample, [(cell.corruption, cell.severity) for cell in part]


Result = tuple[list[dict[str, Any]], list[dict[str, Any]]]


def make_sample(source: OnTheFly, folder: Path, sample: Sample, conditions: Sequence[Condition]) -> Result:
    """Make and store the pictures of one sample.

    Returns:
        Index rows, and failures as ``sample_id, corruption, severity, message``.
    """
    rows, failures = [], []
    for corruption, severity in conditions:
        cell = Cell(sample, corruption, severity)
        try:
            picture = source.picture(cell)
            source_sha256 = source.inputs(sample).source_sha256
        except SampleFailure as error:
            key = {"sample_id": sample.sample_id, "corruption": corruption, "severity": severity}
            failures.append(key | {"message": error.message})
            continue
        file_sha256 = write_png(folder / image_path(cell), picture.image)
        if picture.drawn_mask and picture.true_mask is not None:
            write_mask(folder / true_mask_path(image_path(cell)), picture.true_mask)
        rows.append(index_row(cell, picture, source_sha256, file_sha256))
    return rows, failures


def _made(
    tasks: Iterator[tuple[Sample, list[Condition]]],
    folder: Path,
    seed: int,
    composed: Mapping[str, Composed],
    jobs: int,
) -> Generator[Result, None, None]:
    if jobs <= 1:
        source = OnTheFly(seed, composed)
        for sample, conditions in tasks:
            # A condition at a time: an interruption then loses one picture, not a sample's.
            for condition in conditions:
                yield make_sample(source, folder, sample, [condition])
        return
    with _single_threaded():
        pool = ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(seed, composed)
        )
        waiting: set[Future[Result]] = set()
        try:
            for sample, conditions in tasks:
                waiting.add(pool.submit(_work, folder, sample, conditions))
                if len(waiting) >= jobs * _AHEAD:
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool as error:
            raise EnvironmentNotReady(
                "A worker process died",
                got="no reason given; the memory may have been too small",
                hint="the same command with a smaller -j: it resumes",
            ) from error
        except (KeyboardInterrupt, SystemExit):
            # What is in the workers' hands is soon finished; it is recorded before we go.
            running = [future for future in waiting if not future.cancel()]
            for future in running:
                with contextlib.suppress(Exception):
                    yield future.result()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _single_threaded() -> Iterator[None]:
    """Let child processes start with one thread each: j processes times n threads would fight for n cores."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


_source: OnTheFly | None = None


def _start_worker(seed: int, composed: Mapping[str, Composed]) -> None:
    global _source
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    import cv2

    cv2.setNumThreads(1)
    _source = OnTheFly(seed, composed)


def _work(folder: Path, sample: Sample, conditions: Sequence[Condition]) -> Result:
    assert _source is not None
    return make_sample(_source, folder, sample, conditions)
