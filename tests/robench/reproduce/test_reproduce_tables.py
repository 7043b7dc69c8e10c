"""Tables I to III: numbers computed by hand, the paper's beside them, and findings that follow intervals."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis import read_rows
from robench.analysis.likeness import likeness_table
from robench.reporting.tables import markdown_of
from robench.reproduce import table1, table2, table3
from robench.reproduce.parameters import counted
from robench.reproduce.published import find
from tests.robench.synthetic_runs import write_run

LEVELS = (2, 4, 5)
"""Those of the four corruptions."""
EFFECTS = {"low_light": 1.5, "iso_noise": 1.2, "zoom_blur_2d": 1.1, "camera_roll": 2.0, "fog_3d": 1.3}
LEVEL_OF = {"low_light": 4, "iso_noise": 4, "zoom_blur_2d": 2, "camera_roll": 5}


def critical(parent: Path, **how) -> pd.DataFrame:
    run = write_run(parent, effects=EFFECTS, severities=LEVELS, subjects=8, **how)
    return table2.of_critical(read_rows(run.folder))


def by_paper(clean: float = 2.0, roll: float = 8.0) -> pd.DataFrame:
    columns = ["corruption", "metric", "value", "ratio", "pictures", "missing"]
    return pd.DataFrame(
        [[name, metric, value, value / clean, 5, 0] for metric in ("chamfer", "p2s") for name, value in
         (("clean", clean), ("camera_roll", roll))],
        columns=columns,
    )  # fmt: skip


def test_table_2_takes_the_levels_of_the_paper_and_no_other_corruption(tmp_path: Path) -> None:
    rows = critical(tmp_path)
    kept = {(name, int(s)) for name, s in zip(rows["corruption"], rows["severity"], strict=True)}
    assert kept == {("clean", 0), *LEVEL_OF.items()}


def test_table_2_has_ratios_of_both_protocols_and_the_printed_ones(tmp_path: Path) -> None:
    lines = table2.lines_of("corrupted", critical(tmp_path), by_paper(), 0.95).set_index(["corruption", "metric"])
    for name, level in LEVEL_OF.items():
        expected = 1 + (EFFECTS[name] - 1) * level / np.mean(LEVELS)
        assert lines.loc[(name, "chamfer_cm"), "ratio"] == pytest.approx(expected)
    roll = lines.loc[("camera_roll", "p2s_pred_to_gt_cm")]
    assert roll["paper_protocol_cm"] == 8.0
    assert roll["paper_protocol_ratio"] == 4.0
    assert roll["published"] == 0.2441
    assert roll["published_ratio"] == pytest.approx(0.2441 / 0.0387)
    assert roll["n_subjects"] == 8
    # What was not measured has no number; a clean ratio says nothing.
    assert math.isnan(lines.loc[("low_light", "chamfer_cm"), "paper_protocol_cm"])
    clean = lines.loc[("clean", "chamfer_cm")]
    assert all(math.isnan(clean[name]) for name in ("ratio", "paper_protocol_ratio", "published_ratio"))
    assert clean["published"] == 0.0405
    stranger = table2.lines_of("u2netp-anny", critical(tmp_path), by_paper(), 0.95)
    assert stranger["published"].isna().all()


def test_table_2_counts_failures_at_their_penalty(tmp_path: Path) -> None:
    rows = critical(tmp_path, fails={("low_light", 4): 2})
    line = table2.lines_of("given", rows, by_paper(), 0.95).set_index(["corruption", "metric"])
    assert line.loc[("low_light", "chamfer_cm"), "failures"] == 2
    text = markdown_of(table2.blocks(line.reset_index()), [], "Masks")
    assert "2/8 (25.0 %)" in text
    assert text.startswith("### ")
    assert "| Masks | Chamfer ↓ |" in text
    assert "(cm)" not in text  # the printed numbers stand in the same group, and are no centimetres


def test_table_2_calls_a_difference_of_maskers_one_only_if_its_interval_does(tmp_path: Path) -> None:
    runs = {
        "given": critical(tmp_path, masker="given"),
        "u2netp": critical(tmp_path, masker="u2netp", clean_cm=1.5),
        "silueta": critical(tmp_path, masker="silueta", clean_cm=1.01, noise=0.4),
    }
    pair = {"given": runs["given"], "u2netp": runs["u2netp"]}
    table = pd.concat([table2.lines_of(name, rows, by_paper(), 0.95) for name, rows in pair.items()])
    (found,) = table2.findings(table, pair, 0.95)
    assert "Chamfer 0.0690 with isnet-general-use, 0.1855 to 0.2552 with the others" in found.paper
    errors = {n: r[(r["metric"] == "chamfer_cm") & (r["corruption"] == "low_light")] for n, r in pair.items()}
    gap = errors["u2netp"]["value"].mean() - errors["given"]["value"].mean()
    assert f"Low light: given is {gap:.2f} [" in found.here
    assert "Clean: given is" in found.here
    assert "no difference shown" not in found.here

    pair = {"given": runs["given"], "silueta": runs["silueta"]}
    table = pd.concat([table2.lines_of(name, rows, by_paper(), 0.95) for name, rows in pair.items()])
    assert "no difference shown" in table2.findings(table, pair, 0.95)[0].here
    table = pd.concat([table2.lines_of(name, rows, by_paper(), 0.95) for name, rows in runs.items()])
    assert "the widest of 3 pairs, not corrected for that" in table2.findings(table, runs, 0.95)[0].here


def test_table_2_tells_what_roll_costs_with_the_true_mask(tmp_path: Path) -> None:
    rows = critical(tmp_path, masker="corrupted")
    table = table2.lines_of("corrupted", rows, by_paper(), 0.95)
    (found,) = table2.findings(table, {"corrupted": rows}, 0.95)
    assert found.paper == "Camera roll with the true mask multiplies the Chamfer distance by 5.97."
    assert found.here.startswith(f"It multiplies it by {1 + 5 / np.mean(LEVELS):.2f} [")


def likeness_rows() -> pd.DataFrame:
    values = {"fog_3d": 0.9, "h265_abr": 0.5, "low_light": 0.7}
    rows = []
    for subject, shift in (("a", -0.05), ("b", 0.05)):
        about = {"sample_id": subject, "subject_id": subject, "view": 0.0, "status": "ok", "message": ""}
        for name, value in values.items():
            rows.append({**about, "condition": name, "severity": 2, "angle": None, "similarity": value + shift})
        for angle, value in ((0.0, 1.0), (90.0, 0.8), (180.0, 0.6), (270.0, 0.75)):
            rows.append({**about, "condition": "turn", "severity": None, "angle": angle, "similarity": value})
    return table1.beside_paper(likeness_table(rows))


def test_table_1_has_the_papers_numbers_beside_ours() -> None:
    table = likeness_rows().set_index("condition")
    assert table.loc["fog_3d", "similarity"] == pytest.approx(0.9)
    assert table["published"].to_dict() == {
        "fog_3d": 0.944, "h265_abr": 0.7952, "low_light": 0.8441, "front–left": 0.9214, "front–back": 0.8047,
        "front–right": 0.9097,
    }  # fmt: skip
    _, names, columns = table1.block(table.reset_index())
    assert names == ["Fog 3D", "H.265 ABR", "Low light", "View: front–left", "View: front–back", "View: front–right"]
    assert [cell.text for cell in columns[1].cells][:2] == ["0.9440", "0.7952"]
    order, sides = table1.findings(table.reset_index())
    assert order.paper == "Least alike under H.265 ABR (0.7952), most under Fog 3D (0.9440)."
    assert order.here == (
        "Least alike under H.265 ABR (0.5000), most under Fog 3D (0.9000). "
        "Rank correlation with the paper's order: 1.00."
    )
    assert sides.paper.startswith("2 of 3 corruptions take a picture further from itself than a view from the side")
    assert sides.here.startswith("2 of 3 ") and "0.7500" in sides.here  # noqa: PT018


def test_table_3_is_counted_from_the_classes_and_told_from_the_published_file() -> None:
    rows = counted().parameter_table()
    table = table3.beside_paper(rows).set_index("model")
    assert table.loc["Experts Fusion, as coded", ["trainable", "total"]].tolist() == [1_185_795, 567_078_959]
    assert table.loc["baseline", "trainable_equal"] is True
    frozen = "tf_concat with frozen PIFu encoder, as coded"
    assert table.loc[frozen, "trainable_equal"] is False
    found = table3.finding(table.reset_index())
    assert found.paper == "Prints 8 figures of 4 systems."
    assert found.here == f"6 of them follow from the classes; not those of {frozen}, which contradict each other."
    # The models' own record of the paper's figures and the published file say the same.
    names = {"baseline": "baseline", "Experts Fusion, as coded": "experts", "add-based fusion": "add",
             frozen: "concat_frozen"}  # fmt: skip
    told = {row["model"]: tuple(row["published"]) for row in rows if row["published"] is not None}
    printed = {
        model: [find("table3", name, metric) for metric in ("trainable", "total")] for model, name in names.items()
    }
    assert told == {model: tuple(int(one.value) for one in pair if one is not None) for model, pair in printed.items()}
    assert "| Experts Fusion, as described | 1,894,531 | – |" in markdown_of([table3.block(table.reset_index())], [])
