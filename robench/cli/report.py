"""``robench report``: the degradation table of runs, with plots."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from robench.cli import _work


def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN", help="Run folders; several go into one report.")],
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="What to write: md, csv, jsonl, latex, html (one page that opens offline), svg, png, pdf; "
            "rows.csv, rows.jsonl: all rows.",
        ),
    ] = "md,csv",
    plots: Annotated[
        bool | None,
        typer.Option(
            "--plots/--no-plots",
            help="Also draw bars, curves and the grid; done unless only html, jsonl or rows are asked.",
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write to; RUN/report if left out.")] = None,
    metrics: Annotated[
        str, typer.Option("--metrics", help="Metrics to tabulate, separated by commas.")
    ] = "chamfer_cm,p2s_pred_to_gt_cm",
    reference: Annotated[
        Path | None, typer.Option("--reference", help="Run of the reference model (mean-body) to compare with.")
    ] = None,
    true_masks: Annotated[
        list[Path] | None,
        typer.Option(
            "--true-masks",
            metavar="RUN",
            help="A reported model with --masker given, on the same cells: which part of a loss is the mask's. "
            "One for each model.",
        ),
    ] = None,
    adaptation: Annotated[
        Path | None,
        typer.Option(
            "--adaptation", metavar="DIR", help="Folder of `robench adapt --curve`: draw the runs over its batches."
        ),
    ] = None,
    image_format: Annotated[
        str, typer.Option("--image-format", help="Plots to write: svg, png, pdf, separated by commas.")
    ] = "svg,png,pdf",
    level: _work.LevelOption = 0.95,
    resamples: Annotated[int, typer.Option("--resamples", min=100, help="Bootstrap resamples.")] = 10_000,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the bootstrap.")] = 0,
) -> None:
    """Print how much each corruption costs, and write tables and plots."""
    from rich.console import Console

    from robench.reporting.causes import cause_blocks, cause_notes
    from robench.reporting.report import write_report
    from robench.reporting.tables import print_blocks, print_table

    _work.check_level(level)
    made = write_report(
        runs,
        out,
        _names(format_),
        plots=plots,
        metrics=_names(metrics),
        reference=reference,
        true_masks=true_masks or [],
        adaptation=adaptation,
        image_formats=_names(image_format),
        level=level,
        resamples=resamples,
        seed=seed,
    )
    print_table(made.table, Console())
    if true_masks and len(made.causes):
        print_blocks(cause_blocks(made.causes), cause_notes(made.causes), Console())
    for warning in made.warnings:
        _work.say(f"Note: {warning}", err=True)
    typer.echo(f"Wrote {len(made.files)} files to {made.folder}", err=True)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def register(app: typer.Typer) -> None:
    """Add the verb to the app."""
    app.command()(report)
