"""The tables of docs/results.md say what the published rows say."""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest

from robench.analysis.comparison import Comparison, Line, compare, default_endpoints
from robench.analysis.provenance import open_run
from robench.reporting.comparison import printed

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "results.md"
BOARDS = {"found masks": "image-only", "true masks": "given-mask"}
BASE = "pifu-mini"
"""Model and, in brackets, variant: the line of a board."""
METRIC = "chamfer_cm"


@cache
def entries(track: str) -> dict[str, dict[str, str]]:
    """Return the lines of a board on the paper's recipe, by model and variant, the baseline first."""
    with (ROOT / "leaderboards" / track / "anny-humans" / "main.csv").open(newline="", encoding="utf-8") as file:
        lines = [line for line in csv.DictReader(file) if (line["metric"], line["recipe"]) == (METRIC, "2d-priors")]
    named = {f"{line['model']}: {line['variant']}" if line["variant"] else line["model"]: line for line in lines}
    return dict(sorted(named.items(), key=lambda item: (item[0] != BASE, item[0] == "mean-body", item[0])))


def compared(track: str) -> dict[str, Comparison]:
    """Return each of our variants beside the baseline."""
    rows = ROOT / "leaderboards" / track / "anny-humans" / "rows"
    base = open_run(rows / entries(track)[BASE]["run_id"])
    others = {name: open_run(rows / line["run_id"]) for name, line in entries(track).items() if name.startswith(BASE)}
    del others[BASE]
    return {n: compare(base, one, default_endpoints(base, one, [METRIC])) for n, one in others.items()}


def summary() -> list[str]:
    """Return the lines of the first table: every model under both kinds of masks."""
    found = []
    for masks, track in BOARDS.items():
        for name, line in entries(track).items():
            cells = [masks, name]
            for value, low in (("clean", "clean"), ("corrupted", "corrupted"), ("ratio_gm", "ratio")):
                spread = ", ".join(f"{float(line[f'{low}_{end}']):.2f}" for end in ("lo", "hi"))
                cells.append(f"{float(line[value]):.2f} [{spread}]")
            cells.append(f"{100 * float(line['failure_rate']):.1f} %")
            found.append(f"| {' | '.join(cells)} |")
    return found


def effects(track: str) -> list[str]:
    """Return the lines of a table of paired effects: a line a condition, a column a variant, bold where it is shown."""
    columns = compared(track)
    table = [f"| {' | '.join(['condition', f'{BASE} (cm)', *(name.removeprefix(f'{BASE}: ') for name in columns)])} |"]
    table.append(f"| --- {'| ---: ' * (len(columns) + 1)}|")
    for lines in zip(*(one.lines for one in columns.values()), strict=True):
        if lines[0].endpoint.metric == METRIC:
            first = printed(lines[0])
            table.append(f"| {' | '.join([first.where, first.base, *map(_cell, lines)])} |")
    return table


def _cell(line: Line) -> str:
    shown = printed(line)
    text = f"{shown.change} {shown.bounds}"
    return text if line.marks[0] == "~" else f"**{text}**"


@pytest.mark.parametrize("track", BOARDS.values())
def test_paired_effects_are_those_of_the_rows(track: str) -> None:
    table = "\n".join(effects(track))
    assert table in PAGE.read_text("utf-8"), f"docs/results.md should have:\n{table}"


def test_the_summary_is_that_of_the_boards() -> None:
    table = "\n".join(summary())
    assert table in PAGE.read_text("utf-8"), f"docs/results.md should have:\n{table}"
