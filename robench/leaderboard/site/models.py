"""What a model's page shows: all its entries, how they fall with severity, who they are, how to make them again."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robench.errors import printable
from robench.leaderboard.columns import MAIN, MAIN_COLUMNS
from robench.leaderboard.site.boards import Board, Line
from robench.leaderboard.site.reproduce import commands
from robench.leaderboard.site.views import (
    LEVELS,
    Setting,
    View,
    conditions_json,
    is_reference,
    metric_title,
    out_of_date,
    secure_link,
    view_json,
)
from robench.reporting.html.names import known
from robench.reporting.html.tables import Cell, Table
from robench.reporting.labels import MISSING, corruption_label, interval, number, unit_label

_LINKS = (("Paper", "paper_url"), ("Code", "code_url"), ("Run", "run_url"))
VERIFIED_TEXTS = {
    "self": "by its submitter; every value was computed again from the rows",
    "ci": "by a machine that ran samples of it again",
    "maintainer": "by a maintainer who ran it",
}


def model_context(
    model: str,
    boards: Sequence[Board],
    names: Mapping[Board, str],
    pages: Mapping[str, str],
    settings: Mapping[Board, Sequence[Setting]],
) -> dict[str, Any]:
    """Return the values of ``model.html.j2`` and, as ``data``, what its script gets.

    Args:
        model: The name, as the tables have it.
        boards: All boards.
        names: Their pages' names.
        pages: Models' pages' names.
        settings: What can be chosen on each board.
    """
    own = [(board, line) for board in boards for line in board.lines if line["model"] == model]
    table = _entries(own, lines_csv(boards, model))
    places = [place for board in boards for place in _places(model, board, settings[board])]
    return {
        "model": printable(model),
        "here": f"models/{pages[model]}.html",
        "table": table,
        "runs": [_run(board, line, names) for board, line in _first_of_runs(own)],
        "reference": any(is_reference(line, board) for board, line in own),
        "stale": all(out_of_date(line, board) for board, line in own),
        "places": places,
        "data": {"places": places, "csv": {table.name: table.csv}},
    }


def _first_of_runs(own: Sequence[tuple[Board, Line]]) -> Iterator[tuple[Board, Line]]:
    """Yield one line of each run: what says who it is, is the same in all of them."""
    seen = set()
    for board, line in own:
        key = (board.track, board.dataset, line["run_id"])
        if key not in seen:
            seen.add(key)
            yield board, line


def _entries(own: Sequence[tuple[Board, Line]], text: str) -> Table:
    heads = ["Board", "Recipe", "Masks", "Metric", "Ratio to clean", "Clean", "Corrupted", "vs. reference",
             "Worst corruption", "Failures", "Verified"]  # fmt: skip
    rows = []
    for board, line in own:
        digits = 2 if unit_label(line["unit"]) else 3
        arrow = "↓" if line["direction"] == "lower" else "↑"
        stale = f"version {line['metric_version']}, out of date" if out_of_date(line, board) else ""
        rate = line["failure_rate"]
        rows.append(
            [
                Cell(printable(f"{board.dataset}, {board.track}"), printable(line["variant"])),
                Cell(printable(line["recipe"])),
                Cell(printable(line["masker"])),
                Cell(printable(f"{metric_title(line)} {arrow}"), printable(stale)),
                _spread(line, "ratio_gm", "ratio_lo", "ratio_hi", 2, "×"),
                _spread(line, "clean", "clean_lo", "clean_hi", digits),
                _spread(line, "corrupted", "corrupted_lo", "corrupted_hi", digits),
                _spread(line, "rce", "", "", 2, "×"),
                _worst(line),
                Cell(MISSING if rate is None else f"{100 * rate:.1f} %" if rate else "0", "", rate, True),
                Cell(printable(line["verified"])),
            ]
        )
    return Table("entries", "Every entry of the model", heads, rows, text)


def _spread(line: Line, name: str, lo: str, hi: str, digits: int, suffix: str = "") -> Cell:
    value = line[name]
    low, high = (math.nan if not key or line[key] is None else line[key] for key in (lo, hi))
    text = MISSING if value is None else number(value, digits) + suffix
    return Cell(text, interval(low, high, digits), value, True)


def _worst(line: Line) -> Cell:
    ratio = line["worst_ratio"]
    name = printable(corruption_label(line["worst_corruption"])) if line["worst_corruption"] else ""
    return Cell(MISSING if ratio is None else f"{number(ratio)}×", name, ratio, True)


def _places(model: str, board: Board, settings: Sequence[Setting]) -> Iterator[dict[str, Any]]:
    """Yield what curves can be drawn of: a board and setting, with its metrics."""
    for setting in settings:
        views = [_view(model, board, view) for view in setting.views]
        kept = [view for view in views if view is not None]
        if kept:
            yield {"label": printable(f"{board.dataset}, {board.track}: {setting.label}"), "views": kept}


def _view(model: str, board: Board, view: View) -> dict[str, Any] | None:
    """Return the model's entries of a view beside the reference that they name, or None if it has none there."""
    lines = [board.lines[number] for number in view.lines]
    own = [line for line in lines if line["model"] == model]
    if not own:
        return None
    shown = own + [line for line in lines if line["model"] != model and is_reference(line, board)]
    series = _series(shown)
    conditions = [row for number, line in enumerate(shown) for row in conditions_json(board, line, number)]
    return {
        **{key: value for key, value in view_json(view, board).items() if key != "lines"},
        "series": [f"{name} (reference)" if is_reference(line, board) else name
                   for name, line in zip(series, shown, strict=True)],
        "conditions": conditions,
        "means": [row for number, line in enumerate(shown) for row in _means(line, number)] if view.levels else [],
    }  # fmt: skip


def _series(lines: Sequence[Line]) -> list[str]:
    """Return the shortest names that tell lines apart."""
    found: list[str] = []
    for fields in (("model",), ("model", "variant"), ("model", "variant", "model_options"), ("run_id",)):
        found = [printable(", ".join(line[field] for field in fields if line[field])) for line in lines]
        if len(set(found)) == len(found):
            break
    return found


def _means(line: Line, series: int) -> Iterator[dict[str, Any]]:
    """Yield the mean over corruptions at each severity, clean first, in the shape of conditions."""
    shape = {"series": series, "metric": printable(line["metric"]), "failures": 0, "n_samples": 0}
    bounds = {"lo": line["clean_lo"], "hi": line["clean_hi"]}
    clean = line["clean"]
    yield {**shape, "corruption": "clean", "label": "Clean", "severity": "0", "ratio": None} | _known(clean, bounds)
    for level, name in enumerate(LEVELS, 1):
        value = line[name]
        ratio = known(value / clean) if value is not None and clean else None
        row = {**shape, "corruption": "mean", "label": "Mean over corruptions", "severity": str(level), "ratio": ratio}
        if value is not None:
            yield row | _known(value, {"lo": None, "hi": None})


def _known(value: Any, bounds: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if each is None else known(each) for key, each in {"value": value, **bounds}.items()}


def _run(board: Board, line: Line, names: Mapping[Board, str]) -> dict[str, Any]:
    """Return who an entry is: pairs of a title and a text, links, and the commands that make it again."""
    record = board.records[line["run_id"]]
    rows = record.rows
    where = "in the folder of the board" if rows.url is None else "elsewhere"
    pairs = [
        ("Variant", line["variant"]),
        ("Recipe", line["recipe"]),
        ("Masks", line["masker"]),
        ("Priors", "" if line["prior_source"] == "none" else line["prior_source"]),
        ("Options", line["model_options"].replace(";", "; ")),
        ("Licence", line["licence"]),
        ("Checkpoint (SHA-256)", line["checkpoint_sha256"]),
        ("Parameters", "" if line["params_m"] is None else f"{number(line['params_m'], 1)} million"),
        ("Hardware", line["hardware"]),
        ("Verified", f"{line['verified']}: {VERIFIED_TEXTS.get(line['verified'], '')}"),
        ("Submitted", line["date"]),
        ("Made by", f"robench {line['robench_version']}"),
        ("Data", f"{board.dataset}: {line['n_subjects']} subjects, {line['n_samples']} samples"),
        ("Revision of the data", line["dataset_revision"]),
        ("Run", line["run_id"]),
        ("Rows", f"{rows.count} rows, {where}"),
        ("Hash of the rows", line["run_sha"]),
    ]
    links = [(title, line[key]) for title, key in _LINKS if line[key]]
    links += [("Rows", rows.url)] if rows.url else []
    return {
        "title": printable(f"{board.dataset}, {board.track}: {line['recipe']}"),
        "board": f"../boards/{names[board]}.html",
        "pairs": [(title, printable(text)) for title, text in pairs if text],
        "links": [(title, printable(url), secure_link(url)) for title, url in links],
        "commands": commands(record),
        "name": printable(line["run_id"]),
    }


def lines_csv(boards: Sequence[Board], model: str) -> str:
    """Return the lines of a model on all boards, as their CSV files have them."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    head = [column.name for column in MAIN_COLUMNS]
    writer.writerow(head)
    for board in boards:
        lines = csv.reader(io.StringIO(board.files[MAIN].decode("utf-8"), newline=""))
        next(lines)
        writer.writerows(row for row in lines if row[head.index("model")] == model)
    return sink.getvalue()
