"""A Ray cluster: so many actors, each with the model open, wherever there is room; a lost node costs what was in hand.

Ray places the actors and tells of their deaths. Which shard is next, and how often one is tried, is decided here: a
shard goes to whoever is free, so that an actor that waits for room keeps no work waiting.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from robench.engine.executors import HEARTBEAT_S
from robench.engine.executors.elsewhere import Losses, enter, environment_here, first_line, number, wants_gpu, work_on
from robench.engine.shard import Job, Shard, ShardResult
from robench.engine.tasks import Options
from robench.errors import EnvironmentNotReady
from robench.io.processes import environment

LOG = "ray.log"
"""In the folder of a run: what Ray itself had to say."""
_START_S = 600.0
_KNOCK_S = 10.0
_ALONE = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # Ray's own switch for "one machine, and its loopback interface only"
    "RAY_worker_niceness": "0",  # else workers get what others leave over, and a run beside other work never ends
}


def check(options: Options) -> None:
    """Check that Ray is installed, and numbers are numbers.

    Raises:
        UsageError, EnvironmentNotReady: If not.
    """
    for name in ("gpus", "cpus", "start-timeout"):
        number(options.cluster, name, 1)
    _ray(options)


def run_ray(job: Job, shards: Sequence[Shard]) -> Generator[ShardResult | None, None, None]:
    """Work on shards in ``job.options.workers`` actors of a Ray cluster, each with a GPU where the device is ``cuda``.

    Args:
        job: The run, on a file system that all nodes see.
        shards: In order.

    Yields:
        What was done, as it is done; None about every second.

    Raises:
        EnvironmentNotReady: If there is no Ray, no cluster or no room in it, or workers are lost again and again.
        RobenchError: What `run_shard` raised.
    """
    ray = _ray(job.options)
    left, losses = list(reversed(shards)), Losses(job.run)
    with _told_to(job.run / LOG), _connected(ray, job.options):
        team = _Team(ray, job, len(shards), losses)
        try:
            while left or team.busy:
                team.resize(len(left) + len(team.busy))
                while left and team.idle:
                    team.give(left.pop())
                yield None
                for done in team.wait():
                    if isinstance(done, Shard):
                        left.append(done)
                    else:
                        yield done
        finally:
            team.resize(0)


class _Team:
    """The actors: some start, some wait for work, some work.

    Attributes:
        idle: Those that wait.
        busy: What is worked on.
    """

    def __init__(self, ray: Any, job: Job, shards: int, losses: Losses) -> None:
        self._ray, self._job, self._losses = ray, job, losses
        self._most = min(job.options.workers, shards)
        needs = _needs(ray, job.options, self._most)
        variables = environment_here(max(1, int(needs["num_cpus"])))
        # The driver's own Python where a node has it: a cluster may have been started from another one.
        runtime = {"env_vars": variables, "py_executable": sys.executable}
        self._kind = ray.remote(_Worker).options(**needs, max_restarts=0, runtime_env=runtime)
        self._needs = needs
        self._starting: dict[Any, Any] = {}
        self.idle: list[Any] = []
        self.busy: dict[Any, tuple[Any, Shard]] = {}
        self._patience_s = number(job.options.cluster, "start-timeout", _START_S)
        self._alive_at = time.monotonic()

    def resize(self, work: int) -> None:
        """Start or end actors until there are as many as there is work for; those that work are ended last."""
        wanted = min(self._most, work)
        while self._size < wanted:
            actor = self._kind.remote()
            self._starting[actor.enter.remote(os.getcwd(), self._job.run)] = actor
        while self._size > wanted:
            if self._starting:
                actor = self._starting.popitem()[1]
            elif self.idle:
                actor = self.idle.pop()
            else:
                actor = self.busy.popitem()[1][0]
            self._end(actor)

    @property
    def _size(self) -> int:
        return len(self._starting) + len(self.idle) + len(self.busy)

    def give(self, shard: Shard) -> None:
        """Let an idle actor work on a shard."""
        actor = self.idle.pop()
        self.busy[actor.work.remote(self._job, shard)] = actor, shard

    def wait(self) -> Iterator[ShardResult | Shard]:
        """Wait a moment; yield results, and the shards whose actor was lost.

        Raises:
            RobenchError: What an actor raised.
            EnvironmentNotReady: If nobody can work for too long.
        """
        for call in self._ray.wait([*self._starting, *self.busy], num_returns=1, timeout=HEARTBEAT_S)[0]:
            actor, shard = self.busy.pop(call) if call in self.busy else (self._starting.pop(call), None)
            try:
                result = self._ray.get(call)
            except self._ray.exceptions.RayTaskError as error:
                raise self._own(error) from None
            except self._ray.exceptions.RayError as error:
                self._end(actor)
                if shard is None:
                    self._losses.at_start(str(error))
                else:
                    self._losses.over(shard, str(error))
                    yield shard
            else:
                self.idle.append(actor)
                self._losses.started()
                if shard is not None:
                    yield result
        self._refuse_if_nobody_works()

    @staticmethod
    def _own(error: Any) -> BaseException:
        """Return the error that was raised in the actor, with its traceback there as a note."""
        cause = error.cause
        if not isinstance(cause, BaseException):
            return RuntimeError(str(error))
        cause.add_note(str(error))
        return cause

    def _refuse_if_nobody_works(self) -> None:
        now = time.monotonic()
        if self.idle or self.busy:
            self._alive_at = now
        elif now - self._alive_at > self._patience_s:
            has = {name: f"{self._ray.cluster_resources().get(name, 0):g}" for name in ("CPU", "GPU")}
            raise EnvironmentNotReady(
                f"The Ray cluster had no room for a worker within {self._patience_s:g} s",
                got=f"{has['CPU']} CPUs and {has['GPU']} GPUs in all, some of them busy or on nodes that are gone",
                expected=f"{self._needs['num_cpus']:g} CPUs and {self._needs['num_gpus']:g} GPUs on one node",
                hint="ray status; or fewer --workers, --cluster cpus=1, --device cpu",
            )

    def _end(self, actor: Any) -> None:
        # At once: what the worker did is in its journal, and the model's process ends with it.
        with contextlib.suppress(self._ray.exceptions.RayError):
            self._ray.kill(actor, no_restart=True)


class _Worker:
    """An actor: one process, in which `run_shard` keeps the model open from shard to shard."""

    def enter(self, folder: str, run: Path) -> None:
        """Begin where the command was started."""
        enter(folder, run)

    def work(self, job: Job, shard: Shard) -> ShardResult:
        """Do a shard, or what is left of it."""
        return work_on(job, shard)


def _needs(ray: Any, options: Options, workers: int) -> dict[str, float]:
    """Return what a worker asks of its node."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    has_gpus = any(node.get("GPU", 0) for node in nodes)
    gpus = number(options.cluster, "gpus", float(wants_gpu(options) or (options.device == "auto" and has_gpus)))
    if gpus and has_gpus:
        share = min(node.get("CPU", 0) // (node["GPU"] / gpus) for node in nodes if node.get("GPU", 0))
    else:
        cores = [node.get("CPU", 0) for node in nodes] or [1]
        share = min(max(cores), sum(cores) // workers)
    return {"num_cpus": number(options.cluster, "cpus", max(1.0, share)), "num_gpus": gpus}


def _address(options: Options) -> str | None:
    return options.cluster.get("ray-address") or os.environ.get("RAY_ADDRESS")


def _ray(options: Options) -> Any:
    """Import Ray."""
    # Read when Ray is imported.
    with environment(**({} if _address(options) else _ALONE)):
        try:
            import ray
        except ImportError as error:
            raise EnvironmentNotReady(
                "The executor 'ray' needs Ray", got=str(error), hint="pip install 'robench[ray]'"
            ) from error
    return ray


@contextlib.contextmanager
def _connected(ray: Any, options: Options) -> Iterator[None]:
    """Connect to the cluster, or start one of this machine for the time of the run.

    A connection that is there already, made by the program that calls robench, is used and left open.
    """
    if ray.is_initialized():
        yield
        return
    address = _address(options)
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    alone = {"include_dashboard": False, "_node_ip_address": "127.0.0.1"}
    with _own_signals(), environment(**({} if address else _ALONE)):
        try:
            _knock(address)
            ray.init(address=address or "local", **quiet, **({} if address else alone))
        except Exception as error:  # Ray has no common base for what may go wrong here
            raise EnvironmentNotReady(
                f"There is no Ray cluster at {address}" if address else "Ray cannot be started on this machine",
                got=first_line(str(error)) or type(error).__name__,
                hint="ray start --head on one machine, ray start --address HOST:6379 on the others, "
                "and the same versions of Python and Ray on all",
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _knock(address: str | None) -> None:
    """Raise OSError if nobody listens at a HOST:PORT, which Ray itself would go on asking for many minutes."""
    host, _, port = (address or "").rpartition(":")
    if host and port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S).close()


@contextlib.contextmanager
def _told_to(path: Path) -> Iterator[None]:
    """Let what Ray tells the user, of nodes that died or cannot be had, go to a file: stdout is for results."""
    with open(path, "a", buffering=1, encoding="utf-8") as log, contextlib.redirect_stdout(log):
        yield


@contextlib.contextmanager
def _own_signals() -> Iterator[None]:
    """Keep what this process does on SIGTERM: Ray sets its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
