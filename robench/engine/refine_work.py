"""The work of a refinement: batches of samples, retried in parts where they cannot be done together, and kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Encoder, Failure, Refinement, RefineRequest, RefineSettings
from robench.data.ids import safe_id
from robench.engine.cells import Cell
from robench.engine.failures import failure_of, is_out_of_memory
from robench.engine.picture_plan import PicturePlan
from robench.engine.pieces import Pieces
from robench.engine.progress import Advance, progress
from robench.engine.refine_sheet import sheet
from robench.engine.scoring import Truths
from robench.errors import Mismatch, RobenchError, SampleFailure, printable
from robench.io.files import make_folder, write_bytes_atomic
from robench.io.images import write_png

if TYPE_CHECKING:
    from robench.engine.refine import RefineOptions

Mode = Literal["sequential", "average"]
Weights = Mapping[str, NDArray[np.float32]]


def cells_of(plan: PicturePlan) -> list[Cell]:
    """Return a plan's pictures, sample by sample."""
    return [cell for sample in plan.selection.samples for cell in plan.cells(sample)]


def piece_name(mode: str, cell: Cell) -> str:
    """Return what the piece of a picture and a way of embedding is called."""
    return f"{mode} {cell.sample.sample_id} {cell.corruption} {cell.severity}"


class _Ticks:
    """Tells the progress of a batch, and of what is done again only what is new."""

    def __init__(self, advance: Advance) -> None:
        self._advance, self.at, self.told = advance, 0, 0

    def __call__(self) -> None:
        self.at += 1
        if self.at > self.told:
            self.told = self.at
            self._advance()


@dataclass
class RefineWork:
    """Refines what is left.

    Attributes:
        options: What the user asked for.
        plan: Pictures.
        model: Open; see `robench.contracts.Refinement`.
        encoder: Open.
        pieces: What is done, by `piece_name`.
        ready: Corrupts, masks and returns what the model is given of a cell.
        together: Samples at once; halved for good when memory runs out.
    """

    options: RefineOptions
    plan: PicturePlan
    model: Any
    encoder: Encoder
    pieces: Pieces
    ready: Callable[[Cell], Any]
    together: int
    _truths: Truths = field(default_factory=Truths)

    def run(self) -> int:
        """Refine what is left; returns how many cells were made."""
        options = self.options
        cells = cells_of(self.plan)
        left = {m: [cell for cell in cells if piece_name(m, cell) not in self.pieces.done] for m in options.modes}
        count, steps = sum(map(len, left.values())), options.settings.iterations
        quiet, json_lines = options.quiet, options.json_events
        with progress("refine", count * steps, "iterations", quiet=quiet, json_lines=json_lines) as advance:
            for mode, rest in left.items():
                while rest:
                    batch, rest = rest[: self.together], rest[self.together :]
                    self._batch(mode, batch, advance)
        return count

    def _batch(self, mode: Mode, cells: list[Cell], advance: Advance) -> None:
        settings = replace(self.options.settings, embeddings=mode)
        ticks = _Ticks(advance)
        start = self._carried(mode) if settings.protocol == "as-coded" else None
        asked = [self._asked(cell, start) for cell in cells]
        answers = iter(self._answers([a for a in asked if isinstance(a, RefineRequest)], settings, ticks))
        found = [next(answers) if isinstance(a, RefineRequest) else a for a in asked]
        for cell, one in zip(cells, found, strict=True):
            self._carry(mode, start if isinstance(one, Failure) else one.state)
            self.pieces.add(piece_name(mode, cell), self._kept(mode, cell, one))
            self._forget_before(mode)
        failed = sum(isinstance(one, Failure) for one in found)
        if failed or ticks.told < len(cells) * settings.iterations:
            advance(len(cells) * settings.iterations - ticks.told, failed)

    def _asked(self, cell: Cell, start: Weights | None) -> RefineRequest | Failure:
        try:
            item = self.ready(cell)
            if item.failure is not None:
                failure: Failure = item.failure
                return failure
            return RefineRequest(item.request, self._truths.of(cell.sample, item.picture.camera), start)
        except Exception as error:
            return failure_of(error)[0]

    def _answers(
        self, asked: Sequence[RefineRequest], settings: RefineSettings, ticks: _Ticks
    ) -> list[Refinement | Failure]:
        """Refine together; what cannot be is refined in parts, at last one by one, so that it fails alone."""
        if not asked:
            return []
        before = ticks.at
        try:
            found: list[Refinement | Failure] = self.model.refine(asked, self.encoder, settings, ticks)
            if len(found) != len(asked):
                raise RuntimeError(f"the model answered {len(found)} of {len(asked)} samples")
            return found
        except Exception as error:
            if isinstance(error, RobenchError) and not isinstance(error, SampleFailure):
                raise
            if len(asked) == 1:
                return [failure_of(error)[0]]
            size = 1
            if is_out_of_memory(error):
                size = self.together = (len(asked) + 1) // 2
        # Only here, where the error no longer holds the tensors of its frames.
        ticks.at = before
        parts = [asked[i : i + size] for i in range(0, len(asked), size)]
        return [one for part in parts for one in self._answers(part, settings, ticks)]

    def _kept(self, mode: Mode, cell: Cell, found: Refinement | Failure) -> dict[str, Any]:
        """Write the pictures of one and return its piece."""
        about = {
            "mode": mode,
            "sample_id": cell.sample.sample_id,
            "subject_id": cell.sample.subject_id,
            "corruption": cell.corruption,
            "severity": cell.severity,
            "status": "ok",
            "message": "",
        }
        if isinstance(found, Failure):
            return about | {"status": found.kind, "message": printable(found.message)[:200]}
        place = f"{mode}/{safe_id(cell.corruption)}-{cell.severity}/{safe_id(cell.sample.sample_id)}"
        write_png(self.options.out / "pictures" / f"{place}.png", sheet(found.pictures, mode))
        if self.options.keep_meshes:
            from robench.io.meshes import write_mesh

            write_mesh(self.options.out / "meshes" / f"{place}.ply", found.mesh)
        log = [_plain(row) for row in found.log]
        return about | {
            "sheet": f"pictures/{place}.png", "log": log, "before": _plain(found.before), "after": _plain(found.after)
        }  # fmt: skip

    # As coded, each sample begins with the weights that the one before ended with.

    def _done(self, mode: str) -> int:
        return sum(name.startswith(f"{mode} ") for name in self.pieces.done)

    def _carried_path(self, mode: str, count: int) -> Path:
        return self.options.out / "carried" / f"{mode}-{count}.safetensors"

    def _carried(self, mode: str) -> Weights | None:
        count = self._done(mode)
        if count == 0:
            return None
        path = self._carried_path(mode, count)
        if not path.is_file():
            what = f"The weights that the last sample left are not in {path.parent}"
            raise Mismatch(what, expected=path.name, hint="--fresh to start over")
        from safetensors import SafetensorError
        from safetensors.numpy import load

        try:
            return load(path.read_bytes()) or None
        except SafetensorError as error:
            raise Mismatch(f"{path} is damaged", got=str(error)[:100], hint="--fresh to start over") from error

    def _carry(self, mode: str, weights: Weights | None) -> None:
        if self.options.settings.protocol != "as-coded":
            return
        from safetensors.numpy import save

        path = self._carried_path(mode, self._done(mode) + 1)
        make_folder(path.parent)
        write_bytes_atomic(path, save({name: np.ascontiguousarray(value) for name, value in (weights or {}).items()}))

    def _forget_before(self, mode: str) -> None:
        self._carried_path(mode, self._done(mode) - 1).unlink(missing_ok=True)


def _plain(values: Mapping[str, float | int]) -> dict[str, float | int | None]:
    return {name: value if math.isfinite(value) else None for name, value in values.items()}
