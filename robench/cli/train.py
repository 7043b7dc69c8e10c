"""``robench train``: train a reconstructor that can be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work
from robench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("train")(train)


def train(
    model: Annotated[str, typer.Argument(help="See `robench list models`.")],
    config: Annotated[Path, typer.Option("--config", help="YAML file of training options.")],
    data: Annotated[Path, typer.Option("--data", help="Data set with the splits train and val.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the training run.")],
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto")] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
    max_minutes: Annotated[
        float | None, typer.Option("--max-minutes", help="Stop after so long, with weights written; --resume goes on.")
    ] = None,
) -> None:
    """Train a model; prints where its weights are."""
    from robench import registry
    from robench.engine.model_options import models_with

    loaded = registry.load("models", model)
    trainer = getattr(loaded, "train", None)
    if trainer is None:
        raise UsageError(f"The model '{model}' cannot be trained", expected=models_with("train"))
    if not config.is_file():
        raise UsageError(f"There is no file of training options {config}")
    if max_minutes is not None and max_minutes <= 0:
        raise UsageError("The time to train is not understood", got=f"{max_minutes:g} minutes", expected="more than 0")
    with _work.resumable(flag="--resume"):
        weights = trainer(config, data, out, device=device, resume=resume, max_minutes=max_minutes)
    typer.echo(f"{weights}: the weights" if weights is not None else f"{out}: done")
    typer.echo(f"next: robench evaluate --model {model} --checkpoint {weights or out} --data {data} --split test")
