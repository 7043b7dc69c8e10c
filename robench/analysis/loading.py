"""Rows of any number of runs as one tidy table, for analyses that robench does not have."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.rows import read_rows
from robench.errors import Mismatch, UsageError
from robench.io.row_files import read_about
from robench.schema import SCHEMA, SCHEMA_VERSION

PathLike = str | os.PathLike[str]
_DTYPES: dict[str, Any] = {"string": "str", "int64": "Int64", "float64": "float64"}


def load(runs: PathLike | Iterable[PathLike]) -> pd.DataFrame:
    """Return the rows of runs: one row per sample, corruption, severity and metric.

    A run is a folder that ``robench evaluate`` made, a folder of a published run (with ``rows.parquet``), or a Parquet
    file of rows. Runs of different protocols may be loaded together: nothing is computed here. docs/rows.md says what
    each column holds.

    Args:
        runs: One run, or several.

    Returns:
        Every column of `robench.schema.SCHEMA` in its order, then those that somebody added. Texts are ``str``, numbers
        ``float64``; integers are ``Int64``, whose gaps are ``<NA>``, but for ``severity``, which has none: ``int64``.
        A failure has ``value`` NaN, its ``status`` and, where there is one, the penalty ``failure_value``.
        ``attrs["schema_version"]`` is the version of the columns, ``attrs["runs"]`` says for each run ``path, run_id,
        rows, state, partial`` (the last two None where nothing says so).

    Raises:
        UsageError: If there is no such run, or it has no row yet.
        Mismatch: If its files are damaged.
        NotComparable: If its rows are of a schema version that this robench does not know.
    """
    paths = [Path(runs)] if isinstance(runs, str | os.PathLike) else [Path(run) for run in runs]
    if not paths:
        raise UsageError("There is no run to load", expected="the folder of a run, or several")
    frames, sources = [], []
    for path in paths:
        rows, about = read_rows(path), read_about(path)
        data = about.get("dataset")
        sources.append(
            {
                "path": str(path),
                "run_id": ", ".join(sorted(set(rows["run_id"]))),
                "rows": len(rows),
                "state": about.get("state"),
                "partial": bool(data["partial"]) if isinstance(data, dict) and "partial" in data else None,
            }
        )
        frames.append(tidy(rows))
    table = pd.concat(frames, ignore_index=True)
    table.attrs = {"schema_version": SCHEMA_VERSION, "runs": sources}
    return table


def tidy(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with every column of the schema, in its order and with its type; others follow as they are.

    Raises:
        Mismatch: If a column holds something else.
    """
    columns = {}
    for name, column in SCHEMA.items():
        found = rows[name] if name in rows else pd.Series([None] * len(rows), index=rows.index, dtype=object)
        try:
            columns[name] = found.astype("int64" if name == "severity" else _DTYPES[column.kind])
        except (TypeError, ValueError) as error:
            raise Mismatch(f"The column '{name}' of the rows is damaged", got=str(error)[:200]) from error
    added = {str(name): rows[name].infer_objects() for name in rows.columns if name not in SCHEMA}
    return pd.DataFrame({**columns, **added})
