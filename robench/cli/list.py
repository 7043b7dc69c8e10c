"""``robench list``: what is installed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from robench.cli._kinds import ALL_KINDS, RECIPES, as_kind, plural
from robench.errors import printable


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("list")(list_)


def list_(
    kind: Annotated[str | None, typer.Argument(help=" | ".join(ALL_KINDS) + "; all of them if left out")] = None,
    names: Annotated[bool, typer.Option("--names", help="Names only, one a line; loads no plug-in.")] = False,
    origin: Annotated[bool, typer.Option("--origin", help="Also the package and module that each comes from.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")] = False,
) -> None:
    """List what is installed: models, corruptions, maskers, encoders, metrics, datasets, recipes.

    A plug-in that cannot be loaded is listed as broken, with the reason; the others work.
    """
    kinds = [plural(kind)] if kind else list(ALL_KINDS)
    if names:
        for each in kinds:
            typer.echo("\n".join(_names(each)))
        return
    found = {each: rows(each) for each in kinds}
    if json_:
        import json

        typer.echo(json.dumps([row for each in kinds for row in found[each]], indent=2))
        return
    for each in kinds:
        _print(each, found[each], origin)


def _names(kind: str) -> list[str]:
    from robench import registry

    return list(registry.recipe_files() if kind == RECIPES else registry.entries(as_kind(kind)))


def rows(kind: str) -> list[dict[str, Any]]:
    """Return a plain dictionary for every installed thing of a kind: name, origin, status, version, summary, error."""
    from robench import registry

    if kind == RECIPES:
        return [
            {
                "kind": kind,
                "name": item.name,
                "origin": item.origin,
                "status": "broken" if item.error else "ok",
                "version": None,
                "summary": _recipe_summary(item),
                "error": item.error,
            }
            for item in registry.recipe_survey()
        ]
    return [
        {
            "kind": kind,
            "name": status.entry.name,
            "origin": status.entry.origin,
            "status": "broken" if status.card is None else "ok",
            "version": status.card.version if status.card else None,
            "summary": status.card.summary if status.card else None,
            "error": status.error,
        }
        for status in registry.survey(as_kind(kind))
    ]


def _recipe_summary(item: Any) -> str | None:
    """Return what a recipe's YAML says under ``description``, or None."""
    if item.path is None:
        return None
    import yaml

    try:
        content = yaml.safe_load(item.path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        return f"unreadable: {type(error).__name__}"
    return str(content["description"]) if isinstance(content, dict) and "description" in content else None


def _print(kind: str, found: list[dict[str, Any]], origin: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    def shown(text: str) -> str:
        return escape(" ".join(printable(part) for part in text.split()))

    table = Table(title=kind, title_justify="left", title_style="bold", box=None, show_header=False)
    table.add_column("name", no_wrap=True, style="cyan")
    table.add_column("summary", overflow="fold")
    if origin:
        table.add_column("origin", style="dim", overflow="fold")
    for row in found:
        broken = row["status"] == "broken"
        text = f"[red]broken:[/red] {shown(row['error'])}" if broken else shown(row["summary"] or "")
        table.add_row(shown(row["name"]), text, *([shown(row["origin"])] if origin else []))
    console = Console()
    if not console.is_terminal:
        console.width = max(console.width, 160)  # a pipe or a log has no edge to fold at
    console.print(table if found else f"no {kind}")
