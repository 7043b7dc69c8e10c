"""``robench reproduce``: the tables and figures of a paper, made again and set beside its printed numbers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli import _work
from robench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from robench.reproduce.write import Outcome

_PAPERS = ("2d-priors",)


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("reproduce")(reproduce)


def reproduce(
    paper: Annotated[str, typer.Argument(help="Which paper: " + ", ".join(_PAPERS) + ".")],
    data: Annotated[
        Path | None, typer.Option("--data", help="Data set; left out, people of anny-humans are made.")
    ] = None,
    table: Annotated[
        list[int] | None, typer.Option("--table", help="Only this table; several times for several.")
    ] = None,
    figure: Annotated[
        list[int] | None, typer.Option("--figure", help="Only this figure; several times for several.")
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", help="NAME or NAME:CHECKPOINT, the baseline first; several times for several."),
    ] = None,
    masker: Annotated[
        list[str] | None,
        typer.Option(
            "--masker", help="Of Table II, several times for several; the first that looks serves the figures."
        ),
    ] = None,
    encoder: Annotated[
        str, typer.Option("--encoder", help="NAME or NAME:FOLDER of its weights; see `robench list encoders`.")
    ] = "clip-vit-l14",
    subjects: Annotated[int, typer.Option("--subjects", min=1, help="People, one picture each.")] = 20,
    out: Annotated[Path, typer.Option("--out", help="Folder of everything that is made.")] = Path("reproduced"),
    model_option: Annotated[
        list[str] | None,
        typer.Option("--model-option", help="NAME=VALUE for the models that have it; may be repeated."),
    ] = None,
    iterations: Annotated[int, typer.Option("--iterations", min=1, help="Of each refinement.")] = 100,
    refined: Annotated[int, typer.Option("--refined", min=1, help="At most so many pictures are refined.")] = 5,
    refine_size: Annotated[
        int, typer.Option("--refine-size", min=16, max=2048, help="Pixels a side of what a refinement renders.")
    ] = 512,
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto")] = "auto",
    workers: Annotated[int, typer.Option("--workers", "-j", min=1, help="Processes that each open a model.")] = 1,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of people and corruptions.")] = 0,
    level: Annotated[float, typer.Option("--level", min=0.5, max=0.999, help="Coverage of the intervals.")] = 0.95,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would be done and what is missing; do nothing.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget what is done.")] = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Make the tables and figures of a paper again, beside its printed numbers; all of them unless some are named.

    What needs weights that are not there is skipped by name, with the command that fetches them. The same command
    resumes, and outputs share their work. README.md in the folder has everything.
    """
    if paper not in _PAPERS:
        raise UsageError(f"There is no paper '{paper}' to reproduce", expected=", ".join(_PAPERS))
    from robench.reproduce.run import exit_code, plan_reproduction
    from robench.reproduce.run import reproduce as reproduced
    from robench.reproduce.settings import ReproduceOptions
    from robench.reproduce.write import README

    options = ReproduceOptions(
        data=data,
        out=out,
        subjects=subjects,
        models=tuple(model or ("pifu-mini",)),
        maskers=tuple(dict.fromkeys(masker or ())),
        encoder=encoder,
        tables=tuple(table or ()),
        figures=tuple(figure or ()),
        model_options=_work.pairs(model_option, "--model-option", "resolution=128"),
        iterations=iterations,
        refined=refined,
        refine_size=refine_size,
        device=device,
        workers=workers,
        seed=seed,
        level=level,
        fresh=fresh,
        quiet=quiet,
        json=json_,
    )
    if plan:
        _say_plan(plan_reproduction(options), json_)
        return
    with _work.resumable():
        outcomes = reproduced(options, (lambda outcome: None) if json_ else (lambda outcome: _say(outcome, out)))
    code = exit_code(outcomes)
    if json_:
        import json

        facts = {"paper": paper, "page": str(out / README), "outputs": [one.to_json(out) for one in outcomes]}
        typer.echo(json.dumps(facts, indent=2))
    else:
        states = ", ".join(
            f"{count} {state}"
            for state in ("made", "skipped", "failed")
            if (count := sum(outcome.state == state for outcome in outcomes))
        )
        _work.say(f"{out / README}: {states}", err=True)
    if code is not ExitCode.OK:
        raise typer.Exit(int(code))


def _say(outcome: Outcome, out: Path) -> None:
    """Print an output: its tables, the paper's findings beside ours, its files; or what it lacks."""
    from rich.console import Console

    from robench.reporting.tables import print_blocks

    name = f"{outcome.output.label}. {outcome.output.title}"
    if outcome.error is not None:
        _work.say(f"{name}: failed. {outcome.error}", err=True)
        return
    if outcome.made is None:
        for one in outcome.missing:
            _work.say(f"{name}: skipped. {one.what}. Try: {one.command}", err=True)
        return
    made = outcome.made
    _work.say(name)
    print_blocks(made.blocks, made.notes, Console(), made.heading)
    for finding in made.findings:
        _work.say(f"paper: {finding.paper}")
        _work.say(f"here:  {finding.here}")
    for one in outcome.missing:
        _work.say(f"left out: {one.what}. Try: {one.command}", err=True)
    _work.say(f"{len(made.files)} files: {', '.join(str(path) for path in made.files)}")
    _work.say("")


def _say_plan(facts: Mapping[str, Any], json_: bool) -> None:
    """Print what would be done: an output a paragraph, or one JSON document."""
    if json_:
        _work.say_plan(facts, json_)
        return
    _work.say(
        f"{facts['paper']} into {facts['out']}: {facts['people']} people, {facts['cells']} pictures to reconstruct"
    )
    for about in facts["outputs"]:
        _work.say(f"{about['output']}: {about['title']}")
        for one in about["missing"]:
            what = "skipped" if one["essential"] else "in part"
            _work.say(f"    {what}: {one['what']}. Try: {one['command']}")
        if about["error"] is not None:
            _work.say(f"    {about['error']}")
        for run in about.get("runs", ()):
            also = "" if run["cells_besides_other_outputs"] else " (shared)"
            told = f"{run['model']}, masks by {run['masker']}, {run['conditions']} conditions"
            _work.say(f"    {told}: {run['cells']} pictures{also}")
        for name, value in about.items():
            if name not in ("output", "title", "missing", "error", "runs"):
                _work.say(f"    {name.replace('_', ' ')}: {value}")
