"""A comparison in a terminal, as Markdown for a pull request, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from robench.analysis.comparison import FAILURE_RATE, Comparison, Line
from robench.analysis.provenance import Run
from robench.errors import printable
from robench.reporting.headline import extras, extras_json
from robench.reporting.labels import MISSING, corruption_label, metric_label, number, unit_label
from robench.reporting.tables import escape_markdown

if TYPE_CHECKING:
    from rich.console import Console

LEGEND = "Marks: + worse, - better, ~ not shown, ! newly failing, * fixed, x not comparable."
_STYLES = {"+": "red", "-": "green", "x": "yellow", "~": "dim"}
_WORDS = {
    "pass": "PASS",
    "improved": "PASS (improved)",
    "regression": "REGRESSION",
    "not shown safe": "NOT SHOWN SAFE",
    "inconclusive": "INCONCLUSIVE",
    "not comparable": "NOT COMPARABLE",
}


class Printed(NamedTuple):
    """A line as it is printed, every text `printable`."""

    mark: str
    metric: str
    where: str
    base: str
    cand: str
    change: str
    bounds: str
    p: str
    detectable: str
    subjects: str
    verdict: str


HEADS = Printed(
    "", "Metric", "Where", "Base", "Candidate", "Worse by", "Bounds", "p (worse)", "Detectable", "Subjects", "Verdict"
)
_LEFT = frozenset({"mark", "metric", "where", "verdict"})


def verdict_words(found: Comparison) -> str:
    """Return the verdict as printed; empty where no endpoint has a margin."""
    return _WORDS[found.verdict] if any(line.endpoint.margin for line in found.lines) else ""


def change(line: Line, effect: float) -> str:
    """Return an effect in words: ``+4.2 %`` or ``−0.8 pp``, positive is worse; `MISSING` without one."""
    if not math.isfinite(effect):
        return MISSING
    shown = 100 * line.shown(effect)
    return f"{number(shown, 1 if abs(shown) >= 0.95 or shown == 0 else 2, sign=True)} {_sign(line)}"


def _sign(line: Line) -> str:
    return "%" if line.effects.scale == "log" else "pp"


def printed(line: Line) -> Printed:
    """Return a line's cells."""
    one, effects, found = line.endpoint, line.effects, line.found
    is_rate = one.metric == FAILURE_RATE
    unit = "" if is_rate else unit_label(line.unit)
    name = "Failure rate" if is_rate else f"{metric_label(one.metric)}{f' ({unit})' if unit else ''}"
    values = [f"{100 * v:.1f} %" if is_rate else number(v, 2 if unit else 3) for v in (effects.base, effects.cand)]
    if effects.trouble:
        values = [MISSING, MISSING]
    limits = f"[{change(line, found.lo)}, {change(line, found.hi)}]" if math.isfinite(found.lo) else ""
    return Printed(
        line.marks,
        printable(name),
        printable(_where(line)),
        values[0],
        values[1],
        change(line, found.value),
        limits,
        _p(line.p_worse),
        change(line, line.decision.detectable).lstrip("+"),
        str(found.n) if not effects.trouble else MISSING,
        printable(effects.trouble) if effects.trouble else _decision(line),
    )


def _where(line: Line) -> str:
    one = line.endpoint
    names = "all corruptions" if one.corruptions is None else ", ".join(map(corruption_label, one.corruptions))
    severities = "" if one.severities is None else f", severity {_range(one.severities)}"
    return names + severities + (" (primary)" if one.primary else "")


def _range(severities: Sequence[int]) -> str:
    first, last = severities[0], severities[-1]
    together = len(severities) > 2 and list(severities) == list(range(first, last + 1))
    return f"{first}–{last}" if together else ", ".join(map(str, severities))


def _p(value: float) -> str:
    if not math.isfinite(value):
        return MISSING
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _decision(line: Line) -> str:
    if line.endpoint.margin is None:
        return ""
    return f"{line.decision.verdict} (margin {line.endpoint.margin}, {line.endpoint.mode})"


def more_subjects(line: Line) -> str:
    """Return the sentence about the subjects that a decision needs, or an empty string."""
    verdict, more = line.decision.verdict, line.decision.more
    if line.endpoint.margin is None or verdict not in ("inconclusive", "not shown safe"):
        return ""
    name = f"{line.endpoint.metric}, {_where(line)}"
    if more is None:
        return f"{name}: {verdict}; more subjects would not settle it, as the effect is at its margin or beyond."
    return f"{name}: {verdict}; needs about {more:,} more subject{'' if more == 1 else 's'}."


def sentences(found: Comparison) -> list[str]:
    """Return what belongs under the table, `printable`."""
    lines = [text for line in found.lines if (text := more_subjects(line))]
    floors = [line for line in found.lines if line.endpoint.primary and math.isfinite(line.noise)]
    lines += [
        f"Noise floor of {line.endpoint.metric}: the base against its second run differs by up to "
        f"{100 * line.shown(line.noise):.2g} {_sign(line)}."
        for line in floors
    ]
    lines += found.notes
    level = f"{100 * found.alpha:g} %"
    lines += [
        LEGEND,
        f"Bounds are one-sided at {level}, over subjects (the widest of Student-t and the bootstraps BCa and t, "
        f"{found.resamples:,} resamples, seed {found.seed}); p values of mode harm are Holm-adjusted together. "
        "Detectable: the least effect that these subjects show with 80 % power. Failures enter with their declared "
        "penalty.",
    ]
    return [printable(line) for line in lines]


def _title(found: Comparison) -> str:
    return printable(f"{found.cand.model} against {found.base.model}")


def _runs(found: Comparison) -> list[str]:
    named = [("Base", found.base), ("Candidate", found.cand)]
    if found.again is not None:
        named.append(("Base, again", found.again))
    return [printable(f"{what}: {run.run_id}, rows {run.sha256[:8]}") for what, run in named]


def _shown_columns(rows: Sequence[Printed]) -> list[str]:
    """Return the columns that say something."""
    return [name for name in Printed._fields if name == "mark" or any(getattr(row, name) for row in rows)]


def print_comparison(found: Comparison, console: Console) -> None:
    """Print to a terminal; names from data are never read as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = [printed(line) for line in found.lines]
    shown = Table(
        title=Text(_title(found), style="bold"),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    columns = _shown_columns(rows)
    narrow = console.width < 140
    if narrow:  # what a decision rests on stays; the rest is in every file format
        columns = [name for name in columns if name not in ("detectable", "p", "subjects")]
    for name in columns:
        shown.add_column(Text(getattr(HEADS, name)), justify="left" if name in _LEFT else "right", overflow="fold")
    for row in rows:
        style = _STYLES.get(row.mark[:1], "")
        shown.add_row(*(Text(getattr(row, name), style=style if name == "mark" else "") for name in columns))
    console.print(shown)
    for extra in extras(found):
        small = Table(title=Text(extra.title, style="bold"), title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
        for index, head in enumerate(extra.heads):
            small.add_column(Text(head), justify="right" if index else "left", overflow="fold")
        for cells in extra.rows:
            small.add_row(*map(Text, cells))
        console.print(small)
    for line in _runs(found) + sentences(found):
        console.print(Text(line, style="dim"))
    if words := verdict_words(found):
        good = found.verdict in ("pass", "improved")
        console.print(Text(words, style="bold green" if good else "bold yellow" if words[0] in "IN" else "bold red"))


def to_markdown(found: Comparison) -> str:
    """Return GitHub-flavoured Markdown for a pull-request comment."""
    rows = [printed(line) for line in found.lines]
    columns = _shown_columns(rows)
    words = verdict_words(found)
    lines = [f"### {words + ': ' if words else ''}{escape_markdown(_title(found))}", ""]
    lines.append(_row(getattr(HEADS, name) for name in columns))
    lines.append("|" + "|".join(" --- " if name in _LEFT else " ---: " for name in columns) + "|")
    for row in rows:
        cells = [getattr(row, name) for name in columns]
        # Marks are code, so that a lone * or - is printed.
        lines.append(_row([f"`{cells[0]}`", *map(escape_markdown, cells[1:])]))
    for extra in extras(found):
        lines += ["", f"#### {escape_markdown(extra.title)}", "", _row([*map(escape_markdown, extra.heads)])]
        lines.append("|" + "|".join([" --- ", *(" ---: " for _ in extra.heads[1:])]) + "|")
        lines += [_row([*map(escape_markdown, cells)]) for cells in extra.rows]
    lines += ["", *(f"* {escape_markdown(line)}" for line in _runs(found) + sentences(found))]
    return "\n".join(lines) + "\n"


def _row(cells: Iterator[str] | Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def to_json(found: Comparison) -> dict[str, Any]:
    """Return plain values; what is missing is null."""
    has_margin = any(line.endpoint.margin for line in found.lines)
    return {
        "version": 1,
        "verdict": found.verdict if has_margin else None,
        "base": _run(found.base),
        "candidate": _run(found.cand),
        "again": _run(found.again) if found.again is not None else None,
        "alpha": found.alpha,
        "resamples": found.resamples,
        "seed": found.seed,
        "coverage": found.coverage,
        "unit_of_inference": "subject",
        "notes": [printable(note) for note in found.notes],
        "lines": [_line(line) for line in found.lines],
        **extras_json(found),
    }


def _run(run: Run) -> dict[str, Any]:
    return {key: printable(str(value)) for key, value in run.to_json().items()}


def _line(line: Line) -> dict[str, Any]:
    one, effects, found = line.endpoint, line.effects, line.found
    numbers = {
        "base": effects.base,
        "candidate": effects.cand,
        "effect": line.shown(found.value),
        "lo": line.shown(found.lo),
        "hi": line.shown(found.hi),
        "p_worse": line.p_worse,
        "p_better": line.p_better,
        "detectable": line.shown(line.decision.detectable),
        "noise": line.shown(line.noise),
    }
    return {
        "metric": printable(one.metric),
        "corruptions": None if one.corruptions is None else [printable(name) for name in one.corruptions],
        "severities": None if one.severities is None else list(one.severities),
        "primary": one.primary,
        "mode": one.mode,
        "margin": str(one.margin) if one.margin is not None else None,
        "unit": "1" if one.metric == FAILURE_RATE else line.unit,
        "scale": "relative" if effects.scale == "log" else "points",
        **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
        "n_subjects": found.n,
        "n_cells": effects.cells,
        "failures_base": effects.base_failures,
        "failures_candidate": effects.cand_failures,
        "newly_failing": effects.newly,
        "fixed": effects.fixed,
        "marks": line.marks,
        "verdict": line.decision.verdict if one.margin is not None else None,
        "more_subjects": line.decision.more if one.margin is not None else None,
        "trouble": printable(effects.trouble) or None,
    }
