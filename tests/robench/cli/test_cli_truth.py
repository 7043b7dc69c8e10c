"""Numbers end to end: runs whose truth is known, through the commands, against that truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from synthetic_runs import EFFECTS, MEAN_BODY, SyntheticRun, write_run

Run = Callable[..., tuple[int, str, str]]
FAST = ("--resamples", "500")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SyntheticRun]:
    folder = tmp_path_factory.mktemp("runs")
    return {
        "base": write_run(folder),
        "same": write_run(folder, checkpoint="same"),
        "worse": write_run(folder, clean_cm=1.1, checkpoint="worse"),
        "fog": write_run(folder, effects=EFFECTS | {"fog_3d": 1.5}, checkpoint="fog"),
        "noisy": write_run(folder, noise=0.05, seed=3, subjects=40, views=2, severities=(1, 3), checkpoint="noisy"),
        "fails": write_run(folder, fails={("fog_3d", 5): 3, ("iso_noise", 1): 12}, checkpoint="fails"),
        "mean": write_run(folder, "mean-body", effects=MEAN_BODY, clean_cm=2.0),
    }


def tables(
    run: Run, out: Path, *runs: SyntheticRun, reference: SyntheticRun | None = None, level: float = 0.95
) -> dict[str, pd.DataFrame]:
    """Report runs and return the tables of the report, as a reader of its files sees them."""
    more = ("--reference", reference.folder) if reference is not None else ()
    folders = [one.folder for one in runs]
    code, _, err = run(
        "report",
        *folders,
        "--metrics",
        "chamfer_cm,fscore_1cm",
        "--format",
        "jsonl",
        "--out",
        out,
        "--level",
        level,
        *FAST,
        *more,
    )
    assert code == 0, err
    return {path.stem: pd.read_json(path, lines=True) for path in out.glob("*.jsonl")}


def test_the_report_says_the_truth(run: Run, made: dict[str, SyntheticRun], tmp_path: Path) -> None:
    base, mean = made["base"], made["mean"]
    found = tables(run, tmp_path, base, reference=mean)
    table = found["degradation"].set_index(["metric", "corruption"])
    for name, effect in EFFECTS.items():
        row = table.loc[("chamfer_cm", name)]
        assert row["value"] == pytest.approx(base.clean * effect)
        assert row["delta"] == pytest.approx(base.clean * (effect - 1))
        assert [row["ratio"], row["ratio_lo"], row["ratio_hi"]] == pytest.approx([effect] * 3), "the same for everybody"
        assert row["rce"] == pytest.approx(effect * base.clean / mean.clean)
        assert table.loc[("fscore_1cm", name), "ratio"] == pytest.approx(1 / effect)
        assert row["mask_iou"] == pytest.approx(0.97 / effect)
    fine = found["degradation_by_severity"].set_index(["metric", "corruption", "severity"])
    for severity in range(1, 6):
        assert fine.loc[("chamfer_cm", "fog_3d", severity), "ratio"] == pytest.approx(1 + 0.25 * severity / 3)
    row = found["summary"].set_index("metric").loc["chamfer_cm"]
    assert row["ratio"] == pytest.approx(base.ratio_gm) == pytest.approx((2.0 * 1.25 * 1.6) ** (1 / 3))
    assert (row["worst_corruption"], row["failure_rate"]) == ("camera_roll", 0.0)
    assert row["worst_ratio"] == pytest.approx(2.0)
    assert row["corrupted"] == pytest.approx(base.clean * np.mean(list(EFFECTS.values())))


def test_failures_enter_the_report_with_their_penalty(run: Run, made: dict[str, SyntheticRun], tmp_path: Path) -> None:
    fails = made["fails"]
    table = tables(run, tmp_path, fails)["degradation"].set_index(["metric", "corruption"])
    for metric in ("chamfer_cm", "fscore_1cm"):
        for name in EFFECTS:
            columns = [index for index, (corruption, _) in enumerate(fails.conditions) if corruption == name]
            truth = fails.scores[metric][:, columns].mean()
            assert table.loc[(metric, name), "value"] == pytest.approx(truth)
    assert table.loc[("chamfer_cm", "fog_3d"), "failures"] == 3
    assert table.loc[("chamfer_cm", "iso_noise"), "failure_rate"] == pytest.approx(12 / 60)


def test_intervals_are_narrow_and_hold_the_truth(run: Run, made: dict[str, SyntheticRun], tmp_path: Path) -> None:
    table = tables(run, tmp_path, made["noisy"], level=0.999)["degradation"].set_index(["metric", "corruption"])
    for name, effect in EFFECTS.items():
        row = table.loc[("chamfer_cm", name)]
        assert row["ratio_lo"] < effect < row["ratio_hi"]
        assert 0 < row["ratio_hi"] - row["ratio_lo"] < 0.1
        assert row["n_subjects"] == 40
        assert row["n_samples"] == 40 * 2 * 2


def lines(found: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["metric"], ", ".join(one["corruptions"] or ["all corruptions"])): one for one in found["lines"]}


def compared(run: Run, *words: object) -> dict[str, Any]:
    code, out, err = run("compare", *words, "--metrics", "chamfer_cm,fscore_1cm", "--format", "json", *FAST)
    assert code == 0, err
    return dict(json.loads(out))


def test_a_factor_on_all_errors_is_what_every_line_finds(run: Run, made: dict[str, SyntheticRun]) -> None:
    found = lines(compared(run, made["base"].folder, made["worse"].folder))
    for where in ("all corruptions", "clean", *EFFECTS):
        assert found[("chamfer_cm", where)]["effect"] == pytest.approx(0.1)
        assert found[("chamfer_cm", where)]["marks"] == "+"
        assert found[("fscore_1cm", where)]["effect"] == pytest.approx(0, abs=1e-12)
        assert found[("fscore_1cm", where)]["marks"] == "~"
    back = lines(compared(run, made["worse"].folder, made["base"].folder))
    assert back[("chamfer_cm", "all corruptions")]["effect"] == pytest.approx(1 / 1.1 - 1)
    assert back[("chamfer_cm", "all corruptions")]["marks"] == "-"


def test_one_corruption_that_got_worse_is_the_one_that_is_marked(run: Run, made: dict[str, SyntheticRun]) -> None:
    found = lines(compared(run, made["base"].folder, made["fog"].folder))
    each = [np.log((1 + 0.5 * s / 3) / (1 + 0.25 * s / 3)) for s in range(1, 6)]
    assert found[("chamfer_cm", "fog_3d")]["effect"] == pytest.approx(np.expm1(np.mean(each)))
    assert found[("chamfer_cm", "all corruptions")]["effect"] == pytest.approx(np.expm1(np.mean(each) / 3))
    marks = {where: found[("chamfer_cm", where)]["marks"] for where in ("clean", *EFFECTS)}
    assert marks == {"clean": "~", "camera_roll": "~", "fog_3d": "+", "iso_noise": "~"}


def test_failures_are_counted_and_named_new(run: Run, made: dict[str, SyntheticRun]) -> None:
    found = lines(compared(run, made["base"].folder, made["fails"].folder))
    rate = found[("failure_rate", "all corruptions")]
    assert rate["effect"] == pytest.approx((3 / 12 / 5 + 1 / 5) / 3)
    assert "!" in rate["marks"]
    assert "!" not in found[("chamfer_cm", "camera_roll")]["marks"]


def test_measures_against_the_reference(run: Run, made: dict[str, SyntheticRun]) -> None:
    base, mean = made["base"], made["mean"]
    (ours, _) = compared(run, base.folder, base.folder, "--reference", mean.folder)["measures"]
    assert ours["ratio_gm"]["value"] == pytest.approx(base.ratio_gm)
    assert ours["mce"]["value"] == pytest.approx(np.mean(list(EFFECTS.values())) * base.clean / mean.clean)
    assert ours["relative_mce"]["value"] is None, "a mean body gets no worse"
    assert ours["worst_corruption"] == "camera_roll"
    words = ("--reference", mean.folder, "--metrics", "fscore_1cm", "--format", "json", *FAST)
    code, out, _ = run("compare", base.folder, base.folder, *words)
    assert code == 0
    rr = json.loads(out)["measures"][0]["rr"]["value"]
    assert rr == pytest.approx(np.mean([1 / effect for effect in EFFECTS.values()]))


@pytest.mark.parametrize(
    ("cand", "margin", "mode", "code", "verdict"),
    [
        ("same", "3%", "harm", 0, "pass"),
        ("same", "3%", "safety", 0, "pass"),
        ("worse", "3%", "harm", 4, "regression"),
        ("worse", "9%", "safety", 4, "regression"),
        ("worse", "11%", "harm", 0, "pass"),
        ("fog", "3%", "harm", 4, "regression"),
        ("fails", "50%", "harm", 4, "regression"),
    ],
)
def test_the_gate_opens_and_shuts_where_the_truth_says(
    run: Run, made: dict[str, SyntheticRun], tmp_path: Path, cand: str, margin: str, mode: str, code: int, verdict: str
) -> None:
    policy = tmp_path / "gate.yaml"
    first = f"{{metric: chamfer_cm, margin: {margin}, mode: {mode}}}"
    each = f"{{metric: chamfer_cm, by: corruption, margin: {margin}}}"
    policy.write_text(f"version: 1\nmin_subjects: 5\nresamples: 500\nprimary: {first}\nsecondary: [{each}]\n")
    found = run("gate", made["base"].folder, made[cand].folder, "--policy", policy, "--format", "json")
    assert found[0] == code, found
    assert json.loads(found[1])["verdict"] == verdict
