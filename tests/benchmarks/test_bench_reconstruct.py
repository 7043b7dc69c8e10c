"""The benchmark of reconstruction asks the network at every point that it counts, and compares with the truth."""

import numpy as np
import pytest
import torch

from baselines.pifu.network import ShapeNet
from baselines.pifu.parity import TINY
from baselines.pifu.parity_geometry import body_field
from baselines.pifu.rays import RayClassifier
from benchmarks import bench_reconstruct
from benchmarks.bench_reconstruct import capsules, full_size, placed, rows_of, show, solid
from robench.testing import example_mesh


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(bench_reconstruct, "OFFICIAL", TINY)


@torch.inference_mode()
def test_every_point_costs_a_query(small, monkeypatch, capsys):
    asked = {"published octree": 0, "robench": 0}
    octree, ours = ShapeNet.query, RayClassifier.query

    def counted(name, real, count):
        def query(self, *arguments):
            asked[name] += count(*arguments)
            return real(self, *arguments)

        return query

    monkeypatch.setattr(ShapeNet, "query", counted("published octree", octree, lambda e, p, c: p.shape[2]))
    monkeypatch.setattr(RayClassifier, "query", counted("robench", ours, lambda p, r, d: len(d)))
    threads = torch.get_num_threads()
    rows = rows_of(full_size({"capsules": capsules(64)})[0], 1, 4.0)
    assert torch.get_num_threads() == threads
    by_name = {row["what"]: row for row in rows}
    slab = bench_reconstruct.SLAB * 64 * 64
    # On one thread and on two.
    assert asked["published octree"] == 2 * (by_name["published octree"]["points"] + slab)
    assert asked["robench"] == 2 * by_name["robench"]["points"]
    assert by_name["published octree"]["points"] == by_name["dense grid, extrapolated"]["points"] == 64**3
    assert by_name["robench"]["points"] < 64**3 / 2.5
    assert by_name["robench"]["off_voxel"] == by_name["published octree"]["off_voxel"] == 0
    assert [row["target"] for row in rows] == ["", 4.0, "", ""]
    assert all(row["cpu_s"] > 0 and row["wall_s"] > 0 for row in rows)
    show({"rows": rows})
    assert "x the octree" in capsys.readouterr().out


def test_a_body_answers_on_nodes_as_its_formula():
    body = capsules(64)
    nodes = np.random.default_rng(0).integers(0, 65, (5000, 3))
    expected = body_field(nodes * (2 / 64) - 1.0)
    np.testing.assert_allclose(body.at(nodes), expected, rtol=0, atol=1e-4)
    assert (expected > 0.5).sum() > 50
    dense = body.volume().values.numpy()
    inner = nodes[(nodes < 64).all(axis=1)]
    np.testing.assert_array_equal(dense[tuple(inner.T)], body.at(inner))
    mask = body.silhouette()
    assert mask.shape == (64, 64)
    # Head up: the row of the head is narrower than that of the arms.
    assert 0 < mask[8].sum() < mask[28].sum()


def test_a_mesh_becomes_a_body():
    mesh = placed(example_mesh())
    assert np.ptp(mesh.vertices[:, 1]) == pytest.approx(2 * 450 / 512)
    body = solid(mesh, 64)
    radii = np.array([34, 84, 30]) / 84 * 450 / 512
    share = (body.volume().values > 0.5).float().mean().item()
    assert share == pytest.approx(4 / 3 * np.pi * radii.prod() / 8, rel=0.03)
