"""What `robench compare` and `robench gate` share: the formats of their output and where it goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from robench.cli import _work
from robench.errors import UsageError

if TYPE_CHECKING:
    from robench.analysis.comparison import Comparison

FILES = {"md": "md", "json": "json", "junit": "xml"}
"""Formats that can be files, and their suffixes; ``terminal`` and ``github`` are always printed."""
FORMATS = ("terminal", "md", "json", "junit", "github")

FormatOption = Annotated[
    str, typer.Option("--format", help="terminal, md, json, junit, github; several, with commas, need --out.")
]
OutOption = Annotated[
    Path | None, typer.Option("--out", help="Folder for the files of md, json and junit; printed if left out.")
]
AaOption = Annotated[
    Path | None,
    typer.Option("--aa", metavar="RUN", help="BASE's checkpoint evaluated again: what it shifts is the noise floor."),
]


def choice(option: str, text: str, known: Sequence[str]) -> str:
    """Return an option's text, which must be one of some.

    Raises:
        UsageError: If it is none of them.
    """
    if text not in known:
        raise UsageError(f"{option} is not understood", got=text, expected=" or ".join(known))
    return text


def formats(text: str, out: Path | None) -> list[str]:
    """Read ``--format``.

    Raises:
        UsageError: If a format is not known, or several would be printed over each other.
    """
    found = list(dict.fromkeys(_work.names(text) or []))
    unknown = [name for name in found if name not in FORMATS]
    if unknown:
        raise UsageError("There is no such format", got=", ".join(unknown), expected=", ".join(FORMATS))
    if out is None and len(found) > 1 and any(name in FILES for name in found):
        raise UsageError("Several formats cannot share the terminal", got=text, hint="--out FOLDER")
    return found


def show(
    comparisons: Sequence[Comparison], wanted: Sequence[str], out: Path | None, stem: str, *, strict: bool = False
) -> None:
    """Print a comparison, or write it, in the formats that are wanted.

    Args:
        comparisons: What was found.
        wanted: Of `formats`.
        out: Folder for files, or None to print.
        stem: Their name without suffix.
        strict: An inconclusive line is a failure.
    """
    from rich.console import Console

    from robench.io.files import json_text, write_text_atomic
    from robench.reporting.ci_formats import to_github, to_junit
    from robench.reporting.comparison import print_comparison, to_json, to_markdown

    for name in wanted:
        if name == "terminal":
            for one in comparisons:
                print_comparison(one, Console())
            continue
        if name == "github":
            typer.echo(to_github(comparisons, inconclusive_fails=strict), nl=False)
            continue
        if name == "md":
            text = "\n".join(map(to_markdown, comparisons))
        elif name == "json":
            made = [to_json(one) for one in comparisons]
            text = json_text(made[0] if len(made) == 1 else made)
        else:
            text = to_junit(comparisons, inconclusive_fails=strict)
        if out is None:
            typer.echo(text, nl=False)
        else:
            write_text_atomic(out / f"{stem}.{FILES[name]}", text)
            _work.say(f"Wrote {out / f'{stem}.{FILES[name]}'}", err=True)
