"""The same rows for any number of workers and jobs, batch size and size of shards, by a toy and by PIFu."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from fault_harness import KEY, assert_same, assert_tidy, run_folder, science

from robench.engine.evaluate import evaluate

WAYS: Mapping[str, Mapping[str, object]] = {
    "own process": {"in_process": False},
    "batch of 8": {"batch_size": 8},
    "crew": {"jobs": 2},
    "two workers": {"workers": 2, "in_process": False},
    "three workers": {"workers": 3, "in_process": False, "batch_size": 8},
    "workers with crews": {"workers": 2, "jobs": 1, "batch_size": 2},
    "shards of a cell": {"shard_size": 1},
    "shards of a sample and a bit": {"shard_size": 6, "batch_size": 4},
}


@pytest.mark.parametrize("way", WAYS)
def test_rows_are_the_same_however_they_are_made(toy_options, tmp_path: Path, way: str) -> None:
    plain = evaluate(toy_options(out=tmp_path / "plain", keep="all"))
    result = evaluate(toy_options(keep="all", **WAYS[way]))
    assert result.folder.name == plain.folder.name
    assert_same(result.folder, plain.folder)
    assert_tidy(result.folder)
    kept = [
        {
            path.relative_to(run.folder): path.read_bytes()
            for part in ("examples", "meshes")
            for path in files(run, part)
        }
        for run in (plain, result)
    ]
    assert kept[0] == kept[1], "what is kept for the eye is the same, too"
    if way == "shards of a cell":
        assert len(list((result.folder / "rows").iterdir())) == 3, "the conditions of a sample stay together"


def test_a_sample_does_not_know_of_the_others(toy_options, tmp_path: Path) -> None:
    every = science(evaluate(toy_options(out=tmp_path / "every")).folder)
    alone = science(evaluate(toy_options(subjects=["s1"])).folder)
    told = [*KEY, "value", "image_sha256", "mask_sha256", "mesh_sha256"]
    assert alone[told].equals(every.loc[every["sample_id"] == "s1_0", told].reset_index(drop=True))


def files(run, part: str) -> list[Path]:
    return [path for path in (run.folder / part).rglob("*") if path.is_file()]


@pytest.fixture
def pifu_command(commands, make_people, tmp_path: Path) -> list[str]:
    """Two subjects, clean and two corruptions, with a grid so coarse that the network takes no time."""
    words = ["evaluate", "--model", "pifu-mini", "--resolution", "16", "--data", str(make_people(2, name="two"))]
    words += ["-c", "iso_noise,camera_roll", "-s", "3", "--masker", "given", "--metrics", "chamfer_cm,mask_iou"]
    return [*words, "--device", "cpu", "--out", str(tmp_path / "runs"), "--keep-meshes", "none", "-q"]


def test_pifu_gives_the_same_meshes_however_they_are_made(commands, pifu_command, tmp_path: Path) -> None:
    def rows(*options: str, threads: str = "1"):
        out = tmp_path / "-".join(("out", *options))
        done = commands.run(*pifu_command, *options, "--out", out, OMP_NUM_THREADS=threads)
        assert done.code == 0, done.err
        return science(run_folder(out))

    plain = rows()
    assert set(plain["status"]) == {"ok"}
    assert plain["mesh_sha256"].nunique() == 6, "every cell has a mesh of its own"
    # oneDNN splits sums by the number of threads, so the model has one, whatever the machine offers.
    assert rows("--workers", "2", "-j", "1", "--batch-size", "8", threads="2").equals(plain)
    assert rows("--in-process", threads="2").equals(plain)
    two = rows("--threads", "2")
    but = ["run_id", "value", "mesh_sha256"]
    assert two.drop(columns=but).equals(plain.drop(columns=but))
    assert np.allclose(two["value"], plain["value"], atol=0.01, rtol=0)
    assert not set(two["run_id"]) & set(plain["run_id"]), "whoever asks for more gets a run of another name"
