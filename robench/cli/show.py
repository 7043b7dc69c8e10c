"""``robench show``: the card of one plug-in, or one recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from robench.cli._kinds import ALL_KINDS, RECIPES, as_kind, plural
from robench.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


_SEVERITIES = "severities"


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("show")(show)


def show(
    kind: Annotated[str, typer.Argument(help=" | ".join(k.removesuffix("s") for k in ALL_KINDS))],
    name: Annotated[str, typer.Argument(help="A name that `robench list` prints.")],
    strip: Annotated[
        Path | None,
        typer.Option("--strip", help="Of a corruption: also write a strip (PNG), clean and severities 1-5."),
    ] = None,
    on: Annotated[
        Path | None, typer.Option("--on", help="The strip's picture, with mask and depth beside it; drawn if left out.")
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")] = False,
) -> None:
    """Show one card: what it is, its licence and reference, severities in physical units, where it deviates."""
    from robench import registry

    kind = plural(kind)
    if on is not None and strip is None:
        raise UsageError("--on names the picture of a strip, and none is asked for", hint="--strip FILE.png")
    if strip is not None and kind != "corruptions":
        raise UsageError("A strip is of a corruption", got=f"--strip for a {kind.removesuffix('s')}")
    if kind == RECIPES:
        files = registry.recipe_files()
        if name not in files:
            raise registry.unknown_name(kind, name, files)
        _show_recipe(name, files[name], json_)
        return
    card = registry.load(as_kind(kind), name).card
    from robench.engine.protocol import card_json

    facts = {"kind": kind.removesuffix("s"), "origin": registry.entries(as_kind(kind))[name].origin, **card_json(card)}
    told = None
    if strip is not None:
        from robench.cli._strip import write_strip

        told = write_strip(name, strip, on)  # before the card, below which an error would be lost
    if json_:
        import json

        typer.echo(json.dumps(facts, indent=2))
    else:
        _print_card(facts)
    if told is not None:
        typer.echo(told, err=json_)


def _show_recipe(name: str, path: Path, as_json: bool) -> None:
    text = path.read_text(encoding="utf-8")
    if as_json:
        import json

        import yaml

        facts = {"kind": "recipe", "name": name, "path": str(path), "recipe": yaml.safe_load(text)}
        typer.echo(json.dumps(facts, indent=2))
    else:
        typer.echo(f"# {path}\n{text}", nl=False)


def _print_card(facts: Mapping[str, Any]) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    console.print(f"[bold cyan]{facts['name']}[/bold cyan] ({facts['kind']}, version {facts['version']})")
    console.print(facts["summary"], markup=False)
    extra = dict(facts["extra"])
    severities = extra.pop(_SEVERITIES, None)
    head = {key: facts[key] for key in ("licence", "reference", "origin")}
    _print_value(console, {**head, "needs": facts["needs"] or "the image only", **extra}, 0)
    if severities:
        console.print(_severity_table(severities))


def _print_value(console: Console, values: Mapping[str, Any], depth: int) -> None:
    indent = "  " * depth
    for key, value in values.items():
        label = f"{indent}{key.replace('_', ' ')}:"
        if isinstance(value, Mapping):
            console.print(label, style="dim", markup=False)
            _print_value(console, value, depth + 1)
        elif isinstance(value, list) and any(isinstance(item, str) and len(item) > 24 for item in value):
            console.print(label, style="dim", markup=False)
            for item in value:
                console.print(f"{indent}  - {item}", markup=False)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            console.print(f"[dim]{label}[/dim]", end=" ")
            console.print(text, markup=False)


def _severity_table(severities: Mapping[str, Any]) -> Table:
    """Lay out severity → parameters with a row a parameter and a column a severity."""
    from rich.table import Table

    table = Table(title="severity", title_justify="left")
    table.add_column("parameter")
    for severity in severities:
        table.add_column(severity, justify="right")
    levels = [value if isinstance(value, Mapping) else {"value": value} for value in severities.values()]
    for parameter in dict.fromkeys(key for level in levels for key in level):
        table.add_row(parameter, *(_number(level.get(parameter, "")) for level in levels))
    return table


def _number(value: Any) -> str:
    if isinstance(value, list):
        return " … ".join(map(_number, value)) if len(value) == 2 else ", ".join(map(_number, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)
