"""Tables and rows as files for other programs: JSON Lines of both, CSV of rows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from robench.analysis.loading import tidy
from robench.reporting.tables import defused

ROW_FORMATS = ("rows.csv", "rows.jsonl")
"""Formats of `robench.reporting.report.write_report` that are all rows; the name is the file's."""


def to_jsonl(table: pd.DataFrame) -> str:
    """Return one JSON object a line with the full precision of every number; what is missing is null.

    Lines are ASCII: nothing that somebody named ends one or turns its direction.
    """
    lines = (json.dumps(record, allow_nan=False, separators=(",", ":")) for record in plain_records(table))
    return "".join(f"{line}\n" for line in lines)


def plain_records(table: pd.DataFrame) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table as JSON can hold them: plain values by column, None for what is missing."""
    columns = {str(name): _plain(table[name]) for name in table.columns}
    return (dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True))


def _plain(column: pd.Series[Any]) -> list[Any]:
    """Return a column as JSON can hold it."""
    return [_value(value) for value in column.astype(object)]


def _value(value: Any) -> Any:
    if value is None or value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value


def rows_text(rows: pd.DataFrame, name: str) -> str:
    """Return all rows as one of `ROW_FORMATS`, columns as docs/rows.md has them.

    Args:
        rows: As `robench.analysis.read_rows` gives them.
        name: ``rows.csv``, in which a text that a spreadsheet would run as a formula stands behind an apostrophe, or
            ``rows.jsonl``, in which texts are as they are.
    """
    table = tidy(rows)
    if name == "rows.jsonl":
        return to_jsonl(table)
    safe = {str(defused(str(name))): _defused(table[name]) for name in table.columns}
    return str(pd.DataFrame(safe).to_csv(index=False, lineterminator="\n"))


def _defused(column: pd.Series[Any]) -> pd.Series[Any]:
    # Names repeat: looking at each once makes a million rows a matter of seconds.
    if pd.api.types.is_numeric_dtype(column):
        return column
    return column.map({value: defused(value) for value in column.dropna().unique()})
