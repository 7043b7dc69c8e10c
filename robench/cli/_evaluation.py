"""What ``robench evaluate`` and ``robench resume`` share: options, the run itself, and what is said of it."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli import _work
from robench.errors import ExitCode

if TYPE_CHECKING:
    import pandas as pd

    from robench.engine.evaluate import RunResult
    from robench.engine.tasks import Options

MaxFailuresOption = Annotated[
    str | None,
    typer.Option("--max-failures", help="Stop with exit code 3 beyond so many: 20, or 5%; if left out: if all fail."),
]
RedoOption = Annotated[
    str | None, typer.Option("--redo", help="Do cells again that ended as one of these: failed,timeout,oom,...")
]
ProfileOption = Annotated[
    bool, typer.Option("--profile", help="Say where the time went, and write profile.csv and profile.png to the run.")
]


def run_and_say(options: Options, *, resume: Path | None = None, profile: bool = False, json_: bool = False) -> None:
    """Run, print the degradation table and where the rows are, and exit with 3 if too much failed.

    Args:
        options: What the user asked for.
        resume: Folder that the run must turn out to be.
        profile: Also tell where the time went.
        json_: One JSON document on stdout instead, and progress as JSON lines on stderr.
    """
    from robench.engine.evaluate import evaluate
    from robench.engine.tasks import failure_limit

    allowed = failure_limit(options.max_failures)
    with _work.resumable():
        result = evaluate(options, resume)
    _say(result, json_)
    if profile:
        from robench.reporting.profile import print_profile, write_profile

        written = write_profile(result.folder)
        if not json_:
            print_profile(result.folder)
            _work.say(f"Wrote {' and '.join(str(path) for path in written)}")
    if result.failed > allowed(result.cells):
        typer.echo(f"{result.failed} of {result.cells} reconstructions failed, more than allowed", err=True)
        raise typer.Exit(int(ExitCode.TOO_MANY_FAILURES))


def say_plan(options: Options, json_: bool) -> None:
    """Say what a run would do, and how long it would take; touches nothing."""
    from robench.engine.profile import measured_speed
    from robench.engine.tasks import failure_limit, plan_task

    failure_limit(options.max_failures)
    task, speed = plan_task(options), measured_speed(options.out, options.model)
    workers = options.workers
    facts: dict[str, Any] = {
        "model": options.model,
        "dataset": task.selection.dataset,
        "samples": len(task.selection.samples),
        "subjects": len({sample.subject_id for sample in task.selection.samples}),
        "recipe": task.recipe.name,
        "conditions": len(task.conditions),
        "reconstructions": task.size - task.left_out,
        "left_out": task.left_out,
        "metrics": [metric.card.name for metric in task.metrics],
        "rows": task.size * len(task.metrics),
        "masker": task.masker.card.name,
        "cset_id": task.cset_id,
        "out": str(options.out),
        "hours": None if speed is None else speed.seconds_per_cell * task.size / workers / 3600,
        "rows_mb": None if speed is None else speed.bytes_per_cell * task.size / 1e6,
        "measured_on": None if speed is None else speed.source,
    }
    if json_:
        _print_json(facts)
        return
    if speed is None:
        facts["measured_on"] = (
            f"nothing: {options.out} has no run of this model; one with --limit 2 tells time and disk"
        )
    for name, value in facts.items():
        if value is not None:
            _work.say(f"{name:>16}  {_shown_fact(value)}")


def _shown_fact(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _say(result: RunResult, json_: bool) -> None:
    from robench.analysis import degradation_table, read_rows

    rows = read_rows(result.folder)
    shown = _shown(rows)
    table = degradation_table(rows, shown) if shown else None
    if json_:
        import json

        records = json.loads(table.to_json(orient="records")) if table is not None else []
        facts = {"run": str(result.folder), "run_id": result.folder.name, "cells": result.cells, "made": result.made}
        _print_json({**facts, "statuses": dict(result.statuses), "failed": result.failed, "table": records})
        return
    if table is not None:
        from rich.console import Console

        from robench.reporting.tables import print_table

        print_table(table, Console())
    else:
        typer.echo("The data has no ground truth, so there is nothing to measure; the meshes are in the run.")
    _say_unscored(rows)
    counts = ", ".join(f"{count} {status}" for status, count in sorted(result.statuses.items()))
    typer.echo()
    _work.say(f"{result.folder}: {result.cells} reconstructions ({counts}; {result.made} made now)")
    _work.say(f"next: {shlex.join(['robench', 'report', str(result.folder)])}")


def _shown(rows: pd.DataFrame) -> list[str]:
    """Return the metrics of the table: the headline ones that were measured, else whatever was."""
    from robench.analysis.degradation import MASK_IOU, METRICS

    measured = list(dict.fromkeys(rows.loc[rows["status"] != "skipped", "metric"]))
    others = [name for name in measured if name != MASK_IOU]
    return [name for name in METRICS if name in measured] or others or measured


def _say_unscored(rows: pd.DataFrame) -> None:
    """Say which samples have neither value nor penalty: their conditions have no number in the table."""
    from robench.engine.rows import FAILED

    bad = rows[rows["status"].isin(FAILED) & rows["failure_value"].isna()]
    if len(bad):
        first = bad.iloc[0]
        _work.say(
            f"{bad['sample_id'].nunique()} samples have neither value nor penalty, such as '{first['sample_id']}': "
            f"{first['message']}. Leave them out with --subjects, or mend the data and run with --fresh.",
            err=True,
        )


def _print_json(facts: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(facts, indent=2))
