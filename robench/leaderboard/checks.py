"""Whether the rows of an entry are a whole run, and the one that its record says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from robench.analysis.provenance import Run
from robench.analysis.rows import KEY, check_protocol, is_skipped
from robench.engine.rows import FAILED
from robench.errors import Mismatch, NotComparable, RobenchError, UsageError
from robench.io.files import json_text
from robench.leaderboard.entry import METRICS, Entry, published_metrics, recipe_identity
from robench.leaderboard.record import identity_of

_FACTS = ("metric_version", "unit", "direction", "n_points", "metric_seed", "alignment")
_NAMED = {"metric_version": "version", "metric_seed": "seed"}


def problems(run: Run, facts: Mapping[str, Any]) -> Iterator[RobenchError]:
    """Yield what keeps rows from being the run that is described.

    Args:
        run: Its rows.
        facts: `robench.leaderboard.record.run_facts`.
    """
    rows = run.rows
    yield from _who(rows, facts)
    try:
        check_protocol(rows)
        recipe_identity(rows)
    except (NotComparable, Mismatch) as error:
        yield error
    yield from _measures(rows, facts)
    yield from _whole(rows, facts)
    yield from _values(rows)


def _who(rows: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[RobenchError]:
    """Yield columns that say another run than its description does."""
    data = facts["dataset"]
    told = {
        "run_id": identity_of(facts).run_id,
        **{name: facts[name] for name in ("model", "adapter_version", "checkpoint_sha256", "cset_id", "track")},
        "dataset": data["name"],
        "dataset_revision": data["revision"],
        "split_sha256": data["split_sha256"],
        "masker": facts["protocol"]["masker"]["name"],
        "frame": facts["protocol"].get("frame"),
    }
    for name, expected in told.items():
        found = _known(rows, name)
        if found != {str(expected)}:
            yield Mismatch(f"The rows say another '{name}' than the run does", got=_few(found), expected=str(expected))
    is_told = _known(rows, "mask_source") <= {"gt", "corrupted"}
    if is_told != (facts["track"] == "given-mask"):
        yield Mismatch("The masks do not belong to the track", got=_few(_known(rows, "mask_source")))


def _measures(rows: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[RobenchError]:
    """Yield metrics that the run's protocol tells otherwise than the rows do."""
    if METRICS[0] not in set(rows["metric"]):
        yield UsageError(f"The run has no '{METRICS[0]}'", hint=f"robench evaluate with --metrics {METRICS[0]},...")
    told = {metric["name"]: metric for metric in facts["protocol"]["metrics"]}
    for name, own in rows.groupby("metric", sort=True):
        if name not in told:
            yield Mismatch(f"The protocol of the run does not know the metric '{name}'")
            continue
        for column in _FACTS:
            expected = told[name].get(_NAMED.get(column, column))
            wanted = set() if expected is None else {_plain(expected)}
            if _known(own, column) != wanted:
                got = _few(_known(own, column))
                yield Mismatch(f"'{column}' of '{name}' is not the protocol's", got=got, expected=_few(wanted))


def _whole(rows: pd.DataFrame, facts: Mapping[str, Any]) -> Iterator[RobenchError]:
    """Yield gaps: a failure that was dropped, a condition that some samples lack."""
    key = list(KEY)
    if rows.duplicated(key).any():
        yield Mismatch("A row occurs twice", got=_cell(rows[rows.duplicated(key)].iloc[0]))
    samples, conditions = rows["sample_id"].nunique(), len(rows[["corruption", "severity"]].drop_duplicates())
    subjects, metrics = rows["subject_id"].nunique(), rows["metric"].nunique()
    for what, found in (("samples", samples), ("subjects", subjects)):
        if found != facts["dataset"][what]:
            yield Mismatch(f"The rows are not of all {what}", got=str(found), expected=str(facts["dataset"][what]))
    if not (rows["severity"] == 0).any():
        yield Mismatch("The rows have no clean picture", expected="severity 0")
    expected = samples * conditions * metrics
    if len(rows) != expected:
        yield Mismatch(
            "Rows are missing: every sample has every condition and metric, failures too",
            got=f"{len(rows)} rows",
            expected=f"{samples} samples x {conditions} conditions x {metrics} metrics = {expected}",
            hint="robench resume RUN",
        )
    skipped = rows[is_skipped(rows) & rows["metric"].isin(METRICS)]
    if len(skipped):
        yield UsageError(
            f"{len(skipped)} rows were skipped, so the run is not whole",
            got=_cell(skipped.iloc[0]),
            hint="data that have what the recipe needs, or another recipe",
        )


def _values(rows: pd.DataFrame) -> Iterator[RobenchError]:
    """Yield published values that are no numbers, and failures without a penalty."""
    own = rows[rows["metric"].isin(published_metrics(rows))]
    good, failed = own["status"].eq("ok"), own["status"].isin(FAILED)
    for wrong, what in (
        (good & ~np.isfinite(own["value"]), "is 'ok' without a finite value"),
        (failed & own["value"].notna(), "failed, but has a value"),
        (failed & ~np.isfinite(own["failure_value"]), "failed without a declared penalty"),
    ):
        if wrong.any():
            yield Mismatch(
                f"{int(wrong.sum())} rows cannot be counted: one {what}",
                got=_cell(own[wrong].iloc[0]),
                hint="robench evaluate with --redo failed,timeout,oom",
            )


def contradictions(entries: Sequence[Entry]) -> Iterator[RobenchError]:
    """Yield entries that claim the same pictures as another one, but tell other corruptions or data.

    A set's id hashes its data, recipe and seed: whoever left a corruption out has another one.
    """
    told: dict[str, tuple[Entry, str]] = {}
    for entry in entries:
        if entry.run is None:
            continue
        run = entry.record.run
        data = {key: run["dataset"][key] for key in ("name", "revision", "split_sha256")}
        try:
            recipe = recipe_identity(entry.run.rows)
        except Mismatch:
            continue  # `problems` names it
        content = json_text([recipe, data, run["seed"], sorted(set(entry.run.rows["sample_id"]))])
        other, same = told.setdefault(run["cset_id"], (entry, content))
        if content != same:
            yield Mismatch(
                f"{entry.record.run_id} and {other.record.run_id} claim the same pictures, but tell other corruptions, "
                "samples or data",
                got=f"cset_id {run['cset_id'][:12]} in both",
            )


def _known(rows: pd.DataFrame, column: str) -> set[str]:
    return {_plain(value) for value in rows[column].dropna().unique()} if column in rows else set()


def _plain(value: Any) -> str:
    """Return a value's text; whole numbers that gaps made floats are whole again."""
    return str(int(value)) if isinstance(value, float | np.floating) and value.is_integer() else str(value)


def _few(found: set[str]) -> str:
    return " and ".join(sorted(found)[:4]) or "nothing"


def _cell(row: pd.Series[Any]) -> str:
    return f"{row['sample_id']}, {row['corruption']} {row['severity']}, {row['metric']}"
