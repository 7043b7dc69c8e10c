"""The paper's protocol: against distances known beforehand, and on a run with kept meshes."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.analysis import read_rows
from robench.contracts import Failure, Mesh
from robench.engine.evaluate import evaluate
from robench.engine.selection import select
from robench.engine.tasks import Options
from robench.errors import Mismatch
from robench.reproduce import protocol
from robench.reproduce.protocol import measure_run, paper_distances, paper_mean, paper_table
from robench.reproduce.settings import MEASURED


def sheet(width: float, z: float = 0.0) -> Mesh:
    """A rectangle, `width` long and 1 high, at a height."""
    corners = np.array([[0, 0, z], [width, 0, z], [width, 1, z], [0, 1, z]], np.float32)
    return Mesh(corners, np.array([[0, 1, 2], [0, 2, 3]], np.int32))


def test_a_missing_distance_counts_as_0_and_makes_the_mean_better() -> None:
    assert paper_mean([3.0, None, math.nan, 9.0]) == 3.0
    assert paper_mean([None, math.nan]) == 0.0
    assert math.isnan(paper_mean([]))


def test_distances_of_parallel_sheets_are_their_gap() -> None:
    found = paper_distances(sheet(2, z=1.5), sheet(2))
    assert found == {"chamfer": pytest.approx(1.5, abs=1e-5), "p2s": pytest.approx(1.5, abs=1e-5)}


def test_p2s_goes_from_prediction_to_truth_and_chamfer_is_half_the_sum() -> None:
    # What lies beyond x = 1 is half of the points, at a mean distance of 1/2 from the small sheet: 1/4 in all.
    small, large = sheet(1), sheet(2)
    missing, extra = paper_distances(small, large), paper_distances(large, small)
    assert missing["p2s"] == pytest.approx(0, abs=1e-6)
    assert extra["p2s"] == pytest.approx(0.25, abs=0.05)  # five standard errors of 500 points
    assert missing["chamfer"] == pytest.approx(extra["p2s"] / 2, abs=1e-6)
    assert extra["chamfer"] == pytest.approx(extra["p2s"] / 2, abs=1e-6)


def test_there_are_500_points(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(protocol, "chamfer_cm", lambda *args: seen.append(args[2]) or 1.0)
    monkeypatch.setattr(protocol, "point_to_surface_cm", lambda *args: seen.append(args[2]) or 1.0)
    paper_distances(sheet(1), sheet(1))
    assert seen == [500, 500]


def test_what_has_no_surface_has_no_distance() -> None:
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    for prediction in (None, empty):
        assert paper_distances(prediction, sheet(1)) == {"chamfer": None, "p2s": None}


def test_the_table_has_means_over_pictures_and_ratios_to_clean() -> None:
    columns = ["sample_id", "corruption", "severity", "chamfer", "p2s"]
    measured = pd.DataFrame(
        [["a", "iso_noise", 4, 6.0, 1.0], ["b", "iso_noise", 4, math.nan, 5.0], ["a", "clean", 0, 1.0, 2.0],
         ["b", "clean", 0, 3.0, 2.0]],
        columns=columns,
    )  # fmt: skip
    table = paper_table(measured).set_index(["corruption", "metric"])
    assert next(iter(table.index)) == ("clean", "chamfer")
    assert table.loc[("iso_noise", "chamfer")].tolist() == [3.0, 1.5, 2, 1]
    assert table.loc[("iso_noise", "p2s")].tolist() == [3.0, 1.5, 2, 0]
    assert table.loc[("clean", "chamfer")].tolist() == [2.0, 1.0, 2, 0]


@pytest.fixture
def a_run(make_people, plugins, tmp_path: Path):
    """A toy over seven people under roll and noise; it fails for the second under noise."""
    people = make_people(7)
    failing = Failure("no_detection", "nobody")
    plugins.add_model(lambda request: failing if _is(request, "s1_0", 1.35) else None)
    plugins.keep_only("metrics", *MEASURED)
    options = Options(
        "toy", people, recipe="2d-priors-critical", masker="given", out=tmp_path / "runs", metrics=MEASURED, keep="all",
        in_process=True, quiet=True, device="cpu",
    )  # fmt: skip
    folder = evaluate(options).folder
    return folder, read_rows(folder), select(people).samples


def _is(request, sample_id: str, spread: float) -> bool:
    """True for a sample's noisy picture: neighbours differ."""
    noise = np.abs(np.diff(request.image[:8].astype(float), axis=1)).mean()
    return request.sample_id.startswith(sample_id) and noise > 10 * spread


def test_kept_meshes_are_measured_against_the_truth_of_the_clean_picture(a_run, tmp_path: Path, monkeypatch) -> None:
    run, rows, samples = a_run
    found = measure_run(run, rows, samples, tmp_path / "by_paper")
    assert list(dict.fromkeys(found["sample_id"])) == [s.sample_id for s in samples[:5]]
    assert len(found) == 5 * 5
    failed = found[found["chamfer"].isna()]
    assert failed[["sample_id", "corruption"]].to_numpy().tolist() == [["s1_0", "iso_noise"]]

    ours = rows.set_index(["metric", "sample_id", "corruption"])["value"]
    for row in found.dropna().to_dict("records"):
        place = (row["sample_id"], row["corruption"])
        assert row["chamfer"] == pytest.approx(ours["chamfer_unaligned_cm", *place], rel=0.15)
        assert row["p2s"] == pytest.approx(ours["p2s_pred_to_gt_unaligned_cm", *place], rel=0.15)
    turned = found[found["corruption"] == "camera_roll"]
    assert all(r["chamfer"] > 2 * ours["chamfer_cm", r["sample_id"], "camera_roll"] for r in turned.to_dict("records"))
    table = paper_table(found).set_index(["corruption", "metric"])
    assert table.loc[("iso_noise", "chamfer"), "missing"] == 1
    assert table.loc[("iso_noise", "chamfer"), "value"] == pytest.approx(
        found.loc[found["corruption"] == "iso_noise", "chamfer"].sum() / 5
    )

    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr(protocol, "paper_distances", refuse)
    pd.testing.assert_frame_equal(measure_run(run, rows, samples, tmp_path / "by_paper"), found)


def test_a_mesh_that_is_gone_is_named(a_run, tmp_path: Path) -> None:
    run, rows, samples = a_run
    (run / "meshes" / "low_light" / "4" / "s2_0.ply.gz").unlink()
    with pytest.raises(Mismatch, match=r"mesh of 's2_0' under low_light is not kept.*--fresh"):
        measure_run(run, rows, samples, tmp_path / "by_paper")


def test_pictures_that_the_data_cannot_give_have_no_row(a_run, tmp_path: Path) -> None:
    run, rows, samples = a_run
    skipped = rows.assign(status=rows["status"].where(rows["corruption"] != "zoom_blur_2d", "skipped"))
    found = measure_run(run, skipped, [dataclasses.replace(samples[0])], tmp_path / "by_paper")
    assert sorted(found["corruption"]) == ["camera_roll", "clean", "iso_noise", "low_light"]
