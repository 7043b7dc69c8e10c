"""Several processes of this machine: one a GPU, or so many that share its cores."""

from __future__ import annotations

import multiprocessing
import signal
from collections.abc import Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

from robench.engine.executors import HEARTBEAT_S
from robench.engine.run_folder import log_event
from robench.engine.shard import Job, Shard, ShardResult, run_shard
from robench.errors import EnvironmentNotReady
from robench.io.processes import cores, end_with_parent, in_main_thread, single_threaded

_DEATHS = 3
"""Workers that may die over one shard before the run is stopped."""


def run_local(job: Job, shards: Sequence[Shard]) -> Generator[ShardResult | None, None, None]:
    """Work on shards in ``job.options.workers`` processes, each with its share of the cores.

    A worker that dies is replaced, and its shard goes on. Device ``cuda`` gives each worker a GPU of its own, in turn.

    Args:
        job: The run.
        shards: In order.

    Yields:
        What was done, as it is done; None about every second.

    Raises:
        EnvironmentNotReady: If workers die again and again over the same shard.
        RobenchError: What `run_shard` raised.
    """
    workers = min(job.options.workers, len(shards))
    slots = [_Slot(job, device) for device in _devices(job, workers)]
    left, deaths = list(reversed(shards)), dict.fromkeys((shard.number for shard in shards), 0)
    others = set(multiprocessing.active_children())
    running: dict[Future[ShardResult], tuple[_Slot, Shard]] = {}
    try:
        with single_threaded(max(1, cores() // workers)):
            while left or running:
                idle = [slot for slot in slots if slot not in [busy for busy, _ in running.values()]]
                for slot in idle[: len(left)]:
                    shard = left.pop()
                    running[slot.submit(shard)] = slot, shard
                yield None
                for future in wait(running, timeout=HEARTBEAT_S, return_when=FIRST_COMPLETED).done:
                    slot, shard = running.pop(future)
                    try:
                        yield future.result()
                    except BrokenProcessPool as error:
                        slot.renew()
                        left.append(shard)
                        deaths[shard.number] += 1
                        log_event(job.run, "worker_lost", shard=shard.number, deaths=deaths[shard.number])
                        if deaths[shard.number] > _DEATHS:
                            raise EnvironmentNotReady(
                                f"Workers die again and again over shard {shard.number}",
                                got="no reason given; the memory may be too small",
                                hint="the same command with fewer --workers: it resumes",
                            ) from error
    finally:
        # Now, whatever they do, and also one whose start was interrupted; their journals have what they did.
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        for slot in slots:
            slot.end()


def _devices(job: Job, workers: int) -> list[str]:
    """Return the device of each worker."""
    asked = job.options.device
    if asked not in ("auto", "cuda") or job.device == "cpu":  # torch takes seconds to say that there is no GPU
        return [asked] * workers
    import torch

    count = torch.cuda.device_count()
    return [f"cuda:{worker % count}" for worker in range(workers)] if count else [asked] * workers


class _Slot:
    """A place for one worker process at a time."""

    def __init__(self, job: Job, device: str) -> None:
        self._job = replace(job, options=replace(job.options, device=device, workers=1))
        self.renew()

    def renew(self) -> None:
        """Start afresh after a death."""
        context = multiprocessing.get_context("spawn")
        self._pool = ProcessPoolExecutor(1, mp_context=context, initializer=_start_worker, initargs=(in_main_thread(),))

    def submit(self, shard: Shard) -> Future[ShardResult]:
        """Give the worker a shard."""
        try:
            return self._pool.submit(run_shard, self._job, shard)
        except BrokenProcessPool:  # it died while it had nothing to do
            self.renew()
            return self._pool.submit(run_shard, self._job, shard)

    def end(self) -> None:
        """Let go of a worker that was killed."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(by_main_thread: bool) -> None:
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(by_main_thread=by_main_thread)
