"""The log of a training run: a JSON line for machines, a progress bar or plain lines for people."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from robench.io.files import write_text_atomic

if TYPE_CHECKING:
    from rich.progress import Progress
    from torch import Tensor


class RunLog:
    """Appends metrics to a JSONL file and shows them.

    Args:
        path: The file.
        resume: Keep what is there, else begin anew.
    """

    def __init__(self, path: Path, resume: bool) -> None:
        from rich.console import Console

        self.path = path
        self.console = Console(stderr=True)
        if not resume or not path.exists():
            write_text_atomic(path, "")
        self.kept: dict[str, float] = {}
        self._file = path.open("a", encoding="utf-8")
        self._bar: Progress | None = None
        self._losses: list[Tensor] = []
        self._since = time.monotonic()
        self._images = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def say(self, text: str) -> None:
        """Show one line."""
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def rewind(self, phase: str, step: int) -> None:
        """Drop lines of steps that will be done again."""
        lines = []
        for line in self.path.read_text("utf-8").splitlines():
            row = json.loads(line)
            if row["phase"] != phase or row["step"] <= step:
                lines.append(line)
                if row.get("kept"):
                    self._remember(row)
        self._file.close()
        write_text_atomic(self.path, "".join(f"{line}\n" for line in lines))
        self._file = self.path.open("a", encoding="utf-8")

    @contextmanager
    def bar(self, phase: str, step: int, steps: int) -> Iterator[None]:
        """Show a progress bar where there is a terminal."""
        from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._since, self._images, self._losses = time.monotonic(), 0, []
        if not self.console.is_terminal:
            yield
            return
        columns = (TextColumn("{task.description}"), *Progress.get_default_columns()[1:2], MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), TextColumn("{task.fields[note]}"), console=self.console) as bar:
            bar.add_task(phase, total=steps, completed=step, note="")
            self._bar = bar
            try:
                yield
            finally:
                self._bar = None

    def step(self, phase: str, step: int, loss: Tensor, rate: float, images: int, *, every: int) -> None:
        """Note a step; every so many, write the mean loss and the speed."""
        self._losses.append(loss)
        self._images += images
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=step)
        if step % every:
            return
        now = time.monotonic()
        mean = sum(float(x) for x in self._losses) / len(self._losses)
        speed = self._images / max(now - self._since, 1e-9)
        self._since, self._images, self._losses = now, 0, []
        self._write({"phase": phase, "step": step, "loss": round(mean, 6), "lr": rate, "images_per_s": round(speed, 3)})
        note = f"loss {mean:.4f}  {speed:.1f} images/s"
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], note=note)
        else:
            self.say(f"{phase} {step}  {note}")

    def validated(self, phase: str, step: int, metrics: dict[str, float], kept: bool) -> None:
        """Note a validation, and whether its weights are now the ones to export."""
        row = {"phase": phase, "step": step, **{k: round(v, 6) for k, v in metrics.items()}, "kept": kept}
        self._write(row)
        if kept:
            self._remember(row)
        self.say(f"{phase} {step}  " + "  ".join(f"{k} {v:.4f}" for k, v in metrics.items()))
        # The pause is not the steps' fault.
        self._since, self._images = time.monotonic(), 0

    def _remember(self, row: dict[str, Any]) -> None:
        self.kept = {k: row[k] for k in row if k.startswith("val_")} | {"step": row["step"]}

    def _write(self, row: dict[str, Any]) -> None:
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()
