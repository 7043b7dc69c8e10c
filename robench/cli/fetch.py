"""``robench fetch``: weights that do not come with robench, each asked for by name."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from robench.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Fetch weights that do not come with robench.")
    group.command("weights")(weights)
    app.add_typer(group, name="fetch")


def weights(
    name: Annotated[str, typer.Argument(help="A masker's name, see `robench list maskers`.")],
    to: Annotated[
        Path | None, typer.Option("--to", help="Folder; $ROBENCH_WEIGHTS or the user's cache if left out.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="I accept the licence; do not ask.")] = False,
) -> None:
    """Show the licence of a masking network's weights, ask, download them and check their hash."""
    from robench.io.weights import weights_folder
    from robench.masking.rembg import fetch, networks
    from robench.registry import unknown_name

    known = networks()
    if name not in known:
        raise unknown_name("maskers", name, known)
    network = known[name]
    if not network.shipped:
        typer.echo(f"{network.file}: {network.summary}")
        typer.echo(f"licence of the weights: {network.licence}; trained on: {network.trained_on}")
        typer.echo(f"hash: {network.digest}; goes to {to or weights_folder()}")
        if not yes and not sys.stdin.isatty():
            raise UsageError("Nobody is here to accept the licence", hint=f"robench fetch weights {name} --yes")
        if not yes and not typer.confirm("Accept the licence and fetch?"):
            raise typer.Exit
    typer.echo(f"{fetch(name, to)}: there, and its hash is right")
