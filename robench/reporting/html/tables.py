"""The tables of a page: titles, and cells with what they are sorted by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import pandas as pd

from robench.analysis.rows import is_skipped
from robench.errors import printable
from robench.reporting.html.names import Series, known
from robench.reporting.labels import (
    MISSING,
    corruption_label,
    failures,
    interval,
    metric_label,
    number,
    unit_label,
)
from robench.reporting.tables import to_csv

MOST_FAILURES, MOST_CELLS = 300, 100
"""Rows of the table of failures, and of the worst cells of each run."""


class Cell(NamedTuple):
    """A printed text, a smaller text under it, and the number that it is sorted by (None: by the text)."""

    text: str
    under: str = ""
    order: float | None = None
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A sortable table.

    Attributes:
        name: Its id in the page and the stem of its CSV file.
        caption: What it shows.
        heads: Titles of the columns.
        rows: Cells.
        csv: The same with full precision.
        note: What is left out, if anything.
    """

    name: str
    caption: str
    heads: list[str]
    rows: list[list[Cell]]
    csv: str
    note: str = ""


def summary_table(headline: pd.DataFrame, names: Mapping[Series, str]) -> Table:
    """Return the headline of each run and metric."""
    heads = [
        "Run",
        "Metric",
        "Clean",
        "Corrupted",
        "Ratio to clean",
        "Worst corruption",
        "Failures",
        "Mask IoU",
        "Subjects",
    ]
    reference = bool(headline["rce"].notna().any())
    if reference:
        heads.insert(5, "vs. reference")
    rows = []
    for _, row in headline.iterrows():
        digits = 2 if unit_label(str(row["unit"])) else 3
        worst = number(row["worst_ratio"], 2)
        cells = [
            Cell(names[_series(row)]),
            Cell(_metric(row)),
            _spread(row, "clean", digits),
            _spread(row, "corrupted", digits),
            _spread(row, "ratio", 2, "×"),
            *([_spread(row, "rce", 2, "×")] if reference else []),
            Cell(
                printable(corruption_label(str(row["worst_corruption"]))) or MISSING,
                f"{worst}×" if worst != MISSING else "",
            ),
            _number(failures(row["failures"], row["n_samples"]), row["failure_rate"]),
            _number(number(row["mask_iou"], 3), row["mask_iou"]),
            _number(str(row["n_subjects"]), row["n_subjects"]),
        ]
        rows.append(cells)
    return Table("summary", "Headline of each run and metric", heads, rows, to_csv(headline))


def conditions_table(fine: pd.DataFrame, names: Mapping[Series, str]) -> Table:
    """Return every condition of every run and metric."""
    heads = ["Run", "Corruption", "Severity", "Metric", "Value", "Δ to clean", "Ratio to clean", "Failures", "Mask IoU"]
    rows = []
    for _, row in fine.iterrows():
        digits = 2 if unit_label(str(row["unit"])) else 3
        rows.append(
            [
                Cell(names[_series(row)]),
                Cell(printable(corruption_label(str(row["corruption"])))),
                _number(str(row["severity"]), row["severity"]),
                Cell(_metric(row)),
                _spread(row, "value", digits),
                _spread(row, "delta", digits, sign=True),
                _spread(row, "ratio", 2, "×"),
                _number(failures(row["failures"], row["n_samples"]), row["failure_rate"]),
                _number(number(row["mask_iou"], 3), row["mask_iou"]),
            ]
        )
    return Table("degradation_by_severity", "Every corruption and severity", heads, rows, to_csv(fine))


def worst_table(rows: pd.DataFrame, names: Mapping[Series, str], metric: str, most: int = MOST_CELLS) -> Table:
    """Return the worst cells of each run under one metric, kept or not.

    Args:
        rows: What `robench.analysis.scored` returns.
        names: Names of the series.
        metric: A metric of the rows.
        most: Cells of each series.
    """
    own = rows[rows["metric"] == metric]
    lower = str(own["direction"].iloc[0]) == "lower"
    clean = own[own["corruption"] == "clean"].rename(columns={"score": "clean"})
    on = ["run_id", "masker", "sample_id"]
    table = own.merge(clean[[*on, "clean"]].drop_duplicates(on), on=on, how="left")
    table["ratio"] = table["score"] / table["clean"].where(table["clean"] != 0)
    table = table.sort_values("score", ascending=not lower, na_position="first", kind="stable")
    part = table.groupby(["model", "run_id", "masker"], sort=False).head(most)
    columns = [
        *on[:2],
        "sample_id",
        "subject_id",
        "corruption",
        "severity",
        "metric",
        "unit",
        "score",
        "clean",
        "ratio",
        "status",
    ]
    unit = unit_label(str(own["unit"].iloc[0]))
    digits = 2 if unit else 3
    found = [
        [
            Cell(names[_series(row)]),
            Cell(printable(str(row["sample_id"]))),
            Cell(printable(corruption_label(str(row["corruption"])))),
            _number(str(row["severity"]), row["severity"]),
            _number(number(row["score"], digits), row["score"]),
            _number(number(row["clean"], digits), row["clean"]),
            _number(number(row["ratio"], 2) + ("×" if known(row["ratio"]) is not None else ""), row["ratio"]),
            Cell(printable(str(row["status"]).replace("_", " "))),
        ]
        for _, row in part.iterrows()
    ]
    label = f"{metric_label(metric)}{f' ({unit})' if unit else ''}"
    heads = ["Run", "Sample", "Corruption", "Severity", label, "Clean", "Ratio", "Status"]
    note = f"The {most} worst cells of each run are listed." if len(part) < len(table) else ""
    caption = "Worst cells of the whole run; a failure stands with its penalty"
    return Table("worst_cells", caption, heads, found, to_csv(part[columns].reset_index(drop=True)), note)


def failures_table(rows: pd.DataFrame, names: Mapping[Series, str], most: int = MOST_FAILURES) -> Table:
    """Return what failed, with its message: a row a run, sample, corruption and severity."""
    failed = rows[(rows["status"] != "ok") & ~is_skipped(rows)].copy()
    if "message" not in failed:
        failed["message"] = ""
    failed["message"] = failed["message"].fillna("").astype(str)
    failed["model"] = failed["model"].fillna("") if "model" in failed else failed["run_id"]
    cell = ["model", "run_id", "masker", "sample_id", "corruption", "severity"]
    # A metric that is degenerate beside sound ones is a failure of its own.
    grouped = failed.groupby([*cell, "status", "message"], sort=False, dropna=False)["metric"].agg(list).reset_index()
    grouped["metrics"] = grouped.pop("metric").map(lambda found: ", ".join(sorted(set(found))))
    shown = grouped.head(most)
    found = [
        [
            Cell(names[_series(row)]),
            Cell(printable(str(row["sample_id"]))),
            Cell(printable(corruption_label(str(row["corruption"])))),
            _number(str(row["severity"]), row["severity"]),
            Cell(printable(str(row["status"]).replace("_", " "))),
            Cell(printable(str(row["message"]))),
        ]
        for _, row in shown.iterrows()
    ]
    heads = ["Run", "Sample", "Corruption", "Severity", "Status", "Message"]
    note = f"The first {most} of {len(grouped)} are listed; the CSV has all." if len(shown) < len(grouped) else ""
    return Table("failures", "What failed, and why", heads, found, to_csv(grouped), note)


def failure_counts(table: Table) -> list[tuple[str, str, int]]:
    """Return ``(status, message, count)`` of the listed failures, most frequent first."""
    counts: dict[tuple[str, str], int] = {}
    for row in table.rows:
        pair = row[-2].text, row[-1].text
        counts[pair] = counts.get(pair, 0) + 1
    return [(*pair, count) for pair, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))]


def headlines(headline: pd.DataFrame, names: Mapping[Series, str], metric: str) -> list[dict[str, Any]]:
    """Return a few words and numbers on each run under one metric."""
    found = []
    for _, row in headline[headline["metric"] == metric].iterrows():
        digits = 2 if unit_label(str(row["unit"])) else 3
        found.append(
            {
                "name": names[_series(row)],
                "metric": metric_label(metric, long=True),
                "unit": unit_label(str(row["unit"])),
                "ratio": number(row["ratio"], 2),
                "spread": interval(row["ratio_lo"], row["ratio_hi"], 2),
                "clean": number(row["clean"], digits),
                "corrupted": number(row["corrupted"], digits),
                "worst": printable(corruption_label(str(row["worst_corruption"]))),
                "worst_ratio": number(row["worst_ratio"], 2),
                "failures": failures(row["failures"], row["n_samples"]),
                "subjects": int(row["n_subjects"]),
                "corruptions": int(row["n_corruptions"]),
            }
        )
    return found


def _series(row: Any) -> Series:
    return Series(str(row["model"]), str(row["run_id"]), str(row["masker"]))


def _metric(row: Any) -> str:
    unit = unit_label(str(row["unit"]))
    arrow = "↓" if row["direction"] == "lower" else "↑"
    return printable(f"{metric_label(str(row['metric']))}{f' ({unit})' if unit else ''} {arrow}")


def _number(text: str, order: Any) -> Cell:
    found = pd.to_numeric(pd.Series([order]), errors="coerce").iloc[0]
    return Cell(text, "", known(float(found)), True)


def _spread(row: Any, name: str, digits: int, suffix: str = "", *, sign: bool = False) -> Cell:
    lo, hi = ("lo", "hi") if name == "value" else (f"{name}_lo", f"{name}_hi")
    text = number(row[name], digits, sign=sign)
    return Cell(
        text + (suffix if text != MISSING else ""), interval(row[lo], row[hi], digits), known(float(row[name])), True
    )
