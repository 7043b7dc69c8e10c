"""Rows: one per sample x corruption x severity x metric. Reading them, and what may stand in one table.

A failed reconstruction is a row with a null value, a status and a declared penalty (`failure_value`); it is scored with
that penalty, never dropped and never scored 0.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype

from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.files import is_special
from robench.io.row_files import MOST_TEXT, read_about, read_table
from robench.schema import (
    DIRECTIONS,
    KEY_OF_VERSION,
    MOST_SEVERITY,
    SCHEMA,
    SCHEMA_VERSION,
    STATUSES,
    of_group,
    upgraded,
)

ROWS, PUBLISHED = "rows", "rows.parquet"
_PART = " part"  # a column of ours alone while rows are read: no writer of rows would name one so
_NUMBERS = frozenset({"floating", "integer", "mixed-integer-float", "empty"})

KEY = of_group("Key")
_NEEDED = (*KEY, "value", "unit", "direction", "status", "failure_value")
_FLOATS = ("value", "failure_value", "n_points", "metric_seed", "time_s", "gpu_mem_mb")
_NAMES = (*(name for name in KEY if name != "severity"), "unit", "direction", "status")
_LENGTHS = ("mm", "cm", "m")
_NO_ROWS = "the robench evaluate command that began it"

CLEAN = "clean"

_SAME_EVERYWHERE = ("schema_version", "dataset", "dataset_revision", "split_sha256", "cset_id")
_SAME_PER_METRIC = ("unit", "direction", "metric_version", "n_points", "metric_seed", "alignment", "frame")
_SAME_PER_CORRUPTION = ("corruption_version",)
_SAME_PER_RUN = ("model", "checkpoint_sha256", "adapter_version", "mask_source", "prior_source", "track")


def read_rows(run: Path) -> pd.DataFrame:
    """Read every finished row of a run, or of a published one.

    Finished shards are ``rows/*.parquet``, shards in work ``rows/*.wip.jsonl`` (a JSON row, or a list of rows, a line).
    A last line that a crash cut short is left out; where a key occurs twice, the last one counts. A published run is a
    folder with ``rows.parquet``, or that file.

    Args:
        run: Run folder, folder of a published run, or a Parquet file of rows.

    Returns:
        Rows in a stable order, typed as in the row schema (`robench.schema`), whichever version they were written in.

    Raises:
        UsageError: If there is no run or it has no row yet.
        Mismatch: If a file of rows is damaged, or says what no row can say.
        NotComparable: If the rows are of a schema version that is not known.
    """
    run = Path(run)
    about = read_about(run)
    stated = about.get(KEY_OF_VERSION)
    parts = [read_table(path, stated=stated).to_pandas().assign(**{_PART: path.name}) for path in _tables(run)]
    version = SCHEMA_VERSION if stated is None else int(stated)
    for path in sorted((run / ROWS).glob("*.wip.jsonl")):
        parts.append(pd.DataFrame([upgraded(row, version) for row in _read_lines(path)]))
    parts = [part for part in parts if len(part)]
    if not parts:
        raise UsageError(f"The run '{run}' has no finished rows yet", hint=_NO_ROWS)
    rows = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise Mismatch(f"The rows of '{run}' are damaged", got=f"no column {', '.join(missing)}")
    try:
        rows = typed(rows)
        _refuse_two_answers(rows)
    except (ValueError, TypeError, OverflowError) as error:
        raise Mismatch(f"The rows of '{run}' are damaged", got=str(error)[:200]) from error
    names = sorted(set(rows["run_id"]))
    if len(names) > 1 and run.is_dir():
        raise Mismatch(f"The rows of '{run}' are of several runs", got=", ".join(names[:4]), expected="one run_id")
    rows = rows.drop(columns=_PART, errors="ignore")
    return rows.drop_duplicates(list(KEY), keep="last").reset_index(drop=True)


def _tables(run: Path) -> list[Path]:
    """Return the Parquet files of a run.

    Raises:
        UsageError: If it is none.
    """
    if run.is_file() and run.suffix == ".parquet":
        return [run]
    if (run / PUBLISHED).is_file():
        return [run / PUBLISHED]
    if not (run / ROWS).is_dir():
        found = "a file" if run.exists() and not run.is_dir() else "no such folder"
        got = f"no folder '{ROWS}' in it" if run.is_dir() else found
        raise UsageError(f"'{run}' is not a run", got=got, hint="robench evaluate, which prints the run's folder")
    return sorted((run / ROWS).glob("*.parquet"))


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n") if not is_special(path) else [b"?", b""]
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            content = json.loads(line)
        except (ValueError, RecursionError) as error:
            if number == len(lines):  # no newline after it: the crash came while it was written
                return
            raise Mismatch(f"The file of rows '{path}' is damaged", got=f"line {number}: {error}") from error
        found = content if isinstance(content, list) else [content]
        if not all(isinstance(row, dict) for row in found):
            raise Mismatch(f"The file of rows '{path}' is damaged", got=f"line {number}: no row")
        yield from found


def typed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with the types that the analysis works with, and check what they say.

    Raises:
        ValueError: If a row says what no row can say; the message names the row.
    """
    rows = rows.copy()
    for name in (*_FLOATS, "severity"):
        if name in rows:
            if infer_dtype(rows[name], skipna=True) not in _NUMBERS:
                raise ValueError(f"'{name}' is not always a number")
            rows[name] = pd.to_numeric(rows[name]).astype("float64")
    for name in _NAMES:
        if infer_dtype(rows[name], skipna=False) != "string":
            raise ValueError(f"'{name}' is not always a text")
        rows[name] = rows[name].astype(str)
        if rows[name].str.len().max() > MOST_TEXT:
            raise ValueError(f"'{name}' is a text of more than {MOST_TEXT} characters")
    value, penalty, severity = rows["value"], rows["failure_value"], rows["severity"]
    is_ok, is_length = rows["status"] == "ok", rows["unit"].isin(_LENGTHS) & (rows["direction"] == "lower")
    for wrong, what in (
        (~rows["status"].isin(STATUSES), "the status '{status}'"),
        (~rows["direction"].isin(DIRECTIONS), "the direction '{direction}'"),
        (~severity.isin(range(MOST_SEVERITY + 1)), "severity {severity:g}"),
        ((severity == 0) != (rows["corruption"] == CLEAN), "severity {severity:g}"),
        (is_ok & ~np.isfinite(value), "'ok' with the value {value:g}"),
        (np.isinf(penalty), "the penalty {failure_value:g}"),
        (is_length & ((is_ok & (value < 0)) | (penalty < 0)), "the length {value:g} {unit}, or a penalty below 0"),
    ):
        if wrong.any():
            row = rows[wrong].iloc[0]
            where = f"{row['sample_id']}, {row['corruption']}, {row['metric']}"
            raise ValueError(f"a row ({where[:100]}) has {what.format(**row)[:80]}")
    rows["severity"] = severity.astype("int64")
    return rows


def _refuse_two_answers(rows: pd.DataFrame) -> None:
    """Refuse a finished part with two rows of one key that differ in more than cost: nothing writes such a part."""
    if _PART not in rows:
        return
    part = rows[rows[_PART].notna() & rows.duplicated([*KEY, _PART], keep=False)]
    content = [name for name in SCHEMA if name in part and name not in of_group("Cost")]
    left = part.drop_duplicates([*content, _PART])
    twice = left[left.duplicated([*KEY, _PART])]
    if len(twice):
        row = twice.iloc[0]
        raise ValueError(
            f"two rows of {row['sample_id']}, {row['corruption']} {row['severity']}, {row['metric']} differ"
        )


def scored(rows: pd.DataFrame) -> pd.DataFrame:
    """Add ``score`` (the value, or the declared penalty of a failure) and ``failed`` to rows.

    Rows of severity 0 are named ``clean``. A failure without a penalty, and an ``ok`` row without a finite value, has
    the score NaN: missing, which makes every number that needs it missing. Rows that were ``skipped`` (a corruption
    whose needs a sample does not meet) and carry no penalty are left out: nothing was tried, so nothing failed.
    """
    rows = rows[~is_skipped(rows)].copy()
    good = rows["status"].eq("ok") & np.isfinite(rows["value"].astype("float64"))
    score = rows["value"].astype("float64").where(good, rows["failure_value"].astype("float64"))
    rows["score"] = score.where(np.isfinite(score))
    rows["failed"] = ~good
    rows["corruption"] = rows["corruption"].where(rows["severity"] != 0, CLEAN)
    return rows


def is_skipped(rows: pd.DataFrame) -> pd.Series[bool]:
    """Return which rows stand for work that was left out by choice."""
    return rows["status"].eq("skipped") & rows["failure_value"].isna()


def check_protocol(rows: pd.DataFrame) -> None:
    """Make sure that rows may stand in one table.

    One data set, split and corruption set; one version, point count, seed and alignment per metric; one version per
    corruption; one checkpoint, mask source, prior and track per run. Several runs may be in one frame.

    Raises:
        NotComparable: If an ingredient differs; the message names it.
    """
    _one(rows, _SAME_EVERYWHERE, ())
    _one(rows, _SAME_PER_METRIC, ("metric",))
    _one(rows, _SAME_PER_CORRUPTION, ("corruption",))
    _one(rows, _SAME_PER_RUN, ("run_id", "masker"))


def check_same_task(rows: pd.DataFrame, reference: pd.DataFrame) -> None:
    """Make sure that a reference did the same task under the same metrics, whatever its model, masks and track.

    Raises:
        NotComparable: If an ingredient differs; the message names it.
    """
    shared = set(rows["metric"]) & set(reference["metric"])
    both = pd.concat([frame[frame["metric"].isin(shared)].astype(object) for frame in (rows, reference)])
    _one(both, _SAME_EVERYWHERE, ())
    _one(both, _SAME_PER_METRIC, ("metric",))
    _one(both, _SAME_PER_CORRUPTION, ("corruption",))


def _one(rows: pd.DataFrame, names: Sequence[str], by: Sequence[str]) -> None:
    """Refuse two known values of a column within a group; an unknown value (null) agrees with any."""
    names = [name for name in names if name in rows]
    groups = rows.groupby(list(by), sort=True) if by else [((), rows)]
    for key, group in groups:
        for name in names:
            found = sorted({str(value) for value in group[name].dropna().unique()})
            if len(found) > 1:
                where = " of " + " ".join(f"{b} '{k}'" for b, k in zip(by, key, strict=True)) if by else ""
                raise NotComparable(
                    f"These rows cannot stand in one table: '{name}'{where} differs",
                    got=" and ".join(found[:4]),
                    expected="one value",
                    hint="report the runs one by one",
                )
