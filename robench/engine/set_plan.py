"""How large a set will be and how long it will take: from a few of its pictures, made in memory."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from robench.contracts import Sample
from robench.engine.cells import Cell, is_able, needs_of
from robench.engine.recipes import CLEAN, Recipe
from robench.engine.selection import Selection
from robench.engine.set_maker import SetMaker, SetSpec
from robench.io.images import UnreadableInput, image_size

_BUDGET_S = 10.0
"""Measuring stops to begin another condition after so long."""
_AGAIN_S = 0.5
"""A measurement that was shorter is repeated: the first one loads libraries."""
_HEADERS = 64
_TRIES = 5


@dataclass(frozen=True)
class Estimate:
    """What a set will cost, about.

    Attributes:
        bytes: On disk.
        seconds: Of work for all its pictures; none is counted as done already.
        measured: Pictures that were made for it: the clean one, and one a corruption at its middle severity.
        unmeasured: Conditions whose corruption was not measured, taken to be like the mean of the others.
        sample_id: Whose picture was used, "" where none could be read (all is 0 then).
    """

    bytes: int = 0
    seconds: float = 0.0
    measured: int = 0
    unmeasured: int = 0
    sample_id: str = ""


def estimate(selection: Selection, recipe: Recipe, spec: SetSpec, jobs: int, budget_s: float = _BUDGET_S) -> Estimate:
    """Make one picture a corruption of a sample in memory, and scale by pictures and pixels; writes nothing.

    Args:
        selection: The samples.
        recipe: The corruptions.
        spec: The set.
        jobs: Processes.
        budget_s: About how long measuring may take.
    """
    needs = needs_of(recipe)
    started = time.perf_counter()
    conditions = [(cell.corruption, severity) for cell in recipe.cells for severity in cell.severities]
    for sample in _spread(selection.samples, _TRIES):
        clean = _measured(spec, sample, (CLEAN, 0))
        if clean is None:
            continue
        found: dict[str, tuple[int, float]] = {}
        for cell in recipe.cells:
            if time.perf_counter() - started > budget_s:
                break
            # The middle severity: costs of the others lie on both sides of it.
            one = _measured(spec, sample, (cell.corruption, cell.severities[len(cell.severities) // 2]), before=clean)
            if one is not None:
                found[cell.corruption] = one
        weight = _pixels(selection.samples, sample)
        able = {name: sum(is_able(Cell(s, name, 1), needs, spec.depths) for s in selection.samples) for name in needs}
        known = list(found.values()) or [clean]
        mean = sum(size for size, _ in known) / len(known), sum(seconds for _, seconds in known) / len(known)
        size, seconds = (float(cost) * len(selection.samples) for cost in clean)
        for name, _ in conditions:
            one_size, one_seconds = found.get(name, mean)
            size += one_size * able[name]
            seconds += one_seconds * able[name]
        unmeasured = sum(name not in found for name, _ in conditions)
        cores = max(1, min(jobs, os.cpu_count() or 1))
        return Estimate(round(size * weight), seconds * weight / cores, len(found) + 1, unmeasured, sample.sample_id)
    return Estimate(unmeasured=len(conditions) + 1)


def _measured(
    spec: SetSpec, sample: Sample, condition: tuple[str, int], before: tuple[int, float] | None = None
) -> tuple[int, float] | None:
    """Return bytes and seconds of one picture with what belongs to it, or None if it cannot be made.

    With `before`, what the sample's clean picture took is done already and not counted.
    """
    for last in (False, True):
        sizes: list[int] = []

        def weigh(path: Path, data: bytes, sizes: list[int] = sizes) -> None:
            sizes.append(len(data))

        maker = SetMaker(spec, weigh)
        if before is not None:
            maker.make(sample, [(CLEAN, 0)])
            sizes.clear()
        start = time.perf_counter()
        rows, _ = maker.make(sample, [condition])
        seconds = time.perf_counter() - start
        if not rows:
            return None
        if last or seconds > _AGAIN_S:
            break
    return sum(sizes), seconds


def _pixels(samples: tuple[Sample, ...], measured: Sample) -> float:
    """Return how many times the pixels of the measured sample a sample has, on average, by headers of some files."""
    sizes = []
    for sample in [measured, *_spread(samples, _HEADERS)]:
        try:
            height, width = image_size(sample.image)
        except UnreadableInput:
            continue
        sizes.append(height * width)
    return sum(sizes[1:]) / max(1, len(sizes) - 1) / sizes[0] if len(sizes) > 1 else 1.0


def _spread(samples: tuple[Sample, ...], count: int) -> list[Sample]:
    """Return up to `count` samples, evenly from first to last."""
    step = max(1.0, len(samples) / count)
    return [samples[int(k * step)] for k in range(min(count, len(samples)))]
