"""What the pages show, as plain values: entries, the settings they rank within, and the conditions behind them.

No rank is made here: the page's script makes it for the column that its reader chooses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from robench.analysis.cells import UNALIGNED
from robench.analysis.rows import CLEAN
from robench.data.ids import safe_id
from robench.errors import printable
from robench.io.files import sha256_bytes
from robench.leaderboard.entry import METRICS
from robench.leaderboard.site.boards import Board, Line
from robench.leaderboard.stale import is_stale
from robench.reporting.html.names import known
from robench.reporting.labels import corruption_label, metric_label, unit_label

LEVELS = ("s1", "s2", "s3", "s4", "s5")
NUMBERS = (
    *("clean", "clean_lo", "clean_hi", "corrupted", "corrupted_lo", "corrupted_hi", "ratio_gm", "ratio_lo", "ratio_hi"),
    *("rr", "rce", "worst_ratio", *LEVELS, "failure_rate", "mask_iou", "params_m", "gpu_seconds"),
    *("n_subjects", "n_samples"),
)
"""Columns whose numbers the pages show."""


@dataclass(frozen=True)
class View:
    """Lines that stand in one ranking, with those that stand beside it unranked.

    Attributes:
        metric: Name of the metric.
        label: What tells it from other views of its setting.
        lines: Numbers of lines of the board; the reference and stale ones among them.
        levels: True if every severity has the same corruptions, so that means over them can be compared.
    """

    metric: str
    label: str
    lines: tuple[int, ...]
    levels: bool


@dataclass(frozen=True)
class Setting:
    """Pictures and masks that entries share: what a reader chooses first.

    Attributes:
        label: Its name in the list of choices.
        recipe: Name of the recipe.
        masker: Where the masks came from.
        views: One a metric; several where a metric was computed under several protocols.
    """

    label: str
    recipe: str
    masker: str
    views: tuple[View, ...]


def out_of_date(line: Line, board: Board) -> bool:
    """True if the metric of a line, or a corruption of its pictures, has another version today."""
    return is_stale(line["metric"], line["metric_version"]) or line["run_id"] in board.old_pictures


def is_reference(line: Line, board: Board) -> bool:
    """True if entries of the board name this line's run as what they are measured against."""
    return named(line) in {other["rce_ref"] for other in board.lines}


def named(line: Line) -> str:
    """Return what the column ``rce_ref`` of another line calls this one."""
    return f"{line['model']}:{line['run_sha'][:12]}"


def metric_order(name: str) -> tuple[int, str]:
    """Return a sort key: the headline metrics first, then by name."""
    return (METRICS.index(name) if name in METRICS else len(METRICS), name)


def settings_of(board: Board) -> list[Setting]:
    """Return what can be chosen on a board, in order of recipe; within it, views in order of metric.

    Lines rank together if they agree in `robench.leaderboard.columns.RANKED_WITHIN`. A stale line has another protocol
    (the metric's version is in it), so it is added to the views of its pictures, masks and metric.
    """
    groups: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for number, line in enumerate(board.lines):
        groups[line["recipe"], line["cset_id"], line["masker"]].append(number)
    ordered = sorted(groups)
    labels = _labels(ordered)
    return [
        Setting(label, key[0], key[2], tuple(_views(board, groups[key])))
        for key, label in zip(ordered, labels, strict=True)
    ]


def _labels(keys: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the shortest names that tell settings apart: recipe, then masks, then the set of pictures."""
    shared = Counter(recipe for recipe, _, _ in keys)
    sets = defaultdict(set)
    maskers = defaultdict(set)
    for recipe, cset, masker in keys:
        sets[recipe].add(cset)
        maskers[recipe].add(masker)
    found = []
    for recipe, cset, masker in keys:
        parts = [recipe]
        if shared[recipe] > 1 and len(maskers[recipe]) > 1:
            parts.append(f"masks by {masker}")
        if shared[recipe] > 1 and len(sets[recipe]) > 1:
            parts.append(f"pictures {cset[:8]}")
        found.append(printable(", ".join(parts)))
    return found


def _views(board: Board, numbers: Sequence[int]) -> Iterable[View]:
    metrics = sorted({board.lines[number]["metric"] for number in numbers}, key=metric_order)
    for metric in metrics:
        own = [number for number in numbers if board.lines[number]["metric"] == metric]
        stale = [number for number in own if out_of_date(board.lines[number], board)]
        protocols = sorted({board.lines[number]["protocol_sha"] for number in own if number not in stale})
        for protocol in protocols or [""]:
            lines = [n for n in own if n in stale or board.lines[n]["protocol_sha"] == protocol]
            label = metric_title(board.lines[lines[0]])
            if len(protocols) > 1:
                label += f", protocol {protocol[:8]}"
            runs = {board.lines[number]["run_id"] for number in lines}
            yield View(metric, printable(label), tuple(lines), has_levels(board, metric, runs))


def metric_title(line: Line) -> str:
    """Return a metric's name with its unit."""
    unit = unit_label(line["unit"])
    return f"{metric_label(line['metric'], long=True)}{f' ({unit})' if unit else ''}"


def has_levels(board: Board, metric: str, runs: set[str]) -> bool:
    """True if there are several severities and each has the same corruptions: else a curve over them misleads."""
    corruptions = defaultdict(set)
    for row in board.conditions:
        if row["metric"] == metric and row["run_id"] in runs and row["corruption"] != CLEAN:
            corruptions[row["severity"]].add(row["corruption"])
    return len(corruptions) > 1 and len({frozenset(found) for found in corruptions.values()}) == 1


def slugs(texts: Iterable[str]) -> dict[str, str]:
    """Return names of files for texts: the text itself where it can be one, and never two that a disk takes for one."""
    ordered = sorted(set(texts))
    often = Counter(safe_id(text).casefold() for text in ordered)
    return {
        text: safe_id(text)
        if often[safe_id(text).casefold()] == 1
        else f"{safe_id(text)}-{sha256_bytes(text.encode('utf-8', 'surrogatepass'))[:6]}"
        for text in ordered
    }


def secure_link(url: str) -> str:
    """Return a link that may be followed, or an empty text: https alone, with no user before the host."""
    if not url.startswith("https://") or not url.isascii() or not url.isprintable() or set(url) & set(" \"'<>\\`{}|^"):
        return ""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return url if parts.hostname and "@" not in parts.netloc else ""


def line_json(line: Line, board: Board, pages: Mapping[str, str]) -> dict[str, Any]:
    """Return a line for the script of a board's page."""
    return {
        "model": printable(line["model"]),
        "page": pages[line["model"]],
        "variant": printable(line["variant"]),
        "options": printable(line["model_options"].replace(";", "; ")),
        "licence": printable(line["licence"]),
        "verified": printable(line["verified"]),
        "hardware": printable(line["hardware"]),
        "date": printable(line["date"]),
        "version": printable(line["metric_version"]),
        "worst": printable(corruption_label(line["worst_corruption"])) if line["worst_corruption"] else "",
        "reference": is_reference(line, board),
        "stale": out_of_date(line, board),
        **{name: None if line[name] is None else known(line[name]) for name in NUMBERS},
    }


def view_json(view: View, board: Board) -> dict[str, Any]:
    """Return a view for the scripts: its lines by number, and how to print its metric."""
    first = board.lines[view.lines[0]]
    unit = unit_label(first["unit"])
    return {
        "name": printable(view.metric),
        "title": view.label,
        "label": printable(metric_label(view.metric, long=True)),
        "unit": printable(unit),
        "lower": first["direction"] == "lower",
        "digits": 2 if unit else 3,
        "lines": list(view.lines),
        "levels": view.levels,
    }


def conditions_json(board: Board, line: Line, series: int) -> list[dict[str, Any]]:
    """Return the conditions of an entry for the curves of a model's page; those of the unmoved truth are left out."""
    own = [
        row
        for row in board.conditions
        if row["run_id"] == line["run_id"]
        and row["metric"] == line["metric"]
        and not row["corruption"].endswith(UNALIGNED)
    ]
    clean = next((row["value"] for row in own if row["corruption"] == CLEAN), None)
    found = []
    for row in own:
        ratio = row["value"] / clean if row["value"] is not None and clean else None
        pictures = line["n_samples"] or 0
        found.append(
            {
                "series": series,
                "metric": printable(row["metric"]),
                "corruption": printable(row["corruption"]),
                "label": printable(corruption_label(row["corruption"])),
                "severity": str(row["severity"]),
                **{name: None if row[name] is None else known(row[name]) for name in ("value", "lo", "hi")},
                "ratio": None if ratio is None or row["corruption"] == CLEAN else known(ratio),
                "failures": round((row["failure_rate"] or 0) * pictures),
                "n_samples": pictures,
            }
        )
    return found
