"""What docs/runs.md promises of a GPU; where there is none, that is shown as a skip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from robench.analysis import read_rows
from robench.engine.evaluate import evaluate
from robench.engine.tasks import Options

DISTANCE_CM, SCORE = 0.01, 0.001


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.mark.skipif("not has_cuda()", reason="no CUDA device")
@pytest.mark.parametrize("change", [{}, {"batch_size": 8}, {"jobs": 0}, {"workers": 2}])
def test_rows_of_cuda_are_those_of_cpu(make_people, tmp_path: Path, change: dict[str, int]) -> None:
    asked = Options(
        "pifu-mini",
        data=make_people(),
        corruptions="iso_noise",
        severities="3",
        masker="given",
        model_options={"resolution": "64"},
        device="cpu",
        out=tmp_path / "cpu",
        quiet=True,
    )
    key = ["sample_id", "corruption", "severity", "metric"]
    one = read_rows(evaluate(asked).folder).set_index(key)
    other = read_rows(evaluate(replace(asked, device="cuda", out=tmp_path / "cuda", **change)).folder).set_index(key)
    other = other.loc[one.index]
    assert (one["status"] == other["status"]).all()
    for unit, tolerance in (("cm", DISTANCE_CM), ("1", SCORE)):
        rows = one["unit"] == unit
        assert ((one["value"] - other["value"])[rows].abs() <= tolerance).all()
