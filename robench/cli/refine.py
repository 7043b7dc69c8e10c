"""``robench refine``: a model's colours pulled towards a 2D prior at test time, and what that does to them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from robench.cli import _work
from robench.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from robench.engine.refine import Refined


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("refine")(refine)


def refine(
    model: Annotated[str, typer.Option("--model", help="pifu, pifu-mini, or another model with colours.")],
    prior: Annotated[
        str, typer.Option("--prior", help="Encoder: NAME or NAME:FOLDER of its weights; see `robench list encoders`.")
    ],
    data: Annotated[Path | None, typer.Option("--data", help="Data set; with --cset, where its data lies now.")] = None,
    cset: Annotated[Path | None, typer.Option("--cset", help="A set made by `robench corrupt`.")] = None,
    recipe: _work.RecipeOption = None,
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    masker: Annotated[
        str, typer.Option("--masker", help="Who finds the person; given (or gt) for the true mask.")
    ] = "u2netp-anny",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Weights; the model's own if left out.")
    ] = None,
    iterations: Annotated[int, typer.Option("--iterations", help="Steps of Adam a sample.")] = 100,
    embeddings: Annotated[
        str, typer.Option("--embeddings", help="sequential (one view an iteration) | average (all four) | both")
    ] = "both",
    lr: Annotated[float, typer.Option("--lr", help="Learning rate.")] = 1e-3,
    protocol: Annotated[
        str, typer.Option("--protocol", help="described, as the paper says | as-coded, as its code did.")
    ] = "described",
    size: Annotated[int, typer.Option("--size", help="Side of the renderings in pixels.")] = 512,
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", help="Samples at once; 1 on a CPU and 4 on CUDA if left out.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder of log, tables and pictures.")] = Path("refined"),
    keep_meshes: Annotated[bool, typer.Option("--keep-meshes", help="Also write each refined mesh.")] = False,
    model_option: Annotated[
        list[str] | None,
        typer.Option("--model-option", help="NAME=VALUE, as `robench show model NAME` lists them; may be repeated."),
    ] = None,
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
    """Refine the colours of reconstructions so that renderings embed like the input, and measure every iteration.

    Works on the clean pictures unless corruptions are named. Only the colour network's classifier changes, anew for
    each sample. Running the same command again resumes. Exits 3 if a sample could not be refined.
    """
    pictures = _work.picture_options(locals())
    from robench.contracts import RefineSettings
    from robench.engine.refine import RefineOptions, plan_refinement, refine_samples

    _work.check_level(level)
    if checkpoint is not None and not checkpoint.exists():
        raise UsageError(f"There is no checkpoint {checkpoint}", hint="robench show model " + model)
    options = RefineOptions(
        model=model,
        prior=prior,
        pictures=pictures,
        out=out,
        checkpoint=checkpoint,
        masker=masker,
        embeddings=embeddings,
        settings=RefineSettings(iterations=iterations, rate=lr, protocol=cast(Any, protocol), size=size),
        model_options=_work.pairs(model_option, "--model-option", "crop=auto"),
        device=device,
        batch_size=batch_size,
        keep_meshes=keep_meshes,
        fresh=fresh,
        quiet=quiet,
        json_events=json_,
    )
    if plan:
        _work.say_plan(plan_refinement(options), json_)
        return
    with _work.resumable():
        found = refine_samples(options)
    _say(found, out, level, json_)


def _say(found: Refined, out: Path, level: float, json_: bool) -> None:
    from rich.console import Console

    from robench.analysis.refinement import iteration_log, refinement_changes, refinement_curves
    from robench.reporting.refinement import refinement_blocks, refinement_notes, write_refinement
    from robench.reporting.tables import print_blocks

    log = iteration_log(found.cells)
    curves, changes = refinement_curves(log, level=level), refinement_changes(found.cells, level=level)
    files = write_refinement(found.cells, log, curves, changes, found.facts, out, level=level)
    bad = [cell for cell in found.cells if cell["status"] != "ok"]
    if json_:
        typer.echo((out / "refinement.json").read_text("utf-8"), nl=False)
    else:
        print_blocks(refinement_blocks(changes, found.facts), refinement_notes(found.facts, level), Console())
        if "psnr" not in log:
            _work.say("Note: PSNR, SSIM and true views need ground-truth meshes with colours.", err=True)
        for cell in bad[:10]:
            _work.say(f"{cell['status']}: {cell['sample_id']} ({cell['corruption']}): {cell['message']}", err=True)
        failed = f"; {len(bad)} of {len(found.cells)} could not be" if bad else ""
        _work.say(f"Wrote {len(files)} files to {out} ({found.made} samples refined now{failed})", err=True)
    if bad:
        raise typer.Exit(int(ExitCode.TOO_MANY_FAILURES))
