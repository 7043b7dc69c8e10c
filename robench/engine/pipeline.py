"""The way of a cell to the model: corrupt, mask, request; and the model, guarded."""

from __future__ import annotations

import gc
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from robench.contracts import Failure, Mask, Masker, Reconstruction, Reconstructor, Request
from robench.engine.cells import Cell, Inputs, Picture, PictureSource
from robench.engine.masks import StoredMasks, mask_for
from robench.errors import FailureKind, RobenchError, SampleFailure

Event = Callable[..., None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cell ready for the model, or the reason why it cannot be.

    Attributes:
        cell: The cell.
        inputs: The clean sample's files.
        picture: As corrupted, or None.
        mask: (H, W) what the model is given, or None.
        failure: Why there is no picture or no mask, or None.
    """

    cell: Cell
    inputs: Inputs
    picture: Picture | None = None
    mask: Mask | None = None
    failure: Failure | None = None

    @property
    def request(self) -> Request:
        """What the model gets: nothing else reaches it."""
        assert self.picture is not None
        assert self.mask is not None
        return Request(self.cell.sample.sample_id, self.picture.image, self.mask, self.picture.camera)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the model made of a request, and what it cost."""

    result: Reconstruction | Failure
    time_s: float | None = None
    gpu_mem_mb: float | None = None


def prepare(cell: Cell, pictures: PictureSource, masker: Masker, stored: StoredMasks | None, event: Event) -> Prepared:
    """Corrupt and mask one cell; whatever goes wrong with this sample becomes a failure, not an end of the run."""
    inputs = pictures.inputs(cell.sample)
    picture = None
    try:
        picture = pictures.picture(cell)
        mask = stored.get(cell) if stored is not None else None
        mask = mask if mask is not None else mask_for(masker, picture, inputs)
        return Prepared(cell, inputs, picture, mask)
    except Exception as error:
        return Prepared(cell, inputs, picture, failure=failure_of(error, event, keys=[cell.key]))


def failure_of(error: Exception, event: Event, **where: Any) -> Failure:
    """Return the failure that an exception stands for; its trace goes to the events.

    Raises:
        RobenchError: The error itself, where it is about the machine or the command and not about the sample.
    """
    kind: FailureKind = "oom" if is_out_of_memory(error) else "failed"
    message = f"{type(error).__name__}: {error}"[:200]
    if isinstance(error, SampleFailure):
        kind, message = error.kind, error.message
    elif isinstance(error, RobenchError):
        raise error
    event("failed", kind=kind, message=message, trace="".join(traceback.format_exception(error)), **where)
    return Failure(kind, message)


def is_out_of_memory(error: BaseException) -> bool:
    """True for memory that ran out, on the machine or on its accelerator."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "out of memory" in str(error).lower())
    )


def reconstruct(model: Reconstructor, batch: Sequence[Prepared], device: str, event: Event) -> list[Outcome]:
    """Run a model on a batch, in order. A failure of the batch is tried again one by one, so that it hits only its own.

    Args:
        model: Open.
        batch: Cells; those that already failed do not reach the model.
        device: Where the model runs, for the memory count.
        event: Gets the traces.

    Raises:
        EnvironmentNotReady: If the model says that the machine cannot do it.
    """
    sound = [prepared for prepared in batch if prepared.failure is None]
    outcomes = iter(_run(model, sound, device, event)) if sound else iter(())
    return [Outcome(p.failure) if p.failure is not None else next(outcomes) for p in batch]


def _run(model: Reconstructor, batch: Sequence[Prepared], device: str, event: Event) -> list[Outcome]:
    torch = sys.modules.get("torch") if device.startswith("cuda") else None
    if torch is not None:
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    try:
        results = model.reconstruct([prepared.request for prepared in batch])
        if len(results) != len(batch):
            raise RuntimeError(f"the model answered {len(results)} of {len(batch)} requests")
    except Exception as error:
        failure = failure_of(error, event, keys=[prepared.cell.key for prepared in batch])
    else:
        seconds = (time.perf_counter() - start) / len(batch)
        memory = torch.cuda.max_memory_allocated() / 2**20 if torch is not None else None
        return [Outcome(_sane(result), seconds, memory) for result in results]
    # Not in the handler: until it ends, the traceback holds the model's tensors.
    if failure.kind == "oom":
        _free(torch)
    if len(batch) == 1:
        return [Outcome(failure, time.perf_counter() - start)]
    return [outcome for prepared in batch for outcome in _run(model, [prepared], device, event)]


def _sane(result: Reconstruction | Failure) -> Reconstruction | Failure:
    if isinstance(result, Reconstruction) and not np.isfinite(result.mesh.vertices).all():
        return Failure("degenerate", "the mesh has vertices that are not finite")
    return result


def _free(torch: Any) -> None:
    gc.collect()
    if torch is not None:
        torch.cuda.empty_cache()
