"""``robench doctor``: can this machine do the work?"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from robench.errors import ExitCode, printable

if TYPE_CHECKING:
    from robench.cli._checks import Finding

_COLOURS = {"ok": "green", "absent": "yellow", "failed": "red"}


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("doctor")(doctor)


def doctor(
    model: Annotated[str, typer.Option("--model", help="Reconstructor of the canary.")] = "pifu-mini",
    device: Annotated[str, typer.Option("--device", help="cpu | cuda | auto; cuda makes it needed.")] = "auto",
    json_: Annotated[bool, typer.Option("--json", help="Machine-readable, on stdout.")] = False,
) -> None:
    """Check devices, GL, codecs, weights and plug-ins, and reconstruct a drawn figure.

    Exits 7 if a needed part fails.
    """
    from robench import registry

    known = registry.entries("models")
    if model not in known:
        raise registry.unknown_name("models", model, known)
    findings = list(run(model, device))
    failed = [finding for finding in findings if finding.verdict == "failed"]
    if json_:
        import json

        typer.echo(json.dumps({"ok": not failed, "findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        _print(findings)
    if failed:
        raise typer.Exit(int(ExitCode.ENVIRONMENT))


def run(model: str, device: str) -> Iterator[Finding]:
    """Run every check; where a library is missing, those that stand on it are left out."""
    from robench.cli import _checks

    yield from _checks.system()
    libraries = list(_checks.libraries())
    yield from libraries
    if any(finding.verdict == "failed" for finding in libraries):
        return
    yield from _checks.devices(device)
    yield from _checks.gl()
    yield from _checks.codecs()
    yield from _checks.caches()
    yield from _checks.weights()
    yield from _checks.plugins()
    yield from _checks.canary(model, device)


def _print(findings: Iterable[Finding]) -> None:
    """Print a line a finding; not a table, which would fold paths and hashes that one wants to copy."""
    from rich.console import Console
    from rich.markup import escape

    def shown(text: str) -> str:
        return escape(printable(text))

    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        mark = f"[{_COLOURS[finding.verdict]}]{finding.verdict:7}[/]"
        hint = f" [dim](try: {shown(finding.hint)})[/]" if finding.hint else ""
        console.print(f"{mark} {finding.area:9} [cyan]{shown(finding.name)}[/]: {shown(finding.detail)}{hint}")
