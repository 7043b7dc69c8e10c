"""The degradation table in a terminal, as Markdown, CSV and LaTeX: one row a corruption, clean first."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from robench.errors import printable
from robench.reporting.labels import corruption_label, failures, interval, metric_label, number, unit_label

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_NUMBERS = (("value", False), ("delta", True), ("ratio", False), ("rce", False))


class Cell(NamedTuple):
    """A printed number and its printed interval (either may be empty)."""

    text: str
    spread: str = ""

    @property
    def joined(self) -> str:
        """Number and interval in one string."""
        return f"{self.text} {self.spread}".strip()


class Column(NamedTuple):
    """A column's group (the metric; empty for columns of the condition), title and cells."""

    group: str
    title: str
    cells: list[Cell]


Block = tuple[str, list[str], list[Column]]
"""A title, the names of the rows (``clean`` and `ALL` are set apart), and the columns; every text `printable`."""
ALL = "all corruptions"
_APART = ("clean", ALL)


def blocks(table: pd.DataFrame) -> Iterator[Block]:
    """Yield, for each run and masker, its title, the names of its conditions and its columns, all `printable`.

    Args:
        table: What `robench.analysis.degradation_table` returns.
    """
    for (model, run, masker), block in table.groupby(["model", "run_id", "masker"], sort=False):
        metrics = list(dict.fromkeys(block["metric"]))
        conditions = list(dict.fromkeys(zip(block["corruption"], block["severity"], strict=True)))
        rows = {key: part.iloc[0] for key, part in block.groupby(["corruption", "severity", "metric"])}
        first = [next(rows[(*c, m)] for m in metrics if (*c, m) in rows) for c in conditions]
        columns, facts = _condition_columns(conditions, first)
        for metric in metrics:
            columns += _metric_columns(metric, [rows.get((*c, metric)) for c in conditions])
        columns.append(Column("", "Failures", [Cell(failures(row["failures"], row["n_samples"])) for row in first]))
        if block["mask_iou"].notna().any():
            columns.append(Column("", "Mask IoU", [Cell(number(row["mask_iou"], 3)) for row in first]))
        title = f"{model} (masks: {masker}{facts})" + (f", run {run}" if run and run != model else "")
        columns = [Column(printable(column.group), column.title, column.cells) for column in columns]
        yield printable(title), [printable(str(name)) for name, _ in conditions], columns


def _condition_columns(conditions: list[tuple[str, str]], first: list[Any]) -> tuple[list[Column], str]:
    """Return columns for severity and subjects where they vary, and words for the title where they do not."""
    columns, facts = [], ""
    severities = {severity for name, severity in conditions if name != "clean"}
    if len(severities) == 1 and len(conditions) > 2:
        facts += f"; severity {next(iter(severities))}"
    else:
        columns.append(Column("", "Severity", [Cell(str(severity)) for _, severity in conditions]))
    subjects = [int(row["n_subjects"]) for row in first]
    if len(set(subjects)) == 1:
        facts += f"; {subjects[0]} subjects" if subjects[0] != 1 else "; 1 subject"
    else:
        columns.append(Column("", "Subjects", [Cell(str(count)) for count in subjects]))
    return columns, facts


def _metric_columns(metric: str, rows: list[Any]) -> Iterator[Column]:
    known = [row for row in rows if row is not None]
    unit, direction = unit_label(str(known[0]["unit"])), "↓" if known[0]["direction"] == "lower" else "↑"
    group = f"{metric_label(metric)}{f' ({unit})' if unit else ''} {direction}"
    titles = {"value": "value", "delta": "Δ", "ratio": "ratio", "rce": "vs. reference"}
    digits = 2 if unit else 3
    for name, sign in _NUMBERS:
        if name == "rce" and all(pd.isna(row["rce"]) for row in known):
            continue
        cells = []
        for row in rows:
            if row is None:
                cells.append(Cell(number(float("nan"))))
                continue
            places = digits if name in ("value", "delta") else 2
            lo, hi = ("lo", "hi") if name == "value" else (f"{name}_lo", f"{name}_hi")
            is_base = name in ("delta", "ratio") and row["corruption"] == "clean"
            text = "" if is_base else number(row[name], places, sign=sign)
            cells.append(Cell(text, "" if is_base else interval(row[lo], row[hi], places)))
        yield Column(group, titles[name], cells)


def notes(table: pd.DataFrame) -> list[str]:
    """Return the sentences that belong under a table: how its numbers were made."""
    made = table.attrs
    if not made:
        return []
    methods = sorted(set(table["method"]) - {"none"})
    by = {"t": "Student-t", "bootstrap": f"{made['resamples']:,} paired bootstrap resamples, seed {made['seed']}"}
    lines = [
        f"In brackets: {100 * made['level']:g} % interval over subjects"
        + (f" ({'; '.join(by[m] for m in methods)})." if methods else "."),
        "Δ: paired difference to clean. Ratio: of sums, to the model's own clean. "
        "Views, then severities, are averaged within a subject.",
        "A failure counts with its declared penalty.",
    ]
    if made["skipped"]:
        lines.append(f"{made['skipped']} rows were skipped by choice and are in no number.")
    if "reference" in made:
        rows = f"run {made['reference_run_id']}, rows {made['reference_rows_sha256'][:8]}"
        lines.append(f"Reference: {made['reference']}, {rows}; ratio of sums under the same corruption.")
    if any(str(name).endswith("(unaligned)") for name in table["corruption"]):
        lines.append(
            "Unaligned: scored against the ground truth of the clean picture, whose pixels the corruption moved."
        )
    if made["protocol"]:
        # Eight digits name a hash to people; the CSV and the rows have it whole.
        facts = {key: re.sub(r"\b([0-9a-f]{8})[0-9a-f]{24,}\b", r"\1", text) for key, text in made["protocol"].items()}
        lines.append("Protocol: " + ", ".join(f"{key} {value}" for key, value in facts.items()) + ".")
    return [printable(line) for line in lines]


def print_table(table: pd.DataFrame, console: Console) -> None:
    """Print to a terminal; intervals stand under their numbers, and metrics under each other where it is narrow."""
    print_blocks(blocks(table), notes(table), console)


def print_blocks(parts: Iterable[Block], lines: Sequence[str], console: Console, heading: str = "Corruption") -> None:
    """Print blocks and what belongs under them, as `print_table` does; `heading` stands over the rows' names."""
    from rich.text import Text

    for title, names, columns in parts:
        groups = list(dict.fromkeys(column.group for column in columns if column.group)) or [""]
        whole = _terminal_table(title, names, columns, heading)
        unbound = console.options.update(max_width=10_000)
        fits = console.measure(whole, options=unbound).maximum <= console.width
        for index, group in enumerate([""] if fits else groups):
            part = columns if fits else [column for column in columns if column.group in ("", group)]
            console.print(_terminal_table("" if index else title, names, part, heading))
    for line in lines:
        console.print(Text(line, style="dim"))


def _terminal_table(title: str, names: list[str], columns: list[Column], heading: str) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    # Titles and names come from data: as Text they are not read as markup.
    shown = Table(
        title=Text(title, style="bold") if title else None,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        header_style="bold",
        pad_edge=False,
        padding=(0, 1, 0, 0),
        collapse_padding=True,
    )
    # Intervals may break at their comma; a name that breaks is hard to read.
    shown.add_column(heading, overflow="fold", min_width=min(16, max(map(len, names), default=0)))
    for column in columns:
        head = column.group if column.title == "value" else column.title.replace(" ", "\n")
        shown.add_column(Text(head), justify="right", vertical="top", overflow="fold")
    for index, name in enumerate(names):
        texts = [Text(name)]
        for column in columns:
            cell = column.cells[index]
            texts.append(Text(re.sub(r"/\d+", "", cell.text) if column.title == "Failures" else cell.text))
            if cell.spread:
                texts[-1].append("\n" + cell.spread, style="dim")
        shown.add_row(*texts, end_section=name in _APART and names[index + 1 : index + 2] != [name])
    return shown


def to_markdown(table: pd.DataFrame) -> str:
    """Return GitHub-flavoured Markdown."""
    return markdown_of(blocks(table), notes(table))


def markdown_of(parts: Iterable[Block], under: Sequence[str], heading: str = "Corruption") -> str:
    """Return blocks and what belongs under them as GitHub-flavoured Markdown; `heading` stands over the rows' names."""
    lines = []
    for title, names, columns in parts:
        heads = [heading, *(f"{c.group} {c.title}".strip().removesuffix(" value") for c in columns)]
        lines += [f"### {escape_markdown(title)}", "", _markdown_row([escape_markdown(head) for head in heads])]
        lines.append("|" + "|".join([" --- ", *(" ---: " for _ in columns)]) + "|")
        for index, name in enumerate(names):
            lines.append(_markdown_row([escape_markdown(name), *(column.cells[index].joined for column in columns)]))
        lines.append("")
    lines += [f"* {escape_markdown(line)}" for line in under]
    return "\n".join(lines).rstrip() + "\n"


def _markdown_row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def escape_markdown(text: str) -> str:
    """Return a text on one line whose special characters Markdown prints as they are."""
    text = re.sub(r"\s+", " ", text).replace("\\", "\\\\")
    return re.sub(r"[|`*<>\[\]#]|(?<!\w)_|_(?!\w)", lambda found: "\\" + found[0], text)


def to_csv(table: pd.DataFrame) -> str:
    """Return the tidy table with full precision, one line a condition and metric; a missing number is an empty field.

    Texts that a spreadsheet would run as a formula (beginning with ``= + - @``, a tab or a carriage return) get a
    leading apostrophe, and control characters are shown as their codes, so that a row is a line. Numbers stay numbers.
    """
    safe = pd.DataFrame({str(defused(str(name))): [defused(value) for value in table[name]] for name in table.columns})
    return str(safe.to_csv(index=False, lineterminator="\n", float_format="%.10g"))


def defused(value: object) -> object:
    """Return a text on one line that no spreadsheet takes for a formula; other values as they are."""
    if not isinstance(value, str):
        return value
    # Some spreadsheets take the full-width signs of East Asian keyboards for the narrow ones.
    formula = value.lstrip().startswith(("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20"))
    return "'" * (formula or value.startswith(("\t", "\r", "\n"))) + printable(value)


def to_latex(table: pd.DataFrame) -> str:
    """Return one ``table*`` a run (packages booktabs, graphicx); intervals are small, under their numbers."""
    return latex_of(blocks(table), notes(table))


def latex_of(found: Iterable[Block], under: Sequence[str]) -> str:
    """Return a ``table*`` a block, with what belongs under it in the caption, as `to_latex` does."""
    parts = ["% Needs \\usepackage{booktabs,graphicx}"]
    for title, names, columns in found:
        wide = sum(any(cell.spread for cell in column.cells) for column in columns) > 6
        parts += [
            "\\begin{table*}[t]",
            "\\centering\\footnotesize",
            "\\setlength{\\tabcolsep}{3pt}",
            f"\\caption{{{escape_latex(title)}. {' '.join(escape_latex(line) for line in under)}}}",
            "\\vspace{4pt}",
            *(["\\resizebox{\\textwidth}{!}{%"] if wide else []),
            f"\\begin{{tabular}}{{l{'r' * len(columns)}}}",
            "\\toprule",
            *_latex_heads(columns),
            "\\midrule",
        ]
        for index, name in enumerate(names):
            cells = [column.cells[index] for column in columns]
            parts.append(" & ".join([escape_latex(corruption_label(name)), *(escape_latex(c.text) for c in cells)]))
            spreads = [f"{{\\tiny {escape_latex(c.spread)}}}" if c.spread else "" for c in cells]
            # Intervals stand in a line of their own: beside their numbers they are too wide for a page.
            parts[-1] += " \\\\[-2pt]\n" + " & ".join(["", *spreads]) + " \\\\" if any(spreads) else " \\\\"
            if name in _APART and index + 1 < len(names) and names[index + 1] != name:
                parts.append("\\midrule")
        parts += ["\\bottomrule", "\\end{tabular}}" if wide else "\\end{tabular}", "\\end{table*}", ""]
    return "\n".join(parts)


def _latex_heads(columns: list[Column]) -> Iterator[str]:
    """Yield the row of metric names with its rules, and the row of titles."""
    above, rules, at = [""], [], 0
    while at < len(columns):
        group = columns[at].group
        width = next((k for k, c in enumerate(columns[at:]) if c.group != group), len(columns) - at) if group else 1
        if group:
            above.append(f"\\multicolumn{{{width}}}{{c}}{{{escape_latex(group)}}}")
            rules.append(f"\\cmidrule(lr){{{at + 2}-{at + 1 + width}}}")
        else:
            above.append("")
        at += width
    if rules:
        yield " & ".join(above) + " \\\\"
        yield "".join(rules)
    yield " & ".join(["Corruption", *(escape_latex(column.title) for column in columns)]) + " \\\\"


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "−": r"$-$",
    "–": r"--",
    "Δ": r"$\Delta$",
    "↓": r"$\downarrow$",
    "↑": r"$\uparrow$",
    "°": r"$^\circ$",
}


def escape_latex(text: str) -> str:
    """Return a text whose special characters LaTeX prints as they are."""
    return "".join(_LATEX.get(character, character) for character in text)
