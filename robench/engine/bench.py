"""The work on a cell beside the model's, in one process: make and mask its picture; score what the model made of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.engine.cell_rows import scored_rows
from robench.engine.cset import Key
from robench.engine.examples import keep_example
from robench.engine.pipeline import Event, Outcome, Prepared, prepare
from robench.engine.scoring import Penalties, Truths
from robench.engine.tasks import Options, Task


@dataclass(frozen=True, eq=False)
class Finished:
    """A cell with its rows.

    Attributes:
        key: The cell.
        rows: One a metric.
        seconds: Where its time went, by stage; see `robench.engine.profile.STAGES`.
    """

    key: Key
    rows: list[dict[str, Any]]
    seconds: Mapping[str, float]


class Bench:
    """Masker, ground truth and penalties, open.

    Args:
        task: The run's.
        options: What the user asked for.
        run: Folder of the run, for what is kept of it.
        event: Gets the traces.
    """

    def __init__(self, task: Task, options: Options, run: Path, event: Event) -> None:
        self.task = task
        self._options, self._run, self._event = options, run, event
        self._truths, self._penalties = Truths(), Penalties(task.metrics)
        if hasattr(task.masker, "threads"):
            task.masker.threads = 1  # the model has the other cores; masks do not depend on it
        self.masker_device = task.masker.open(options.device)

    def prepare(self, number: int) -> Prepared:
        """Corrupt and mask a cell."""
        task = self.task
        return prepare(task.cell(number), task.pictures, task.masker, task.stored_masks, self._event)

    def finish(self, item: Prepared, outcome: Outcome, columns: Mapping[str, Any]) -> Finished:
        """Score a cell and keep what is to be kept of it.

        Raises:
            UsageError, EnvironmentNotReady: If a file cannot be written.
        """
        started = time.perf_counter()
        rows = scored_rows(item, outcome, self.task, columns, self._truths, self._penalties, self._event)
        scored = time.perf_counter()
        keep_example(self._run, item, outcome, self._options.keep, self.task.examples)
        own = {"metric": scored - started, "keep": time.perf_counter() - scored}
        return Finished(item.cell.key, rows, {**item.seconds, **_of_model(outcome), **own})

    def close(self) -> None:
        """Free masker and mean body."""
        self.task.masker.close()
        self._penalties.close()


def _of_model(outcome: Outcome) -> dict[str, float]:
    """Return the model's stages; what it does not account for is ``model``."""
    told = {name: float(value) for name, value in outcome.timings.items()}
    return told | {"model": max(0.0, (outcome.time_s or 0.0) - sum(told.values()))}
