"""``robench adapt``: tune a trained reconstructor on a few corrupted pictures with ground truth."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli import _work
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.training.adapt import AdaptOptions, AdaptResult


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("adapt")(adapt)


def adapt(
    model: Annotated[str, typer.Option("--model", help="See `robench list models`.")],
    data: Annotated[
        Path, typer.Option("--data", help="People to learn from: a set of `robench corrupt`, or a data set with -c.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the new checkpoint, or of one for each of --curve.")],
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Weights to start from; the model's own if left out.")
    ] = None,
    batches: Annotated[int, typer.Option("--batches", min=1, help="Batches to learn from, a step each.")] = 2,
    curve: Annotated[
        str | None, typer.Option("--curve", help="Such as 0,1,2,3: a checkpoint for each number, instead of --batches.")
    ] = None,
    batch_size: Annotated[int, typer.Option("--batch-size", min=1, help="Pictures a batch.")] = 16,
    lr: Annotated[float, typer.Option("--lr", help="Learning rate of Adam.")] = 7e-4,
    lr_search: Annotated[
        str | None, typer.Option("--lr-search", help="Such as 1e-4,3e-4,7e-4: the best of them on --val.")
    ] = None,
    val: Annotated[
        Path | None, typer.Option("--val", help="Other people, to choose the rate by: a corrupted set, or a data set.")
    ] = None,
    val_pictures: Annotated[int, typer.Option("--val-pictures", min=1, help="At most so many of them.")] = 32,
    epochs: Annotated[int, typer.Option("--epochs", min=1, help="How often the batches are gone through.")] = 1,
    recipe: _work.RecipeOption = None,
    corruptions: _work.CorruptionsOption = None,
    severities: _work.SeveritiesOption = None,
    dataset: _work.DatasetOption = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Split of the data set; train if it has one. test is refused.")
    ] = None,
    views: _work.ViewsOption = None,
    test: Annotated[
        Path | None, typer.Option("--test", help="Data set to be tested on: none of its people may be learned from.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the choice of pictures and points.")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto")] = "auto",
    model_option: Annotated[
        list[str] | None,
        typer.Option("--model-option", help="NAME=VALUE, such as protocol=as-coded of a fusion; may be repeated."),
    ] = None,
    json_: _work.JsonOption = False,
    quiet: _work.QuietOption = False,
) -> None:
    """Adapt a model to corrupted pictures by a few steps of Adam; writes a checkpoint and where it comes from.

    People of the data set's test split are refused. Running the same command again finds the checkpoints there.
    """
    from robench.training.adapt import AdaptOptions
    from robench.training.adapt import adapt as adapted

    options = AdaptOptions(
        model=model,
        data=data,
        out=out,
        checkpoint=checkpoint,
        batches=(batches,) if curve is None else _numbers(curve),
        batch_size=batch_size,
        lr=(lr,) if lr_search is None else _rates(lr_search),
        epochs=epochs,
        seed=seed,
        recipe=recipe,
        corruptions=corruptions,
        severities=severities,
        dataset=dataset,
        split=split,
        views=_work.angles(views),
        corruption_seed=seed,
        val=val,
        val_pictures=val_pictures,
        test=test,
        device=device,
        model_options=_work.pairs(model_option, "--model-option", "protocol=as-coded"),
    )
    with _work.resumable():
        result = adapted(options, (lambda text: None) if quiet else (lambda text: _work.say(text, err=True)))
    _say(options, result, json_)


def _numbers(text: str) -> tuple[int, ...]:
    found = _work.names(text) or []
    if not all(part.isdecimal() for part in found):
        raise UsageError("--curve is not understood", got=f"'{text}'", expected="numbers of batches such as 0,1,2,3")
    return tuple(sorted({int(part) for part in found}))


def _rates(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in _work.names(text) or [])
    except ValueError:
        raise UsageError("--lr-search is not understood", got=f"'{text}'", expected="rates such as 1e-4,7e-4") from None


def _conditions(options: AdaptOptions) -> list[str]:
    """Return the options of a test under what was learned from; of a set, its pictures are not the test's."""
    given = {"--recipe": options.recipe, "-c": options.corruptions, "-s": options.severities}
    found = [word for name, value in given.items() if value is not None for word in (name, value)]
    return found or ["--recipe", "2d-priors"]


def _say(options: AdaptOptions, result: AdaptResult, json_: bool) -> None:
    if json_:
        import json

        points = [
            {"batches": p.batches, "checkpoint": str(p.weights), "sha256": p.sha256, "error": p.error, "made": p.made}
            for p in result.points
        ]
        tried = [{"lr": rate, "error": error} for rate, error in result.tried]
        typer.echo(
            json.dumps({"model": options.model, "lr": result.lr, "lr_search": tried, "points": points}, indent=2)
        )
        return
    if result.tried:
        errors = ", ".join(f"{rate:g}: {error:.5f}" for rate, error in result.tried)
        _work.say(f"learning rate {result.lr:g}, by the error on {options.val} (0 is the base): {errors}")
    for point in result.points:
        there = "" if point.made else ", there already"
        _work.say(f"{point.weights}: {point.batches} batches of {options.batch_size}{there}")
    test = str(options.test) if options.test is not None else "DIR"
    for point in result.points:
        line = ["robench", "evaluate", "--model", options.model, "--checkpoint", str(point.weights), "--data", test]
        _work.say(f"next: {shlex.join([*line, *_conditions(options)])}")
    if len(result.points) > 1:
        _work.say(
            f"then: {shlex.join(['robench', 'report', 'RUN...', '--adaptation', str(options.out), '--out', 'DIR'])}"
        )
