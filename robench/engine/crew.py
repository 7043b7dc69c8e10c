"""Who prepares and scores cells: a thread of this process, or processes of their own. The same rows either way."""

from __future__ import annotations

import functools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from robench.contracts import Failure
from robench.engine.batches import prefetched
from robench.engine.bench import Bench, Finished
from robench.engine.cell_rows import lost_rows
from robench.engine.pipeline import Outcome, Prepared
from robench.engine.tasks import Options, Task, plan_task
from robench.errors import EnvironmentNotReady
from robench.io.processes import end_with_parent, ending, in_main_thread, single_threaded

_SUSPECT = 2
"""Deaths of its processes after which a piece of work is done in one of its own, to see whether it is the cause."""
_KILLED = 3
"""Times that such a process may be killed from outside."""


class Crew(Protocol):
    """Prepares cells ahead of the model and scores what it made."""

    def prepared(self, numbers: Iterable[int], ahead: int) -> Generator[Prepared, None, None]:
        """Yield cells in order, up to `ahead` of them made in advance; closing the generator stops it."""
        ...

    def finish(self, item: Prepared, outcome: Outcome, columns: Mapping[str, Any]) -> Iterable[Finished]:
        """Take a cell to score; return those that are scored by now, in order."""
        ...

    def rest(self) -> Iterator[Finished]:
        """Yield what is still to be scored."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Here:
    """A thread prepares; scoring is done when asked for, while the model works on the next batch."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench

    def prepared(self, numbers: Iterable[int], ahead: int) -> Generator[Prepared, None, None]:
        """Prepare in a thread."""
        return prefetched((self._bench.prepare(number) for number in numbers), ahead)

    def finish(self, item: Prepared, outcome: Outcome, columns: Mapping[str, Any]) -> Iterable[Finished]:
        """Score at once."""
        return (self._bench.finish(item, outcome, columns),)

    def rest(self) -> Iterator[Finished]:
        """Nothing is left."""
        return iter(())

    def close(self) -> None:
        """The bench is its owner's."""


class Processes:
    """Several processes, each with a bench of its own; one that dies is replaced and its work is done again.

    A piece of work that was there at two deaths is done in a process of its own: so the one that causes them is found,
    and fails alone.

    Args:
        task: The run's.
        options: What the user asked for: each process plans the same task from it.
        run: Folder of the run.
        jobs: How many.
    """

    def __init__(self, task: Task, options: Options, run: Path, jobs: int) -> None:
        self._task = task
        self._start = (options, run, in_main_thread())
        self._jobs = jobs
        self._pool = self._new_pool()
        self._scoring: deque[_Work] = deque()
        self._open: set[_Work] = set()

    def _new_pool(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._jobs, mp_context=context, initializer=_start_worker, initargs=self._start)

    def _submit(self, call: Callable[..., Any], *arguments: Any) -> _Work:
        work = _Work(call, arguments)
        self._open.add(work)
        self._begin(work)
        return work

    def _begin(self, work: _Work) -> None:
        while True:
            work.pool = self._pool
            try:
                with single_threaded():  # processes are started when there is work for them
                    work.future = self._pool.submit(work.call, *work.arguments)
            except BrokenProcessPool:
                self._revive()
            else:
                return

    def _revive(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._new_pool()

    def _result(self, work: _Work) -> Any:
        """Wait for a piece of work; it is begun again where its pool broke under it.

        Raises:
            Died: If it ends its process whenever it is tried.
        """
        try:
            while True:
                try:
                    found = work.future.result()
                except (BrokenProcessPool, CancelledError):
                    work.deaths += 1
                    if work.pool is self._pool:
                        self._revive()
                    if work.deaths >= _SUSPECT:
                        return self._alone(work)
                    self._begin(work)
                else:
                    return found
        finally:
            self._open.discard(work)

    def _alone(self, work: _Work) -> Any:
        """Do a piece of work in a process of its own.

        Raises:
            Died: If that ended, and nobody else killed it.
        """
        context = multiprocessing.get_context("spawn")
        for _ in range(_KILLED):
            ours, theirs = context.Pipe(duplex=False)
            process = context.Process(target=_work_alone, args=(theirs, self._start, work.call, work.arguments))
            with single_threaded():
                process.start()
            theirs.close()
            try:
                said = ours.recv()
            except EOFError:
                process.join()
                if process.exitcode == -signal.SIGKILL:
                    continue
                for other in self._open:
                    other.deaths = 0  # this one was the cause
                raise Died(ending(process.exitcode)) from None
            finally:
                process.kill()
                process.join()
                ours.close()
            if isinstance(said, Exception):
                raise said
            return said
        raise EnvironmentNotReady(
            "The processes that prepare and score are killed again and again",
            got="SIGKILL; the memory may be too small",
            hint="the same command with a smaller -j: it resumes",
        )

    def prepared(self, numbers: Iterable[int], ahead: int) -> Generator[Prepared, None, None]:
        """Prepare in the processes."""
        waiting: deque[_Work] = deque()
        for number in numbers:
            waiting.append(self._submit(_prepare, number))
            if len(waiting) >= ahead + self._jobs:
                yield self._prepared(waiting.popleft())
        while waiting:
            yield self._prepared(waiting.popleft())

    def _prepared(self, work: _Work) -> Prepared:
        try:
            found: Prepared = self._result(work)
        except Died as error:
            failure = Failure("failed", f"corrupting or masking ended its process: {error}")
            return Prepared(self._task.cell(work.arguments[0]), failure=failure)
        return found

    def _finished(self, work: _Work) -> Finished:
        try:
            found: Finished = self._result(work)
        except Died as error:
            item, outcome, columns = work.arguments
            rows = lost_rows(item, outcome, self._task, columns, f"scoring ended its process: {error}")
            return Finished(item.cell.key, rows, item.seconds)
        return found

    def finish(self, item: Prepared, outcome: Outcome, columns: Mapping[str, Any]) -> Iterable[Finished]:
        """Score in the processes; so many wait that all are busy."""
        self._scoring.append(self._submit(_finish, item, outcome, columns))
        while self._scoring and (len(self._scoring) > 2 * self._jobs or self._scoring[0].future.done()):
            yield self._finished(self._scoring.popleft())

    def rest(self) -> Iterator[Finished]:
        """Wait for what is still being scored."""
        while self._scoring:
            yield self._finished(self._scoring.popleft())

    def close(self) -> None:
        """End the processes."""
        self._pool.shutdown(wait=True, cancel_futures=True)


class _Work:
    """A call that can be made again."""

    future: Future[Any]
    pool: ProcessPoolExecutor

    def __init__(self, call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self.call, self.arguments = call, arguments
        self.deaths = 0


class Died(Exception):
    """A piece of work ends the process that does it."""


def _work_alone(
    pipe: Connection, start: tuple[Options, Path, bool], call: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    _start_worker(*start)
    try:
        said = call(*arguments)
    except Exception as error:
        said = error
    pipe.send(said)


_spec: tuple[Options, Path] | None = None
_bench: Bench | None = None


def _start_worker(options: Options, run: Path, by_main_thread: bool) -> None:
    global _spec
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(by_main_thread=by_main_thread)
    _spec = options, run


def _opened() -> Bench:
    """Open the bench with the first piece of work: what goes wrong is then told, which a pool's start cannot."""
    global _bench
    if _bench is None:
        import cv2

        from robench.engine.run_folder import log_event

        cv2.setNumThreads(1)
        assert _spec is not None
        options, run = _spec
        _bench = Bench(plan_task(options), options, run, functools.partial(log_event, run))
    return _bench


def _prepare(number: int) -> Prepared:
    return _opened().prepare(number).portable()


def _finish(item: Prepared, outcome: Outcome, columns: Mapping[str, Any]) -> Finished:
    return _opened().finish(item, outcome, columns)
