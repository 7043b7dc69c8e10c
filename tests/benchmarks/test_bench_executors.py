"""The benchmark of the executors runs, and its figures on paper are sums that can be done by hand."""

from __future__ import annotations

import pytest

from benchmarks.bench_executors import run, sweep_hours


def test_it_runs_on_little_work(capsys):
    found = run(samples=4, seconds=0.005, repeats=1, idle_samples=4, executors=["local"])
    assert [(row["what"], row["workers"], row["cells"], row["shards"]) for row in found["rows"]] == [
        ("efficiency", 1, 24, 4),
        ("efficiency", 2, 24, 4),
        ("overhead", 2, 24, 4),
    ]
    assert all(0 < row["ran"] <= row["ready"] < 1.1 for row in found["rows"] if row["what"] == "efficiency")
    assert set(found["beside_cells_ms"]) == {"local"}


def test_a_sweep_on_paper():
    # 10 models x 2 conditions x 512 images = 2 shards a model: (1024 x 2 s + 2 x 1 s) / (4 x 0.5) + 10 s, ten times.
    hours = sweep_hours(2.0, 4, conditions=2, images=512, efficiency=0.5, shard_s=1.0, start_s=10.0)
    assert hours == pytest.approx(10 * ((2048 + 2) / 2 + 10) / 3600)
    assert sweep_hours(0.5, 8) > 7 * sweep_hours(0.5, 64), "what each GPU does once is little"
