"""Who runs the shards of a run: this process, several of this machine, a Ray cluster, a Slurm cluster.

An executor is a function ``(job, shards) -> generator`` that has `robench.engine.shard.run_shard` called somewhere for
every shard. It yields what that returned, in any order, and None now and then, so that its caller can look at what is
done so far. Closing the generator stops the work; what is done stays in the journals of the run.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Generator, Sequence
from typing import Any

from robench import registry
from robench.engine.shard import Job, Shard, ShardResult
from robench.errors import UsageError

Executor = Callable[[Job, Sequence[Shard]], Generator[ShardResult | None, None, None]]
EXECUTORS = {"local": "local:run_local"}
"""Module and function of each executor; imported when asked for."""

HEARTBEAT_S = 1.0
"""How often an executor yields None at least."""


def executor(name: str) -> Executor:
    """Return an executor.

    Raises:
        UsageError: If there is no such one.
    """
    if name not in EXECUTORS:
        close = registry.did_you_mean(name, EXECUTORS)
        raise UsageError(f"There is no executor '{name}'", expected=f"{', '.join(EXECUTORS)} {close}".strip())
    module, function = EXECUTORS[name].split(":")
    found: Any = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return found  # type: ignore[no-any-return]
