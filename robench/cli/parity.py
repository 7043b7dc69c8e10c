"""``robench parity``: does a reconstructor's network give the golden values of the published one?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from robench.errors import ExitCode, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("parity")(parity)


def parity(
    model: Annotated[str, typer.Argument(help="See `robench list models`.")],
    golden: Annotated[list[Path], typer.Argument(help="Files of golden values.")],
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")] = False,
) -> None:
    """Compare a model with golden values: one line an array, its largest error and what is tolerated.

    Exits 8 if an array differs by more.
    """
    from robench import registry

    check = getattr(registry.load("models", model), "parity", None)
    if check is None:
        raise UsageError(f"The model '{model}' has no parity check", hint="robench list models")
    for path in golden:
        if not path.is_file():
            raise UsageError(f"There is no file of golden values {path}")
    lines: list[dict[str, Any]] = []
    for path in golden:
        for line in check(path):
            fact = {"array": line.array, "error": line.error, "tolerance": line.tolerance, "ok": line.ok}
            lines.append({"file": path.name, **fact})
            if not json_:
                verdict = "ok  " if line.ok else "FAIL"
                typer.echo(
                    f"{verdict} {path.name} {line.array}  error {line.error:.3g}  tolerance {line.tolerance:.3g}"
                )
    ok = bool(lines) and all(line["ok"] for line in lines)
    if json_:
        import json

        typer.echo(json.dumps({"ok": ok, "arrays": lines}, indent=2))
    elif not lines:
        typer.echo("no array was compared", err=True)
    if not ok:
        raise typer.Exit(int(ExitCode.MISMATCH))
