"""Refinement at test time over a data set: sample by sample, kept as it goes, measured at every iteration.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robench import registry
from robench.contracts import Encoder, Failure, Image, Mesh, OpenReport, Reconstructor, Refinement, RefineSettings
from robench.data.ids import safe_id
from robench.engine.cells import Cell
from robench.engine.encoder_choice import OpenEncoder, open_encoder
from robench.engine.failures import failure_of
from robench.engine.masks import StoredMasks, load_masker, masker_identity, refuse_without_masks
from robench.engine.model_options import configure, option_values
from robench.engine.picture_plan import CLEAN_ONLY, PictureOptions, PicturePlan, plan_pictures
from robench.engine.pieces import Pieces, open_pieces
from robench.engine.pipeline import prepare
from robench.engine.progress import Advance, progress
from robench.engine.scoring import Truths
from robench.errors import EnvironmentNotReady, Mismatch, UsageError, printable
from robench.io.files import make_folder, write_bytes_atomic
from robench.io.images import write_png

MODES: tuple[Literal["sequential", "average"], ...] = ("sequential", "average")
EMBEDDINGS = (*MODES, "both")
PROTOCOLS = ("described", "as-coded")
TILE = 256
"""Longer side of a kept picture of one view."""
_SMALLEST, _LARGEST = 16, 2048
Weights = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class RefineOptions:
    """What the user asked of ``robench refine``.

    Attributes:
        model: Registered reconstructor that can refine.
        prior: Encoder, ``NAME`` or ``NAME:FOLDER``.
        pictures: Which pictures; the clean ones if nothing else is said.
        out: Folder of the results.
        checkpoint: Weights of the model, None for its own.
        masker: Registered masker.
        embeddings: One of `EMBEDDINGS`.
        settings: Iterations, rate, protocol and size of renderings.
        model_options: Options of the model by name.
        device: ``cpu``, ``cuda`` or ``auto``.
        keep_meshes: Write each refined mesh.
        fresh: Forget what is done.
        quiet: Show no progress.
        json_events: Tell progress as JSON lines.
    """

    model: str
    prior: str
    pictures: PictureOptions
    out: Path
    checkpoint: Path | None = None
    masker: str = "u2netp-anny"
    embeddings: str = "both"
    settings: RefineSettings = field(default_factory=RefineSettings)
    model_options: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    keep_meshes: bool = False
    fresh: bool = False
    quiet: bool = False
    json_events: bool = False

    @property
    def modes(self) -> tuple[Literal["sequential", "average"], ...]:
        """The ways of embedding that are asked for."""
        return tuple(mode for mode in MODES if self.embeddings in (mode, "both"))


@dataclass(frozen=True)
class Refined:
    """What was measured.

    Attributes:
        cells: One a sample, condition and way of embedding: ``mode``, ``sample_id``, ``subject_id``, ``corruption``,
            ``severity``, ``status``, ``message``, and where the status is ``ok`` ``log``, ``before``, ``after`` (as
            `robench.contracts.Refinement` has them; what is not finite is None) and ``sheet``, the picture's name.
        facts: What it rests on.
        made: Cells made now; the others were there.
    """

    cells: list[dict[str, Any]]
    facts: dict[str, Any]
    made: int


def refine_samples(options: RefineOptions) -> Refined:
    """Refine every sample; resumes what lies in the folder. A sample that cannot be done is a cell with a status.

    Raises:
        UsageError: If an option is wrong, or the model cannot refine colours.
        NotComparable: If the folder holds other work.
        EnvironmentNotReady: If weights, a library or a device are not there.
        Mismatch: If weights that one sample hands to the next (``as-coded``) are missing.
    """
    _check(options)
    plan = plan_pictures(options.pictures, CLEAN_ONLY)
    masker = load_masker(options.masker)
    refuse_without_masks(masker, plan.selection.samples)
    model = _refinable(options.model)
    configure(model, options.model_options)
    opened = open_encoder(options.prior, options.device)
    try:
        report = model.open(opened.report.device if options.device == "auto" else options.device, options.checkpoint)
        if hasattr(model, "check_refine"):
            model.check_refine()
        masker.open(options.device)
        facts = _facts(options, plan, model, report, opened, masker_identity(masker))
        with open_pieces(options.out, facts, fresh=options.fresh) as pieces:
            stored = None if plan.cset is None else StoredMasks(plan.cset, masker)

            def ready(cell: Cell) -> Any:
                return prepare(cell, plan.source, masker, stored, lambda kind, **facts: None)

            made = _Work(options, plan, model, opened.encoder, pieces, ready).run()
            names = [_name(mode, cell) for mode in options.modes for cell in _cells(plan)]
            return Refined([pieces.done[name] for name in names], facts, made)
    finally:
        opened.encoder.close()
        model.close()
        masker.close()


def plan_refinement(options: RefineOptions) -> dict[str, Any]:
    """Return what `refine_samples` would do; opens nothing and touches nothing.

    Raises:
        UsageError: If an option is wrong, or the model cannot refine colours.
    """
    _check(options)
    plan = plan_pictures(options.pictures, CLEAN_ONLY)
    refuse_without_masks(load_masker(options.masker), plan.selection.samples)
    configure(_refinable(options.model), options.model_options)
    cells = sum(1 for _ in _cells(plan))
    return {
        "model": options.model,
        "prior": options.prior,
        **plan.facts(),
        "masker": options.masker,
        "embeddings": list(options.modes),
        "refinements": cells * len(options.modes),
        "iterations": cells * len(options.modes) * options.settings.iterations,
        "out": str(options.out),
    }


def _check(options: RefineOptions) -> None:
    settings = options.settings
    for what, value, known in (
        ("Embeddings", options.embeddings, EMBEDDINGS),
        ("The protocol", settings.protocol, PROTOCOLS),
    ):
        if value not in known:
            raise UsageError(f"{what} cannot be '{value}'", expected=", ".join(known))
    if settings.iterations < 1:
        raise UsageError("There must be an iteration", got=str(settings.iterations), expected="such as 100")
    if not (math.isfinite(settings.rate) and settings.rate > 0):
        raise UsageError("The learning rate must be positive", got=str(settings.rate), expected="such as 1e-3")
    if not _SMALLEST <= settings.size <= _LARGEST:
        expected = f"{_SMALLEST} to {_LARGEST} pixels"
        raise UsageError("The size of renderings cannot be", got=str(settings.size), expected=expected)


def _refinable(name: str) -> Any:
    model = registry.load("models", name)
    if getattr(model, "refine", None) is None:
        able = [n for n in registry.entries("models") if _can_refine(n)]
        raise UsageError(
            f"The model '{name}' has no colours that could be refined", expected=" or ".join(able) or "a model that can"
        )
    return model


def _can_refine(name: str) -> bool:
    try:
        return hasattr(registry.load("models", name), "refine")
    except EnvironmentNotReady:
        return False  # a stranger's broken plug-in is no choice


def _facts(
    options: RefineOptions,
    plan: PicturePlan,
    model: Reconstructor,
    report: OpenReport,
    opened: OpenEncoder,
    masker: Mapping[str, Any],
) -> dict[str, Any]:
    chosen = plan.selection
    settings = asdict(options.settings)
    settings["embeddings"] = options.embeddings
    return {
        "format": 1,
        "model": {"name": model.card.name, "version": model.card.version, "weights_sha256": report.checkpoint_sha256},
        "model_options": {name: str(value) for name, value in option_values(model).items()},
        "encoder": opened.identity(),
        "masker": dict(masker),
        "settings": settings,
        "keep_meshes": options.keep_meshes,
        "dataset": chosen.dataset,
        "dataset_revision": chosen.revision,
        "split_sha256": chosen.split_sha256,
        "cset_id": plan.cset_id,
        "recipe": plan.recipe.name,
        "seed": plan.seed,
    }


def _cells(plan: PicturePlan) -> Iterator[Cell]:
    for sample in plan.selection.samples:
        yield from plan.cells(sample)


def _name(mode: str, cell: Cell) -> str:
    return f"{mode} {cell.sample.sample_id} {cell.corruption} {cell.severity}"


@dataclass
class _Work:
    options: RefineOptions
    plan: PicturePlan
    model: Any
    encoder: Encoder
    pieces: Pieces
    ready: Any

    def run(self) -> int:
        """Refine what is left; returns how many cells were made."""
        options = self.options
        cells = list(_cells(self.plan))
        left = [(mode, cell) for mode in options.modes for cell in cells if _name(mode, cell) not in self.pieces.done]
        truths, steps = Truths(), options.settings.iterations
        quiet, json_lines = options.quiet, options.json_events
        with progress("refine", len(left) * steps, "iterations", quiet=quiet, json_lines=json_lines) as advance:
            for mode, cell in left:
                settings = replace(options.settings, embeddings=mode)
                done = self._cell(cell, settings, truths, advance)
                self.pieces.add(_name(mode, cell), done)
                self._forget_before(mode)
                if done["status"] != "ok":
                    advance(steps, 1)
        return len(left)

    def _cell(self, cell: Cell, settings: RefineSettings, truths: Truths, tick: Advance) -> dict[str, Any]:
        mode = settings.embeddings
        about = {
            "mode": mode,
            "sample_id": cell.sample.sample_id,
            "subject_id": cell.sample.subject_id,
            "corruption": cell.corruption,
            "severity": cell.severity,
            "status": "ok",
            "message": "",
        }
        start = self._carried(mode) if settings.protocol == "as-coded" else None
        found: Refinement | Failure
        try:
            item = self.ready(cell)
            found = item.failure if item.failure is not None else self._refined(item, settings, truths, start, tick)
        except Exception as error:
            found, _ = failure_of(error)
        if isinstance(found, Failure):
            self._carry(mode, start)
            return about | {"status": found.kind, "message": printable(found.message)[:200]}
        self._carry(mode, found.state)
        place = f"{mode}/{safe_id(cell.corruption)}-{cell.severity}/{safe_id(cell.sample.sample_id)}"
        write_png(self.options.out / "pictures" / f"{place}.png", sheet(found.pictures, mode))
        if self.options.keep_meshes:
            from robench.io.meshes import write_mesh

            write_mesh(self.options.out / "meshes" / f"{place}.ply", found.mesh)
        log = [_plain(row) for row in found.log]
        return about | {
            "sheet": f"pictures/{place}.png", "log": log, "before": _plain(found.before), "after": _plain(found.after)
        }  # fmt: skip

    def _refined(
        self, item: Any, settings: RefineSettings, truths: Truths, start: Weights | None, tick: Advance
    ) -> Refinement | Failure:
        truth: Mesh | None = truths.of(item.cell.sample, item.picture.camera)
        found: Refinement | Failure = self.model.refine(item.request, self.encoder, settings, truth, start, tick)
        return found

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


def sheet(pictures: Mapping[str, Image], mode: str = "") -> Image:
    """Lay out what the cameras see: a column a camera, the rows before, after and (where there is one) truth.

    The input stands at the left of the first row, and the names of the rows at the left.

    Args:
        pictures: As `robench.contracts.Refinement` has them.
        mode: Way of embedding, to print.

    Returns:
        (H, W, 3) uint8, in tiles of at most `TILE` pixels.
    """
    names = [name for name in ("before", "after", "truth") if name in pictures]
    rows = []
    for name in names:
        left = _tile(pictures["input"][0] if name == "before" else np.zeros_like(pictures["input"][0]))
        label = {"before": "input; before", "after": f"after, {mode}"}.get(name, name)
        rows.append([_labelled(left, label), *(_tile(image) for image in pictures[name])])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def _tile(image: Image) -> Image:
    import cv2

    side = min(TILE, image.shape[0])
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _labelled(tile: Image, text: str) -> Image:
    import cv2

    at, scale = (4, tile.shape[0] - 6), 0.45 * tile.shape[0] / TILE
    return np.asarray(cv2.putText(tile.copy(), text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1), np.uint8)
