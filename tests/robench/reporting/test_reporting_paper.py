"""The tables of a paper: layout, numbers, marks of failures, and hostile names."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

from robench.analysis import degradation_table
from robench.reporting.paper import to_paper_latex


def lines_of(text: str) -> list[list[str]]:
    """Return the cells of every row of every table, heads included."""
    return [line.removesuffix(" \\\\").split(" & ") for line in text.splitlines() if line.endswith("\\\\")]


def test_one_masker_gives_both_metrics_with_their_differences(toy_rows: Any) -> None:
    table = degradation_table(toy_rows(), resamples=100)
    text = to_paper_latex(table)
    rows = lines_of(text)
    assert rows[0] == ["Corruption", "Chamfer $\\downarrow$", "$\\Delta$", "P2S $\\downarrow$", "$\\Delta$"]
    assert [row[0] for row in rows[1:]] == [
        "None", "Camera roll", "Camera roll (unaligned)", "Fog 3D\\textsuperscript{*}",
    ]  # fmt: skip
    assert {len(row) for row in rows} == {5}
    roll = table[(table["corruption"] == "camera_roll")].set_index("metric")
    wanted = [
        f"{roll.loc[metric, 'value']:.2f} & {roll.loc[metric, 'delta']:+.2f}"
        for metric in ("chamfer_cm", "p2s_pred_to_gt_cm")
    ]
    assert " & ".join(rows[2]) == " & ".join(["Camera roll", *wanted])
    assert rows[1][2] == rows[1][4] == "", "clean has no difference to itself"
    assert "1/20 (5.0 \\%)" in text
    assert "masks: given, in cm." in text
    assert text.count("\\begin{table}") == text.count("\\bottomrule") == 1
    assert "table*" not in text


def test_several_maskers_stand_beside_each_other_as_in_the_paper(toy_rows: Any) -> None:
    one = toy_rows()
    other = toy_rows(scale=2.0).assign(masker="u2netp", run_id="toy@other")
    text = to_paper_latex(degradation_table(pd.concat([one, other], ignore_index=True), resamples=100))
    rows = lines_of(text)
    assert rows[0] == ["Corruption", "given", "u2netp"]
    assert all(re.fullmatch(r"\d+\.\d\d / (\d+\.\d\d|--)", cell) for row in rows[1:] for cell in row[1:])
    first, second = ([float(part) for part in cell.split(" / ")] for cell in rows[1][1:])
    assert abs(second[0] - 2 * first[0]) < 0.02
    assert abs(first[1] - 0.9 * first[0]) < 0.01


def test_two_checkpoints_of_a_model_under_one_masker_are_two_tables(toy_rows: Any) -> None:
    both = pd.concat([toy_rows(), toy_rows(scale=2.0).assign(run_id="toy@other")], ignore_index=True)
    both["checkpoint_sha256"] = both["run_id"]
    assert to_paper_latex(degradation_table(both, resamples=100)).count("\\begin{table}") == 2


def test_names_run_nothing(toy_rows: Any) -> None:
    rows = toy_rows(model="\\input{/etc/passwd}$x^2$\x1b")
    text = to_paper_latex(degradation_table(rows, resamples=100))
    assert "\\input" not in text
    assert "\x1b" not in text
    assert "\\textbackslash{}input" in text
