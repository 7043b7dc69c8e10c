"""The benchmark of the corruptions runs, says who is missing, and judges by its figures."""

import csv

import numpy as np
import pytest

from benchmarks import __main__ as command
from benchmarks import _peers, bench_corruptions
from benchmarks.bench_corruptions import COLUMNS, COMMON, CONTESTS, Contest, measure, picture, run
from corruptions import NAMES
from corruptions.fog_3d import fog


def _fast(subject):
    return lambda: None


def _absent(subject):
    raise _peers.Absent("not installed")


def _broken(subject):
    return lambda: 1 // 0


def test_contests_name_corruptions_that_exist():
    assert set(CONTESTS) <= set(NAMES)
    assert len(COMMON) == 19
    assert set(COMMON) <= set(CONTESTS)
    assert {column for contest in CONTESTS.values() for column in contest.peers} == set(COLUMNS)


@pytest.mark.parametrize("name", ["color_quant", "iso_noise", "low_light"])
def test_formulas_do_the_same_work_as_ours(name):
    subject = picture(96)
    theirs = CONTESTS[name].peers["formula"](subject)()
    mine = bench_corruptions.ours(name, 3, subject)().image
    # Theirs is truncated to 8 bits.
    assert theirs.mean() == pytest.approx(mine.mean(), abs=1.0)
    assert theirs.std() == pytest.approx(mine.std(), rel=0.02)


def test_formula_of_fog_is_ours_with_the_grey_of_the_picture():
    subject = picture(96)
    mine = fog(subject.image, subject.depth, 0.768, float(subject.image.mean()) / 255)
    assert np.abs(CONTESTS["fog_3d"].peers["formula"](subject)().astype(int) - mine).max() <= 1


# Those of codecs code 120 frames.
PLAIN = [
    name for name, c in CONTESTS.items() if "formula" in c.peers and name not in ("h265_crf", "h265_abr", "bit_error")
]


@pytest.mark.parametrize("name", PLAIN)
def test_every_formula_gives_a_picture(name):
    subject = picture(64)
    result = np.asarray(CONTESTS[name].peers["formula"](subject)())
    assert result.size == subject.image.size
    assert np.isfinite(result).all()
    assert result.std() > 1


def test_rows_are_shown_and_written(tmp_path, capsys):
    result = run(["color_quant", "brightness"], side=64, budget=0.01)
    assert result["slower"] > 0
    assert "common_19_ms" not in result
    for row in result["rows"]:
        assert row["robench_ms"] > 0
        assert all(isinstance(row[f"{c}_ms"], float | str) for c in COLUMNS)
    bench_corruptions.show(result)
    assert "color_quant" in capsys.readouterr().out
    path = command.write_csv("corruptions", result["rows"], tmp_path / "results")
    assert path.name.startswith("corruptions-")
    rows = list(csv.DictReader(path.open()))
    assert [row["corruption"] for row in rows] == ["color_quant", "brightness"]
    assert float(rows[0]["robench_ms"]) == pytest.approx(result["rows"][0]["robench_ms"], rel=1e-3)


def test_missing_and_failing_peers_are_said_and_do_not_count():
    contest = Contest({"kornia": _absent, "albumentations": _broken}, target_ms=1e9)
    row = measure("color_quant", contest, picture(64), 0.01)
    assert row["kornia_ms"] == "not installed"
    assert row["albumentations_ms"] == "fails: ZeroDivisionError"
    assert row["ratio_to_best_peer"] == ""
    assert row["met"]


def test_a_faster_peer_and_a_missed_target_are_told_with_the_reason():
    contest = Contest({"formula": _fast}, target_ms=1e-6, reason="light is only so fast")
    row = measure("color_quant", contest, picture(64), 0.01)
    assert not row["met"]
    assert row["remark"].startswith(f"{row['robench_ms']:.2f} ms for 0.00; formula ")
    assert row["remark"].endswith("times as fast; light is only so fast")
    assert row["ratio_to_best_peer"] < 1


def test_unknown_benchmark_is_told(capsys):
    assert command.main(["warp_drive"]) == 2
    assert "no benchmark warp_drive; expected some of" in capsys.readouterr().err
