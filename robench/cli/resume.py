"""``robench resume``: go on with a run by its folder alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robench.cli import _evaluation, _work
from robench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("resume")(resume)


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of the run.")],
    device: Annotated[str | None, typer.Option("--device", help="Another one than before.")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", min=1, help="Another one than before.")] = None,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Other than before.")] = None,
    jobs: Annotated[int | None, typer.Option("-j", "--jobs", min=0, help="Other than before.")] = None,
    plugins: Annotated[
        str | None,
        typer.Option("--plugins", help="Plug-ins of this run that are not robench's own and may run, with commas."),
    ] = None,
    redo: _evaluation.RedoOption = None,
    max_failures: _evaluation.MaxFailuresOption = None,
    profile: _evaluation.ProfileOption = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Do what is left of a run, with the options it was started with.

    Refuses, and names what differs, if data, checkpoint or anything else that its rows depend on has changed (exit 6).
    """
    from dataclasses import replace

    from robench.engine.status import foreign_plugins, run_facts
    from robench.engine.tasks import Options

    about = run_facts(run)
    # A folder from elsewhere must not choose what runs here.
    unnamed = sorted(set(foreign_plugins(about)) - set(_work.names(plugins) or ()))
    if unnamed:
        raise UsageError(
            f"The run needs plug-ins that are not robench's own: {', '.join(unnamed)}",
            expected="their names, to say that they may run",
            hint=f"--plugins {','.join(foreign_plugins(about))}",
        )
    stored = Options.from_json(about.get("options") or {})
    if not quiet:
        asked = {"checkpoint": stored.checkpoint, "data": stored.data, "cset": stored.cset}
        with_what = ", ".join(f"{name} {value}" for name, value in asked.items() if value is not None)
        _work.say(f"{run}: {stored.model}, {with_what}", err=True)
    given = {"device": device, "batch_size": batch_size, "workers": workers, "jobs": jobs, "max_failures": max_failures}
    changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    options = replace(
        stored,
        **changed,
        out=run.parent,
        redo=tuple(_work.names(redo) or ()),
        fresh=False,
        quiet=quiet,
        json_events=json_,
    )
    _evaluation.run_and_say(options, resume=run, profile=profile, json_=json_)
