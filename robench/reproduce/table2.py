"""Table II: maskers under the most critical corruptions, by robench's protocol and by the paper's, beside its numbers.

Centimetres are never set against the paper's unit: what is compared are ratios to the clean picture.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from robench.analysis.cells import UNALIGNED, cells
from robench.analysis.degradation import degradation_table
from robench.analysis.intervals import mean_interval
from robench.analysis.rows import CLEAN, scored
from robench.engine.recipes import load_recipe
from robench.errors import RobenchError
from robench.io.files import write_text_atomic
from robench.reporting.labels import MISSING, corruption_label, failures, interval, metric_label, number
from robench.reporting.tables import Block, Cell, Column, to_csv
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.protocol import PICTURES, POINTS
from robench.reproduce.published import METRIC_OF, find, ratio_to_clean
from robench.reproduce.settings import CRITICAL, METRICS, PAPER_MASKERS, TRUE_MASK

_ROLL = "camera_roll"


def missing(bench: Bench) -> list[Missing]:
    """Return the baseline's weights if they are not there, and maskers that are not; the table can do without these."""
    maskers = [one for name in bench.asked_maskers for one in bench.masker_missing(name)]
    if not bench.maskers:
        maskers = [one._replace(essential=True) for one in maskers]
    return [*bench.model_missing(bench.baseline), *maskers]


def plan(bench: Bench) -> Plan:
    """Return the runs, one a masker that is at hand."""
    return Plan(tuple(bench.need(bench.baseline, masker, "critical") for masker in bench.maskers))


def make(bench: Bench) -> Made:
    """Evaluate the baseline with every masker that is at hand; one that fails costs its own lines only."""
    tables, runs, notes = [], {}, []
    for masker in bench.maskers:
        try:
            folder = bench.run(bench.baseline, masker, "critical")
            runs[masker] = of_critical(bench.rows(folder))
            tables.append(lines_of(masker, runs[masker], bench.by_paper(folder), bench.options.level))
        except RobenchError as error:
            failed = error
            notes.append(f"{masker_label(masker)} is left out: {error}")
    if not tables:
        raise failed
    table = pd.concat(tables, ignore_index=True).sort_values(
        "corruption", key=_places, kind="stable", ignore_index=True
    )
    path = bench.path("table2.csv")
    write_text_atomic(path, to_csv(table))
    return Made(
        (path,),
        tuple(blocks(table)),
        (*legend(bench.options.level, min(PICTURES, bench.count())), *notes),
        _DIFFERS,
        tuple(findings(table, runs, bench.options.level)),
        heading="Masks",
    )


_DIFFERS = (
    f"The paper's “mask” went through the whole corruption as a picture, and came out dark or noisy; its code repaired "
    f"some. Our masker {TRUE_MASK} moves the true mask with the picture and leaves it clean otherwise.",
    "Masks by the paper's maskers come as rembg gives them; the paper's had alpha matting. Its u2netp was the full "
    "U²-Net: its code fell back to that.",
)


def _places(names: pd.Series[str]) -> pd.Series[int]:
    """Return where conditions stand: clean first, then as the recipe has them, each with its unaligned twin."""
    order = [CLEAN, *(name for name, severity in load_recipe(CRITICAL).conditions() if severity)]
    return names.map({name + end: 2 * at + bool(end) for at, name in enumerate(order) for end in ("", UNALIGNED)})


def legend(level: float, pictures: int) -> list[str]:
    """Return the sentences under the table; `pictures` are those of the paper's protocol."""
    return [
        "Chamfer, P2S: in cm by robench's protocol: all people, 10,000 points, truth moved with the picture, failures "
        "at the error of the mean body. Ratio: to clean with the same masker. "
        f"In brackets: {100 * level:g} % interval over people.",
        f"As paper: in cm by its protocol: the first {pictures} pictures ({PICTURES} in the paper), {POINTS} points, "
        "truth not turned under camera roll, a missing distance counted as 0, no interval.",
        "Printed: the paper's numbers, in the unit of its rescaled meshes, which is no centimetre: compare the ratios.",
    ]


def of_critical(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a run's rows of clean pictures and of the table's corruptions, whatever else it has."""
    wanted = {(CLEAN, 0), *load_recipe(CRITICAL).conditions()}
    kept = [
        (CLEAN if severity == 0 else corruption, int(severity)) in wanted
        for corruption, severity in zip(rows["corruption"], rows["severity"], strict=True)
    ]
    return rows[kept]


def lines_of(masker: str, rows: pd.DataFrame, by_paper: pd.DataFrame, level: float) -> pd.DataFrame:
    """Return a masker's lines of the table.

    Args:
        masker: Its name.
        rows: Of `of_critical`.
        by_paper: Of `robench.reproduce.protocol.paper_table`.
        level: Coverage of the intervals.

    Returns:
        ``masker, corruption, metric, unit, cm, lo, hi, ratio, ratio_lo, ratio_hi, n_subjects, failures, n_samples,
        mask_iou, paper_protocol_cm, paper_protocol_ratio, paper_protocol_missing, published, published_ratio``; a row
        a corruption and metric. Conditions that end with `UNALIGNED` have robench's numbers only.
    """
    theirs = {(row["corruption"], row["metric"]): row for row in by_paper.to_dict("records")}
    nothing: dict[Any, Any] = {"value": math.nan, "ratio": math.nan, "missing": 0}
    records = []
    for row in degradation_table(rows, METRICS, level=level).to_dict("records"):
        name, metric = str(row["corruption"]), METRIC_OF[str(row["metric"])]
        measured, printed = theirs.get((name, metric), nothing), find("table2", name, metric, masker)
        ratio = ratio_to_clean("table2", name, metric, masker)
        is_clean = name == CLEAN
        records.append(
            {
                "masker": masker,
                "corruption": name,
                "metric": row["metric"],
                "unit": row["unit"],
                "cm": row["value"],
                **{key: row[key] for key in ("lo", "hi", "ratio", "ratio_lo", "ratio_hi", "n_subjects", "failures")},
                "n_samples": row["n_samples"],
                "mask_iou": row["mask_iou"],
                "paper_protocol_cm": measured["value"],
                "paper_protocol_ratio": math.nan if is_clean else measured["ratio"],
                "paper_protocol_missing": measured["missing"],
                "published": math.nan if printed is None else printed.value,
                "published_ratio": math.nan if ratio is None or is_clean else ratio,
            }
        )
    return pd.DataFrame(records)


def blocks(table: pd.DataFrame) -> list[Block]:
    """Return a block a condition, a row a masker, so that maskers stand under each other.

    Args:
        table: Of `lines_of`, of all maskers.
    """
    found = []
    for name, part in table.groupby("corruption", sort=False):
        title = corruption_label(str(name)) if name != CLEAN else "Clean"
        if str(name).endswith(UNALIGNED):
            title = f"{corruption_label(str(name).removesuffix(UNALIGNED))}, truth not moved, all people"
        maskers = list(dict.fromkeys(part["masker"]))
        columns = [column for metric in METRICS for column in _columns(part[part["metric"] == metric], metric)]
        first = part[part["metric"] == METRICS[0]]
        if first["mask_iou"].notna().any():
            columns.append(Column("", "Mask IoU", [Cell(number(float(value), 3)) for value in first["mask_iou"]]))
        counts = zip(first["failures"], first["n_samples"], strict=True)
        columns.append(Column("", "Failures", [Cell(failures(int(count), int(total))) for count, total in counts]))
        found.append((title, [masker_label(str(masker)) for masker in maskers], columns))
    return found


class _Head(NamedTuple):
    title: str
    column: str
    digits: int
    spread: tuple[str, str] | None = None


_HEADS = (
    _Head("value", "cm", 2, ("lo", "hi")),
    _Head("ratio", "ratio", 2, ("ratio_lo", "ratio_hi")),
    _Head("as paper", "paper_protocol_cm", 2),
    _Head("as paper ratio", "paper_protocol_ratio", 2),
    _Head("printed", "published", 4),
    _Head("printed ratio", "published_ratio", 2),
)


def _columns(rows: pd.DataFrame, metric: str) -> list[Column]:
    """Return a metric's columns; those without a number in this condition are left out, but for the first."""
    found, group = [], f"{metric_label(metric)} ↓"
    for head in _HEADS:
        values = [float(value) for value in rows[head.column]]
        if head.column != "cm" and not np.isfinite(values).any():
            continue
        spreads = [""] * len(rows)
        if head.spread is not None:
            both = zip(*(rows[name] for name in head.spread), strict=True)
            spreads = [interval(float(lo), float(hi), head.digits) for lo, hi in both]
        texts = [number(value, head.digits) if math.isfinite(value) else MISSING for value in values]
        found.append(Column(group, head.title, [Cell(*pair) for pair in zip(texts, spreads, strict=True)]))
    return found


def masker_label(name: str) -> str:
    """Return a masker's name, and what the paper calls it where it calls it otherwise."""
    return f"{name} (the paper's “mask”)" if name == TRUE_MASK else name


def findings(table: pd.DataFrame, runs: Mapping[str, pd.DataFrame], level: float) -> list[Finding]:
    """Return the paper's conclusions beside what the numbers here say.

    Args:
        table: Of `lines_of`, of all maskers.
        runs: Masker → rows of `of_critical`.
        level: Coverage of the intervals.
    """
    found = []
    if len(runs) > 1:
        gaps = [gap for name, _ in load_recipe(CRITICAL).conditions() for gap in _widest(runs, name, level)]
        found.append(Finding(_no_difference(), " ".join(gaps)))
    if TRUE_MASK in runs:
        mine = table[(table["masker"] == TRUE_MASK) & (table["metric"] == METRICS[0])].set_index("corruption")
        printed = ratio_to_clean("table2", _ROLL, METRIC_OF[METRICS[0]], TRUE_MASK)
        if _ROLL in mine.index and printed is not None:
            told = [f"{_ratio(mine.loc[_ROLL])} where the truth turns with the picture"]
            if _ROLL + UNALIGNED in mine.index:
                told.append(f"{_ratio(mine.loc[_ROLL + UNALIGNED])} where it does not, as the paper has it")
            found.append(
                Finding(
                    f"Camera roll with the true mask multiplies the Chamfer distance by {number(printed)}.",
                    f"It multiplies it by {', and by '.join(told)}.",
                )
            )
    return found


def _no_difference() -> str:
    """Tell the paper's conclusion, and what its own numbers say against it."""
    metric = METRIC_OF[METRICS[0]]
    printed = {masker: find("table2", "low_light", metric, masker) for masker in PAPER_MASKERS}
    values = {masker: one.value for masker, one in printed.items() if one is not None}
    best = min(values, key=lambda masker: values[masker])
    others = [value for masker, value in values.items() if masker != best]
    return (
        "No significant difference between maskers; u2netp is taken because it is quick. Its own numbers under low "
        f"light differ: Chamfer {number(values[best], 4)} with {best}, {number(min(others), 4)} to "
        f"{number(max(others), 4)} with the others."
    )


def _widest(runs: Mapping[str, pd.DataFrame], corruption: str, level: float) -> list[str]:
    """Tell the widest paired difference of two maskers under a corruption, with its interval over people."""
    errors = {masker: _errors(rows, corruption) for masker, rows in runs.items()}
    pairs = [(a, b) for a, b in combinations([m for m, e in errors.items() if e is not None], 2)]
    gaps = {(a, b): _paired(errors, a, b) for a, b in pairs}
    gaps = {pair: values for pair, values in gaps.items() if len(values)}
    if not gaps:
        return []
    (a, b), values = max(gaps.items(), key=lambda item: abs(float(np.mean(item[1]))))
    if float(np.mean(values)) < 0:
        a, b, values = b, a, -values
    gap = mean_interval(values, level=level)
    spread = interval(gap.lo, gap.hi)
    shown = "a difference" if math.isfinite(gap.lo) and gap.lo > 0 else "no difference shown"
    of = f", the widest of {len(gaps)} pairs, not corrected for that" if len(gaps) > 1 else ""
    return [f"{corruption_label(corruption)}: {b} is {number(gap.value)} {spread} cm better than {a}{of}: {shown}."]


def _errors(rows: pd.DataFrame, corruption: str) -> pd.Series[float] | None:
    found = cells(scored(rows), METRICS[0], "corruption")
    names = [name for name, _ in found.conditions]
    if corruption not in names or found.broken[names.index(corruption)]:
        return None
    return pd.Series(found.error[:, names.index(corruption)], index=found.subjects).dropna()


def _paired(errors: Mapping[str, pd.Series[float] | None], a: str, b: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    one, other = errors[a], errors[b]
    assert one is not None
    assert other is not None
    return np.asarray((one - other).dropna(), np.float64)


def _ratio(row: Any) -> str:
    spread = interval(float(row["ratio_lo"]), float(row["ratio_hi"]))
    return f"{number(float(row['ratio']))} {spread}".strip()
