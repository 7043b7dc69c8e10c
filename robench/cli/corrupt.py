"""``robench corrupt``: a corrupted test set from pictures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli import _work
from robench.errors import ExitCode, UsageError
from robench.io.processes import command_line

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from robench.engine.cset_writer import SetPlan, SetReport
    from robench.engine.set_plan import Estimate

_SHOWN = 10
"""Failures that are printed, by sample and reason."""


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("corrupt")(corrupt)


def corrupt(
    data: Annotated[Path, typer.Argument(metavar="IN", help="Folder of pictures, any data set, or a video.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Parent folder; the set's own name says what is in it.")],
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    recipe: _work.RecipeOption = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Equal seeds make equal pictures.")] = 0,
    jobs: Annotated[int, typer.Option("-j", "--jobs", min=1, help="Processes; does not change a byte.")] = 1,
    preview: Annotated[
        Path | None, typer.Option("--preview", help="Also draw a sheet (PNG) of every corruption and severity.")
    ] = None,
    picture_format: Annotated[str, typer.Option("--format", help="png | webp-lossless; the same pixels.")] = "png",
    depth: _work.DepthOption = None,
    depth_weights: _work.DepthWeightsOption = None,
    depth_unit: _work.DepthUnitOption = None,
    every: Annotated[
        int | None, typer.Option("--every", min=1, help="Of a video, take every Nth frame; all if left out.")
    ] = None,
    dataset: _work.DatasetOption = None,
    split: _work.SplitOption = None,
    limit: _work.LimitOption = None,
    subjects: _work.SubjectsOption = None,
    views: _work.ViewsOption = None,
    skip_unable: _work.SkipUnableOption = False,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first picture that fails.")] = False,
    max_failures: Annotated[
        str, typer.Option("--max-failures", help="Exit 3 beyond so many: 20, or 5%; the set is finished all the same.")
    ] = "0",
    fresh: _work.FreshOption = False,
    plan: _work.PlanOption = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Make a corrupted set: OUT/<data>-<recipe>-<id>/ with a manifest, an index and the pictures.

    Every corruption at severities 1 to 5 if neither -c nor --recipe is given. Running the same command again resumes.
    A picture that cannot be made is noted in the manifest with its reason; the others are made.
    Exits 3 if more failed than --max-failures allows.
    """
    if preview is not None and preview.suffix.lower() != ".png":
        raise UsageError(f"A sheet is written as PNG, not as '{preview.name}'", expected="a name that ends in .png")
    from robench.data.depth_sources import choose_depth
    from robench.data.video import as_folder
    from robench.engine.cset import is_set
    from robench.engine.cset_writer import plan_set, write_set
    from robench.engine.recipes import choose_recipe
    from robench.engine.selection import select
    from robench.engine.set_plan import estimate
    from robench.engine.tasks import failure_limit
    from robench.io.images import stored_format

    if is_set(data):
        raise UsageError(f"{data} is a corrupted set already", expected="clean pictures", hint=f"robench verify {data}")
    allowed = failure_limit(max_failures)
    how: dict[str, Any] = {
        "skip_unable": skip_unable,
        "depths": choose_depth(depth, depth_weights, depth_unit),
        "picture_format": stored_format(picture_format),
    }
    chosen = choose_recipe(recipe, corruptions, severities)
    with _work.resumable(), as_folder(data, out, every, keep=not plan) as root:
        selection = select(root, dataset, split, limit, _work.names(subjects), _work.angles(views))
        if plan:
            planned = plan_set(selection, chosen, seed, out, **how)
            _say_plan(planned, estimate(selection, chosen, planned.spec, jobs), jobs, json_)
            return
        command = command_line()
        report = write_set(
            selection,
            chosen,
            seed,
            out,
            jobs=jobs,
            fail_fast=fail_fast,
            fresh=fresh,
            command=command,
            quiet=quiet,
            **how,
        )
    if preview is not None:
        _preview(report.folder, preview)
    _say(report, preview, json_)
    if len(report.failed) > allowed(report.images + len(report.failed)):
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


def _say_plan(plan: SetPlan, cost: Estimate, jobs: int, json_: bool) -> None:
    if json_:
        facts = {"folder": str(plan.folder), "images": plan.cells, "left_out": plan.left_out}
        _print_json({**facts, "estimate": {**vars(cost), "jobs": jobs}})
        return
    left_out = f", {plan.left_out} left out for lack of depth or masks" if plan.left_out else ""
    typer.echo(f"{plan.cells} images{left_out} -> {plan.folder}")
    if not cost.sample_id:
        typer.echo("size and time cannot be estimated: no picture that was tried could be read")
        return
    rest = f"; {cost.unmeasured} conditions taken to be like their mean" if cost.unmeasured else ""
    typer.echo(
        f"about {_size(cost.bytes)} and {_time(cost.seconds)} with -j {jobs}, estimated from {cost.measured} pictures "
        f"of '{cost.sample_id}' made in memory{rest}"
    )


def _size(count: float) -> str:
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _time(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 100 else f"{seconds / 60:.3g} min"


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
    _say_failures(report.failed)
    extra = f", {report.left_out} left out" if report.left_out else ""
    extra += f", {len(report.failed)} failed" if report.failed else ""
    typer.echo(f"{report.folder}: {report.images} images ({report.made} made now{extra})")
    if preview is not None:
        typer.echo(f"{preview}: the sheet")
    typer.echo(f"next: robench evaluate --model pifu-mini --cset {report.folder}")


def _say_failures(failed: Sequence[Mapping[str, Any]]) -> None:
    """Tell a line a sample and reason: a picture that cannot be read fails under every corruption."""
    alike: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for failure in failed:
        alike.setdefault((failure["sample_id"], failure["message"]), []).append(failure)
    for (sample_id, message), group in list(alike.items())[:_SHOWN]:
        one = f"{group[0]['corruption']} {group[0]['severity']}"
        _work.say(f"failed: {sample_id} {one if len(group) == 1 else f'({len(group)} images)'}: {message}", err=True)
    more = sum(len(group) for group in list(alike.values())[_SHOWN:])
    if more:
        typer.echo(f"failed: {more} more, see the manifest", err=True)


def _print_json(facts: dict[str, Any]) -> None:
    import json

    typer.echo(json.dumps(facts, indent=2))
