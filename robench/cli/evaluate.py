"""``robench evaluate``: a model over corruptions, resumable, ending with the degradation table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _evaluation, _work


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("evaluate")(evaluate)


def evaluate(
    model: Annotated[str, typer.Option("--model", help="See `robench list models`.")],
    data: Annotated[
        Path | None,
        typer.Option("--data", help="Data set to corrupt on the fly; with --cset, where its data lies now."),
    ] = None,
    cset: Annotated[Path | None, typer.Option("--cset", help="A set made by `robench corrupt`.")] = None,
    recipe: _work.RecipeOption = None,
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    masker: Annotated[
        str, typer.Option("--masker", help="Who finds the person; given (or gt) for the true mask.")
    ] = "u2netp-anny",
    metrics: Annotated[str | None, typer.Option("--metrics", help="Separated by commas; all if left out.")] = None,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Weights; the model's own if left out.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Parent folder; the run's own name says what it is.")] = Path(
        "runs"
    ),
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
    model_option: Annotated[
        list[str] | None,
        typer.Option("--model-option", help="NAME=VALUE, as `robench show model NAME` lists them; may be repeated."),
    ] = None,
    resolution: Annotated[
        int | None, typer.Option("--resolution", min=8, help="Short for --model-option resolution=N: the model's grid.")
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Pictures at once; does not change a result.")
    ] = 1,
    keep: Annotated[
        str,
        typer.Option("--keep-meshes", help="none | examples (3 samples) | failed (and the examples) | all"),
    ] = "examples",
    max_failures: _evaluation.MaxFailuresOption = None,
    fail_fast: Annotated[bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")] = False,
    retries: Annotated[
        int,
        typer.Option("--retries", min=0, help="More tries for a sample whose model died, hung or ran out of memory."),
    ] = 2,
    timeout: Annotated[
        float, typer.Option("--timeout", min=0, help="Seconds that a sample may take in the model; 0: any time.")
    ] = 1800.0,
    redo: _evaluation.RedoOption = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=1, help="Processes that each open the model; with cuda, one a GPU."),
    ] = 1,
    threads: Annotated[
        int,
        typer.Option(
            "--threads", min=1, help="Of the model on CPU. Last digits depend on it, so another number is another run."
        ),
    ] = 1,
    jobs: Annotated[
        int | None,
        typer.Option(
            "-j",
            "--jobs",
            min=0,
            help="Processes that corrupt, mask and score for each model; 0: a thread beside it. By device if left out.",
        ),
    ] = None,
    executor: Annotated[
        str, typer.Option("--executor", help="local | ray | slurm: whose machines the workers are on.")
    ] = "local",
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="HOST:PORT or auto; a cluster of this machine if left out.")
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Of Slurm.")] = None,
    cluster: Annotated[
        list[str] | None,
        typer.Option(
            "--cluster", help="NAME=VALUE for ray or slurm, such as time=8:00:00 or mem=24G; may be repeated."
        ),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="Open the model in this process, to debug it; its crash ends the run.")
    ] = False,
    skip_unable: _work.SkipUnableOption = False,
    fresh: _work.FreshOption = False,
    plan: _work.PlanOption = False,
    profile: _evaluation.ProfileOption = False,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Evaluate a model on clean and corrupted pictures.

    Writes one row a sample, corruption, severity and metric; a failure is a row with a penalty, never a gap. Running
    the same command again resumes. Ends with the degradation table: one row a corruption, clean first.
    """
    from robench.engine.executors import check
    from robench.engine.tasks import Options

    options = Options(
        model=model,
        data=data,
        cset=cset,
        recipe=recipe,
        corruptions=corruptions,
        severities=severities,
        masker=masker,
        metrics=_work.names(metrics),
        checkpoint=checkpoint,
        out=out,
        dataset=dataset,
        split=split,
        limit=limit,
        subjects=_work.names(subjects),
        views=_work.angles(views),
        seed=seed,
        depth=depth,
        depth_weights=depth_weights,
        depth_unit=depth_unit,
        device=device,
        model_options=_model_options(model_option, resolution),
        batch_size=batch_size,
        keep=keep,
        skip_unable=skip_unable,
        fresh=fresh,
        quiet=quiet,
        in_process=in_process,
        threads=threads,
        workers=workers,
        jobs=jobs,
        retries=retries,
        timeout_s=timeout,
        max_failures=max_failures,
        fail_fast=fail_fast,
        redo=tuple(_work.names(redo) or ()),
        json_events=json_,
        executor=executor,
        cluster=_cluster(cluster, ray_address, partition),
    )
    check(options)
    if plan:
        _evaluation.say_plan(options, json_)
    else:
        _evaluation.run_and_say(options, profile=profile, json_=json_)


def _model_options(texts: list[str] | None, resolution: int | None) -> dict[str, str]:
    found = {} if resolution is None else {"resolution": str(resolution)}
    return found | _work.pairs(texts, "--model-option", "crop=auto")


def _cluster(texts: list[str] | None, ray_address: str | None, partition: str | None) -> dict[str, str]:
    short = {"ray-address": ray_address, "partition": partition}
    found = {name: value for name, value in short.items() if value is not None}
    return found | _work.pairs(texts, "--cluster", "time=8:00:00")
