"""The page: template, style, script, plotting library and data in one file that asks nothing of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis import read_rows, scored
from robench.errors import printable
from robench.reporting.causes import cause_notes
from robench.reporting.html.causes import cause_data, causes_sheet
from robench.reporting.html.facts import facts_of
from robench.reporting.html.names import Series, known, script_json, series_names, series_of
from robench.reporting.html.samples import gather, scores_of
from robench.reporting.html.shell import plotly, rendered, scripts
from robench.reporting.html.tables import (
    conditions_table,
    failure_counts,
    failures_table,
    headlines,
    summary_table,
    worst_table,
)
from robench.reporting.labels import corruption_label, metric_label, unit_label
from robench.reporting.tables import notes, to_csv

LIMIT = 15_000_000
"""Bytes that a page may have."""
SCRIPTS = ("core.js", "tables.js", "heat.js", "curves.js", "causes.js", "view3d.js", "samples.js", "main.js")
"""In the order in which they run."""
_NUMBERS = (
    "value",
    "lo",
    "hi",
    "delta",
    "delta_lo",
    "delta_hi",
    "ratio",
    "ratio_lo",
    "ratio_hi",
    "failures",
    "n_samples",
)


@dataclass
class Page:
    """What was made.

    Attributes:
        text: The file.
        warnings: What could not be shown, and why.
    """

    text: str
    warnings: list[str] = field(default_factory=list)


def html_page(
    runs: Sequence[Path],
    rows: pd.DataFrame,
    table: pd.DataFrame,
    fine: pd.DataFrame,
    headline: pd.DataFrame,
    causes: pd.DataFrame,
    warnings: Sequence[str] = (),
) -> Page:
    """Return the report of runs as one HTML file.

    Args:
        runs: Run folders, for what they kept and how they were made.
        rows: Their rows, as `robench.analysis.read_rows` gives them.
        table: ``degradation_table(rows, by="corruption")``.
        fine: ``degradation_table(rows, by="severity")``.
        headline: ``summary(rows)``.
        causes: ``cause_table`` of the runs; empty where nothing tells where a loss comes from.
        warnings: What a reader of the numbers should know.

    Returns:
        At most `LIMIT` bytes of text, as long as the tables themselves leave room; pictures and meshes fill what is
        left, worst samples first. The text depends on its arguments and the runs' files alone.
    """
    series = series_of(table)
    names = dict(zip(series, series_names(series), strict=True))
    metrics = list(dict.fromkeys(map(str, table["metric"])))
    rows = scored(rows)
    rows["model"] = rows["model"].fillna("").astype(str) if "model" in rows else rows["run_id"]
    direction = str(table.loc[table["metric"] == metrics[0], "direction"].iloc[0])
    tables = {
        found.name: found
        for found in (
            summary_table(headline, names),
            conditions_table(fine, names),
            worst_table(rows, names, metrics[0]),
            failures_table(rows, names),
            *([causes_sheet(causes, names)] if len(causes) else []),
        )
    }
    data: dict[str, Any] = {
        "series": [names[one] for one in series],
        "metrics": [_metric(table, name) for name in metrics],
        "overview": _conditions(table, series),
        "conditions": _conditions(fine, series),
        "causes": cause_data(causes, series),
        "csv": {**{found.name: found.csv for found in tables.values()}, "degradation": to_csv(table)},
        "samples": {},
    }
    texts = [plotly(), scripts(SCRIPTS)]
    context: dict[str, Any] = {
        "title": _title(series),
        "tables": tables,
        "series": data["series"],
        "metrics": data["metrics"],
        "headlines": headlines(headline, names, metrics[0]),
        "notes": notes(table),
        "facts": [facts_of(run) for run in runs],
        "failure_counts": failure_counts(tables["failures"]),
        "warnings": [_without_paths(text, runs) for text in warnings],
        "curves": _has_curves(fine),
        "causes": data["causes"],
        "cause_notes": cause_notes(causes) if len(causes) else [],
    }
    bare = rendered("page.html.j2", context | {"data": script_json(data)}, texts)
    scores = scores_of(rows, series, metrics)
    found = gather(_numbered(runs, series), scores, metrics[0], direction, LIMIT - len(bare.encode()) - 50_000)
    data["samples"] = {
        "entries": found.entries,
        "pictures": found.pictures,
        "truths": found.truths,
        "top": found.top,
        "leftOut": found.left_out,
    }
    for entry in found.entries:
        entry["label"] = printable(corruption_label(entry["corruption"]))
    context["warnings"] = [_without_paths(text, runs) for text in (*warnings, *found.warnings)]
    return Page(rendered("page.html.j2", context | {"data": script_json(data)}, texts), found.warnings)


def _numbered(runs: Sequence[Path], series: Sequence[Series]) -> list[tuple[Path, int]]:
    """Return each run with the number of its first series: what a run kept does not say under which masker."""
    first = {one.run_id: number for number, one in reversed(list(enumerate(series)))}
    found = []
    for run in runs:
        # A folder that was renamed still says in its rows who it is.
        run_id = run.name if run.name in first else str(read_rows(run)["run_id"].iloc[0])
        if run_id in first:
            found.append((run, first[run_id]))
    return found


def _without_paths(text: str, runs: Sequence[Path]) -> str:
    """Return a warning that names runs, not where they lie on a machine: a report may be published."""
    for run in runs:
        text = text.replace(str(run), run.name or str(run))
    return printable(text)


def _title(series: Sequence[Series]) -> str:
    return printable(", ".join(dict.fromkeys(one.model for one in series)))


def _metric(table: pd.DataFrame, name: str) -> dict[str, Any]:
    first = table[table["metric"] == name].iloc[0]
    unit = unit_label(str(first["unit"]))
    return {
        "name": printable(name),
        "label": printable(metric_label(name, long=True)),
        "short": printable(metric_label(name)),
        "unit": printable(unit),
        "lower": str(first["direction"]) == "lower",
        "digits": 2 if unit else 3,
    }


def _conditions(table: pd.DataFrame, series: Sequence[Series]) -> list[dict[str, Any]]:
    number = {one: index for index, one in enumerate(series)}
    found = []
    for row in table.to_dict("records"):
        one = Series(str(row["model"]), str(row["run_id"]), str(row["masker"]))
        record = {name: known(row[name]) for name in _NUMBERS}
        record |= {
            "series": number[one],
            "corruption": printable(str(row["corruption"])),
            "label": printable(corruption_label(str(row["corruption"]))),
            "severity": str(row["severity"]),
            "metric": printable(str(row["metric"])),
        }
        found.append(record)
    return found


def _has_curves(fine: pd.DataFrame) -> bool:
    """True if a corruption has more than one severity: a line from clean to one level is no curve."""
    corrupted = fine[fine["corruption"] != "clean"]
    return bool(len(corrupted)) and bool((corrupted.groupby("corruption")["severity"].nunique() > 1).any())
