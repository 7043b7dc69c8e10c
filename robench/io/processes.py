"""Worker processes: they do not outlive the one that started them, and do not fight for its cores."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import sys
import threading
from collections.abc import Iterator

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def end_with_parent() -> None:
    """Let this worker process end when its parent ends, also if that was killed and could not say so.

    Else workers wait forever for work, each with all its memory: their siblings hold the other end of the queue open.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


@contextlib.contextmanager
def single_threaded(threads: int = 1) -> Iterator[None]:
    """Let child processes start with one thread each: j processes times n threads would fight for n cores.

    Args:
        threads: More than one, where there are more cores than processes.
    """
    with environment(**dict.fromkeys(_THREAD_VARIABLES, str(threads))):
        yield


@contextlib.contextmanager
def environment(**variables: str) -> Iterator[None]:
    """Set environment variables, which child processes inherit, for the time of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
