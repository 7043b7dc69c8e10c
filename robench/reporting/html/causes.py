"""Where losses come from, for the page: what its bars are drawn from, and the table beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robench.analysis.causes import READS_NONE, TRUE_MASKS, UNTOLD
from robench.analysis.decomposition import ALL, PARTS
from robench.errors import printable
from robench.reporting.cause_bars import COLOURS
from robench.reporting.causes import INSIDE, LABELS, LONG, loss_label, stacked, where, whole
from robench.reporting.html.names import Series, known
from robench.reporting.html.tables import Cell, Table
from robench.reporting.labels import interval, number, unit_label
from robench.reporting.tables import to_csv

PATTERNS = {"mask": "/", "alignment": ".", "shape": "", "rest": "x"}
"""How Plotly calls the hatches of `robench.reporting.cause_bars`."""
_SAID = {
    UNTOLD: INSIDE,
    TRUE_MASKS: "it got the true masks, so no part is the masks'",
    READS_NONE: "the model reads no mask, so no part is the masks'",
}


def cause_data(causes: pd.DataFrame, series: Sequence[Series]) -> dict[str, Any]:
    """Return what the bars are drawn from, as JSON can hold it.

    Args:
        causes: What `robench.analysis.causes.cause_table` returns.
        series: Runs and maskers of the page.

    Returns:
        ``parts`` (name, label, colour and pattern of those that occur) and ``groups``: one a run and metric, with its
        series' number, what to say of its masks, the names of its parts and its rows. A row has ``null`` for the
        parts' values where one of them is missing: what is left would not end at the loss.
    """
    number_of = {(one.run_id, one.masker): index for index, one in enumerate(series)}
    groups: list[dict[str, Any]] = []
    used: set[str] = set()
    for (run, masker, metric), part in causes.groupby(["run_id", "masker", "metric"], sort=False):
        names = stacked(part)
        used |= set(names)
        rows = []
        for complete, row in zip(whole(part, names), part.to_dict("records"), strict=True):
            record: dict[str, Any] = {
                "corruption": printable(str(row["corruption"])),
                "label": printable(where(str(row["corruption"]))),
                "all": row["corruption"] == ALL,
                "subjects": int(row["n_subjects"]),
                "complete": bool(complete),
            }
            for name in ("loss", *names, "camera"):
                record[name] = [known(row[f"{name}{end}"]) for end in ("", "_lo", "_hi")]
            rows.append(record)
        group: dict[str, Any] = {
            "series": number_of[str(run), str(masker)],
            "metric": printable(str(metric)),
            "title": printable(loss_label(str(metric), str(part["unit"].iloc[0]), long=True)),
            "said": _SAID.get(str(part["mask_told"].iloc[0]), ""),
            "parts": list(names),
            "rows": rows,
        }
        groups.append(group)
    groups.sort(key=lambda group: group["series"])
    parts = [
        {"name": name, "label": LONG[name], "short": LABELS[name], "colour": COLOURS[name], "pattern": PATTERNS[name]}
        for name in COLOURS
        if name in used
    ]
    return {"parts": parts, "groups": groups}


def causes_sheet(causes: pd.DataFrame, names: Mapping[Series, str]) -> Table:
    """Return every part of every loss with its interval.

    Args:
        causes: What `robench.analysis.causes.cause_table` returns, not empty.
        names: Names of the series.
    """
    titles = {(one.run_id, one.masker): name for one, name in names.items()}
    stacks = {name for _, part in causes.groupby(["run_id", "masker", "metric"]) for name in stacked(part)}
    shown = [name for name in PARTS if name in stacks | {"loss"} or (name == "camera" and causes[name].notna().any())]
    heads = ["Run", "Corruption", "Loss in", *(LABELS[name] for name in shown), "Subjects"]
    rows = []
    for _, part in causes.groupby(["run_id", "masker", "metric"], sort=False):
        told = {"loss", "camera", *stacked(part)}
        for row in part.to_dict("records"):
            unit = unit_label(str(row["unit"]))
            cells = [
                Cell(titles[str(row["run_id"]), str(row["masker"])]),
                Cell(printable(where(str(row["corruption"])))),
                Cell(printable(loss_label(str(row["metric"]), str(row["unit"])).removeprefix("Loss in "))),
            ]
            for name in shown:
                value, lo, hi = (
                    float(row[f"{name}{end}"]) if name in told else float("nan") for end in ("", "_lo", "_hi")
                )
                digits = 2 if unit else 3
                cells.append(Cell(number(value, digits, sign=True), interval(lo, hi, digits), known(value), True))
            rows.append([*cells, Cell(str(row["n_subjects"]), "", float(row["n_subjects"]), True)])
    return Table("decomposition", "Every part of every loss", heads, rows, to_csv(causes))
