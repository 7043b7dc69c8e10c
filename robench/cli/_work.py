"""What the verbs that work for long share: options by one name, Ctrl-C, and lists on the command line."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.errors import ExitCode, UsageError, printable
from robench.io.processes import command_line

if TYPE_CHECKING:
    from robench.engine.picture_plan import PictureOptions

DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Reader of the data; found out if left out.")]
SplitOption = Annotated[
    str | None, typer.Option("--split", help="Split of the data set, such as test; all if left out.")
]
LimitOption = Annotated[
    int | None, typer.Option("--limit", min=1, help="At most so many samples, spread over the subjects.")
]
SubjectsOption = Annotated[str | None, typer.Option("--subjects", help="Only these, separated by commas.")]
ViewsOption = Annotated[str | None, typer.Option("--views", help="Only these angles in degrees, separated by commas.")]
RecipeOption = Annotated[
    str | None, typer.Option("--recipe", help="Installed recipe (see `robench list recipes`) or a YAML file.")
]
CorruptionsOption = Annotated[
    str | None,
    typer.Option(
        "-c",
        "--corruptions",
        help="Names separated by commas, chains such as fog_3d:2+iso_noise:3, or all; instead of --recipe.",
    ),
]
SeveritiesOption = Annotated[str | None, typer.Option("-s", "--severities", help="Such as 1-5 or 2,4; goes with -c.")]
DepthOption = Annotated[
    str | None,
    typer.Option(
        "--depth",
        help="auto | given | mesh | dpt | plane, or several in order, with commas. auto: the data's own, else from the "
        "true mesh.",
    ),
]
DepthWeightsOption = Annotated[
    Path | None, typer.Option("--depth-weights", help="Folder of a DPT, as transformers saves it; for dpt.")
]
DepthUnitOption = Annotated[
    str | None, typer.Option("--depth-unit", help="m | mm | 1/512m, of depth files that do not declare theirs.")
]
LevelOption = Annotated[float, typer.Option("--level", help="Coverage of the intervals, between 0 and 1.")]
SkipUnableOption = Annotated[
    bool, typer.Option("--skip-unable", help="Leave out the cells whose sample lacks what the corruption needs.")
]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Start over instead of resuming.")]
PlanOption = Annotated[bool, typer.Option("--plan", help="Say what would be done; touch nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
QuietOption = Annotated[bool, typer.Option("-q", "--quiet", help="No progress.")]


def names(text: str | None) -> list[str] | None:
    """Split a list at its commas; None stays None.

    Raises:
        UsageError: If nothing is left.
    """
    if text is None:
        return None
    found = [part.strip() for part in text.split(",") if part.strip()]
    if not found:
        raise UsageError("An option that takes a list got an empty one", got=f"'{text}'")
    return found


def pairs(texts: list[str] | None, option: str, example: str) -> dict[str, str]:
    """Read what an option that may be repeated says, each time ``NAME=VALUE``.

    Raises:
        UsageError: If one is something else.
    """
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} is not understood", got=f"'{text}'", expected=f"NAME=VALUE, as {example}")
        found[name.strip()] = value.strip()
    return found


def angles(text: str | None) -> list[float] | None:
    """Read angles in degrees, separated by commas.

    Raises:
        UsageError: If one is no number.
    """
    try:
        return [float(part) for part in found] if (found := names(text)) is not None else None
    except ValueError:
        raise UsageError("The views are not understood", got=f"'{text}'", expected="angles such as 0,90,180") from None


def picture_options(given: Mapping[str, Any]) -> PictureOptions:
    """Return which pictures a command line names.

    Args:
        given: What a verb was called with, by the names of its options: ``locals()`` on its first line. An option that
            the verb does not have keeps its default, the others are of no account.

    Raises:
        UsageError: If a list is not understood.
    """
    from dataclasses import fields

    from robench.engine.picture_plan import PictureOptions

    found = {field.name: given[field.name] for field in fields(PictureOptions) if field.name in given}
    found |= {name: read(found[name]) for name, read in (("subjects", names), ("views", angles)) if name in found}
    return PictureOptions(**found)


def check_level(level: float) -> None:
    """Make sure that an interval can have this coverage.

    Raises:
        UsageError: If not.
    """
    if not 0 < level < 1:
        raise UsageError("The level must lie between 0 and 1", got=str(level), expected="such as 0.95")


def say(text: str, *, err: bool = False) -> None:
    """Print one line that names what others named: control characters in it are shown, not obeyed."""
    typer.echo(printable(text), err=err)


def say_plan(facts: Mapping[str, Any], json_: bool) -> None:
    """Print what a command would do: a fact a line, or one JSON document."""
    if json_:
        import json

        typer.echo(json.dumps(dict(facts), indent=2))
        return
    for name, value in facts.items():
        say(f"{name:>24}  {', '.join(map(str, value)) if isinstance(value, list) else value}")


@contextlib.contextmanager
def resumable(flag: str = "") -> Iterator[None]:
    """On Ctrl-C and SIGTERM say that finished work is kept and how to go on (by `flag`, if it takes one).

    Raises:
        Exit: With 130 on Ctrl-C.
        SystemExit: With 143 on SIGTERM.
    """
    try:
        yield
    except KeyboardInterrupt:
        _say_how_to_resume("Interrupted", flag)
        raise typer.Exit(int(ExitCode.INTERRUPTED)) from None
    except SystemExit as end:
        if end.code == int(ExitCode.TERMINATED):
            _say_how_to_resume("Terminated", flag)
        raise


def _say_how_to_resume(what: str, flag: str) -> None:
    line = command_line().replace(" --fresh", "")
    line += f" {flag}" if flag and flag not in line else ""
    typer.echo(f"{what}. Finished work is kept; resume with:\n  {line}", err=True)


def write_picture(path: Path, image: object) -> None:
    """Write a picture that the user asked for as PNG.

    Raises:
        UsageError: If the name has another suffix, or the path cannot be written.
    """
    import numpy as np

    from robench.io.images import write_png

    if path.suffix.lower() != ".png":
        raise UsageError(f"A sheet is written as PNG, not as '{path.name}'", expected="a name that ends in .png")
    write_png(path, np.asarray(image))
