"""The work on a set, in this process or in several: the same bytes, and a clean end however it ends."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool

from robench.contracts import Sample
from robench.engine.set_maker import Condition, Result, SetMaker, SetSpec
from robench.errors import EnvironmentNotReady
from robench.io.memory import give_back
from robench.io.processes import end_with_parent, single_threaded

_AHEAD = 3
"""Tasks per process that wait in the queue: enough to keep it busy, few enough to stop soon."""

Task = tuple[Sample, Sequence[Condition]]


def made(tasks: Iterator[Task], spec: SetSpec, jobs: int) -> Generator[Result, None, None]:
    """Make pictures and yield what was made, as it is made. Closing the generator ends the processes.

    Args:
        tasks: Each sample with a few of its conditions.
        spec: The set.
        jobs: Processes; with 1 all is done in this one.

    Raises:
        EnvironmentNotReady: If a worker process died.
    """
    if jobs <= 1:
        maker = SetMaker(spec)
        with _one_core():
            for sample, conditions in tasks:
                # A condition at a time: an interruption then loses one picture, not a sample's.
                for condition in conditions:
                    yield maker.make(sample, [condition])
        del maker  # what follows, above all the index, needs memory of its own
        give_back()
        return
    with single_threaded():
        pool = ProcessPoolExecutor(
            jobs, mp_context=multiprocessing.get_context("spawn"), initializer=_start_worker, initargs=(spec,)
        )
        waiting: set[Future[Result]] = set()
        try:
            for sample, conditions in tasks:
                waiting.add(pool.submit(_work, sample, conditions))
                if len(waiting) >= jobs * _AHEAD:
                    finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                    yield from (future.result() for future in finished)
            while waiting:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        except BrokenProcessPool as error:
            raise EnvironmentNotReady(
                "A worker process died",
                got="no reason given; the memory may have been too small",
                hint="the same command with a smaller -j: it resumes",
            ) from error
        except (KeyboardInterrupt, SystemExit):
            # What is in the workers' hands is soon finished; it is recorded before we go.
            running = [future for future in waiting if not future.cancel()]
            for future in running:
                with contextlib.suppress(Exception):
                    yield future.result()
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _one_core() -> Iterator[None]:
    """Keep OpenCV to one thread: one process is one core. More threads took a third more work, and were no faster."""
    import cv2

    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    try:
        yield
    finally:
        cv2.setNumThreads(before)


_maker: SetMaker | None = None


def _start_worker(spec: SetSpec) -> None:
    global _maker
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    import cv2

    cv2.setNumThreads(1)
    _maker = SetMaker(spec)


def _work(sample: Sample, conditions: Sequence[Condition]) -> Result:
    assert _maker is not None
    return _maker.make(sample, conditions)
