"""Table III: how many parameters each system has, counted from its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from robench.errors import EnvironmentNotReady
from robench.io.files import write_text_atomic
from robench.reporting.labels import MISSING
from robench.reporting.tables import Block, Cell, Column, to_csv
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.parameters import counted


def missing(bench: Bench) -> list[Missing]:
    """Return the library by which CLIP and DPT are counted, if it is not there."""
    try:
        bench.once("parameters", lambda: counted().parameter_table())
    except EnvironmentNotReady as error:
        return [Missing(error.what, error.hint or "robench doctor")]
    return []


def plan(bench: Bench) -> Plan:
    """Return nothing to run: counting takes no memory and seconds."""
    return Plan(facts={"counted": "from the classes, without weights"})


def make(bench: Bench) -> Made:
    """Count, and set the paper's numbers beside."""
    table = beside_paper(bench.once("parameters", lambda: counted().parameter_table()))
    path = bench.path("table3.csv")
    write_text_atomic(path, to_csv(table))
    notes = [f"{row['model']}: {row['note']}." for row in table.to_dict("records")]
    differs = [
        "Counted at the published sizes, whatever models take part in the other outputs.",
        "“Enters a prediction” leaves out what is loaded and never asked: CLIP's text encoder, a classifier of DPT's.",
    ]
    return Made((path,), (block(table),), tuple(notes), tuple(differs), (finding(table),), heading="System")


def beside_paper(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Set the paper's numbers beside the counted ones.

    Args:
        rows: Of `robench.reproduce.parameters.Counted.parameter_table`.

    Returns:
        ``model, trainable, total, used, published_trainable, published_total, trainable_equal, total_equal, note``; the
        paper's, and what is equal, are missing where it has no such row.
    """
    records = []
    for row in rows:
        trainable, total = row["published"] or (None, None)
        record = {name: row[name] for name in ("model", "trainable", "total", "used")}
        record |= {"published_trainable": trainable, "published_total": total}
        record |= {
            f"{n}_equal": None if p is None else row[n] == p for n, p in (("trainable", trainable), ("total", total))
        }
        records.append({**record, "note": row["note"]})
    table = pd.DataFrame(records)
    return table.astype({"published_trainable": "Int64", "published_total": "Int64"})


def block(table: pd.DataFrame) -> Block:
    """Return the table for terminals and Markdown.

    Args:
        table: Of `beside_paper`.
    """
    heads = {
        "trainable": "Trainable",
        "published_trainable": "the paper's trainable",
        "total": "Total",
        "published_total": "the paper's total",
        "used": "Enters a prediction",
    }
    columns = [Column("", head, [Cell(_count(value)) for value in table[name]]) for name, head in heads.items()]
    return "Parameters", [str(name) for name in table["model"]], columns


def _count(value: Any) -> str:
    return MISSING if pd.isna(value) else f"{int(value):,}"


def finding(table: pd.DataFrame) -> Finding:
    """Return which printed figures the classes give to the digit."""
    rows = table[table["published_total"].notna()]
    equal = int(rows["trainable_equal"].sum()) + int(rows["total_equal"].sum())
    wrong = [
        str(row["model"]) for row in rows.to_dict("records") if not (row["trainable_equal"] and row["total_equal"])
    ]
    others = f"; not those of {' and '.join(wrong)}, which contradict each other" if wrong else ""
    return Finding(
        f"Prints {2 * len(rows)} figures of {len(rows)} systems.", f"{equal} of them follow from the classes{others}."
    )
