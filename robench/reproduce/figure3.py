"""Figure 3: clean and corrupted pictures over the baseline's reconstructions, and what each corruption costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.settings import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from robench.reproduce.bench import Bench

HURTS = "Every corruption hurts but fog 3D and H.265 CRF."
ROLL = "Camera roll is worst although its mask is perfect."
MASK = "Many failures begin in the mask, which cuts parts of the body away."


def missing(bench: Bench) -> list[Missing]:
    """Return the baseline's weights, if they are not there."""
    return bench.model_missing(bench.baseline)


def plan(bench: Bench) -> Plan:
    """Return the baseline's evaluation."""
    return Plan((bench.need(bench.baseline, bench.masker),))


def make(bench: Bench) -> Made:
    """Make the figure."""
    from robench.analysis.degradation import degradation_table
    from robench.io.files import write_text_atomic
    from robench.reporting.examples import choose, find_examples, load_examples
    from robench.reporting.plots import save
    from robench.reporting.qualitative import inputs_over_meshes, qualitative_grids
    from robench.reporting.tables import blocks, notes, to_csv

    run = bench.run(bench.baseline, bench.masker)
    rows = bench.rows(run)
    examples = list(load_examples(run, choose(find_examples(run))))
    captions = {(e.corruption, e.severity): score_of(rows, e.sample_id, e.corruption) for e in examples}
    files = save(inputs_over_meshes(examples, captions), bench.path("figure3"), ("png", "svg"))
    pages = qualitative_grids(examples, captions)
    for number, page in enumerate(pages, start=1):
        files += save(page, bench.path(f"figure3-grid-{number}"), ("png",))
    table = degradation_table(rows, METRICS, level=bench.options.level)
    write_text_atomic(bench.path("figure3.csv"), to_csv(table))
    return Made(
        (*files, bench.path("figure3.csv")),
        tuple(blocks(table)),
        tuple(notes(table)),
        differs=(f"The picture has the first person, and each error is this person's. Masks: {bench.masker}.",),
        findings=tuple(findings(table)),
    )


def score_of(rows: pd.DataFrame, sample_id: str, corruption: str) -> str:
    """Return the Chamfer distance of one reconstruction in words, or an empty string."""
    from robench.reporting.labels import metric_label, number, unit_label

    own = rows[(rows["sample_id"] == sample_id) & (rows["corruption"] == corruption) & (rows["metric"] == METRICS[0])]
    if not len(own) or own["status"].iloc[0] != "ok":
        return ""
    row = own.iloc[0]
    return f"{metric_label(METRICS[0])} {number(float(row['value']))} {unit_label(str(row['unit']))}"


def findings(table: pd.DataFrame) -> list[Finding]:
    """Return what the paper says of the baseline beside what is found here.

    Args:
        table: Of `robench.analysis.degradation.degradation_table`, by corruption.
    """
    from robench.analysis.cells import UNALIGNED
    from robench.reporting.labels import corruption_label, failures, interval, number

    rows = table[(table["metric"] == METRICS[0]) & ~table["corruption"].str.endswith(UNALIGNED)]
    clean, others = rows[rows["corruption"] == "clean"], rows[rows["corruption"] != "clean"]

    def ratio(row: Any) -> str:
        text = f"{corruption_label(str(row['corruption']))} × {number(float(row['ratio']))}"
        return f"{text} {interval(float(row['ratio_lo']), float(row['ratio_hi']))}".strip()

    parts = []
    for word, part in (
        ("worse than clean", others[others["delta_lo"] > 0]),
        ("better", others[others["delta_hi"] < 0]),
        ("no difference shown", others[~(others["delta_lo"] > 0) & ~(others["delta_hi"] < 0)]),
    ):
        if len(part):
            ordered = part.sort_values("ratio", ascending=False)
            parts.append(f"{word}: {', '.join(ratio(row) for _, row in ordered.iterrows())}")
    said = [Finding(HURTS, f"Chamfer, {'; '.join(parts)}.")]
    if len(others):
        worst = others.sort_values("ratio", ascending=False).iloc[0]
        text = f"the worst is {ratio(worst)}, with a mask IoU of {number(float(worst['mask_iou']), 3)}"
        said.append(Finding(ROLL, f"{text} ({number(float(clean['mask_iou'].iloc[0]), 3)} on clean pictures)."))
        least = others.sort_values("mask_iou").iloc[0]
        failed = failures(int(rows["failures"].sum()), int(rows["n_samples"].sum()))
        text = f"the masks are worst under {corruption_label(str(least['corruption']))}, with an IoU of "
        said.append(
            Finding(MASK, f"{text}{number(float(least['mask_iou']), 3)}; reconstructions that failed: {failed}.")
        )
    return said
