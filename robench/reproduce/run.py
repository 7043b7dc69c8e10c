"""``robench reproduce``: output after output, each for itself; one that fails costs the others nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from robench.errors import ExitCode, NotComparable, RobenchError
from robench.io.files import make_folder, read_json, write_json_atomic
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import Missing, wanted
from robench.reproduce.settings import PAPER, ReproduceOptions
from robench.reproduce.write import Outcome, write_section

RECORD = "reproduce.json"
"""In the folder: which paper it is of."""


def reproduce(options: ReproduceOptions, tell: Callable[[Outcome], None] = lambda outcome: None) -> list[Outcome]:
    """Make the outputs that are asked for, or say what each lacks; resumes what lies in the folder.

    Args:
        options: What the user asked for.
        tell: Gets every outcome as it comes.

    Raises:
        UsageError: If a name, number or option is wrong, or the data cannot be read; before any work.
        NotComparable: If the folder is another paper's.
    """
    outputs, bench = wanted(options), Bench(options)
    bench.check()
    _claim(bench)
    outcomes = []
    for output in outputs:
        missing: list[Missing] = []
        try:
            missing = output.missing(bench)
            if any(one.essential for one in missing):
                outcome = Outcome(output, missing=tuple(missing))
            else:
                bench.tell(f"making {output.label}")
                outcome = Outcome(output, output.make(bench), tuple(missing))
        except RobenchError as error:
            outcome = Outcome(output, missing=tuple(missing), error=error)
        write_section(outcome, bench)
        outcomes.append(outcome)
        tell(outcome)
    return outcomes


def _claim(bench: Bench) -> None:
    """Say in the folder what it is, and refuse another's."""
    record = make_folder(bench.options.out) / RECORD
    ours = {"format": 1, "paper": PAPER}
    if not record.is_file():
        write_json_atomic(record, ours)
    elif (found := read_json(record)) != ours:
        raise NotComparable(
            f"{bench.options.out} holds another reproduction", got=json.dumps(found)[:80], expected=PAPER, hint="--out"
        )


def exit_code(outcomes: list[Outcome]) -> ExitCode:
    """Return how the command ends: the first failure's code; environment not ready if everything was skipped."""
    for outcome in outcomes:
        if outcome.error is not None:
            return outcome.error.exit_code
    return ExitCode.OK if any(outcome.made for outcome in outcomes) else ExitCode.ENVIRONMENT


def plan_reproduction(options: ReproduceOptions) -> dict[str, Any]:
    """Return what `reproduce` would do, output by output; makes nothing, and touches nothing.

    A run that several outputs look at counts once, with the first.

    Raises:
        UsageError: As `reproduce`.
    """
    outputs, bench = wanted(options), Bench(options)
    bench.check()
    planned, known, cells = [], set(), 0
    for output in outputs:
        about: dict[str, Any] = {"output": output.name, "title": output.title, "missing": [], "error": None}
        try:
            missing = output.missing(bench)
            about["missing"] = [one._asdict() for one in missing]
            if not any(one.essential for one in missing):
                found, runs = output.plan(bench), []
                for need in dict.fromkeys(found.runs):
                    fresh = bench.cells(need) if need not in known else 0
                    known.add(need)
                    cells += fresh
                    told = {"model": need.model.label, "masker": need.masker, "conditions": need.conditions}
                    runs.append({**told, "cells": bench.cells(need), "cells_besides_other_outputs": fresh})
                about |= {"runs": runs, **found.facts}
        except RobenchError as error:
            about["error"] = str(error)
        planned.append(about)
    return {"paper": PAPER, "out": str(options.out), "people": bench.count(), "cells": cells, "outputs": planned}
