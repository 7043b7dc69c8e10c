"""What the paper prints, as data: ``2d-priors.csv`` (``leaderboards/published`` has it, with a card)."""

from __future__ import annotations

import csv
import functools
from importlib import resources
from typing import NamedTuple

FILE = "2d-priors.csv"
"""In this package a link to the one file, which an installed package has as a file."""
CHAMFER, P2S, COSINE = "chamfer", "p2s", "cosine_similarity"
METRIC_OF = {"chamfer_cm": CHAMFER, "p2s_pred_to_gt_cm": P2S}
"""Our metric → the paper's, which has the unit of its rescaled meshes."""


class Published(NamedTuple):
    """A printed number.

    Attributes:
        output: ``table1``, ``table2``, ``table3``, or ``notebook`` of the published code.
        row: Corruption (``clean`` for none), view or model, by our names.
        column: Masker or model, empty where the table has no columns.
        metric: What is measured.
        value: The number, in
        unit: ``1``, ``mesh`` (of the paper's rescaled meshes) or ``parameters``.
        printed_as: As it stands there.
        source: Where.
        note: What must be known of it.
    """

    output: str
    row: str
    column: str
    metric: str
    value: float
    unit: str
    printed_as: str
    source: str
    note: str


_TEXTS = ("output", "row", "column", "metric", "unit", "printed_as", "source", "note")


@functools.cache
def published() -> tuple[Published, ...]:
    """Return every printed number, in the order of the file."""
    text = resources.files(__package__).joinpath(FILE).read_text(encoding="utf-8")
    found = []
    for line in csv.DictReader(text.splitlines()):
        value = float(line.pop("value"))
        found.append(Published(value=value, **{name: str(line[name]) for name in _TEXTS}))
    return tuple(found)


@functools.cache
def _by_place() -> dict[tuple[str, str, str, str], Published]:
    return {(one.output, one.row, one.column, one.metric): one for one in published()}


def find(output: str, row: str, metric: str, column: str = "") -> Published | None:
    """Return a printed number, or None if the paper has none there."""
    return _by_place().get((output, row, column, metric))


def ratio_to_clean(output: str, row: str, metric: str, column: str = "") -> float | None:
    """Return a printed number over that of the clean picture, which has no unit; None if either is not printed."""
    own, clean = find(output, row, metric, column), find(output, "clean", metric, column)
    return own.value / clean.value if own is not None and clean is not None else None
