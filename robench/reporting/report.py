"""The report of a run: tables, plots and grid, written beside the rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis import degradation_table, read_rows, summary
from robench.analysis.adaptation import adaptation_table, ordered_runs
from robench.analysis.causes import cause_table
from robench.analysis.degradation import METRICS
from robench.analysis.provenance import Run, open_run
from robench.analysis.rows import ROWS
from robench.data.ids import safe_id
from robench.errors import RobenchError, UsageError
from robench.io.adaptation_files import read_curve
from robench.io.files import write_text_atomic
from robench.io.row_files import read_about
from robench.reporting import plots as plotting
from robench.reporting.adaptation import adaptation_markdown, adaptation_plot
from robench.reporting.cause_bars import cause_bars
from robench.reporting.causes import cause_blocks, cause_notes
from robench.reporting.exports import ROW_FORMATS, rows_text, to_jsonl
from robench.reporting.html.page import html_page
from robench.reporting.labels import metric_label, number, unit_label
from robench.reporting.paper import to_paper_latex
from robench.reporting.tables import latex_of, markdown_of, to_csv, to_latex, to_markdown

FORMATS = ("md", "csv", "jsonl", "latex", "html", *ROW_FORMATS)
_WITHOUT_PLOTS = {"html", "jsonl", *ROW_FORMATS}
HTML = "report.html"


@dataclass
class Report:
    """What was made.

    Attributes:
        table: One row a corruption and metric.
        causes: Where the losses come from; empty where nothing tells (`robench.analysis.causes.cause_table`).
        folder: Where the files are.
        files: Files written.
        warnings: What a reader of the numbers should know.
    """

    table: pd.DataFrame
    causes: pd.DataFrame
    folder: Path
    files: list[Path] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def write_report(
    runs: Sequence[Path],
    out: Path | None = None,
    formats: Sequence[str] = ("md", "csv"),
    *,
    plots: bool | None = None,
    metrics: Sequence[str] = METRICS,
    reference: Path | None = None,
    true_masks: Sequence[Path] = (),
    adaptation: Path | None = None,
    image_formats: Sequence[str] = plotting.FORMATS,
    **settings: Any,
) -> Report:
    """Analyse runs and write the report.

    Args:
        runs: Run folders, comparable with each other.
        out: Folder to write to; None for ``RUN/report`` of the only run.
        formats: Of `FORMATS`; also ``svg``, ``png``, ``pdf``, which then are the pictures'.
        plots: Also draw bars, curves, and the grid of each run that kept examples; None for unless only ``html``, whose
            page has plots of its own, or formats for programs are asked.
        metrics: Metrics to tabulate.
        reference: Run folder of the named reference (mean-body), for `rce`.
        true_masks: Run folders of the same models with the true masks, which tell what a loss is the masks' part of.
        adaptation: Folder of the adaptation that the runs are of, to draw what it did (`_curve`).
        image_formats: Of ``svg``, ``png``, ``pdf``, where `formats` has none of them.
        **settings: ``level``, ``resamples``, ``seed`` of `robench.analysis.degradation_table`.

    Returns:
        The table and what was written.

    Raises:
        UsageError: If a run, format or metric is not there.
        NotComparable: If the runs do not belong in one table.
    """
    drawn = [name for name in formats if name in plotting.FORMATS]
    formats = [name for name in formats if name not in plotting.FORMATS]
    image_formats = drawn or image_formats
    if plots is None:
        plots = bool(drawn) or not set(formats) <= _WITHOUT_PLOTS
    unknown = [name for name in formats if name not in FORMATS]
    unknown += [name for name in image_formats if name not in plotting.FORMATS]
    if unknown:
        expected = f"tables of {', '.join(FORMATS)}, pictures of {', '.join(plotting.FORMATS)}"
        raise UsageError("There is no such format", got=", ".join(unknown), expected=expected)
    if out is None and len(runs) != 1:
        raise UsageError("A report of several runs needs a folder of its own", hint="--out FOLDER")
    opened = [_opened(Path(run)) for run in runs]
    if out is None and not (Path(runs[0]) / ROWS).is_dir():
        raise UsageError(f"'{runs[0]}' is a published run, whose report needs a folder of its own", hint="--out FOLDER")
    rows = pd.concat([run.rows for run in opened], ignore_index=True)
    other = None if reference is None else read_rows(reference)
    table = degradation_table(rows, metrics, reference=other, **settings)
    causes = cause_table(opened, [open_run(run) for run in true_masks], metrics, **settings)
    folder = out if out is not None else Path(runs[0]) / "report"
    report = Report(table, causes, folder, warnings=[text for run in opened for text in _warnings(run)])
    if true_masks and not len(causes):
        report.warnings.append("No loss can be told apart: there is no corrupted sample with a clean one beside it.")
    _curve(report, opened, adaptation, metrics, formats, image_formats if plots else (), settings)

    fine = degradation_table(rows, metrics, by="severity", reference=other, **settings)
    headline = summary(rows, metrics, reference=other, **settings)
    texts = {
        "md": {"degradation.md": to_markdown(table)},
        "latex": {"degradation.tex": to_latex(table), "paper.tex": to_paper_latex(table)},
        **{name: {name: rows_text(rows, name)} for name in formats if name in ROW_FORMATS},
    }
    tidy = {"degradation": table, "degradation_by_severity": fine, "summary": headline}
    if len(causes):
        under = cause_notes(causes)
        texts["md"]["decomposition.md"] = markdown_of(cause_blocks(causes), under)
        texts["latex"]["decomposition.tex"] = latex_of(cause_blocks(causes), under)
        tidy["decomposition"] = causes
    texts["csv"] = {f"{name}.csv": to_csv(one) for name, one in tidy.items()}
    texts["jsonl"] = {f"{name}.jsonl": to_jsonl(one) for name, one in tidy.items()}
    if "html" in formats:
        page = html_page([Path(run) for run in runs], rows, table, fine, headline, causes, report.warnings)
        texts["html"] = {HTML: page.text}
        report.warnings += page.warnings
    for name in formats:
        for file, text in texts[name].items():
            write_text_atomic(folder / file, text)
            report.files.append(folder / file)
    if plots:
        _draw(report, fine, folder / "plots", image_formats)
        for run in runs:
            _grids(report, Path(run), folder / "plots", image_formats, several=len(runs) > 1)
    return report


def _curve(
    report: Report,
    runs: Sequence[Run],
    folder: Path | None,
    metrics: Sequence[str],
    formats: Sequence[str],
    image_formats: Sequence[str],
    settings: dict[str, Any],
) -> None:
    """Write and draw what an adaptation did, where there is one; see `robench.analysis.adaptation`."""
    if folder is None:
        return
    table = adaptation_table(ordered_runs(runs, read_curve(folder)), metrics, **settings)
    makers = {"md": adaptation_markdown, "csv": to_csv, "jsonl": to_jsonl}
    for name in formats:
        if name in makers:
            path = report.folder / f"adaptation.{name}"
            write_text_atomic(path, makers[name](table))
            report.files.append(path)
    for metric in dict.fromkeys(table["metric"]):
        stem = report.folder / "plots" / f"adaptation_{safe_id(metric)}"
        report.files += plotting.save(adaptation_plot(table, metric), stem, image_formats)


def _draw(report: Report, fine: pd.DataFrame, folder: Path, image_formats: Sequence[str]) -> None:
    for metric in dict.fromkeys(report.table["metric"]):
        if (report.table.loc[report.table["metric"] == metric, "corruption"] != "clean").any():
            bars, curves = plotting.bar_plot(report.table, metric), plotting.severity_curves(fine, metric)
            report.files += plotting.save(bars, folder / f"bars_{safe_id(metric)}", image_formats)
            report.files += plotting.save(curves, folder / f"severity_{safe_id(metric)}", image_formats)
    for metric in dict.fromkeys(report.causes["metric"]):
        bars = cause_bars(report.causes, metric)
        report.files += plotting.save(bars, folder / f"decomposition_{safe_id(metric)}", image_formats)


def _grids(report: Report, run: Path, folder: Path, image_formats: Sequence[str], *, several: bool) -> None:
    """Draw the grid of a run's examples, some conditions a page; a damaged example costs the grid, not the report."""
    from robench.reporting.examples import choose, find_examples, load_examples
    from robench.reporting.qualitative import qualitative_grids

    try:
        chosen = choose(find_examples(run))
        examples = list(load_examples(run, chosen))
        captions = _captions(read_rows(run), chosen[0]["sample_id"], report.table) if chosen else {}
    except RobenchError as error:
        report.warnings.append(f"No qualitative grid of {run}: {error}")
        return
    if not examples:
        report.warnings.append(f"No qualitative grid of {run}: it kept no examples.")
        return
    figures = qualitative_grids(examples, captions)
    for page, figure in enumerate(figures, start=1):
        name = "qualitative" + (f"_{run.name}" if several else "") + (f"_{page}" if len(figures) > 1 else "")
        report.files += plotting.save(figure, folder / name, image_formats)


def _captions(rows: pd.DataFrame, sample_id: str, table: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Return the sample's own score in the table's first metric, for each condition."""
    metric = str(table["metric"].iloc[0])
    unit = unit_label(str(table["unit"].iloc[0]))
    own = rows[(rows["sample_id"] == sample_id) & (rows["metric"] == metric) & (rows["status"] == "ok")]
    return {
        (str(corruption), int(severity)): f"{metric_label(metric)} {number(float(value))} {unit}".strip()
        for corruption, severity, value in zip(own["corruption"], own["severity"], own["value"], strict=True)
    }


def _opened(path: Path) -> Run:
    """Read a run; its ``run.json`` may be missing, which costs no number and is a warning."""
    return Run(path, read_rows(path), read_about(path))


def _warnings(run: Run) -> list[str]:
    """Return what ``run.json`` says against taking the numbers as final."""
    record = run.path / "run.json"
    if not record.is_file():
        return [f"{run.path} has no run.json: nothing says how it was made."]
    if not run.about or not isinstance(run.about.get("dataset"), dict | None):
        return [f"{record} is damaged: nothing says how the run was made."]
    found = []
    if run.unfinished:
        found.append(f"{run.path} is not finished: these numbers are of the samples done so far.")
    if run.partial:
        found.append(f"{run.path} is partial: it was limited to some of the data set's samples.")
    return found
