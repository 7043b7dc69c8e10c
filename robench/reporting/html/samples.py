"""The samples of a page: which of those that runs kept, with scores, pictures and meshes, worst first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from robench.errors import RobenchError, printable
from robench.io.files import sha256_bytes
from robench.reporting.examples import Example, find_examples, load_examples
from robench.reporting.html.names import known
from robench.reporting.html.pictures import pictures_of
from robench.reporting.html.solids import packed, simplified, vertex_errors
from robench.reporting.qualitative import nice_ceiling, person_box, windows_around

MOST = 80
"""Kept cells whose pictures go into a page."""

Key = tuple[str, int, str]
"""Corruption, severity, sample."""
Scores = Mapping[tuple[int, Key], Mapping[str, Any]]
"""Of a series and key: by metric ``[score or None, clean score or None]``."""


@dataclass
class Samples:
    """What a page shows of the cells that runs kept.

    Attributes:
        entries: JSON, worst first: key, scores and, by series, status, message, names of pictures, mesh.
        pictures: Data URIs by name; equal pictures are there once.
        truths: Packed true meshes by sample.
        top: Centimetres at the end of the error's colours.
        left_out: Number of kept keys that the page has no room for.
        warnings: What could not be shown, and why.
    """

    entries: list[dict[str, Any]] = field(default_factory=list)
    pictures: dict[str, str] = field(default_factory=dict)
    truths: dict[str, Any] = field(default_factory=dict)
    top: float = 1.0
    left_out: int = 0
    warnings: list[str] = field(default_factory=list)


def scores_of(rows: pd.DataFrame, series: Sequence[tuple[str, str, str]], metrics: Sequence[str]) -> Scores:
    """Return the scores of every cell beside the clean score of the same sample.

    Args:
        rows: What `robench.analysis.scored` returns.
        series: ``(model, run_id, masker)``, in the page's order.
        metrics: Metrics to take.
    """
    index = {(run, masker): number for number, (_, run, masker) in enumerate(series)}
    found: dict[tuple[int, Key], dict[str, Any]] = {}
    clean: dict[tuple[int, str, str], float] = {}
    table = rows[rows["metric"].isin(list(metrics))]
    columns = ["run_id", "masker", "corruption", "severity", "sample_id", "metric", "score"]
    records = list(table[columns].itertuples(index=False, name=None))
    for run, masker, corruption, _, sample, metric, score in records:
        if corruption == "clean":
            clean[(index[(run, masker)], sample, metric)] = score
    for run, masker, corruption, severity, sample, metric, score in records:
        number = index[(run, masker)]
        cell = found.setdefault((number, (corruption, int(severity), sample)), {})
        cell[metric] = [known(score), known(clean.get((number, sample, metric), float("nan")))]
    return found


def badness(scores: Mapping[str, Any], metric: str, direction: str) -> float:
    """Return a number that is larger for a worse cell; a cell without a score is worst of all."""
    value = scores.get(metric, [None])[0]
    if value is None:
        return float("inf")
    return float(value) if direction == "lower" else -float(value)


def gather(runs: Sequence[tuple[Path, int]], scores: Scores, metric: str, direction: str, room: int) -> Samples:
    """Read what runs kept, and make the pictures and meshes of a page of it.

    The worst sample of each condition comes first, so that each of them can be looked at, then the worst of the rest.

    Args:
        runs: Run folders, each with the number of its series.
        scores: What `scores_of` returns.
        metric: Metric that says what is worst.
        direction: ``lower`` or ``higher`` is better.
        room: Bytes that pictures and meshes may take.
    """
    made = Samples()
    kept = _kept(runs, made)
    worst = {
        key: max(badness(scores.get((number, key), {}), metric, direction) for number in cells)
        for key, cells in kept.items()
    }
    order = _order(worst)
    chosen, count = [], 0
    for key in order:
        if count + len(kept[key]) > MOST:
            break
        chosen.append(key)
        count += len(kept[key])
    frames = _frames(kept)
    cells: dict[tuple[int, Key], dict[str, Any]] = {}
    drawings: dict[tuple[int, Key], dict[str, str]] = {}
    for run, number in runs:
        try:
            records = [kept[key][number] for key in chosen if number in kept[key]]
            cells |= {(number, key): cell for key, cell in _solids(run, records, frames, made).items()}
        except RobenchError as error:
            made.warnings.append(f"No pictures of {run}: {error}")
    if not cells:
        return made
    windows = {cell: windows_around([about.pop("box")])[0] for cell, about in cells.items()}
    errors = np.concatenate([cell.pop("errors") for cell in cells.values()])
    made.top = nice_ceiling(float(np.quantile(errors, 0.9))) if len(errors) else 1.0
    for run, number in runs:
        records = [kept[key][number] for key in chosen if (number, key) in cells]
        for example in load_examples(run, records):
            key = _key(example)
            drawings[(number, key)] = pictures_of(example, windows[(number, key)], made.top)
    _fill(made, chosen, cells, drawings, scores, room)
    made.left_out = len(kept) - len(made.entries)
    made.entries.sort(key=lambda entry: -worst[(entry["corruption"], entry["severity"], entry["sample"])])
    for entry in made.entries:
        for name in ("corruption", "sample"):
            entry[name] = printable(entry[name])
    made.truths = {printable(sample): solid for sample, solid in made.truths.items()}
    return made


def _kept(runs: Sequence[tuple[Path, int]], made: Samples) -> dict[Key, dict[int, Mapping[str, Any]]]:
    """Return the records of what runs kept, by key and series."""
    kept: dict[Key, dict[int, Mapping[str, Any]]] = {}
    for run, number in runs:
        try:
            for record in find_examples(run):
                name = "clean" if record["severity"] == 0 else record["corruption"]
                kept.setdefault((name, record["severity"], record["sample_id"]), {})[number] = record
        except RobenchError as error:
            made.warnings.append(f"No pictures of {run}: {error}")
    return kept


def _order(worst: Mapping[Key, float]) -> list[Key]:
    """Return keys: the worst of each condition, worst first, then the others, worst first."""
    ranked = sorted(worst, key=lambda key: (-worst[key], key))
    leading = set({key[:2]: key for key in reversed(ranked)}.values())
    return [key for key in ranked if key in leading] + [key for key in ranked if key not in leading]


def _key(example: Example) -> Key:
    return ("clean" if example.severity == 0 else example.corruption, example.severity, example.sample_id)


def _frames(kept: Mapping[Key, Mapping[int, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return one view frame a sample, that of its mildest picture: in it, runs and corruptions share a true mesh."""
    found: dict[str, Any] = {}
    for _, _, sample in sorted(kept, key=lambda key: (key[1], key)):
        if sample not in found:
            key = min((key for key in kept if key[2] == sample), key=lambda key: (key[1], key))
            record = next(iter(kept[key].values()))
            found[sample] = np.asarray(record["camera"]["view_from_world"], np.float64)
    return found


def _solids(
    run: Path, records: Sequence[Mapping[str, Any]], frames: Mapping[str, Any], made: Samples
) -> dict[Key, dict[str, Any]]:
    """Return, for each record, its status, message, mesh in the frame of its sample, errors and box in the picture."""
    found: dict[Key, dict[str, Any]] = {}
    for record, example in zip(records, load_examples(run, records), strict=True):
        cell: dict[str, Any] = {
            "status": printable(str(record["status"])),
            "message": printable(str(record.get("message") or "")),
            "box": person_box(example),
            "errors": np.zeros(0),
        }
        there = frames[example.sample_id] @ np.linalg.inv(example.camera.view_from_world)
        truth = None if example.truth is None or example.truth.is_empty else example.truth.transformed(there)
        if truth is not None and example.sample_id not in made.truths:
            made.truths[example.sample_id] = packed(simplified(truth))
        if example.prediction is not None and not example.prediction.is_empty:
            mesh = simplified(example.prediction.transformed(there))
            if truth is not None and not mesh.is_empty:
                cell["errors"] = vertex_errors(mesh, truth)
            if not mesh.is_empty:
                cell["solid"] = packed(mesh, cell["errors"] if truth is not None else None)
        found[_key(example)] = cell
    return found


def _fill(
    made: Samples,
    chosen: Sequence[Key],
    cells: Mapping[tuple[int, Key], dict[str, Any]],
    drawings: Mapping[tuple[int, Key], Mapping[str, str]],
    scores: Scores,
    room: int,
) -> None:
    """Add entries while there is room."""
    spent = sum(len(solid["v"]) + len(solid["f"]) for solid in made.truths.values())
    for key in chosen:
        numbers = sorted(number for number, other in cells if other == key)
        parts: dict[str, Any] = {}
        new: dict[str, str] = {}
        size = 0
        for number in numbers:
            cell = cells[(number, key)]
            names = {}
            for name, uri in drawings[(number, key)].items():
                names[name] = sha256_bytes(uri.encode())[:16]
                if names[name] not in made.pictures and names[name] not in new:
                    new[names[name]] = uri
            size += sum(len(str(value)) for value in cell.get("solid", {}).values())
            parts[str(number)] = {**cell, "pictures": names}
        size += sum(map(len, new.values())) + 600 * len(numbers)
        if spent + size > room:
            continue
        spent += size
        made.pictures |= new
        every = {str(number): dict(scores[(number, key)]) for number in numbers if (number, key) in scores}
        made.entries.append(
            {"corruption": key[0], "severity": key[1], "sample": key[2], "scores": every, "runs": parts}
        )
