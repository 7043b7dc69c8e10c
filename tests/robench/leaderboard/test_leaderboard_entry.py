"""From rows to lines: every number by hand, what is missing is empty, and what ids hash."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic_runs import EFFECTS, PENALTY_CM, people

from robench.engine.recipes import load_recipe
from robench.errors import Mismatch, UsageError
from robench.leaderboard.columns import MAIN, MAIN_COLUMNS, SCHEMA_VERSION
from robench.leaderboard.entry import METRICS, fields, recipe_identity, recipe_sha
from robench.leaderboard.record import protocol_sha
from tests.robench.leaderboard.conftest import WHOLE


def close(text: str, expected: float) -> None:
    assert float(text) == pytest.approx(expected, rel=1e-5)


def test_headline_of_a_model_is_its_truth(board) -> None:
    made = board.run(**WHOLE)
    board.publish(made)
    line = board.line("toy")
    clean = people(6)
    close(line["clean"], clean.mean())
    close(line["ratio_gm"], math.prod(EFFECTS.values()) ** (1 / 3))
    close(line["corrupted"], clean.mean() * np.mean(list(EFFECTS.values())))
    assert line["worst_corruption"] == "camera_roll"
    close(line["worst_ratio"], 2.0)
    half = stats.t.ppf(0.975, 5) * clean.std(ddof=1) / math.sqrt(6)
    close(line["clean_lo"], clean.mean() - half)
    close(line["clean_hi"], clean.mean() + half)
    # Everybody has the same ratios, so that there is nothing to be unsure of.
    assert line["ratio_lo"] == line["ratio_hi"] == line["ratio_gm"]
    close(line["mask_iou"], 0.97 * np.mean([1 / effect for effect in EFFECTS.values()]))
    assert (line["n_subjects"], line["n_samples"], line["failure_rate"]) == ("6", "6", "0")
    assert (line["params_m"], line["hardware"], line["verified"], line["date"]) == ("1", "cpu", "self", "2026-11-21")


def test_each_severity_is_a_mean_over_the_corruptions_that_have_it(board) -> None:
    board.publish(board.run(**WHOLE))
    line = board.line("toy")
    for level in range(1, 6):
        factors = [1 + (effect - 1) * level / 3 for effect in EFFECTS.values()]
        close(line[f"s{level}"], people(6).mean() * np.mean(factors))


def test_what_a_recipe_lacks_is_empty(board) -> None:
    board.publish(board.run(severities=(1, 3), metrics=("chamfer_cm",)))
    line = board.line("toy")
    assert [bool(line[f"s{level}"]) for level in range(1, 6)] == [True, False, True, False, False]
    assert line["rce"] == line["rce_ref"] == line["rr"] == line["gpu_seconds"] == line["paper_url"] == ""


def test_resilience_is_of_a_score_and_corruption_error_of_an_error(filled) -> None:
    board, reference, _ = filled
    score, error = board.line("toy", "fscore_1cm"), board.line("toy")
    assert (error["rr"], score["rce"]) == ("", "")
    assert score["rr"]
    assert error["rce"]
    sha = json.loads((board.entry(reference) / "submission.json").read_text())["rows"]["rows_sha256"]
    assert error["rce_ref"] == f"mean-body:{sha[:12]}"
    assert score["rce_ref"] == ""


def test_corruption_error_is_errors_by_those_of_the_reference(filled) -> None:
    board, reference, model = filled
    errors = model.scores["chamfer_cm"].mean(axis=0)
    base = reference.scores["chamfer_cm"].mean(axis=0)
    names = np.array([name for name, _ in model.conditions])
    each = [errors[names == name].mean() / base[names == name].mean() for name in EFFECTS]
    close(board.line("toy")["rce"], float(np.mean(each)))
    assert board.line("mean-body")["rce"] == "1"


def test_failures_count_with_their_penalty(filled) -> None:
    board, _, model = filled
    assert (model.scores["chamfer_cm"] == PENALTY_CM).sum() == 2
    close(board.line("toy")["failure_rate"], 2 / (6 * 16))
    (fog,) = [
        line
        for line in board.per_corruption()
        if (line["model"], line["metric"], line["corruption"], line["severity"]) == ("toy", "chamfer_cm", "fog_3d", "5")
    ]
    column = model.conditions.index(("fog_3d", 5))
    close(fog["value"], model.scores["chamfer_cm"][:, column].mean())
    close(fog["failure_rate"], 2 / 6)
    assert fog["n"] == "6"


def test_per_corruption_has_every_condition_of_every_metric(filled) -> None:
    board, *_ = filled
    own = [line for line in board.per_corruption() if line["model"] == "toy"]
    assert len(own) == 3 * 16  # chamfer, p2s, f-score; clean and fifteen
    assert [line["corruption"] for line in own[:16]] == ["clean", *sorted(5 * list(EFFECTS))]
    assert {line["metric"] for line in own} == {"chamfer_cm", "p2s_pred_to_gt_cm", "fscore_1cm"} < set(METRICS)


def test_time_on_a_gpu_is_counted_once_a_picture(board) -> None:
    board.publish(board.run(columns={"device": "cuda:0", "time_s": 0.25}, metrics=("chamfer_cm", "mask_iou")))
    line = board.line("toy")
    close(line["gpu_seconds"], 0.25 * 4 * 5)
    assert line["hardware"] == "cuda:0"


def rows_of_recipe(name: str) -> tuple[pd.DataFrame, Any]:
    recipe = load_recipe(name)
    versions = {cell.corruption: cell.version() for cell in recipe.cells}
    rows = [
        {"corruption": c, "severity": s, "corruption_version": versions.get(c)}
        for c, s in recipe.conditions()
        for _ in range(2)
    ]
    return pd.DataFrame(rows).sample(frac=1, random_state=0), recipe


@pytest.mark.parametrize("name", ["2d-priors", "3dcc", "full"])
def test_recipe_hash_is_that_of_the_recipe_that_was_run(name: str) -> None:
    rows, recipe = rows_of_recipe(name)
    assert recipe_identity(rows) == recipe.identity()
    assert recipe_sha(rows) == recipe.sha256()


def test_a_corruption_without_one_version_has_no_recipe() -> None:
    rows, _ = rows_of_recipe("2d-priors")
    rows.loc[rows["corruption"] == "fog_3d", "corruption_version"] = None
    with pytest.raises(Mismatch, match="fog_3d"):
        recipe_sha(rows)


PROTOCOL = {
    "schema_version": 1,
    "frame": "view",
    "metrics": [{"name": "a", "version": "1"}, {"name": "b", "version": "1"}],
    "masker": {"name": "given"},
    "model_options": {"crop": "auto"},
    "penalty": {"model": "mean-body"},
}


def test_protocol_hash_is_of_one_metric_and_of_no_option() -> None:
    sha = protocol_sha(PROTOCOL, "a")
    assert protocol_sha({**PROTOCOL, "model_options": {"crop": "none"}}, "a") == sha
    assert protocol_sha({**PROTOCOL, "metrics": PROTOCOL["metrics"][:1]}, "a") == sha
    for other in (
        {**PROTOCOL, "metrics": [{"name": "a", "version": "2"}]},
        {**PROTOCOL, "masker": {"name": "u2net"}},
        {**PROTOCOL, "penalty": {"model": "other"}},
        {**PROTOCOL, "frame": "world"},
    ):
        assert protocol_sha(other, "a") != sha
    assert protocol_sha(PROTOCOL, "b") != sha
    with pytest.raises(UsageError, match="'c'"):
        protocol_sha(PROTOCOL, "c")


def test_fields_are_texts_that_nobody_obeys() -> None:
    line = {column.name: None for column in MAIN_COLUMNS}
    line |= {"schema_version": SCHEMA_VERSION, "clean": 1 / 3, "corrupted": float("nan"), "ratio_gm": float("inf")}
    line |= {"model": "=cmd()", "variant": "a\nb\x1b[31m", "n_subjects": 30, "rr": 12345678.9, "rce": 1e-7}
    texts = dict(zip((column.name for column in MAIN_COLUMNS), fields(line, MAIN_COLUMNS), strict=True))
    assert texts["clean"] == "0.333333"
    assert texts["corrupted"] == texts["ratio_gm"] == texts["licence"] == ""
    assert (texts["model"], texts["variant"]) == ("'=cmd()", "a\\nb\\x1b[31m")
    assert (texts["n_subjects"], texts["rr"], texts["rce"]) == ("30", "1.23457e+07", "1e-07")


def test_lines_are_sorted_by_model_and_metric(filled) -> None:
    board, *_ = filled
    found = [(line["model"], METRICS.index(line["metric"])) for line in board.main()]
    assert found == sorted(found)
    assert (board.folder / MAIN).read_bytes().count(b"\r") == 0
