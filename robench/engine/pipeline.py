"""The way of a cell to the model: corrupt, mask, request."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from robench.contracts import Failure, Mask, Masker, Reconstruction, Request
from robench.engine.cells import Cell, Picture, PictureSource
from robench.engine.failures import failure_of
from robench.engine.masks import StoredMasks, mask_for

Event = Callable[..., None]


@dataclass(frozen=True, eq=False)
class Prepared:
    """A cell ready for the model, or the reason why it cannot be.

    Attributes:
        cell: The cell.
        picture: As corrupted, or None.
        mask: (H, W) what the model is given, or None.
        failure: Why there is no picture or no mask, or None.
        seconds: What corrupting and masking took, by these names.
    """

    cell: Cell
    picture: Picture | None = None
    mask: Mask | None = None
    failure: Failure | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def request(self) -> Request:
        """What the model gets: nothing else reaches it."""
        assert self.picture is not None
        assert self.mask is not None
        picture = self.picture
        return Request(self.cell.sample.sample_id, picture.image, self.mask, picture.camera, picture.box)

    def portable(self) -> Prepared:
        """Return the same without what only the maker of the picture needed, for another process."""
        if self.picture is None:
            return self
        picture = replace(self.picture, depth=None)
        _ = picture.sha256  # kept with it; the other process then need not compute it
        return replace(self, picture=picture)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What the model made of a request, and what it cost.

    Attributes:
        result: A mesh, or why there is none.
        time_s: Seconds of the model, or None where it gave no answer.
        gpu_mem_mb: Highest memory on the accelerator, or None.
        timings: The model's own account of its seconds by stage.
        attempt: Which try this is, from 1.
    """

    result: Reconstruction | Failure
    time_s: float | None = None
    gpu_mem_mb: float | None = None
    timings: Mapping[str, float] = field(default_factory=dict)
    attempt: int = 1


def prepare(cell: Cell, pictures: PictureSource, masker: Masker, stored: StoredMasks | None, event: Event) -> Prepared:
    """Corrupt and mask one cell; whatever goes wrong with this sample becomes a failure, not an end of the run."""
    started = time.perf_counter()
    seconds: dict[str, float] = {}
    picture = None
    try:
        picture = pictures.picture(cell)
        seconds["corrupt"] = time.perf_counter() - started
        mask = stored.get(cell) if stored is not None else None
        mask = mask if mask is not None else mask_for(masker, picture, pictures.inputs(cell.sample))
        seconds["mask"] = time.perf_counter() - started - seconds["corrupt"]
        return Prepared(cell, picture, mask, seconds=seconds)
    except Exception as error:
        failure, trace = failure_of(error)
        event("failed", kind=failure.kind, message=failure.message, trace=trace, keys=[cell.key])
        return Prepared(cell, picture, failure=failure, seconds=seconds)
