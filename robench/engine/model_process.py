"""A reconstructor in a process of its own, so that its crash, its hang and its memory are a status and not an end.

`ModelProcess` and `ModelHere` (the same in this process, for a debugger) have one interface: `start`, `opened`, then
`send` and `receive` in turn, then `close`.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol, get_args

import numpy as np

from robench import registry
from robench.contracts import Failure, OpenReport, Reconstruction, Reconstructor, Request
from robench.engine.failures import failure_of
from robench.engine.model_options import configure
from robench.errors import EnvironmentNotReady, FailureKind, RobenchError
from robench.io.processes import end_with_parent, ending, in_main_thread, single_threaded

_POLL_S = 0.5
_GOODBYE_S = 5.0


@dataclass(frozen=True)
class Opening:
    """How a model is opened, wherever that is done.

    Attributes:
        model: Registered name.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        checkpoint: Weights, None for the model's own.
        options: Options of the model; see `robench.engine.model_options`.
        threads: Of the model on CPU. Sums in other orders differ in the last digits, so that a run has one number for
            all its workers.
    """

    model: str
    device: str = "auto"
    checkpoint: Path | None = None
    options: dict[str, str] = field(default_factory=dict)
    threads: int = 1

    def load(self) -> Reconstructor:
        """Return the model with its options, not open.

        Raises:
            UsageError: If it has no such option or value.
        """
        model = registry.load("models", self.model)
        configure(model, self.options)
        return model


@dataclass(frozen=True, eq=False)
class Answer:
    """What a model said to a batch, and what it cost.

    Attributes:
        results: One for each request, in order.
        seconds: Time of the whole batch.
        gpu_mem_mb: Highest memory on the accelerator, or None.
        trace: Of the exception, where the batch failed as a whole; its results are then all the same failure.
        lost: True if there was no answer: the model died or hung.
    """

    results: list[Reconstruction | Failure]
    seconds: float
    gpu_mem_mb: float | None = None
    trace: str = ""
    lost: bool = False


class ModelLost(Exception):
    """The model gave no answer; it must be started again.

    Attributes:
        kind: What the samples in its hands are said to be: ``timeout`` or ``failed``.
    """

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind


class EndedWhileOpened(EnvironmentNotReady):
    """The model's process ended before it said that it is open."""


class Model(Protocol):
    """A model that answers batches; `send` and `receive` alternate."""

    def start(self) -> None:
        """Begin to open it; does not wait."""
        ...

    def opened(self) -> OpenReport:
        """Wait until it is open; raises what `Reconstructor.open` raised."""
        ...

    def send(self, requests: Sequence[Request]) -> None:
        """Give it a batch; does not wait."""
        ...

    def receive(self, timeout_s: float | None) -> Answer:
        """Wait for the answer to the batch; raises `ModelLost` if there will be none."""
        ...

    def close(self) -> None:
        """End it; may be started again."""
        ...


def answered(model: Reconstructor, requests: Sequence[Request], device: str) -> Answer:
    """Ask an open model; what it raises becomes a failure of every request.

    Raises:
        RobenchError: What the model raises about the machine or the command, not about the samples.
    """
    torch = sys.modules.get("torch") if device.startswith("cuda") else None
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    try:
        results = [_sane(result) for result in model.reconstruct(requests)]
        if len(results) != len(requests):
            raise RuntimeError(f"the model answered {len(results)} of {len(requests)} requests")
    except Exception as error:
        failure, trace = failure_of(error)
    else:
        memory = torch.cuda.max_memory_allocated() / 2**20 if torch is not None else None
        return Answer(results, time.perf_counter() - start, memory)
    # Not in the handler: until it ends, the traceback holds the model's tensors.
    if failure.kind == "oom":
        gc.collect()
        if torch is not None:
            torch.cuda.empty_cache()
    return Answer([failure] * len(requests), time.perf_counter() - start, None, trace)


def _sane(result: Any) -> Reconstruction | Failure:
    """Return an answer that is what the contract says, whatever the model thinks of contracts.

    Raises:
        TypeError, ValueError: If it is something else.
    """
    if isinstance(result, Reconstruction):
        timings = {str(stage): float(seconds) for stage, seconds in result.timings.items()}
        if not np.isfinite(result.mesh.vertices).all():
            return Failure("degenerate", "the mesh has vertices that are not finite")
        return replace(result, timings=timings)
    if isinstance(result, Failure):
        if result.kind not in get_args(FailureKind):
            raise ValueError(f"the model failed with an unknown kind '{result.kind}': {result.message}")
        return Failure(result.kind, str(result.message))
    raise TypeError(f"the model answered with {type(result).__name__}, neither Reconstruction nor Failure")


class ModelHere:
    """A model in this process: a debugger reaches it, and its crash is ours."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._model: Reconstructor | None = None
        self._report: OpenReport | None = None
        self._requests: Sequence[Request] = ()
        self._threads_before: int | None = None

    def start(self) -> None:
        """Load the plug-in."""
        self._model = self._opening.load()

    def opened(self) -> OpenReport:
        """Open it."""
        assert self._model is not None
        if self._report is None:
            self._report = self._model.open(self._opening.device, self._opening.checkpoint)
            if (torch := sys.modules.get("torch")) is not None:
                self._threads_before = torch.get_num_threads()
                torch.set_num_threads(self._opening.threads)
        return self._report

    def send(self, requests: Sequence[Request]) -> None:
        """Keep the batch until it is asked for."""
        self._requests = requests

    def receive(self, timeout_s: float | None) -> Answer:
        """Do the work; nobody can stop it after a while."""
        assert self._model is not None
        return answered(self._model, self._requests, self.opened().device)

    def close(self) -> None:
        """Free the model."""
        if self._model is not None:
            self._model.close()
        if self._threads_before is not None:
            sys.modules["torch"].set_num_threads(self._threads_before)
        self._model = self._report = self._threads_before = None


class ModelProcess:
    """A model in a process of its own."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._report: OpenReport | None = None
        self._sender: threading.Thread | None = None

    @property
    def pid(self) -> int | None:
        """Its process id, while it runs."""
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        """Start the process, which opens the model."""
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not daemonic: a model may have workers of its own.
        self._process = context.Process(
            target=_serve, args=(theirs, self._opening, in_main_thread()), name="robench-model"
        )
        with single_threaded(self._opening.threads):
            self._process.start()
        theirs.close()

    def opened(self) -> OpenReport:
        """Wait for the model.

        Raises:
            EndedWhileOpened: If the process ended instead; else whatever `Reconstructor.open` raised.
        """
        if self._report is None:
            try:
                said = self._received(None)
            except ModelLost as error:
                raise EndedWhileOpened(
                    f"The model '{self._opening.model}' ended while it was opened", got=str(error)
                ) from error
            if isinstance(said, BaseException):
                raise said
            assert isinstance(said, OpenReport)
            self._report = said
        return self._report

    def send(self, requests: Sequence[Request]) -> None:
        """Send the batch from a thread: a process that hangs does not read."""
        pipe = self._pipe
        assert pipe is not None

        def give() -> None:
            with contextlib.suppress(OSError):  # it died; receive will say so
                pipe.send(list(requests))

        self._sender = threading.Thread(target=give, name="robench-send", daemon=True)
        self._sender.start()

    def receive(self, timeout_s: float | None) -> Answer:
        """Wait for the answer.

        Raises:
            ModelLost: If the process died, or was ended because it took too long.
            RobenchError: What the model raised about the machine.
        """
        said = self._received(timeout_s)
        if isinstance(said, BaseException):
            raise said
        assert isinstance(said, Answer)
        return said

    def _received(self, timeout_s: float | None) -> Any:
        assert self._pipe is not None
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = _POLL_S if deadline is None else min(_POLL_S, deadline - time.monotonic())
            try:
                # Wakes at once for an answer and for a process that ended.
                if self._pipe.poll(max(left, 0.0)):
                    return self._pipe.recv()
            except (EOFError, OSError) as error:
                raise ModelLost("failed", f"the model's process ended: {self._ended()}") from error
            if deadline is not None and time.monotonic() >= deadline:
                self._kill()
                raise ModelLost("timeout", f"no answer within {timeout_s:g} s")

    def _ended(self) -> str:
        assert self._process is not None
        self._process.join(_GOODBYE_S)
        code = self._process.exitcode
        self._kill()
        return ending(code)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._pipe is not None:
            self._pipe.close()
        if self._sender is not None:
            self._sender.join()
        self._process = self._pipe = self._report = self._sender = None

    def close(self) -> None:
        """Let the process end by itself, or end it."""
        if self._process is not None and self._pipe is not None:
            with contextlib.suppress(OSError):
                self._pipe.close()
            self._process.join(_GOODBYE_S)
        self._kill()


def _serve(pipe: Connection, opening: Opening, by_main_thread: bool) -> None:
    """Open the model and answer batches until the other end closes."""
    # Ctrl-C reaches every process of a terminal; the parent alone decides what to do.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent(by_main_thread=by_main_thread)
    os.dup2(2, 1)  # what a model prints must not get into what robench prints
    model: Reconstructor | None = None
    try:
        try:
            model = opening.load()
            report = model.open(opening.device, opening.checkpoint)
        except Exception as error:
            _tell(pipe, error)
            return
        pipe.send(report)
        while True:
            requests = pipe.recv()
            try:
                answer: Answer | Exception = answered(model, requests, report.device)
            except RobenchError as error:
                answer = error
            _tell(pipe, answer)
            del requests, answer
    except (EOFError, OSError):
        pass  # the parent closed the pipe: there is no more work
    finally:
        if model is not None:
            model.close()


def _tell(pipe: Connection, said: Answer | Exception) -> None:
    """Send an answer or an error; one that cannot be pickled is told in words."""
    try:
        pipe.send(said)
    except OSError:
        raise
    except Exception as error:
        trace = "".join(traceback.format_exception(said if isinstance(said, Exception) else error))
        pipe.send(RuntimeError(f"what the model's process said cannot be sent: {error}\n{trace}"))
