"""``robench verify``: is a corrupted set what it was when it was written?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work
from robench.errors import ExitCode

_SHOWN = 50


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("verify")(verify)


def verify(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A corrupted set, or a folder of some.")],
    json_: _work.JsonOption = False,
) -> None:
    """Hash every file of a corrupted set again and name what is missing, extra or changed.

    Exits 8 if anything is. The robench corrupt command that made the set makes anew what is missing or changed.
    """
    from robench.engine.verify import sets_in, verify_set

    verdicts = [verify_set(folder) for folder in sets_in(out)]
    sound = not any(verdict.differences for verdict in verdicts)
    if json_:
        import json

        sets = [
            {
                "folder": str(verdict.folder),
                "files": verdict.files,
                "differences": [vars(difference) for difference in verdict.differences],
            }
            for verdict in verdicts
        ]
        typer.echo(json.dumps({"sound": sound, "sets": sets}, indent=2))
    else:
        for verdict in verdicts:
            for difference in verdict.differences[:_SHOWN]:
                detail = f": {difference.detail}" if difference.detail else ""
                _work.say(f"{difference.kind} {difference.path}{detail}")
            more = len(verdict.differences) - _SHOWN
            if more > 0:
                typer.echo(f"and {more} more; --json names all")
            count = len(verdict.differences)
            told = "sound" if count == 0 else f"{count} difference{'s' if count > 1 else ''}"
            _work.say(f"{verdict.folder}: {verdict.files} files, {told}")
    if not sound:
        raise typer.Exit(int(ExitCode.MISMATCH))
