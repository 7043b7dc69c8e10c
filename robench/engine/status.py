"""How a run stands, read from its folder alone: nothing is loaded, nothing is touched."""

from __future__ import annotations

import datetime
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robench.engine.journal import is_written, read_lines
from robench.engine.rows import FAILED, key_of, read_cells, read_part, statuses
from robench.engine.run_folder import EVENTS, RUN, journals, parts, read_run
from robench.errors import Mismatch
from robench.registry import Kind, is_ours

_REASONS = 8


@dataclass(frozen=True)
class RunStatus:
    """How a run stands.

    Attributes:
        folder: The run.
        state: ``running``, ``interrupted`` or ``complete``.
        cells: Cells of the run.
        statuses: How many of the finished ones ended how.
        reasons: The most frequent failures: status, message, cells, and one sample as an example.
        per_s: Cells a second since the run was last started, None where nothing was done since.
        left_s: Seconds to the end at this speed, None where nobody works on it.
        command: Which started it last.
        plugins: Plug-ins of the run that are not robench's own.
    """

    folder: Path
    state: str
    cells: int
    statuses: Mapping[str, int]
    reasons: list[dict[str, Any]]
    per_s: float | None
    left_s: float | None
    command: str
    plugins: list[str]

    @property
    def resume_command(self) -> str:
        """What goes on with it; a plug-in that is not robench's runs only where its name is said."""
        words = ["robench", "resume", str(self.folder)]
        return shlex.join([*words, "--plugins", ",".join(self.plugins)] if self.plugins else words)

    @property
    def done(self) -> int:
        """Finished cells."""
        return sum(self.statuses.values())

    @property
    def failed(self) -> int:
        """Finished cells that failed."""
        return sum(count for status, count in self.statuses.items() if status in FAILED)

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        known = {**vars(self), "folder": str(self.folder), "statuses": dict(self.statuses)}
        return {**known, "done": self.done, "failed": self.failed, "left": self.cells - self.done}


def run_facts(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` says.

    Raises:
        UsageError: If the folder is no run.
        Mismatch: If it is damaged.
    """
    facts = read_run(run)
    if _count(facts) is None:
        got = "no number of samples, or no conditions, in it"
        raise Mismatch(f"{run / RUN} is damaged", got=got, hint="the evaluate command, with --fresh")
    return facts


def _count(facts: Mapping[str, Any]) -> int | None:
    """Return how many cells a run has; None where ``run.json`` does not say so."""
    data, recipe = facts.get("dataset"), facts.get("recipe")
    samples = data.get("samples") if isinstance(data, Mapping) else None
    conditions = recipe.get("conditions") if isinstance(recipe, Mapping) else None
    if isinstance(samples, int) and isinstance(conditions, list):
        return samples * len(conditions)
    return None


def foreign_plugins(facts: Mapping[str, Any]) -> list[str]:
    """Return the names of the plug-ins that a run needs and that are not robench's own, sorted."""
    asked = facts.get("options")
    named: dict[Kind, Any] = {
        "models": asked.get("model") if isinstance(asked, Mapping) else None,
        "maskers": asked.get("masker") if isinstance(asked, Mapping) else None,
        "datasets": facts.get("dataset"),
        "metrics": facts.get("protocol"),
        "corruptions": facts.get("recipe"),
    }
    return sorted({name for kind, where in named.items() for name in _texts(where) if not is_ours(kind, name)})


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a JSON value: names stand at different depths."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(part)


def run_status(run: Path) -> RunStatus:
    """Look at a run, also while somebody works on it.

    Raises:
        UsageError: If the folder is no run.
        Mismatch: If its files are damaged.
    """
    facts = run_facts(run)
    cells = _count(facts) or 0
    counts = Counter(status for found in _cells(run) for status in found.values())
    done, running = sum(counts.values()), is_written(run)
    state = "running" if running else "complete" if done >= cells else "interrupted"
    started: dict[str, Any] = {}
    for event in read_lines(run / EVENTS):
        if isinstance(event, dict) and event.get("event") == "started":
            started = event
    per_s = _per_second(started, done, running)
    left_s = (cells - done) / per_s if per_s and running else None
    command = str(started.get("command", ""))
    return RunStatus(run, state, cells, dict(counts), _reasons(run), per_s, left_s, command, foreign_plugins(facts))


def _cells(run: Path) -> Iterator[Mapping[Any, str]]:
    finished = parts(run)
    for path in finished.values():
        yield read_cells(path)
    for number, path in journals(run).items():
        if number not in finished:
            for line in read_lines(path):
                yield statuses(line)


def _per_second(started: Mapping[str, Any], done: int, running: bool) -> float | None:
    """Return cells a second since the last start; of a run that ended nobody knows when, None."""
    if not started or not running:
        return None
    since = datetime.datetime.now(datetime.UTC) - datetime.datetime.fromisoformat(started["time"])
    made = done - (started["cells"] - started["todo"])
    return made / max(since.total_seconds(), 1e-3) if made > 0 else None


def _reasons(run: Path) -> list[dict[str, Any]]:
    """Return the most frequent failures, a cell counted once a message."""
    counts: Counter[tuple[str, str]] = Counter()
    example: dict[tuple[str, str], str] = {}
    for cell in _failed_cells(run):
        for status, message, sample in cell:
            counts[status, message] += 1
            example.setdefault((status, message), sample)
    return [
        {"status": status, "message": message, "cells": count, "such_as": example[status, message]}
        for (status, message), count in counts.most_common(_REASONS)
    ]


def _failed_cells(run: Path) -> Iterator[set[tuple[str, str, str]]]:
    import pyarrow.compute as pc

    finished = parts(run)
    columns = ["sample_id", "corruption", "severity", "status", "message"]
    for path in finished.values():
        table = read_part(path, columns)
        bad = table.filter(pc.is_in(table["status"], pc.cast(list(FAILED), "string"))).to_pylist()
        yield from _grouped(bad)
    for number, path in journals(run).items():
        if number not in finished:
            for line in read_lines(path):
                yield from _grouped([row for row in line if row["status"] in FAILED])


def _grouped(rows: list[dict[str, Any]]) -> Iterator[set[tuple[str, str, str]]]:
    cells: dict[Any, set[tuple[str, str, str]]] = {}
    for row in rows:
        cells.setdefault(key_of(row), set()).add((row["status"], row["message"], row["sample_id"]))
    yield from cells.values()
