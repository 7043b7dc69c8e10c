"""From an entry's rows to its lines of the tables: every number is a function of the rows alone."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from robench.analysis.cells import UNALIGNED
from robench.analysis.degradation import degradation_table
from robench.analysis.headline import measures
from robench.analysis.provenance import Run
from robench.analysis.rows import CLEAN
from robench.errors import Mismatch
from robench.io.files import json_text, sha256_bytes
from robench.leaderboard.columns import (
    MAIN,
    PER_CORRUPTION,
    SCHEMA_VERSION,
    TABLES,
    Column,
)
from robench.leaderboard.record import Record, Reference, protocol_sha
from robench.reporting.tables import defused

METRICS = (
    "chamfer_cm",
    "chamfer_similarity_cm",
    "p2s_pred_to_gt_cm",
    "p2s_gt_to_pred_cm",
    "fscore_1cm",
    "normal_error",
)
"""What is published, of what a run has; the first is required."""
RESAMPLES, SEED, LEVEL = 10_000, 0, 0.95
"""Of the bootstrap behind every interval, the same for everybody."""
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?(e[+-][0-9]+)?")
_CELL = ["sample_id", "corruption", "severity", "masker"]


@dataclass(frozen=True, eq=False)
class Entry:
    """A run on a board.

    Attributes:
        record: Who it is.
        run: Its rows, or None where they lie elsewhere and are not at hand.
    """

    record: Record
    run: Run | None

    @property
    def model(self) -> str:
        """The model's name."""
        return str(self.record.run["model"])

    def as_reference(self) -> Reference:
        """Return what names the entry where another is measured against it."""
        return Reference(self.record.run_id, self.model, self.record.rows.rows_sha256)


Line = dict[str, Any]


def published_metrics(rows: pd.DataFrame) -> list[str]:
    """Return the metrics of a run that are published, in the order of `METRICS`."""
    known = set(rows["metric"])
    return [metric for metric in METRICS if metric in known]


def recipe_identity(rows: pd.DataFrame) -> list[list[Any]]:
    """Return ``[corruption, version, severities]`` a corruption, sorted: `robench.engine.conditions.Recipe.identity`.

    Raises:
        Mismatch: If a corruption states no version, or several.
    """
    found = []
    for name, group in rows[rows["severity"] != 0].groupby("corruption", sort=True):
        versions = sorted(set(group["corruption_version"].dropna().astype(str)))
        if len(versions) != 1:
            got = " and ".join(versions) or "no picture of it"
            raise Mismatch(f"The version of '{name}' is not known", got=got, expected="one")
        found.append([str(name), versions[0], sorted({int(level) for level in group["severity"]})])
    return sorted(found)


def recipe_sha(rows: pd.DataFrame) -> str:
    """Return the hash of `recipe_identity`: `robench.engine.conditions.Recipe.sha256` of the recipe that was run."""
    return sha256_bytes(json_text(recipe_identity(rows)).encode())


def tables(entry: Entry, reference: Entry | None) -> dict[str, list[list[str]]]:
    """Return the lines of an entry by file name, as the texts of their fields.

    Args:
        entry: The rows must be at hand.
        reference: What its errors are divided by, with rows, or None.

    Raises:
        Mismatch, NotComparable: If the rows do not belong together, or the reference did another task.
    """
    assert entry.run is not None
    rows = entry.run.rows
    by_severity = degradation_table(
        rows, published_metrics(rows), by="severity", level=LEVEL, resamples=RESAMPLES, seed=SEED
    )
    shared = _shared(entry, rows)
    made = {
        MAIN: [shared | line for line in _main(entry, entry.run, reference, by_severity)],
        PER_CORRUPTION: [shared | line for line in _per_corruption(entry, entry.run, by_severity)],
    }
    return {name: [fields(line, TABLES[name]) for line in lines] for name, lines in made.items()}


def _said(record: Record) -> Line:
    """Return what an entry's lines say without a look at its rows."""
    run, said = record.run, record.submission
    options = run["protocol"].get("model_options") or {}
    parameters = run["parameters"]
    return {
        "schema_version": SCHEMA_VERSION,
        "track": run["track"],
        "dataset": run["dataset"]["name"],
        "dataset_revision": run["dataset"]["revision"],
        "split_sha256": run["dataset"]["split_sha256"],
        "recipe": run["recipe"]["name"],
        "cset_id": run["cset_id"],
        "masker": run["protocol"]["masker"]["name"],
        "model": run["model"],
        "variant": said.variant,
        "model_options": ";".join(f"{name}={options[name]}" for name in sorted(options)),
        "checkpoint_sha256": run["checkpoint_sha256"],
        "params_m": None if parameters is None else parameters / 1e6,
        "run_id": record.run_id,
        "run_sha": record.rows.rows_sha256,
        **{name: getattr(said, name) for name in ("paper_url", "code_url", "licence", "run_url", "date", "verified")},
    }


def _shared(entry: Entry, rows: pd.DataFrame) -> Line:
    """Return what all lines of an entry have in common."""
    return {
        **_said(entry.record),
        "recipe_sha": recipe_sha(rows),
        "prior_source": _texts(rows, "prior_source"),
        "robench_version": _texts(rows, "robench_version"),
        "hardware": entry.record.submission.hardware or _texts(rows, "device"),
        "gpu_seconds": _gpu_seconds(rows),
    }


def recorded(record: Record) -> dict[str, list[list[str]]]:
    """Return the lines that were recorded for an entry whose rows lie elsewhere.

    Raises:
        Mismatch: If they are no lines of it: other columns, another run, a number that is none, a formula.
    """
    stored = record.lines or {}
    if set(stored) != set(TABLES) or not all(stored.values()):
        raise Mismatch("The record has no lines of its own", got=", ".join(sorted(stored)), expected=", ".join(TABLES))
    told = _said(record)
    for name, columns in TABLES.items():
        for line in stored[name]:
            if len(line) != len(columns):
                raise Mismatch("A recorded line has other columns", got=str(len(line)), expected=str(len(columns)))
            for text, column in zip(line, columns, strict=True):
                wanted = _field(told[column.name], column) if column.name in told else None
                if (wanted is not None and text != wanted) or not _is_field(text, column):
                    raise Mismatch(
                        f"A recorded line has another '{column.name}'", got=text[:80], expected=wanted or column.kind
                    )
    return {name: [list(line) for line in lines] for name, lines in stored.items()}


def _is_field(text: str, column: Column) -> bool:
    if column.kind == "string":
        return text == str(defused(text))
    return not text or (_NUMBER.fullmatch(text) is not None and (column.kind == "float64" or "." not in text))


def _main(entry: Entry, run: Run, reference: Entry | None, by_severity: pd.DataFrame) -> Iterator[Line]:
    settings: dict[str, Any] = {"level": LEVEL, "resamples": RESAMPLES, "seed": SEED}
    against = reference.run if reference is not None else None
    for metric in published_metrics(run.rows):
        own = run.rows[run.rows["metric"] == metric]
        has = against is not None and metric in set(against.rows["metric"])
        found = measures(run, metric, against if has else None, **settings)
        rce = found["mce"].value
        yield {
            **_measure(entry, own),
            "n_subjects": own["subject_id"].nunique(),
            "n_samples": own["sample_id"].nunique(),
            **_interval("clean", found["clean"]),
            **_interval("corrupted", found["corrupted"]),
            "ratio_gm": found["ratio_gm"].value,
            "ratio_lo": found["ratio_gm"].lo,
            "ratio_hi": found["ratio_gm"].hi,
            "rr": found["rr"].value,
            "rce": rce,
            "rce_ref": reference.as_reference().named if reference is not None and math.isfinite(rce) else "",
            "worst_corruption": found["worst_corruption"],
            "worst_ratio": found["worst_ratio"],
            **_by_level(by_severity[by_severity["metric"] == metric]),
            "failure_rate": found["failure_rate"],
            "mask_iou": found["mask_iou"],
        }


def _per_corruption(entry: Entry, run: Run, by_severity: pd.DataFrame) -> Iterator[Line]:
    metrics = published_metrics(run.rows)
    about = {metric: _measure(entry, run.rows[run.rows["metric"] == metric]) for metric in metrics}
    for row in by_severity.to_dict("records"):
        yield {
            **about[row["metric"]],
            "corruption": row["corruption"],
            "severity": int(row["severity"]),
            **{name: row[name] for name in ("value", "lo", "hi", "failure_rate")},
            "n": row["n_subjects"],
        }


def _measure(entry: Entry, own: pd.DataFrame) -> Line:
    """Return what says which metric a line is of."""
    metric = str(own["metric"].iloc[0])
    return {
        "metric": metric,
        "protocol_sha": protocol_sha(entry.record.run["protocol"], metric),
        **{name: _texts(own, name) for name in ("metric_version", "unit", "direction")},
    }


def _interval(name: str, found: Any) -> Line:
    return {name: found.value, f"{name}_lo": found.lo, f"{name}_hi": found.hi}


def _by_level(table: pd.DataFrame) -> Line:
    """Return the mean over corruptions at each severity; none where no corruption has it, or one has no value."""
    kept = table[(table["corruption"] != CLEAN) & ~table["corruption"].str.endswith(UNALIGNED)]
    made = {}
    for level in range(1, 6):
        values = kept.loc[kept["severity"] == str(level), "value"]
        made[f"s{level}"] = float(values.mean(skipna=False)) if len(values) else None
    return made


def _gpu_seconds(rows: pd.DataFrame) -> float | None:
    """Return how long the model took on a GPU; every metric of a cell repeats its time."""
    cells = rows[rows["device"].astype(str).str.startswith("cuda")].drop_duplicates(_CELL)
    return float(cells["time_s"].sum()) if len(cells) else None


def _texts(rows: pd.DataFrame, column: str) -> str:
    return ", ".join(sorted(set(rows[column].dropna().astype(str))))


def fields(line: Mapping[str, Any], columns: tuple[Column, ...]) -> list[str]:
    """Return a line's fields as texts: six significant digits, empty where there is no value, no formulas."""
    return [_field(line[column.name], column) for column in columns]


def _field(value: Any, column: Column) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if column.kind == "float64":
        return f"{float(value):.6g}"
    return str(int(value)) if column.kind == "int64" else str(defused(str(value)))


def place(texts: Sequence[str], columns: tuple[Column, ...]) -> tuple[Any, ...]:
    """Return a sort key of a line: by model, then what tells its runs apart, metrics in order, clean first."""
    line = dict(zip((column.name for column in columns), texts, strict=True))
    corruption, severity = line.get("corruption", ""), line.get("severity", "0")
    metric = METRICS.index(line["metric"]) if line["metric"] in METRICS else len(METRICS)
    named = tuple(line[name] for name in ("model", "variant", "recipe", "masker", "model_options", "run_id"))
    return (*named, metric, line["metric"], corruption != CLEAN, corruption, int(severity or 0))
