"""Every figure of the paper made of real work: a small model, tiny people, a random encoder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from robench.data.splits import write_splits
from robench.engine import evaluate as evaluating
from robench.io.images import read_image
from robench.io.meshes import read_mesh, write_mesh
from robench.reporting import qualitative
from robench.reproduce import adaptation, bench
from robench.reproduce.run import reproduce
from robench.reproduce.settings import CRITICAL, MEASURED, METRICS, ReproduceOptions

FIGURES = (3, 4, 5, 6, 7, 8, 9, 10)


@pytest.fixture
def options(plugins, make_people, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ReproduceOptions:
    """Six coloured people, two of them tested on; small renderings and batches, four corruptions, in this process."""
    plugins.keep_only("metrics", *MEASURED)
    people = make_people(6)
    for path in (people / "meshes").iterdir():
        mesh = read_mesh(path)
        write_mesh(path, dataclasses.replace(mesh, colours=np.full((len(mesh.vertices), 3), 150, np.uint8)))
    write_splits(people, {"test": ["s0", "s1"], "train": ["s2", "s3", "s4"], "val": ["s5"]})
    real = evaluating.evaluate
    monkeypatch.setattr(evaluating, "evaluate", lambda options: real(dataclasses.replace(options, in_process=True)))
    grids = qualitative.qualitative_grids
    monkeypatch.setattr(qualitative, "qualitative_grids", lambda examples, *a: grids(examples[:2], *a))  # seconds each
    for name, value in {"BATCHES": (0, 2), "BATCH_SIZE": 2, "RATES": (2e-4, 7e-4)}.items():
        monkeypatch.setattr(adaptation, name, value)
    monkeypatch.setattr(bench, "PAPER", CRITICAL)
    monkeypatch.setattr(adaptation, "PAPER", CRITICAL)
    return ReproduceOptions(
        data=people, out=tmp_path / "out", subjects=2, maskers=("given",), encoder="tiny-random", figures=FIGURES,
        model_options={"resolution": "32"}, iterations=5, refine_size=24, device="cpu", quiet=True,
    )  # fmt: skip


def test_every_figure_is_made_and_nothing_twice(options, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = reproduce(options)
    assert [(one.output.name, one.state, one.error) for one in outcomes] == [
        (f"figure{number}", "made", None) for number in FIGURES
    ]
    assert len(list((options.out / "runs").iterdir())) == 2  # the baseline, and adapted
    page = (options.out / "README.md").read_text()
    for outcome in outcomes:
        made = outcome.made
        assert made.findings
        for path in made.files:
            assert path.stat().st_size > 0
            if path.suffix == ".png":
                assert f"({path.name})" in page or f"(<{path.name}>)" in page
                assert len(np.unique(read_image(path))) > 10
    table = pd.read_csv(options.out / "figure10.csv")
    assert list(table["method"].unique()) == ["pifu-mini", "pifu-mini, adapted on 2 batches"]
    # The same runs are looked at from two sides.
    batches = pd.read_csv(options.out / "figure7.csv")
    both = table.merge(batches[batches["metric"] == METRICS[1]], on=["corruption", "run_id"])
    assert len(both) == len(table) == 2 * 6  # clean, four, and the roll unaligned
    np.testing.assert_allclose(both["value_x"], both["value_y"])

    def work(*args, **kwargs):
        pytest.fail("this was done already")

    some = dataclasses.replace(options, figures=(7, 8))
    before = {path.name: path.read_bytes() for path in options.out.glob("figure*")}
    monkeypatch.setattr("robench.engine.refine_work.RefineWork._batch", work)
    monkeypatch.setattr("robench.training.adapt._Runner.__call__", work)
    monkeypatch.setattr("robench.engine.evaluate.run_shard", work)
    assert all(one.made is not None for one in reproduce(some))
    assert {path.name: path.read_bytes() for path in options.out.glob("figure*")} == before
