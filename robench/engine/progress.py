"""Progress on stderr: a bar with throughput and time left on a terminal, plain lines elsewhere, silence if asked."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TextIO

_LINE_EVERY_S = 30.0
_LINES = 10


class Advance(Protocol):
    """Called for every finished piece of work."""

    def __call__(self, done: int = 1, failed: int = 0, gpu_mem_mb: float | None = None) -> None:
        """Count `done` pieces, of which `failed` failed; and tell the accelerator's memory, where it is known."""
        ...


@contextmanager
def progress(
    label: str,
    total: int,
    unit: str,
    *,
    quiet: bool = False,
    json_lines: bool = False,
    stream: TextIO | None = None,
) -> Iterator[Advance]:
    """Show how far a piece of work is.

    Args:
        label: What is done.
        total: How many pieces.
        unit: What a piece is called, in the plural.
        quiet: Show nothing.
        json_lines: Write JSON lines, one a second at most, for another program.
        stream: Where to, stderr by default.

    Yields:
        A function to call with the pieces just finished and how many of them failed.
    """
    stream = stream or sys.stderr
    if quiet or total == 0:
        yield lambda done=1, failed=0, gpu_mem_mb=None: None
    elif json_lines:
        yield _JsonLines(label, total, unit, stream)
    elif stream.isatty():
        with _bar(label, total, unit, stream) as advance:
            yield advance
    else:
        yield _Lines(label, total, unit, stream)


@contextmanager
def _bar(label: str, total: int, unit: str, stream: TextIO) -> Iterator[Advance]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failures]}"),
        TextColumn("{task.fields[memory]}"),
    )
    with Progress(*columns, console=Console(file=stream)) as bar:
        task = bar.add_task(label, total=total, rate="", failures="", memory="")
        finished = failures = 0
        memory = 0.0

        def advance(done: int = 1, failed: int = 0, gpu_mem_mb: float | None = None) -> None:
            nonlocal finished, failures, memory
            finished, failures = finished + done, failures + failed
            memory = max(memory, gpu_mem_mb or 0.0)
            bar.update(
                task,
                advance=done,
                rate=f"{_rate(finished, started)} {unit}/s",
                failures=f"[red]{failures} failed[/red]" if failures else "",
                memory=_gpu(memory),
            )

        yield advance


class _Lines:
    """About ten lines in all, and one every half minute of slow work."""

    def __init__(self, label: str, total: int, unit: str, stream: TextIO) -> None:
        self.label, self.total, self.unit, self.stream = label, total, unit, stream
        self.finished = self.failures = 0
        self.started = self.last = time.monotonic()
        self.next = max(1, total // _LINES)
        self.memory = 0.0

    def __call__(self, done: int = 1, failed: int = 0, gpu_mem_mb: float | None = None) -> None:
        self.finished, self.failures = self.finished + done, self.failures + failed
        self.memory = max(self.memory, gpu_mem_mb or 0.0)
        now = time.monotonic()
        if self.finished < self.next and self.finished < self.total and now - self.last < _LINE_EVERY_S:
            return
        self.last, self.next = now, self.finished + max(1, self.total // _LINES)
        left = (self.total - self.finished) * (now - self.started) / self.finished
        failures = f", {self.failures} failed" if self.failures else ""
        failures += f", {_gpu(self.memory)}" if self.memory else ""
        count = f"{self.finished}/{self.total} {self.unit}"
        rate = f"{_rate(self.finished, self.started)} {self.unit}/s"
        self.stream.write(f"{self.label}: {count}, {rate}, {clock(left)} left{failures}\n")
        self.stream.flush()


class _JsonLines:
    """``{"event": "progress", ...}``, at most one a second and a last one."""

    def __init__(self, label: str, total: int, unit: str, stream: TextIO) -> None:
        self.facts: dict[str, object] = {"event": "progress", "verb": label, "unit": unit, "total": total}
        self.total, self.stream = total, stream
        self.finished = self.failures = 0
        self.started = time.monotonic()
        self.last = -math.inf
        self.memory: float | None = None

    def __call__(self, done: int = 1, failed: int = 0, gpu_mem_mb: float | None = None) -> None:
        self.finished, self.failures = self.finished + done, self.failures + failed
        if gpu_mem_mb is not None:
            self.memory = max(self.memory or 0.0, gpu_mem_mb)
        now = time.monotonic()
        if now - self.last < 1.0 and self.finished < self.total:
            return
        self.last, spent = now, max(now - self.started, 1e-6)
        left = (self.total - self.finished) * spent / self.finished
        said = {"done": self.finished, "failed": self.failures, "per_s": self.finished / spent, "left_s": left}
        self.stream.write(json.dumps({**self.facts, **said, "gpu_mem_mb": self.memory}) + "\n")
        self.stream.flush()


def _gpu(memory_mb: float) -> str:
    return f"GPU {memory_mb / 1024:.1f} GiB" if memory_mb else ""


def _rate(finished: int, started: float) -> str:
    rate = finished / max(time.monotonic() - started, 1e-6)
    return f"{rate:.3g}" if rate < 100 else f"{rate:.0f}"  # never 1.09e+03


def clock(seconds: float) -> str:
    """Return a time as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
