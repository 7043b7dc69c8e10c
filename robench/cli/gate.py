"""``robench gate``: whether a candidate may replace a baseline, by a policy declared beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _comparing, _work
from robench.errors import RobenchError, UsageError


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("gate")(gate)


def gate(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Run of the baseline.")],
    candidate: Annotated[Path, typer.Argument(metavar="CAND", help="Run of the candidate.")],
    policy: Annotated[Path, typer.Option("--policy", help="YAML file; docs/ci.md shows one.")],
    aa: _comparing.AaOption = None,
    update_baseline: Annotated[
        bool, typer.Option("--update-baseline", help="If improved, let the policy's baseline file name CAND.")
    ] = False,
    format_: _comparing.FormatOption = "terminal",
    out: _comparing.OutOption = None,
) -> None:
    """Pass or fail a candidate: exit 0 pass, 4 regression, 5 inconclusive (if it is to fail), 6 not comparable."""
    from robench.analysis.gate import exit_code
    from robench.analysis.gate import gate as judge
    from robench.analysis.policy import read_policy, update_baseline_file
    from robench.analysis.provenance import open_run
    from robench.reporting.ci_formats import command

    wanted = _comparing.formats(format_, out)
    try:
        rules = read_policy(policy)
        if update_baseline and rules.baseline is None:
            raise UsageError(f"{policy} names no baseline file to update", expected="the key 'baseline'")
        found = judge(open_run(base), open_run(candidate), rules, again=open_run(aa) if aa is not None else None)
    except RobenchError as error:
        if "github" in wanted:
            typer.echo(command("error", "robench gate", str(error)))
        raise
    _comparing.show([found], wanted, out, "gate", strict=rules.inconclusive == "fail")
    if found.verdict == "improved" and rules.baseline is not None:
        if update_baseline:
            for line in update_baseline_file(rules.baseline, found.cand).splitlines():
                _work.say(line, err=True)
        else:
            _work.say("Improved: --update-baseline would let the baseline file name this run.", err=True)
    elif update_baseline:
        _work.say(f"The baseline stays as it is: the verdict is {found.verdict}, not improved.", err=True)
    if code := int(exit_code(found, rules)):
        raise typer.Exit(code)
