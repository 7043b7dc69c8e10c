"""Figure 7: original and corrupted pictures, and the error over the number of batches adapted on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robench import registry
from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.settings import BATCH_SIZE, BATCHES, METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pandas as pd

    from robench.analysis.provenance import Run
    from robench.reporting.tables import Block
    from robench.reproduce.bench import Bench

NOTEBOOK = ("5 batches", "10 batches")
"""Models whose numbers on clean pictures the notebook of the published code has."""
DROPS = "Adaptation makes the results on clean pictures worse"
LESS = "less so with more batches"


def missing(bench: Bench) -> list[Missing]:
    """Return the baseline's weights, if they are not there, or a model that can adapt."""
    from robench.training.lessons import Adaptable

    found = bench.model_missing(bench.baseline)
    if found or isinstance(registry.load("models", bench.baseline.name), Adaptable):
        return found
    what = f"a baseline that can be adapted ({bench.baseline.name} cannot)"
    return [Missing(what, "robench reproduce 2d-priors --figure 7 --model pifu-mini")]


def plan(bench: Bench) -> Plan:
    """Return the baseline's evaluation, and those of the checkpoints that are not there yet."""
    need = bench.need(bench.baseline, bench.masker)
    counts = [count for count in BATCHES if count]
    facts = {
        "adaptations": counts,
        "batch_size": BATCH_SIZE,
        "reconstructions_with_adapted": len(counts) * bench.cells(need),
    }
    return Plan((need,), facts)


def make(bench: Bench) -> Made:
    """Make the figure."""
    from robench.analysis.methods import paired_table
    from robench.analysis.provenance import open_run
    from robench.io.files import write_text_atomic
    from robench.reporting.adaptation import adaptation_plot
    from robench.reporting.methods import methods_blocks, methods_notes
    from robench.reporting.plots import save
    from robench.reporting.tables import to_csv
    from robench.reproduce.published import METRIC_OF

    base = bench.run(bench.baseline, bench.masker)
    pictures = _pictures(base, bench.path("figure7-pictures.png"))
    adapted = bench.adapted()
    # Without batches the checkpoint is the baseline, whose run is there.
    runs: list[tuple[int, Run]] = [(0, open_run(base))]
    runs += [(n, open_run(bench.run(choice, bench.masker))) for n, choice in sorted(adapted.points.items()) if n]
    level = bench.options.level
    table = paired_table(runs, "batches", METRICS, level=level)
    files = [pictures]
    for metric in METRICS:
        plot = adaptation_plot(table, metric)
        files += save(plot, bench.path(f"figure7-{METRIC_OF[metric]}"), ("png", "svg"))
    write_text_atomic(bench.path("figure7.csv"), to_csv(table))
    named = table.assign(method=[f"{count} batches" for count in table["batches"]])
    named.attrs = table.attrs
    return Made(
        (*files, bench.path("figure7.csv")),
        (
            *(block for metric in METRICS for block in methods_blocks(named, metric)),
            *(ratios(runs, metric, level) for metric in METRICS),
        ),
        (
            rate_sentence(adapted.rate, adapted.tried),
            *methods_notes(named, METRICS[0]),
            "Ratio to clean: the paper's code is PIFu fine-tuned on so many batches an epoch, five pictures, without "
            "intervals, and its truth does not turn with the picture.",
        ),
        differs=(
            "The rate is chosen on people of their own where there are some, and none of the people learned from is "
            "evaluated.",
        ),
        findings=tuple(findings(runs, table, level)),
    )


def rate_sentence(rate: float, tried: Sequence[tuple[float, float]]) -> str:
    """Return how the learning rate was come by, and whether any helped on the people that it was chosen on.

    Args:
        rate: The one that was taken.
        tried: Rates and their errors, no adaptation (rate 0) first; empty if none was.
    """
    text = f"Adapted on batches of {BATCH_SIZE} corrupted pictures by Adam at {rate:g}"
    if not tried:
        return f"{text}, as nobody is there to choose a rate by."
    errors = ", ".join(f"{error:.4f} at {one:g}" if one else f"{error:.4f} without" for one, error in tried)
    best = min(error for one, error in tried if one)
    verdict = "" if best < tried[0][1] else "; no rate made it smaller"
    return f"{text}. The error of other people, which it was chosen by: {errors}{verdict}."


def _pictures(run: Path, path: Path) -> Path:
    """Write one person's clean picture and its corrupted copies."""
    from robench.io.files import safe_join
    from robench.io.images import read_image, write_png
    from robench.reporting.contact_sheet import contact_sheet
    from robench.reporting.examples import choose, find_examples

    chosen = choose(find_examples(run))
    sheet = {(str(one["corruption"]), int(one["severity"])): read_image(safe_join(run, one["image"])) for one in chosen}
    write_png(path, contact_sheet(sheet))
    return path


def ratios(runs: Sequence[tuple[int, Run]], metric: str, level: float) -> Block:
    """Return each error over that on clean pictures, here and in the notebook of the published code.

    Centimetres and the paper's unit are never set against each other; these numbers have no unit.

    Args:
        runs: Batches and run, ascending.
        metric: Its name.
        level: Coverage of the intervals.
    """
    from robench.analysis.cells import UNALIGNED
    from robench.analysis.degradation import degradation_table
    from robench.reporting.labels import interval, metric_label, number
    from robench.reporting.tables import Cell, Column
    from robench.reproduce.published import METRIC_OF, ratio_to_clean

    columns, names = [], list[str]()
    for count, run in runs:
        table = degradation_table(run.rows, [metric], level=level)
        rows = table[table["corruption"] != "clean"].set_index("corruption")
        names = names or [str(name) for name in rows.index]
        found = rows.reindex(names)[["ratio", "ratio_lo", "ratio_hi"]].to_numpy(float)
        cells = [Cell(number(value), interval(lo, hi)) for value, lo, hi in found]
        columns.append(Column("", f"here, {count} batches", cells))
    turned = {name.removesuffix(UNALIGNED) for name in names if name.endswith(UNALIGNED)}
    for column in NOTEBOOK:
        cells = []
        for name in names:
            # The paper's truth does not turn with the picture: its number belongs where ours does not either.
            base = "" if name in turned else name.removesuffix(UNALIGNED)
            printed = ratio_to_clean("notebook", base, METRIC_OF[metric], column)
            cells.append(Cell("" if printed is None else number(printed)))
        columns.append(Column("", f"paper's code, {column}", cells))
    return f"{metric_label(metric)}, ratio to clean", names, columns


def findings(runs: list[tuple[int, Run]], table: pd.DataFrame, level: float) -> list[Finding]:
    """Return what the paper says of adaptation beside what is found here.

    Args:
        runs: Batches and run, ascending.
        table: Of `robench.analysis.methods.paired_table`, by ``batches``.
        level: Coverage of the intervals.
    """
    from robench.analysis.methods import paired_table
    from robench.reporting.labels import metric_label, unit_label
    from robench.reporting.methods import change_text

    here, fewer, more = list[str](), runs[1:-1], runs[-1]
    pairs = [(first, paired_table([first, more], "batches", METRICS, level=level)) for first in fewer]
    for metric in METRICS:
        clean = table[(table["metric"] == metric) & (table["corruption"] == "clean")]
        unit = unit_label(str(clean["unit"].iloc[0]))
        texts = [
            f"{change_text(row, unit)} with {row['batches']} batches" for _, row in clean.iterrows() if row["batches"]
        ]
        for (count, _), pair in pairs:
            own = pair[(pair["metric"] == metric) & (pair["corruption"] == "clean") & (pair["batches"] == more[0])]
            texts.append(f"{change_text(own.iloc[0], unit)} from {count} to {more[0]} batches")
        here.append(f"{metric_label(metric)} on clean pictures {', '.join(texts)}")
    return [Finding(f"{DROPS}, {LESS}.", f"{'; '.join(here)}. Above 0 is worse.")]
