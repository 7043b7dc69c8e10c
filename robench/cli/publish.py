"""``robench publish``: finished runs onto the leaderboards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("publish")(publish)


def publish(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Finished runs; each finds its own board.")],
    to: Annotated[Path, typer.Option("--to", help="Folder of the leaderboards.")] = Path("leaderboards"),
    submission: Annotated[
        Path | None, typer.Option("--submission", help="YAML file with what the options below say; they come first.")
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option("--licence", help="Of weights and code: SPDX, or 'Non-commercial: NAME'. Default: the model's."),
    ] = None,
    paper_url: Annotated[str | None, typer.Option("--paper-url", help="Its paper.")] = None,
    code_url: Annotated[str | None, typer.Option("--code-url", help="Its code.")] = None,
    run_url: Annotated[str | None, typer.Option("--run-url", help="Where run or report can be seen.")] = None,
    variant: Annotated[str | None, typer.Option("--variant", help="Which one of several, in your words.")] = None,
    hardware: Annotated[str | None, typer.Option("--hardware", help="What it ran on. Default: the device.")] = None,
    date: Annotated[str | None, typer.Option("--date", help="YYYY-MM-DD. Default: today.")] = None,
    verified: Annotated[
        str | None, typer.Option("--verified", help="Who vouches: self; maintainers write ci or maintainer.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", help="Run or run id on the same board for rce, or none. Default: its mean-body."),
    ] = None,
    rows_url: Annotated[
        str | None, typer.Option("--rows-url", help="Where the file of rows will lie, if not on the board.")
    ] = None,
    rows_out: Annotated[
        Path | None, typer.Option("--rows-out", help="With --rows-url: write that file here, to put it there.")
    ] = None,
) -> None:
    """Check finished runs, and add them to the leaderboards with rows, hashes and recomputed tables.

    A run that is there already is left as it is, but for what is said of it now.
    """
    import datetime

    from robench.leaderboard.publish import Wishes
    from robench.leaderboard.publish import publish as published
    from robench.leaderboard.submission import read_submission

    given = {
        "licence": licence,
        "paper_url": paper_url,
        "code_url": code_url,
        "run_url": run_url,
        "variant": variant,
        "hardware": hardware,
        "date": date,
        "verified": verified,
        "reference": reference,
        "rows_url": rows_url,
    }
    said = read_submission(submission, ("reference", "rows_url")) if submission is not None else {}
    said |= {name: value for name, value in given.items() if value is not None}
    against, url = said.pop("reference", None), said.pop("rows_url", None)
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for made in published(runs, to, Wishes(said, today, against, url, rows_out)):
        rce = f"measured against {made.reference}" if made.reference is not None else "measured against nothing"
        _work.say(f"{made.change}: {made.folder} ({rce})")
    _work.say(f"Check it with: robench leaderboard verify {to}", err=True)
