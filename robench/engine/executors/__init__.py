"""Who runs the shards of a run: this process, several of this machine, a Ray cluster, a Slurm cluster.

An executor is a function ``(job, shards) -> generator`` that has `robench.engine.shard.run_shard` called somewhere for
every shard. It yields what that returned, in any order, and None now and then, so that its caller can look at what is
done so far. Closing the generator stops the work; what is done stays in the journals of the run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from robench import registry
from robench.engine.shard import Job, Shard, ShardResult
from robench.engine.tasks import Options
from robench.errors import UsageError

Executor = Callable[[Job, Sequence[Shard]], Generator[ShardResult | None, None, None]]
EXECUTORS = {"local": "local:run_local", "ray": "ray_cluster:run_ray", "slurm": "slurm:run_slurm"}
"""Module and function of each executor; imported when asked for. A module may have `check` too: see `check`."""
CLUSTER: Mapping[str, Mapping[str, str]] = {
    "local": {},
    "ray": {
        "ray-address": "HOST:PORT of the cluster's head, or auto; RAY_ADDRESS or a cluster of this machine if left out",
        "gpus": "GPUs of a worker, may be a part of one; 1 with --device cuda",
        "cpus": "cores of a worker; its share of a node if left out",
        "start-timeout": "seconds to wait for the first free place; 600",
    },
    "slurm": {
        "partition": "as sbatch takes it",
        "time": "limit of a job, minutes or [D-]HH:MM:SS; goes on in the next one; 4:00:00",
        "gpus": "GPUs of a job, N or TYPE:N; 1 with --device cuda",
        "cpus": "cores of a job; 1 if left out",
        "mem": "memory of a job, such as 24G",
        "account": "as sbatch takes it",
        "qos": "as sbatch takes it",
        "constraint": "as sbatch takes it",
        "reservation": "as sbatch takes it",
        "gres": "as sbatch takes it, instead of gpus",
        "nodelist": "as sbatch takes it",
        "exclude": "as sbatch takes it",
        "nice": "as sbatch takes it",
        "signal-delay": "seconds before the limit at which a job makes room for its next one; 90",
    },
}
"""What `Options.cluster` may say to each executor, and what that means."""

HEARTBEAT_S = 1.0
"""How often an executor yields None at least."""


def executor(name: str) -> Executor:
    """Return an executor.

    Raises:
        UsageError: If there is no such one.
    """
    found: Any = getattr(_module(name), EXECUTORS[name].split(":")[1])
    return found  # type: ignore[no-any-return]


def check(options: Options) -> None:
    """Check before anything heavy that the executor is there and understands what it is told.

    Raises:
        UsageError: If there is no such executor, or it has no such option or value.
        EnvironmentNotReady: If it needs a package or a program that is not installed.
    """
    module, known = _module(options.executor), CLUSTER[options.executor]
    for name in options.cluster:
        if name not in known:
            raise UsageError(
                f"The executor '{options.executor}' has no option '{name}'",
                expected=", ".join(known) or "none",
                hint=registry.did_you_mean(name, known) or "docs/cluster.md",
            )
    if (its_own := getattr(module, "check", None)) is not None:
        its_own(options)


def take_over(run: Path) -> None:
    """End what a former command on a run, which was killed, may have left on a cluster.

    Raises:
        EnvironmentNotReady: If it cannot be ended from here.
    """
    from robench.engine.executors.slurm import end_former

    end_former(run)


def _module(name: str) -> Any:
    if name not in EXECUTORS:
        close = registry.did_you_mean(name, EXECUTORS)
        raise UsageError(f"There is no executor '{name}'", expected=f"{', '.join(EXECUTORS)} {close}".strip())
    return importlib.import_module(f"{__name__}.{EXECUTORS[name].split(':')[0]}")
