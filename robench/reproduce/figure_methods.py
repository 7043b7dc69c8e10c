"""What figures 6 and 10 share: every method under every corruption, in one metric each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from robench.reproduce.method_labels import method_labels
from robench.reproduce.outputs import Finding, Made, Missing, Plan
from robench.reproduce.settings import METRICS, ModelChoice

if TYPE_CHECKING:
    import pandas as pd

    from robench.analysis.provenance import Run
    from robench.reproduce.bench import Bench

PAPERS = {
    "pifu-clip-add": "add-based fusion",
    "pifu-clip-concat": "tf_concat",
    "pifu-experts": "Experts Fusion",
}
"""The paper's fusion methods, by our names."""
ADD, EXPERTS = "pifu-clip-add", "pifu-experts"
ADD_HELPS = ("color_quant", "low_light", "camera_roll")
EXPERTS_HELP = "iso_noise"
ALL_WORSE = "On clean pictures every fusion method is worse than the baseline."
ADD_BETTER = "add-based fusion is better than the baseline under colour quantisation, low light and camera roll."
EXPERTS_BETTER = (
    "Experts Fusion is about as good as add-based fusion, with a tenth of its trainable parameters, and slightly "
    "better in Chamfer under ISO noise."
)


@dataclass(frozen=True, eq=False)
class Method:
    """A method and its run."""

    label: str
    choice: ModelChoice
    run: Run


def missing(bench: Bench) -> list[Missing]:
    """Return the weights that are not there, and the paper's methods that nobody named."""
    found = bench.model_missing(bench.baseline)
    for choice in bench.models[1:]:
        found += bench.model_missing(choice, essential=False)
    named = {choice.name for choice in bench.models}
    for name, title in PAPERS.items():
        if name not in named:
            train = f"robench train {name} --config baselines/fusion/configs/{name}.yaml --data DIR --out DIR"
            command = f"{train}; then --model {name}:DIR/model.safetensors"
            found.append(Missing(f"the paper's {title} ({name} is not among the models)", command, essential=False))
    return found


def plan(bench: Bench) -> Plan:
    """Return the evaluations."""
    facts = {"methods": [choice.label for choice in bench.models]}
    if _with_adapted(bench):
        facts["methods"].append("what figure 7 adapts")
    return Plan(tuple(bench.need(choice, bench.masker) for choice in bench.models), facts)


def _with_adapted(bench: Bench) -> bool:
    """True if figure 7 is made too, so that its checkpoints cost nothing here."""
    from robench.reproduce import figure7
    from robench.reproduce.outputs import wanted

    asked = any(output.name == "figure7" for output in wanted(bench.options))
    return asked and not any(one.essential for one in figure7.missing(bench))


def methods(bench: Bench) -> list[Method]:
    """Evaluate the models at hand, and those that figure 7 adapts if it is made too; the baseline first."""
    from robench.analysis.provenance import open_run

    choices = [bench.baseline, *(choice for choice in bench.models[1:] if not bench.model_missing(choice))]
    if _with_adapted(bench):
        adapted = bench.adapted()
        choices += [choice for batches, choice in adapted.points.items() if batches]
    labels = method_labels(choices)
    return [
        Method(label, choice, open_run(bench.run(choice, bench.masker)))
        for label, choice in zip(labels, choices, strict=True)
    ]


def make(bench: Bench, name: str, metric: str) -> Made:
    """Draw and tabulate every method in one metric.

    Args:
        bench: The shared work.
        name: Of the files.
        metric: Its name.
    """
    from robench.analysis.methods import paired_table
    from robench.io.files import write_text_atomic
    from robench.reporting.methods import methods_blocks, methods_notes, methods_plot
    from robench.reporting.plots import save
    from robench.reporting.tables import to_csv

    found = methods(bench)

    def paired(some: Sequence[Method]) -> pd.DataFrame:
        runs = [(method.label, method.run) for method in some]
        return paired_table(runs, "method", [metric], level=bench.options.level)

    table = paired(found)
    files = save(methods_plot(table, metric), bench.path(name), ("png", "svg"))
    write_text_atomic(bench.path(f"{name}.csv"), to_csv(table))
    return Made(
        (*files, bench.path(f"{name}.csv")),
        tuple(methods_blocks(table, metric)),
        tuple(methods_notes(table, metric)),
        differs=("Methods: the models that were named, and what figure 7 adapts if it is made too.",),
        findings=tuple(findings(found, metric, paired)),
    )


def findings(found: Sequence[Method], metric: str, paired: Callable[[Sequence[Method]], pd.DataFrame]) -> list[Finding]:
    """Return what the paper says of its methods beside what is found here.

    Args:
        found: The methods, the baseline first.
        metric: Its name.
        paired: From methods to `robench.analysis.methods.paired_table` against the first.
    """
    table, base = paired(found), found[0].label
    fusions = [method.label for method in found[1:] if method.choice.name in PAPERS]
    here = "no fusion method is among the models"
    if fusions:
        here = f"against {base}, on clean pictures: " + "; ".join(f"{m}: {_change(table, m, 'clean')}" for m in fusions)
    said = [Finding(ALL_WORSE, f"{here}.")]
    adds, experts = ([m for m in found if m.choice.name == name] for name in (ADD, EXPERTS))
    here = "; ".join(
        f"{m.label}: " + ", ".join(f"{_label(c)} {_change(table, m.label, c)}" for c in ADD_HELPS) for m in adds
    )
    said.append(Finding(ADD_BETTER, f"against {base}: {here}." if adds else f"{ADD} is not among the models."))
    if metric == METRICS[0]:
        here = f"{ADD} and {EXPERTS} are not both among the models."
        if adds and experts:
            pair = paired([adds[0], experts[0]])
            where = ("clean", EXPERTS_HELP)
            texts = ", ".join(f"{_label(c)} {_change(pair, experts[0].label, c)}" for c in where)
            here = f"{experts[0].label} against {adds[0].label}: {texts}."
        said.append(Finding(EXPERTS_BETTER, here))
    return said


def _label(corruption: str) -> str:
    from robench.reporting.labels import corruption_label

    return corruption_label(corruption)


def _change(table: pd.DataFrame, method: str, corruption: str) -> str:
    """Return a paired change in words; it is called better or worse only where its interval excludes 0."""
    from robench.analysis.methods import shown
    from robench.reporting.labels import unit_label
    from robench.reporting.methods import change_text

    rows = table[(table["method"] == method) & (table["corruption"] == corruption)]
    if not len(rows):
        return "not measured"
    row = rows.iloc[0]
    word = "no difference shown"
    if len(shown(rows)):
        word = "worse" if (row["change"] > 0) == (row["direction"] == "lower") else "better"
    return f"{change_text(row, unit_label(str(row['unit'])))} ({word})"
