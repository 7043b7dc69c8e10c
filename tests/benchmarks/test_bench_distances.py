"""The benchmark of distances gives every program the same job, and works where libigl is missing."""

import sys

import pytest

from benchmarks import bench_distances
from benchmarks.bench_distances import figure, metric_stage, ours, run, show, with_trimesh
from robench.geometry import is_watertight


def test_every_program_gives_the_same_distances(capsys):
    result = run(points=200, step=4.0, rounds=1)
    rows = result["rows"]
    distances = rows[: len(bench_distances.CASES)]
    assert [row["what"].split(", ")[-1] for row in distances] == [what for what, _, _ in bench_distances.CASES]
    for row in distances:
        assert 0 <= row["trimesh_differs_cm"] < 1e-5
        assert 0 <= row["libigl_differs_cm"] < 1e-5
        assert row["trimesh_ratio"] == pytest.approx(row["trimesh_ms"] / row["robench_ms"])
    assert [row["target"] for row in rows] == [25.0, "", "", "", "", ""]
    assert len({tuple(row) for row in rows}) == 1, "one table"
    assert rows[0]["robench_ms"] == rows[1]["robench_ms"]
    assert rows[0]["trimesh_ms"] == rows[2]["trimesh_ms"]
    show(result)
    assert "truth kept" in capsys.readouterr().out


def test_without_libigl_its_columns_are_empty(monkeypatch):
    monkeypatch.setitem(sys.modules, "igl", None)
    row = bench_distances.distances(figure(5.0), figure(5.0, bump=0.4), 50, 1)[0]
    assert row["libigl_ms"] == row["libigl_differs_cm"] == ""
    assert row["trimesh_ms"] > 0


def test_a_kept_tree_is_not_built_again(monkeypatch):
    import warp

    truth, prediction = figure(5.0), figure(5.0, bump=0.4)
    points = [prediction.vertices[:20], truth.vertices[:20]]
    jobs = ours([truth, prediction], points), with_trimesh([truth, prediction], points)
    jobs[0]["both kept"]()
    built = []
    own, bounds = warp.Mesh.__init__, bench_distances.trimesh.triangles.bounds_tree
    monkeypatch.setattr(warp.Mesh, "__init__", lambda *a, **k: built.append("ours") or own(*a, **k))
    monkeypatch.setattr(
        bench_distances.trimesh.triangles, "bounds_tree", lambda *a: built.append("trimesh") or bounds(*a)
    )
    for case, count in (("both kept", 0), ("truth kept", 1), ("nothing kept", 2)):
        built.clear()
        for job in jobs:
            job[case]()
        assert (built.count("ours"), built.count("trimesh")) == (count, count), case


def test_the_stage_shares_what_metrics_ask_alike():
    together, alone = metric_stage(figure(3.0), figure(3.0, bump=0.4), 2)
    assert 0 < together["robench_ms"] < alone["robench_ms"]


def test_the_figures_are_closed():
    assert is_watertight(figure(3.0))
    assert is_watertight(figure(3.0, bump=0.4))
