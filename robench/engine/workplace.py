"""Everything that a shard needs, open in one process: the model with its guard, the crew, and who the run is."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from robench.contracts import CardLike, OpenReport
from robench.engine.bench import Bench
from robench.engine.cell_rows import run_columns
from robench.engine.crew import Crew, Here, Processes
from robench.engine.guard import Guard, Patience
from robench.engine.model_process import Model, ModelHere, ModelProcess, Opening
from robench.engine.protocol import Identity, identity_of
from robench.engine.run_folder import log_event
from robench.engine.scoring import Penalties
from robench.engine.tasks import Options, Task
from robench.io.processes import cores

_MOST_JOBS = 6
"""Processes that prepare and score beside a GPU; more wait for it."""


class Workplace:
    """A model that is being opened, and later the crew that works for it. Use as a context manager.

    Args:
        task: The run's.
        options: What the user asked for.
        device: Where the model is opened, if not where the user asked.
    """

    def __init__(self, task: Task, options: Options, device: str | None = None) -> None:
        self.task, self.options = task, options
        opening = Opening(
            options.model, device or options.device, options.checkpoint, dict(options.model_options), options.threads
        )
        self._plugin = opening.load()  # for its card and options; not opened here
        self._model: Model = ModelHere(opening) if options.in_process else ModelProcess(opening)
        self._crew: Crew | None = None
        self._bench: Bench | None = None
        self._guard: Guard | None = None
        self._model.start()

    @functools.cached_property
    def report(self) -> OpenReport:
        """What the model says of itself; waits until it is open.

        Raises:
            EnvironmentNotReady: If the device or the weights are not there.
        """
        return self._model.opened()

    @functools.cached_property
    def identity(self) -> Identity:
        """Who the run is."""
        task, penalty = self.task, Penalties(self.task.metrics).identity()
        threads = self.options.threads
        return identity_of(self._plugin, self.report, task.cset_id, task.metrics, task.masker, penalty, threads)

    @property
    def card(self) -> CardLike:
        """The model's card."""
        return self._plugin.card

    def guard(self, run: Path) -> Guard:
        """Return the model, guarded."""
        if self._guard is None:
            patience = Patience(self.options.retries, self.options.timeout_s or None)
            self._guard = Guard(self._model, patience, functools.partial(log_event, run))
        return self._guard

    def crew(self, run: Path) -> Crew:
        """Return who prepares and scores.

        Raises:
            EnvironmentNotReady: If the masker cannot be opened.
        """
        if self._crew is None:
            if jobs := self._jobs():
                self._crew = Processes(self.task, self.options, run, jobs)
            else:
                self._bench = Bench(self.task, self.options, run, functools.partial(log_event, run))
                self._crew = Here(self._bench)
        return self._crew

    def _jobs(self) -> int:
        """Return how many processes prepare and score: on CPU the model needs the cores itself."""
        if self.options.jobs is not None:
            return self.options.jobs
        spare = cores() // self.options.workers - 1
        return max(0, min(_MOST_JOBS, spare)) if self.report.device.startswith("cuda") else 0

    def columns(self, run: Path) -> Mapping[str, Any]:
        """Return the columns that all rows of the run share."""
        return run_columns(self.task, self.card, self.identity, run.name, self.report.device)

    @property
    def masker_device(self) -> str | None:
        """Where the masker runs, or None where it is not open in this process."""
        return self._bench.masker_device if self._bench is not None else None

    def close(self) -> None:
        """End the crew and the model."""
        if self._crew is not None:
            self._crew.close()
        if self._bench is not None:
            self._bench.close()
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
