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

from robench.errors import Mismatch, NotComparable, UsageError

KEY = ("run_id", "sample_id", "subject_id", "view_id", "corruption", "severity", "masker", "metric")
_NEEDED = (*KEY, "value", "unit", "direction", "status", "failure_value")
_FLOATS = ("value", "failure_value", "n_points", "metric_seed", "time_s", "gpu_mem_mb")
_TEXTS = (
    "run_id",
    "sample_id",
    "subject_id",
    "view_id",
    "corruption",
    "masker",
    "metric",
    "unit",
    "direction",
    "status",
)

CLEAN = "clean"

_SAME_EVERYWHERE = ("schema_version", "dataset", "dataset_revision", "split_sha256", "cset_id")
_SAME_PER_METRIC = ("unit", "direction", "metric_version", "n_points", "metric_seed", "alignment", "frame")
_SAME_PER_CORRUPTION = ("corruption_version",)
_SAME_PER_RUN = ("model", "checkpoint_sha256", "adapter_version", "mask_source", "prior_source", "track")


def read_rows(run: Path) -> pd.DataFrame:
    """Read every finished row of a run.

    Finished shards are ``rows/*.parquet``, shards in work ``rows/*.wip.jsonl`` (a JSON row, or a list of rows, a line).
    A last line that a crash cut short is left out; where a key occurs twice, the last one counts.

    Args:
        run: Run folder.

    Returns:
        Rows in a stable order, typed as in the row schema.

    Raises:
        UsageError: If the folder is no run or has no row yet.
        Mismatch: If a file of rows is damaged.
    """
    folder = Path(run) / "rows"
    if not folder.is_dir():
        got = "no such folder" if not Path(run).is_dir() else "no folder 'rows' in it"
        raise UsageError(f"'{run}' is not a run", got=got, hint="robench evaluate, which prints the run's folder")
    parts = [_read_parquet(path) for path in sorted(folder.glob("*.parquet"))]
    parts += [pd.DataFrame(list(_read_lines(path))) for path in sorted(folder.glob("*.wip.jsonl"))]
    parts = [part for part in parts if len(part)]
    if not parts:
        raise UsageError(f"The run '{run}' has no finished rows yet", hint="the robench evaluate command that began it")
    rows = pd.concat([part.astype(object) for part in parts], ignore_index=True)
    missing = [name for name in _NEEDED if name not in rows]
    if missing:
        raise Mismatch(f"The rows of '{run}' are damaged", got=f"no column {', '.join(missing)}")
    try:
        rows = _typed(rows)
    except (ValueError, TypeError, OverflowError) as error:
        raise Mismatch(f"The rows of '{run}' are damaged", got=str(error)[:200]) from error
    return rows.drop_duplicates(list(KEY), keep="last").reset_index(drop=True)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pyarrow as pa

    try:
        # A file, not a path: of a folder of that name all files would be read. Arrow's own file: its threads may still
        # hold one of Python's at the end, and abort the process.
        with pa.OSFile(str(path)) as file:
            return pd.read_parquet(file)
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        raise Mismatch(f"The file of rows '{path}' is damaged", got=str(error)[:200]) from error


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    lines = path.read_bytes().split(b"\n")
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


def _typed(rows: pd.DataFrame) -> pd.DataFrame:
    rows = rows.copy()
    for name in _FLOATS:
        if name in rows:
            rows[name] = pd.to_numeric(rows[name]).astype("float64")
    for name in _TEXTS:
        rows[name] = rows[name].astype(str)
    rows["severity"] = rows["severity"].astype(int)
    return rows


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
