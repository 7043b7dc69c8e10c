"""``robench similarity``: how alike an encoder finds a picture and its corruptions, a person's sides."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("similarity")(similarity)


def similarity(
    encoder: Annotated[
        str, typer.Option("--encoder", help="NAME or NAME:FOLDER of its weights; see `robench list encoders`.")
    ],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set to corrupt on the fly; with --cset, where its data lies now."),
    ] = None,
    cset: Annotated[Path | None, typer.Option("--cset", help="A set made by `robench corrupt`.")] = None,
    recipe: _work.RecipeOption = None,
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of tables and plots.")] = Path("similarity"),
    step: Annotated[
        int, typer.Option("--step", min=0, help="Degrees between rendered views, a divisor of 90; 0: no views.")
    ] = 15,
    dataset: _work.DatasetOption = None,
    split: _work.SplitOption = None,
    limit: _work.LimitOption = None,
    subjects: _work.SubjectsOption = None,
    views: _work.ViewsOption = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the corruptions; 0 if left out.")] = None,
    depth: _work.DepthOption = None,
    depth_weights: _work.DepthWeightsOption = None,
    depth_unit: _work.DepthUnitOption = None,
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto")] = "auto",
    level: _work.LevelOption = 0.95,
    skip_unable: _work.SkipUnableOption = False,
    fresh: _work.FreshOption = False,
    plan: _work.PlanOption = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Compare embeddings: clean and corrupted pictures, and a person's front and other sides.

    The recipe is 2d-priors if none is named. Views are rendered from ground-truth meshes, where the data have them.
    Writes similarity.csv, .md, .json, every comparison, and plots. Running the same command again resumes.
    """
    pictures = _work.picture_options(locals())
    from robench.engine.likeness import LikenessOptions, measure_likeness, plan_likeness

    _work.check_level(level)
    options = LikenessOptions(encoder, pictures, out, step, device, fresh, quiet, json_)
    if plan:
        _work.say_plan(plan_likeness(options), json_)
        return
    with _work.resumable():
        found = measure_likeness(options)
    _say(found, out, level, json_)


def _say(found: object, out: Path, level: float, json_: bool) -> None:
    from rich.console import Console

    from robench.analysis.likeness import likeness_table
    from robench.engine.likeness import Likeness
    from robench.reporting.likeness import likeness_block, likeness_notes, write_likeness
    from robench.reporting.tables import print_blocks

    assert isinstance(found, Likeness)
    table = likeness_table(found.rows, level=level)
    files = write_likeness(found.rows, table, found.facts, out, level=level)
    if json_:
        typer.echo((out / "similarity.json").read_text("utf-8"), nl=False)
        return
    print_blocks([likeness_block(table, found.facts)], likeness_notes(table, found.facts, level), Console())
    if not (table["kind"] == "view").any():
        _work.say("Note: no views were compared: they need ground-truth meshes and a --step above 0.", err=True)
    _work.say(f"Wrote {len(files)} files to {out} ({found.made} comparisons made now)", err=True)
