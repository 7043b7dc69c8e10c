"""Tables: what is printed is what was computed, missing stays missing, and nothing a user named does harm."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from rich.console import Console

from robench.analysis import degradation_table
from robench.errors import printable
from robench.reporting.labels import corruption_label, failures, interval, metric_label, number
from robench.reporting.tables import defused, escape_latex, escape_markdown, print_table, to_csv, to_latex, to_markdown


def printed(table, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    print_table(table, console)
    return console.file.getvalue()


@pytest.mark.parametrize("width", [200, 100, 80])
def test_console_shows_every_number_uncut(toy_rows, width: int) -> None:
    table = degradation_table(toy_rows())
    text = printed(table, width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    for row in table.itertuples():
        assert number(row.value) in text
        assert interval(row.lo, row.hi) in text
    lines = [line.split()[0] for line in text.splitlines() if re.match(r" ?(clean|fog_3d|camera_roll)", line)]
    order = ["clean", "camera_roll", "camera_roll", "fog_3d"]
    assert lines in (order, order * 2)  # twice where the metrics stand under each other


def test_console_reads_no_markup_from_data(toy_rows) -> None:
    table = degradation_table(toy_rows(model="[red]evil[/red]"))
    assert "[red]evil[/red]" in printed(table, 120)


def test_markdown_is_one_table_with_notes(toy_rows) -> None:
    table = degradation_table(toy_rows())
    text = to_markdown(table)
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len({row.count("|") for row in rows}) == 1
    assert [row.split("|")[1].strip() for row in rows[2:]] == [
        "clean",
        "camera_roll",
        "camera_roll (unaligned)",
        "fog_3d",
    ]
    fog = table[(table["corruption"] == "fog_3d") & (table["metric"] == "chamfer_cm")].iloc[0]
    assert f"{fog.value:.2f} [{fog.lo:.2f}, {fog.hi:.2f}]" in rows[-1]
    assert f"+{fog.delta:.2f}" in rows[-1]
    assert "1/8 (12.5 %)" in rows[-1]
    assert "Student-t" in text
    assert "Unaligned:" in text
    assert "dataset toys" in text
    assert "cdcdcdcd" in text
    assert "cd" * 32 not in text


def test_what_is_missing_is_a_dash_and_never_0(toy_rows) -> None:
    rows = toy_rows()
    rows["failure_value"] = np.nan
    table = degradation_table(rows)
    fog = next(line for line in to_markdown(table).splitlines() if line.startswith("| fog_3d")).split("|")
    assert [cell.strip() for cell in fog[2:5]] == ["–", "–", "–"]
    record = next(r for r in csv.DictReader(io.StringIO(to_csv(table))) if r["corruption"] == "fog_3d")
    assert (record["value"], record["lo"], record["ratio"]) == ("", "", "")
    assert "nan" not in (to_csv(table) + to_latex(table) + printed(table, 120)).lower().replace("toy", "")


def test_csv_has_full_precision_and_comes_back(toy_rows) -> None:
    table = degradation_table(toy_rows())
    records = list(csv.DictReader(io.StringIO(to_csv(table))))
    assert len(records) == len(table)
    for record, row in zip(records, table.itertuples(), strict=True):
        assert float(record["value"]) == pytest.approx(row.value, rel=1e-9)
        assert record["method"] == "t"
        assert record["corruption"] == row.corruption


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", " =", "\uff1d"])
def test_csv_defuses_formulas_but_not_numbers(toy_rows, start: str) -> None:
    evil = f'{start}HYPERLINK("http://x","y")'
    table = degradation_table(toy_rows(model=evil))
    records = list(csv.DictReader(io.StringIO(to_csv(table), newline="")))
    assert {record["model"] for record in records} == {"'" + printable(evil)}
    assert defused(-1.5) == -1.5
    assert defused("fog") == "fog"
    improved = table.assign(delta=-0.25)
    assert {r["delta"] for r in csv.DictReader(io.StringIO(to_csv(improved)))} == {"-0.25"}


def test_latex_is_balanced_and_escaped(toy_rows) -> None:
    text = to_latex(degradation_table(toy_rows(model="a_b & 100% #1 $x$ ~^ {z} \\input{evil}")))
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert r"\input{evil}" not in text
    assert r"a\_b \& 100\% \#1 \$x\$" in text
    columns = len(re.search(r"\\begin\{tabular\}\{(.*)\}", text)[1])
    body = text[text.index(r"\midrule") : text.index(r"\bottomrule")].replace(r"\midrule", "")
    lines = [line for line in re.split(r"\\\\(?:\[.*?\])?\n", body) if line.strip()]
    assert {len(re.split(r"(?<!\\)&", line)) for line in lines} == {columns}
    assert [name for name in ("Clean", "Camera roll", "Fog 3D") if f"\n{name} &" not in text] == []
    head = re.findall(r"\\multicolumn\{(\d)\}", text)
    assert head == ["3", "3"]
    assert r"\cmidrule(lr){2-4}\cmidrule(lr){5-7}" in text
    assert all(ord(character) < 128 for character in text)


def test_severities_and_subjects_get_columns_where_they_vary(toy_rows) -> None:
    rows = toy_rows()
    together = to_markdown(degradation_table(rows))
    assert "severity 1,3; 4 subjects" in together
    apart = to_markdown(degradation_table(rows, by="severity"))
    assert "| Severity |" in apart
    uneven = to_markdown(degradation_table(rows[(rows["subject_id"] != "s1") | (rows["corruption"] != "fog_3d")]))
    assert "| Subjects |" in uneven


def test_reference_and_several_runs(toy_rows) -> None:
    import pandas as pd

    reference = toy_rows(model="mean-body", scale=2.0)
    rows = pd.concat([toy_rows(), toy_rows(model="other", scale=1.5)])
    text = to_markdown(degradation_table(rows, reference=reference))
    assert text.count("### ") == 2
    assert "vs. reference" in text
    assert "Reference: mean-body (abababab)" in text
    assert "vs. reference" not in to_markdown(degradation_table(rows))


def test_labels() -> None:
    assert corruption_label("h265_crf") == "H.265 CRF"
    assert corruption_label("color_quant") == "Colour quantisation"
    assert corruption_label("camera_roll (unaligned)") == "Camera roll (unaligned)"
    assert corruption_label("my_own") == "My own"
    assert metric_label("someone_elses") == "someone elses"
    assert (number(-0.001), number(-0.5), number(1.0, sign=True), number(np.nan)) == ("0.00", "−0.50", "+1.00", "–")
    assert interval(np.nan, 1.0) == ""
    assert (failures(0, 10), failures(3, 120)) == ("0", "3/120 (2.5 %)")
    assert escape_markdown("a|b_c <x> [l](u)\nnext _i_") == r"a\|b_c \<x\> \[l\](u) next \_i\_"
    assert escape_latex("5 % & −1") == r"5 \% \& $-$1"
