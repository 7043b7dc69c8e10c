"""``robench leaderboard``: check the published boards, compute them anew, and make their site."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work
from robench.errors import ExitCode

FolderArgument = Annotated[Path, typer.Argument(metavar="FOLDER", help="Folder of the leaderboards.")]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    group = typer.Typer(no_args_is_help=True, help="Check the leaderboards, compute them anew, make their site.")
    group.command("verify")(verify)
    group.command("recompute")(recompute)
    group.command("build")(build)
    app.add_typer(group, name="leaderboard")


def verify(
    folder: FolderArgument = Path("leaderboards"),
    rows: Annotated[
        list[Path] | None,
        typer.Option("--rows", help="File of rows of an entry whose rows lie elsewhere; several times for several."),
    ] = None,
    samples: Annotated[
        int, typer.Option("--rerun", min=0, help="Also run so many samples of each entry again, on CPU.")
    ] = 0,
    data: Annotated[
        list[Path] | None, typer.Option("--data", help="With --rerun: data set of a board; several times for several.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option("--checkpoint", help="With --rerun: weights of a model that does not bring its own."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="With --rerun: of the draw of samples.")] = 0,
    json_: _work.JsonOption = False,
) -> None:
    """Recompute every value of every table from the published rows, and check hashes, licences, tracks and versions.

    Exits 8 if anything differs. An entry of an older metric or corruption is stale, which is said but is no error.
    """
    import json

    from robench.errors import UsageError
    from robench.leaderboard.verify import to_json
    from robench.leaderboard.verify import verify as verified

    if bool(samples) != bool(data):
        raise UsageError("Samples are run again on data", got="--rerun or --data alone", expected="both, or neither")
    verdict = verified(folder, rows or ())
    if samples:
        from robench.leaderboard.board import files_by_sha
        from robench.leaderboard.rerun import Means
        from robench.leaderboard.verify import verify_by_rerun

        means = Means(samples, seed, data or (), files_by_sha(checkpoint or ()))
        verdict.findings += verify_by_rerun(folder, means, rows or ())
    if json_:
        typer.echo(json.dumps(to_json(verdict), indent=2))
    else:
        for finding in verdict.findings:
            _work.say(str(finding))
        told = "sound" if verdict.sound else "not sound"
        counts = f"{verdict.boards} boards, {verdict.entries} entries, {verdict.values} values recomputed"
        _work.say(f"{folder}: {counts}, {told}")
    if not verdict.sound:
        raise typer.Exit(int(ExitCode.MISMATCH))


def recompute(folder: FolderArgument = Path("leaderboards")) -> None:
    """Write the tables of every board anew from their rows: after a release that computes some value otherwise."""
    from robench.leaderboard.board import places
    from robench.leaderboard.publish import recompute as recomputed

    changed = recomputed(folder, places(folder))
    for path in changed:
        _work.say(f"wrote {path}")
    _work.say(f"{folder}: {len(changed)} files changed")


def build(
    folder: FolderArgument = Path("leaderboards"),
    out: Annotated[Path, typer.Option("--out", help="Folder of the site; an older site there is replaced.")] = Path(
        "site"
    ),
) -> None:
    """Make a static site: an index, a page a board and a page a model, which open from a disk without a network.

    The same folder gives the same bytes. It shows what the tables say: run `robench leaderboard verify` first.
    """
    from robench.leaderboard.site.build import build_site

    site = build_site(folder, out)
    _work.say(f"{site.index}: {site.boards} boards, {site.models} models")
