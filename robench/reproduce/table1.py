"""Table I: how alike the encoder finds corrupted pictures, and other views, to the clean front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pandas as pd

from robench.engine.recipes import load_recipe
from robench.io.files import write_text_atomic
from robench.reporting.labels import MISSING, corruption_label, interval, number
from robench.reporting.tables import Block, Cell, Column, to_csv
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.published import COSINE, find
from robench.reproduce.settings import PAPER

VIEWS = {"front–left": "view_left", "front–right": "view_right", "front–back": "view_back"}
"""Our names of views → those of the published rows."""
_PAPERS_ENCODER = "clip-vit-l14"


def missing(bench: Bench) -> list[Missing]:
    """Return the encoder, if it is not there."""
    return bench.encoder_missing()


def plan(bench: Bench) -> Plan:
    """Return how many pictures are compared."""
    pictures = bench.count() * (len(load_recipe(PAPER).conditions()) - 1)
    facts = {"encoder": bench.options.encoder, "corrupted_pictures": pictures, "views": bench.count() * len(VIEWS)}
    return Plan(facts=facts)


def make(bench: Bench) -> Made:
    """Measure, and set the paper's numbers beside."""
    from robench.analysis.likeness import likeness_table
    from robench.reporting.likeness import likeness_bars
    from robench.reporting.plots import save

    found = bench.likeness()
    table = beside_paper(likeness_table(found.rows, level=bench.options.level))
    path = bench.path("table1.csv")
    write_text_atomic(path, to_csv(table))
    encoder = found.facts["encoder"]
    notes = [
        "Mean cosine of two embeddings: of a corrupted picture and the clean one; of renderings of the true mesh, in "
        "its own colours, from the front and from another side of the person.",
        f"In brackets: {100 * bench.options.level:g} % interval over people. Encoder {encoder['name']} "
        f"{encoder['version']}, weights {encoder['weights_sha256'][:8]}.",
    ]
    if table["failures"].any():
        notes.append(f"{int(table['failures'].sum())} pictures could not be made, and are in no mean.")
    differs = [
        "The paper does not say which background or mask its pictures had: here they are whole, as the data are."
    ]
    if encoder["name"] != _PAPERS_ENCODER:
        differs.append(
            f"The encoder is {encoder['name']}, and not the paper's CLIP ViT-L/14: the numbers cannot be compared."
        )
    bars = save(likeness_bars(table), bench.path("table1"), ("png", "svg"))
    return Made((path, *bars), (block(table),), tuple(notes), tuple(differs), tuple(findings(table)), heading="Picture")


def beside_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Return the corruptions and named views of a `likeness_table`, with columns ``published`` and ``printed_as``."""
    named = table["condition"].isin(VIEWS) & (table["kind"] == "view")
    kept = table[(table["kind"] == "corruption") | named].drop_duplicates(["kind", "condition"]).reset_index(drop=True)
    printed = [find("table1", VIEWS.get(str(name), str(name)), COSINE) for name in kept["condition"]]
    return kept.assign(
        published=[math.nan if one is None else one.value for one in printed],
        printed_as=["" if one is None else one.printed_as for one in printed],
    )


def block(table: pd.DataFrame) -> Block:
    """Return the table for terminals and Markdown.

    Args:
        table: Of `beside_paper`.
    """
    here = [
        Cell(number(float(value), 4), interval(float(lo), float(hi), 4))
        for value, lo, hi in zip(table["similarity"], table["lo"], table["hi"], strict=True)
    ]
    names = [label(str(kind), str(name)) for kind, name in zip(table["kind"], table["condition"], strict=True)]
    columns = [
        Column("Cosine similarity ↑", "value", here),
        Column("", "The paper's", [Cell(text or MISSING) for text in table["printed_as"]]),
    ]
    return "Likeness to the clean front", names, columns


def label(kind: str, name: str) -> str:
    """Return a row's name for people."""
    return f"View: {name}" if kind == "view" else corruption_label(name)


def findings(table: pd.DataFrame) -> list[Finding]:
    """Return what the paper's table says of the order of corruptions and views, and what ours does."""
    found = []
    rows = table.dropna(subset=["similarity", "published"])
    corruptions = rows[rows["kind"] == "corruption"]
    if len(corruptions) > 2:
        printed, here = (_extremes(corruptions, name) for name in ("published", "similarity"))
        order = corruptions[["published", "similarity"]].corr("spearman").iloc[0, 1]
        agree = f" Rank correlation with the paper's order: {number(float(str(order)), 2)}."
        found.append(Finding(printed, here + agree))
    views = rows[rows["kind"] == "view"]
    if len(views) and len(corruptions):
        found.append(Finding(_below(corruptions, views, "published"), _below(corruptions, views, "similarity")))
    return found


def _extremes(rows: pd.DataFrame, column: str) -> str:
    ordered: Sequence[dict[str, Any]] = rows.sort_values(column).to_dict("records")  # type: ignore[assignment]
    low, high = ordered[0], ordered[-1]
    return (
        f"Least alike under {corruption_label(low['condition'])} ({number(low[column], 4)}), most under "
        f"{corruption_label(high['condition'])} ({number(high[column], 4)})."
    )


def _below(corruptions: pd.DataFrame, views: pd.DataFrame, column: str) -> str:
    sides = views[views["condition"] != "front–back"]
    side = float(sides[column].min()) if len(sides) else float(views[column].min())
    less = int((corruptions[column] < side).sum())
    return (
        f"{less} of {len(corruptions)} corruptions take a picture further from itself than a view from the side does "
        f"({number(side, 4)})."
    )
