"""``robench compare``: what a candidate does better and worse than a base, subject by subject."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _comparing, _work
from robench.errors import UsageError

BY = ("all", "corruption", "severity")
MODES = ("harm", "safety")
METRICS = ["chamfer_cm", "p2s_pred_to_gt_cm"]


def register(app: typer.Typer) -> None:
    """Add the verb to the command line."""
    app.command("compare")(compare)


def compare(
    base: Annotated[Path, typer.Argument(metavar="BASE", help="Run compared with.")],
    candidates: Annotated[list[Path], typer.Argument(metavar="CAND...", help="Runs compared, each with BASE.")],
    metrics: Annotated[
        str | None,
        typer.Option(
            "--metrics", help=f"Separated by commas; the first is the primary. {','.join(METRICS)} if left out."
        ),
    ] = None,
    by: Annotated[str, typer.Option("--by", help="Lines: all | corruption | severity.")] = "corruption",
    margin: Annotated[
        str | None, typer.Option("--margin", help="How much worse is too much, such as 3% or (of a score) 1pp.")
    ] = None,
    mode: Annotated[
        str, typer.Option("--mode", help="harm: a regression must be shown | safety: its absence must be shown.")
    ] = "harm",
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Run of the reference model (mean-body), for CE and mCE.")
    ] = None,
    true_masks: Annotated[
        list[Path] | None,
        typer.Option(
            "--true-masks",
            metavar="RUN",
            help="CAND's model with --masker given: which part of a loss is the mask's. One for each model.",
        ),
    ] = None,
    aa: _comparing.AaOption = None,
    alpha: Annotated[float, typer.Option("--alpha", help="One-sided level of all lines together.")] = 0.05,
    min_coverage: Annotated[
        float, typer.Option("--min-coverage", min=0.01, max=1, help="Share of the cells that both runs must have.")
    ] = 1.0,
    format_: _comparing.FormatOption = "terminal",
    out: _comparing.OutOption = None,
    resamples: Annotated[int, typer.Option("--resamples", min=100, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Compare runs of the same cells, paired, with subjects as the unit of inference.

    Marks: + worse, - better, ~ not shown, ! newly failing, * fixed, x not comparable. Runs of different protocol or
    data are refused (exit 6).
    """
    from robench.analysis.causes import true_masks_of
    from robench.analysis.comparison import compare as compared
    from robench.analysis.comparison import default_endpoints
    from robench.analysis.decomposition import decompose
    from robench.analysis.headline import measures
    from robench.analysis.pairing import check_comparable
    from robench.analysis.policy import margin_of
    from robench.analysis.provenance import open_run

    wanted, names = _comparing.formats(format_, out), _work.names(metrics) or METRICS
    lines = _comparing.choice("--by", by, BY)
    kind = _comparing.choice("--mode", mode, MODES)
    if not 0 < alpha <= 0.5:
        raise UsageError("The level must lie between 0 and 0.5", got=str(alpha), expected="such as 0.05")
    limit = margin_of(margin) if margin is not None else None
    ours = open_run(base)
    again = open_run(aa) if aa is not None else None
    named = open_run(reference) if reference is not None else None
    opened = [open_run(path) for path in candidates]
    found = []
    for theirs, truth in zip(opened, true_masks_of(opened, [open_run(path) for path in true_masks or []]), strict=True):
        check_comparable(ours, theirs)  # what differs is a better answer than what therefore cannot be asked
        if metrics is not None:
            _check_names(names, set(ours.rows["metric"]) | set(theirs.rows["metric"]))
        endpoints = default_endpoints(ours, theirs, names, by=lines, margin=limit, mode=kind)
        one = compared(
            ours,
            theirs,
            endpoints,
            alpha=alpha,
            resamples=resamples,
            seed=seed,
            min_coverage=min_coverage,
            again=again,
        )
        if named is not None:
            measured = [measures(run, names[0], named, resamples=resamples, seed=seed) for run in (ours, theirs)]
            one = replace(one, measures=measured)
        if true_masks:
            one = replace(one, parts=decompose(theirs, truth, names[0], resamples=resamples, seed=seed))
        found.append(one)
    _comparing.show(found, wanted, out, "compare")


def _check_names(names: list[str], known: set[str]) -> None:
    """Refuse a metric that neither run has: it is a slip, where one that a single run has is a finding."""
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(
            "Neither run has such a metric", got=", ".join(unknown), expected=f"some of {', '.join(sorted(known))}"
        )
