"""Worker processes: they do not outlive the one that started them, and do not fight for its cores."""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator

_PR_SET_PDEATHSIG = 1
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def end_with_parent(*, by_main_thread: bool = False) -> None:
    """Let this worker process end when its parent ends, also if that was killed and could not say so.

    Else workers wait forever for work, each with all its memory: their siblings hold the other end of the queue open.

    Args:
        by_main_thread: The parent's main thread started this process (`in_main_thread`). Linux then ends it even while
            it is busy in C code that lets no other thread of Python run.
    """
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    if by_main_thread and sys.platform == "linux":
        # Linux sends it when the thread ends that started this process, which must not be one that ends earlier.
        with contextlib.suppress(OSError, AttributeError):  # another C library: the thread below is left
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def command_line() -> str:
    """Return the command as it was typed, to be kept and shown as the way to resume."""
    return shlex.join(["robench", *sys.argv[1:]])


def ending(code: int | None) -> str:
    """Return in words how a process ended: ``signal 11 (SIGSEGV)`` or ``exit code 3``."""
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"signal {-code} ({signal.Signals(-code).name})"
    return f"exit code {code}"


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def in_main_thread() -> bool:
    """True if this is the main thread, which lives as long as the process."""
    return threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def single_threaded(threads: int = 1) -> Iterator[None]:
    """Let child processes start with one thread each: j processes times n threads would fight for n cores.

    Args:
        threads: More than one, where there are more cores than processes.
    """
    with environment(**thread_variables(threads)):
        yield


def thread_variables(threads: int) -> dict[str, str]:
    """Return the environment in which a process starts with so many threads."""
    return dict.fromkeys(_THREAD_VARIABLES, str(threads))


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
