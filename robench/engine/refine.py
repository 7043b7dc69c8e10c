"""Refinement at test time over a data set: in batches of samples, kept as it goes, measured at every iteration.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from robench import registry
from robench.contracts import OpenReport, Reconstructor, RefineSettings
from robench.engine.cells import Cell
from robench.engine.encoder_choice import OpenEncoder, open_encoder
from robench.engine.masks import StoredMasks, load_masker, masker_identity, refuse_without_masks
from robench.engine.model_options import configure, models_with, option_values
from robench.engine.picture_plan import CLEAN_ONLY, PictureOptions, PicturePlan, plan_pictures
from robench.engine.pieces import open_pieces
from robench.engine.pipeline import prepare
from robench.engine.refine_work import RefineWork, cells_of, piece_name
from robench.errors import UsageError

MODES: tuple[Literal["sequential", "average"], ...] = ("sequential", "average")
EMBEDDINGS = (*MODES, "both")
PROTOCOLS = ("described", "as-coded")
TOGETHER = {"cpu": 1, "cuda": 4}
"""Samples at once, where nobody says how many, by the device."""
_SMALLEST, _LARGEST = 16, 2048


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
        batch_size: Samples at once, None for the device's own number. Results differ by rounding at most.
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
    batch_size: int | None = None
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
    model = _refinable(options.model)
    configure(model, options.model_options)
    plan = plan_pictures(options.pictures, CLEAN_ONLY)
    masker = load_masker(options.masker)
    refuse_without_masks(masker, plan.selection.samples)
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

            together = _together(options, report.device)
            made = RefineWork(options, plan, model, opened.encoder, pieces, ready, together).run()
            names = [piece_name(mode, cell) for mode in options.modes for cell in cells_of(plan)]
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
    configure(_refinable(options.model), options.model_options)
    plan = plan_pictures(options.pictures, CLEAN_ONLY)
    refuse_without_masks(load_masker(options.masker), plan.selection.samples)
    cells = len(cells_of(plan))
    return {
        "model": options.model,
        "prior": options.prior,
        **plan.facts(),
        "masker": options.masker,
        "embeddings": list(options.modes),
        "refinements": cells * len(options.modes),
        "iterations": cells * len(options.modes) * options.settings.iterations,
        "batch_size": _said(options),
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

    if options.batch_size is not None and options.batch_size < 1:
        raise UsageError(
            "A batch has a sample at least", got=str(options.batch_size), expected="--batch-size 1 or more"
        )
    if settings.protocol == "as-coded" and (options.batch_size or 1) > 1:
        raise UsageError(
            "As coded, a sample begins with the weights that the one before left, so no two can be refined together",
            got=f"--batch-size {options.batch_size}",
            hint="--batch-size 1, or --protocol described",
        )


def _together(options: RefineOptions, device: str) -> int:
    if options.settings.protocol == "as-coded":
        return 1
    return options.batch_size or TOGETHER.get(device.split(":")[0], 1)


def _said(options: RefineOptions) -> str:
    device = options.device.split(":")[0]
    if options.settings.protocol == "as-coded" or options.batch_size is not None or device in TOGETHER:
        return str(_together(options, device))
    return ", ".join(f"{count} on {device}" for device, count in TOGETHER.items())


def _refinable(name: str) -> Any:
    model = registry.load("models", name)
    if getattr(model, "refine", None) is None:
        raise UsageError(f"The model '{name}' has no colours that could be refined", expected=models_with("refine"))
    return model


def _facts(
    options: RefineOptions,
    plan: PicturePlan,
    model: Reconstructor,
    report: OpenReport,
    opened: OpenEncoder,
    masker: Mapping[str, Any],
) -> dict[str, Any]:
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
        **plan.identity(),
    }
