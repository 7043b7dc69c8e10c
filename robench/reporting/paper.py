"""The tables of a paper, one column wide: two metrics and their differences to clean, or both metrics by mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from robench.errors import printable
from robench.reporting.labels import corruption_label, failures, metric_label, number, unit_label
from robench.reporting.tables import escape_latex

_FONT = "\\centering\\footnotesize"
_MARK = "\\textsuperscript{*}"


def to_paper_latex(table: pd.DataFrame) -> str:
    """Return one-column LaTeX tables (package booktabs) of the first two metrics.

    A model under one masker has a row a corruption with both metrics and their paired differences to clean. One under
    several has a column a masker with ``first / second`` in its cells, the layout of Table II of "Potential of 2D
    Priors for Improving Robustness of Ill-Posed 3D Reconstruction". Conditions in which something failed are marked.

    Args:
        table: ``degradation_table(rows, by="corruption")``.
    """
    metrics = list(dict.fromkeys(map(str, table["metric"])))[:2]
    parts = ["% Needs \\usepackage{booktabs}"]
    for _, model in table.groupby("model", sort=False):
        maskers = [str(masker) for masker in model.drop_duplicates(["run_id", "masker"])["masker"]]
        if len(maskers) > 1 and len(set(maskers)) == len(maskers):
            parts += _by_mask(model, metrics, maskers)
        else:
            for _, run in model.groupby(["run_id", "masker"], sort=False):
                parts += _with_differences(run, metrics)
    return "\n".join(parts) + "\n"


def _with_differences(run: pd.DataFrame, metrics: Sequence[str]) -> Iterator[str]:
    metrics = [metric for metric in metrics if metric in set(run["metric"])]
    heads = [_head(run, metric) for metric in metrics]
    caption = f"{run['model'].iloc[0]}, masks: {run['masker'].iloc[0]}{_units(run)}. Δ: paired difference to clean."
    yield from _top(caption + _failed(run), f"l{'rr' * len(metrics)}")
    yield " & ".join(["Corruption", *(f"{escape_latex(head)} & $\\Delta$" for head in heads)]) + " \\\\"
    yield "\\midrule"
    for name, rows in _conditions(run):
        cells = []
        for metric in metrics:
            row = _of(rows, metric)
            is_clean = name == "clean"
            cells += [_number(row, "value"), "" if is_clean else _number(row, "delta", sign=True)]
        yield " & ".join([_name(name, rows), *cells]) + " \\\\"
    yield from _bottom()


def _by_mask(model: pd.DataFrame, metrics: Sequence[str], maskers: Sequence[str]) -> Iterator[str]:
    heads = " / ".join(_head(model, metric) for metric in metrics if metric in set(model["metric"]))
    yield from _top(
        f"{model['model'].iloc[0]}: {heads} by mask{_units(model)}.{_failed(model)}", f"l{'c' * len(maskers)}"
    )
    yield " & ".join(["Corruption", *(escape_latex(printable(masker)) for masker in maskers)]) + " \\\\"
    yield "\\midrule"
    for name, rows in _conditions(model):
        cells = []
        for masker in maskers:
            own = rows[rows["masker"] == masker]
            cells.append(" / ".join(_number(_of(own, metric), "value") for metric in metrics))
        yield " & ".join([_name(name, rows), *cells]) + " \\\\"
    yield from _bottom()


def _conditions(rows: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame]]:
    for name, part in rows.groupby("corruption", sort=False):
        yield str(name), part


def _of(rows: pd.DataFrame, metric: str) -> Any:
    found = rows[rows["metric"] == metric]
    return found.iloc[0] if len(found) else None


def _number(row: Any, name: str, *, sign: bool = False) -> str:
    digits = 2 if row is not None and unit_label(str(row["unit"])) else 3
    return escape_latex(number(float("nan") if row is None else float(row[name]), digits, sign=sign))


def _head(rows: pd.DataFrame, metric: str) -> str:
    return printable(f"{metric_label(metric)} {'↓' if _of(rows, metric)['direction'] == 'lower' else '↑'}")


def _units(rows: pd.DataFrame) -> str:
    """Return ``, in cm``: beside each head it would take the room of a column."""
    units = list(dict.fromkeys(filter(None, map(unit_label, map(str, rows["unit"])))))
    return f", in {', '.join(units)}" if units else ""


def _name(name: str, rows: pd.DataFrame) -> str:
    label = "None" if name == "clean" else corruption_label(name)
    return escape_latex(printable(label)) + (_MARK if (rows["failures"] > 0).any() else "")


def _failed(rows: pd.DataFrame) -> str:
    """Return the sentence that says how much failed: each condition once, by its first metric."""
    own = rows[(rows["metric"] == rows["metric"].iloc[0]) & ~rows["corruption"].str.endswith("(unaligned)")]
    count, total = int(own["failures"].sum()), int(own["n_samples"].sum())
    return f" *: with failures, which count with their penalty: {failures(count, total)} of all." if count else ""


def _top(caption: str, columns: str) -> Iterator[str]:
    yield from ("\\begin{table}[t]", _FONT, "\\setlength{\\tabcolsep}{3pt}")
    yield f"\\caption{{{escape_latex(printable(caption))}}}"
    yield from (f"\\begin{{tabular}}{{{columns}}}", "\\toprule")


def _bottom() -> Iterator[str]:
    yield from ("\\bottomrule", "\\end{tabular}", "\\end{table}", "")
