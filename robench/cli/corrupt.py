"""``robench corrupt``: a corrupted test set from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli import _work
from robench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from robench.engine.cset_writer import SetPlan, SetReport


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("corrupt")(corrupt)


def corrupt(
    data: Annotated[Path, typer.Argument(metavar="IN", help="Folder of pictures, or any data set.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parent folder; the set's own name says what is in it.")],
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    recipe: _work.RecipeOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Equal seeds make equal pictures.")] = 0,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes; does not change a byte.")] = 1,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Also draw a sheet (PNG) of every corruption and severity.")
    ] = None,
    dataset: _work.DatasetOption = None,
    split: _work.SplitOption = None,
    limit: _work.LimitOption = None,
    subjects: _work.SubjectsOption = None,
    views: _work.ViewsOption = None,
    skip_unable: _work.SkipUnableOption = False,
    fresh: _work.FreshOption = False,
    plan: _work.PlanOption = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Make a corrupted set: OUT/<data>-<recipe>-<id>/ with a manifest, an index and the pictures.

    Every corruption at severities 1 to 5 if neither -c nor --recipe is given. Running the same command again resumes.
    Exits 3 if a picture could not be made.
    """
    if preview is not None and preview.suffix.lower() != ".png":
        raise UsageError(f"A sheet is written as PNG, not as '{preview.name}'", expected="a name that ends in .png")
    from robench.engine.cset_writer import plan_set, write_set
    from robench.engine.recipes import choose_recipe
    from robench.engine.selection import select

    chosen = choose_recipe(recipe, corruptions, severities)
    selection = select(data, dataset, split, limit, _work.names(subjects), _work.angles(views))
    if plan:
        _say_plan(plan_set(selection, chosen, seed, out, skip_unable=skip_unable), json_)
        return
    with _work.resumable():
        report = write_set(
            selection,
            chosen,
            seed,
            out,
            jobs=jobs,
            skip_unable=skip_unable,
            fresh=fresh,
            command=_work.command_line(),
            quiet=quiet,
        )
    if preview is not None:
        _preview(report.folder, preview)
    _say(report, preview, json_)
    if report.failed:
        raise typer.Exit(int(ExitCode.TOO_MANY_FAILURES))


def _preview(folder: Path, path: Path) -> None:
    """Draw the sheet of the first sample that has every picture, else of the one that has the most."""
    from robench.engine.cset import open_set
    from robench.io.images import read_image
    from robench.reporting.contact_sheet import contact_sheet

    cset = open_set(folder)
    samples: dict[str, dict[tuple[str, int], Path]] = {}
    for (sample_id, corruption, severity), row in cset.rows.items():
        samples.setdefault(sample_id, {})[corruption, severity] = folder / row["path"]
    if not samples:
        raise UsageError(f"There is no picture in {folder} to preview")
    chosen = max(samples, key=lambda sample_id: len(samples[sample_id]))
    pictures = {condition: read_image(file) for condition, file in samples[chosen].items()}
    _work.write_picture(path, contact_sheet(pictures, f"{folder.name}: {chosen}"))


def _say_plan(plan: SetPlan, json_: bool) -> None:
    facts: dict[str, Any] = {"folder": str(plan.folder), "images": plan.cells, "left_out": plan.left_out}
    if json_:
        _print_json(facts)
        return
    left_out = f", {plan.left_out} left out for lack of depth or masks" if plan.left_out else ""
    typer.echo(f"{plan.cells} images{left_out} -> {plan.folder}")


def _say(report: SetReport, preview: Path | None, json_: bool) -> None:
    if json_:
        _print_json(
            {
                "folder": str(report.folder),
                "images": report.images,
                "made": report.made,
                "failed": report.failed,
                "left_out": report.left_out,
                "preview": str(preview) if preview is not None else None,
            }
        )
        return
    for failure in report.failed[:10]:
        where = f"{failure['sample_id']} {failure['corruption']} {failure['severity']}"
        typer.echo(f"failed: {where}: {failure['message']}", err=True)
    if len(report.failed) > 10:
        typer.echo(f"failed: {len(report.failed) - 10} more, see the manifest", err=True)
    extra = f", {report.left_out} left out" if report.left_out else ""
    extra += f", {len(report.failed)} failed" if report.failed else ""
    typer.echo(f"{report.folder}: {report.images} images ({report.made} made now{extra})")
    if preview is not None:
        typer.echo(f"{preview}: the sheet")
    typer.echo(f"next: robench evaluate --model pifu-mini --cset {report.folder}")


def _print_json(facts: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(facts, indent=2))
