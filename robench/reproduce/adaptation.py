"""The baseline adapted to few corrupted pictures, of people who are not evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from robench.reproduce.settings import BATCH_SIZE, BATCHES, PAPER, RATES, ModelChoice, weights

if TYPE_CHECKING:
    from robench.reproduce.bench import Bench


@dataclass(frozen=True)
class Adaptation:
    """What `adapt_baseline` made.

    Attributes:
        folder: Of ``curve.json``; as of ``robench adapt --curve``.
        points: Batches → a checkpoint, ascending; with 0 batches the baseline's weights.
        rate: The learning rate that was taken.
        people: Folder of the data set whose people of the split ``train`` were learned from.
        tried: Rates that were tried and their errors on other people, no adaptation (rate 0) first; empty if none was.
    """

    folder: Path
    points: Mapping[int, ModelChoice]
    rate: float
    people: Path
    tried: Sequence[tuple[float, float]] = ()


def adapt_baseline(bench: Bench) -> Adaptation:
    """Adapt the baseline on `BATCHES` batches, at the best of `RATES` on other people still, where there are any.

    Raises:
        RobenchError: As `robench.training.adapt.adapt`.
    """
    from robench.training.adapt import AdaptOptions, adapt

    bench.selection()
    data, val = bench.people.learners()
    out = bench.path("adapted") / bench.named("own" if data == bench.people.given else "made", *weights(bench.baseline))
    if bench.options.fresh:
        shutil.rmtree(out, ignore_errors=True)
    bench.tell(f"adapting {bench.baseline.label}")
    options = AdaptOptions(
        model=bench.baseline.name,
        data=data,
        out=out,
        checkpoint=bench.baseline.checkpoint,
        batches=BATCHES,
        batch_size=BATCH_SIZE,
        lr=RATES if val is not None else RATES[-1:],
        seed=bench.options.seed,
        recipe=PAPER,
        split="train",
        corruption_seed=bench.options.seed,
        val=val,
        test=bench.people.root,
        device=bench.options.device,
        model_options=bench.options_of(bench.baseline),
    )
    result = adapt(options, bench.tell)
    points = {point.batches: ModelChoice(bench.baseline.name, point.weights) for point in result.points}
    return Adaptation(out, points, result.lr, data, tuple(result.tried))
