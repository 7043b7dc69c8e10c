"""``robench status``: how far a run is, what failed and why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("status")(status)


def status(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders.")],
    json_: _work.JsonOption = False,
) -> None:
    """Say how far runs are, also while they run: cells done, failed and left, time left, the reasons of failures."""
    from robench.engine.progress import clock
    from robench.engine.status import run_status

    found = [run_status(run) for run in runs]
    if json_:
        import json

        typer.echo(json.dumps([one.to_json() for one in found], indent=2))
        return
    for one in found:
        counts = ", ".join(f"{count} {status}" for status, count in sorted(one.statuses.items())) or "none yet"
        _work.say(f"{one.folder}: {one.state}, {one.done} of {one.cells} cells ({counts})")
        if one.per_s is not None:
            left = "" if one.left_s is None else f", {clock(one.left_s)} left"
            _work.say(f"  {one.per_s:.3g} cells/s{left}")
        for reason in one.reasons:
            _work.say(f"  {reason['cells']} x {reason['status']}: {reason['message']} (such as '{reason['such_as']}')")
        if one.state == "interrupted":
            _work.say(f"  next: {one.resume_command}")
