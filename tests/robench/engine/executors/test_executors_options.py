"""What executors are told, and what they say where they cannot work."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from robench.cli.evaluate import _cluster
from robench.engine.executors import CLUSTER, EXECUTORS, check, executor
from robench.engine.executors.elsewhere import environment_here
from robench.engine.executors.ray_cluster import _needs
from robench.engine.executors.slurm import _minutes, _parameters, grouped
from robench.engine.shard import Shard
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady, UsageError

PROGRAMS = ("sbatch", "squeue", "scancel", "srun", "scontrol")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the PATH, with Slurm's programs by name."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in PROGRAMS:
        (folder / name).write_text("#!/bin/sh\nexit 1\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    return folder


def test_every_executor_has_options_and_is_there() -> None:
    assert set(EXECUTORS) == set(CLUSTER)
    assert all(callable(executor(name)) for name in EXECUTORS)
    with pytest.raises(UsageError, match=r"no executor 'slrum'; expected local, ray, slurm.*did you mean 'slurm'"):
        executor("slrum")


@pytest.mark.parametrize(
    ("name", "cluster", "said"),
    [
        ("local", {"partition": "gpu"}, r"'local' has no option 'partition'; expected none"),
        ("ray", {"partition": "gpu"}, r"'ray' has no option 'partition'; expected ray-address, gpus, cpus"),
        ("ray", {"cpu": "1"}, r"did you mean 'cpus'"),
        ("ray", {"cpus": "two"}, r"'cpus' is not understood; got 'two'; expected a number"),
        ("ray", {"gpus": "-1"}, r"'gpus' is not understood; got '-1'"),
        ("slurm", {"partion": "gpu"}, r"did you mean 'partition'"),
        ("slurm", {"time": "an hour"}, r"'time' is not understood; got 'an hour'"),
        ("slurm", {"gpus": "many"}, r"'gpus' is not understood; got 'many'; expected N or TYPE:N"),
    ],
)
def test_what_is_not_understood_is_said_with_the_list(
    slurm: Path, name: str, cluster: dict[str, str], said: str
) -> None:
    with pytest.raises(UsageError, match=said):
        check(Options("toy", executor=name, cluster=cluster))


def test_what_is_understood(slurm: Path) -> None:
    check(Options("toy"))
    check(Options("toy", executor="ray", cluster={"ray-address": "auto", "gpus": "0.5", "cpus": "4"}))
    check(
        Options("toy", executor="slurm", cluster={"partition": "gpu", "time": "1-12", "gpus": "a100:2", "mem": "24G"})
    )


def test_options_of_the_command_line() -> None:
    assert _cluster(None, None, None) == {}
    assert _cluster(["time=8:00:00", "mem = 24G"], None, "gpu") == {"partition": "gpu", "time": "8:00:00", "mem": "24G"}
    assert _cluster(["cpus=2"], "auto", None) == {"ray-address": "auto", "cpus": "2"}
    with pytest.raises(UsageError, match="--cluster is not understood; got 'time'; expected NAME=VALUE"):
        _cluster(["time"], None, None)


@pytest.mark.parametrize(("executor_name", "package"), [("ray", "ray"), ("slurm", "submitit")])
def test_a_missing_package_is_named_with_its_extra(
    slurm: Path, monkeypatch: pytest.MonkeyPatch, executor_name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(EnvironmentNotReady, match=rf"pip install 'robench\[{executor_name}\]'"):
        check(Options("toy", executor=executor_name))


def test_without_slurm_its_missing_programs_are_named(slurm: Path) -> None:
    (slurm / "sbatch").unlink()
    with pytest.raises(EnvironmentNotReady, match=r"cannot submit jobs to Slurm; got no sbatch.*login node"):
        check(Options("toy", executor="slurm"))


EIGHT = {"CPU": 64.0, "GPU": 8.0}
PLAIN = {"CPU": 8.0}


@pytest.mark.parametrize(
    ("nodes", "device", "workers", "told", "cpus", "gpus"),
    [
        ([PLAIN, PLAIN], "cpu", 4, {}, 4, 0),
        ([PLAIN, PLAIN], "auto", 1, {}, 8, 0),  # a worker is on one node
        ([PLAIN], "cpu", 100, {}, 1, 0),
        ([PLAIN, EIGHT], "cuda", 4, {}, 8, 1),
        ([PLAIN, EIGHT], "auto", 4, {}, 8, 1),
        ([PLAIN, EIGHT], "cpu", 4, {}, 18, 0),
        ([EIGHT], "cuda", 16, {"gpus": "0.5"}, 4, 0.5),
        ([EIGHT], "cuda", 16, {"cpus": "2"}, 2, 1),
        ([PLAIN], "cuda", 2, {}, 4, 1),  # a node with a GPU may still come
        ([], "cpu", 2, {}, 1, 0),
    ],
)
def test_what_a_worker_asks_of_a_ray_node(
    nodes: list[dict[str, float]], device: str, workers: int, told: dict[str, str], cpus: float, gpus: float
) -> None:
    found = [{"Alive": True, "Resources": node} for node in nodes]
    ray = SimpleNamespace(nodes=lambda: [*found, {"Alive": False, "Resources": {"CPU": 999.0, "GPU": 99.0}}])
    needs = _needs(ray, Options("toy", device=device, cluster=told), workers)
    assert needs == {"num_cpus": cpus, "num_gpus": gpus}


@pytest.mark.parametrize(
    ("device", "told", "gpus"),
    [
        ("cpu", {}, None),
        ("auto", {}, None),
        ("cuda", {}, "1"),
        ("cuda", {"gpus": "a100:2"}, "a100:2"),
        ("cuda", {"gres": "gpu:1"}, None),
        ("cuda", {"gpus": "0"}, None),
    ],
)
def test_what_a_job_asks_of_slurm(device: str, told: dict[str, str], gpus: str | None) -> None:
    found = _parameters(Options("toy", device=device, cluster={**told, "account": "lab"}))
    assert found.get("gpus_per_node") == gpus
    assert found["additional_parameters"] == {"account": "lab"} | {k: v for k, v in told.items() if k == "gres"}
    assert found["time"] == 240


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("0:30", 1), ("2:30", 3), ("4:00:00", 240), ("1-12", 2160), ("2-00:30", 2910), ("1-01:01:01", 1502)],
)
def test_time_limits_as_slurm_writes_them(text: str, minutes: int) -> None:
    assert _minutes(text) == minutes


@pytest.mark.parametrize(("shards", "workers", "jobs"), [(0, 2, 0), (3, 2, 3), (100, 2, 8), (5000, 600, 1000)])
def test_shards_are_shared_out_in_order_and_evenly(shards: int, workers: int, jobs: int) -> None:
    made = [Shard(number, ((number, number + 1),)) for number in range(shards)]
    groups = grouped(made, workers)
    assert len(groups) == jobs
    assert [shard for group in groups for shard in group] == made
    assert not groups or max(map(len, groups)) - min(map(len, groups)) <= 1


def test_workers_find_the_code_of_the_driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import robench

    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "asked"))
    monkeypatch.setenv("ROBENCH_WEIGHTS", "here")
    monkeypatch.setenv("SECRET", "mine")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path / "added"), f"{sys.prefix}/lib/site-packages", *sys.path])
    found = environment_here(3)
    paths = found["PYTHONPATH"].split(os.pathsep)
    assert paths[0] == str(tmp_path / "asked")
    assert {str(Path(robench.__file__).parents[1]), str(tmp_path / "added"), os.getcwd()} <= set(paths)
    assert not [path for path in paths if path.startswith(f"{sys.prefix}/")], "its own packages a worker has itself"
    assert (found["OMP_NUM_THREADS"], found["ROBENCH_WEIGHTS"]) == ("3", "here")
    assert "SECRET" not in found
