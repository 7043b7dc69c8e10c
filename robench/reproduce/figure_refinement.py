"""What figures 4, 5, 8 and 9 share: the baseline's colours refined by the encoder, as described and as coded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from robench import registry
from robench.engine.encoder_choice import split_name
from robench.errors import UsageError
from robench.reproduce.outputs import Finding, Made, Missing, Plan

if TYPE_CHECKING:
    import pandas as pd

    from robench.engine.refine import Refined
    from robench.reproduce.bench import Bench

PROTOCOLS: Mapping[Literal["described", "as-coded"], str] = {
    "described": "as the paper describes it",
    "as-coded": "as its code does it",
}
LOSS = "loss"
MEASURES = {"psnr": "PSNR", "ssim": "SSIM", "truth_distance": "the distance to the true views' embeddings"}
"""What the ways of embedding are compared by."""
PAPER = {
    "loss": "The CLIP loss falls.",
    "psnr": "PSNR falls.",
    "ssim": "SSIM falls.",
    "truth_distance": "The distance to the true views' embeddings grows.",
}
SEQUENTIAL = "Sequential embeddings do a little better than averaged ones."
PAPERS_ENCODER = "clip-vit-l14"


def missing(bench: Bench) -> list[Missing]:
    """Return the weights of the baseline and the encoder that are not there, or a model that can refine."""
    found = bench.encoder_missing() + bench.model_missing(bench.baseline)
    name = bench.baseline.name
    if not bench.model_missing(bench.baseline) and getattr(registry.load("models", name), "refine", None) is None:
        what = f"a baseline with colours to refine ({name} has none)"
        found.append(Missing(what, "robench reproduce 2d-priors --figure 4 --model pifu-mini"))
    return found


def plan(bench: Bench) -> Plan:
    """Return the refinements; all four figures look at the same ones."""
    from robench.engine.refine import MODES

    pictures = min(bench.options.refined, bench.count())
    refinements = pictures * len(MODES) * len(PROTOCOLS)
    iterations = refinements * bench.options.iterations
    return Plan((), {"pictures": pictures, "refinements": refinements, "iterations": iterations})


def refined(bench: Bench) -> dict[Literal["described", "as-coded"], Refined]:
    """Refine the clean pictures by both protocols.

    Raises:
        UsageError: If nothing could be refined.
    """
    found = {protocol: bench.refined(protocol) for protocol in PROTOCOLS}
    cells = [cell for one in found.values() for cell in one.cells]
    if not any(cell["status"] == "ok" for cell in cells):
        got = cells[0]["message"] or cells[0]["status"] if cells else "no picture"
        raise UsageError("No picture could be refined", got=got)
    return found


def make(bench: Bench, name: str, measures: Sequence[str]) -> Made:
    """Draw and tabulate measures by iteration.

    Args:
        bench: The shared work.
        name: Of the files.
        measures: Of `robench.reporting.refinement.CURVES`.

    Raises:
        UsageError: If nothing could be refined, or no true mesh has colours to measure against.
    """
    import pandas as pd

    from robench.analysis.refinement import iteration_log, refinement_changes, refinement_curves
    from robench.io.files import write_text_atomic
    from robench.reporting.plots import save
    from robench.reporting.refinement import protocol_plot, refinement_blocks, refinement_notes
    from robench.reporting.tables import to_csv

    found, level = refined(bench), bench.options.level
    curves = {
        title: refinement_curves(iteration_log(found[protocol].cells), level=level)
        for protocol, title in PROTOCOLS.items()
    }
    known = [m for m in measures if any((part["measure"] == m).any() for part in curves.values())]
    if not known:
        expected = "data whose true meshes have colours"
        raise UsageError(f"Nothing says how {' and '.join(measures)} change", expected=expected)
    files = save(protocol_plot(curves, known), bench.path(name), ("png", "svg"))
    csv = pd.concat([part.assign(protocol=protocol) for protocol, part in zip(found, curves.values(), strict=True)])
    write_text_atomic(bench.path(f"{name}.csv"), to_csv(csv[csv["measure"].isin(known)]))
    blocks, changes = [], {}
    for protocol, one in found.items():
        table = refinement_changes(one.cells, level=level)
        changes[protocol] = table[table["measure"].isin(known)]
        blocks += list(refinement_blocks(changes[protocol], one.facts))
    return Made(
        (*files, bench.path(f"{name}.csv")),
        tuple(blocks),
        tuple(refinement_notes(found["described"].facts, level)),
        differs=differs(bench),
        findings=tuple(findings(changes, {p: one.cells for p, one in found.items()}, known, level)),
    )


def differs(bench: Bench) -> tuple[str, ...]:
    """Return what is not as in the paper."""
    said = [
        "Clean pictures are refined. The published code carries one picture's refinement into the next, compares RGB "
        "with BGR and traces rays coarsely: it stands beside what the paper describes.",
    ]
    name = split_name(bench.options.encoder)[0]
    if name != PAPERS_ENCODER:
        said.append(f"The encoder is {name}, not the paper's CLIP ViT-L/14: nothing here speaks of CLIP.")
    return tuple(said)


def findings(
    changes: Mapping[Literal["described", "as-coded"], pd.DataFrame],
    cells: Mapping[Literal["described", "as-coded"], Sequence[Mapping[str, Any]]],
    measures: Sequence[str],
    level: float,
) -> Iterator[Finding]:
    """Yield what the paper says of measures beside what is found here.

    Args:
        changes: Of `robench.analysis.refinement.refinement_changes`, by protocol.
        cells: Of `robench.engine.refine.Refined`, by protocol.
        measures: Which.
        level: Coverage of the intervals.
    """
    for measure in measures:
        texts = []
        for protocol, table in changes.items():
            rows = table[table["measure"] == measure]
            own = [
                f"{row['mode']} {_text(row['change'], row['change_lo'], row['change_hi'], measure)}"
                for _, row in rows.iterrows()
            ]
            texts.append(f"{PROTOCOLS[protocol]}: {', '.join(own)}")
        yield Finding(PAPER[measure], f"change, {'; '.join(texts)}.")
    for measure in (m for m in measures if m in MEASURES):
        texts = []
        for protocol, some in cells.items():
            gap = between_modes(some, measure, level)
            if gap is not None:
                texts.append(f"{PROTOCOLS[protocol]}: {_text(*gap, measure)}")
        if texts:
            yield Finding(SEQUENTIAL, f"{MEASURES[measure]} in the end, sequential minus averaged, {'; '.join(texts)}.")


def between_modes(cells: Sequence[Mapping[str, Any]], measure: str, level: float) -> tuple[float, float, float] | None:
    """Return how much higher a measure ends after sequential than after averaged embeddings, paired by subject.

    Args:
        cells: Of `robench.engine.refine.Refined`.
        measure: One that the cells have.
        level: Coverage of the interval.

    Returns:
        Difference and interval; None if no sample was refined in both ways.
    """
    import pandas as pd

    from robench.analysis.intervals import mean_interval

    good = [cell for cell in cells if cell["status"] == "ok" and cell["after"].get(measure) is not None]
    table = pd.DataFrame(
        [(c["subject_id"], c["sample_id"], c["mode"], c["after"][measure]) for c in good],
        columns=["subject", "sample", "mode", "value"],
    )
    wide = table.pivot_table(index=["subject", "sample"], columns="mode", values="value")
    if not {"sequential", "average"} <= set(wide.columns):
        return None
    gaps = (wide["sequential"] - wide["average"]).dropna().groupby("subject").mean()
    if not len(gaps):
        return None
    found = mean_interval(gaps.to_numpy(float), level=level)
    return found.value, found.lo, found.hi


def _text(value: float, lo: float, hi: float, measure: str) -> str:
    from robench.reporting.labels import interval, number

    digits = 2 if measure == "psnr" else 4 if not abs(value) < 1e-3 else 6
    unit = " dB" if measure == "psnr" else ""
    return f"{number(float(value), digits, sign=True)}{unit} {interval(float(lo), float(hi), digits)}".strip()
