"""What the user asked of ``robench reproduce``, and the numbers of the paper's protocol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from robench.data.ids import safe_id
from robench.errors import UsageError
from robench.io.files import sha256_file

PAPER = "2d-priors"
"""The paper; also the recipe of its corruptions, each at its one level."""
CRITICAL = "2d-priors-critical"
"""The recipe of the corruptions of its Table II."""
CITED = (
    'Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", EPFL, 2023'
)
TRUE_MASK = "corrupted"
"""Our masker for the paper's "mask": the true mask sent through the corruption."""
OWN_MASKER = "u2netp-anny"
"""The masker that comes with robench."""
PAPER_MASKERS = (TRUE_MASK, "isnet-general-use", "silueta", "u2net", "u2net_human_seg", "u2netp")
"""Maskers of the paper's Table II, in its order."""
METRICS = ("chamfer_cm", "p2s_pred_to_gt_cm")
"""The paper's Chamfer and P2S."""
MEASURED = (*METRICS, "chamfer_unaligned_cm", "p2s_pred_to_gt_unaligned_cm", "mask_iou")
"""What a run measures."""
PEOPLE_SIZE = 512
"""Side of the pictures of people that are made, pixels."""
LEARNERS = {"train": 16, "val": 4}
"""People that are made to adapt on, and to choose the rate by: one picture each, under every corruption."""
BATCHES = (0, 2, 3)
"""The paper adapts on 2 and 3 batches."""
BATCH_SIZE = 16
RATES = (7e-5, 2e-4, 7e-4)
"""Learning rates that are tried on the people of ``val``; the paper chose 7e-4 on its own."""


@dataclass(frozen=True)
class ModelChoice:
    """A model that takes part.

    Attributes:
        name: Registered reconstructor.
        checkpoint: Its weights, None for its own.
    """

    name: str
    checkpoint: Path | None = None

    @classmethod
    def parse(cls, text: str) -> ModelChoice:
        """Read ``NAME`` or ``NAME:CHECKPOINT``.

        Raises:
            UsageError: If there is a colon and nothing on one side of it.
        """
        name, colon, path = text.partition(":")
        if not name or (colon and not path):
            raise UsageError("The model is not understood", got=f"'{text}'", expected="NAME or NAME:CHECKPOINT")
        return cls(name, Path(path).expanduser() if colon else None)

    @property
    def label(self) -> str:
        """What tells it from others: its name, and the checkpoint's folder and file."""
        if self.checkpoint is None:
            return self.name
        return f"{self.name} ({'/'.join(self.checkpoint.parts[-2:])})"


@dataclass(frozen=True)
class ReproduceOptions:
    """What the user asked of ``robench reproduce``; the command line's options by the same names.

    Attributes:
        data: Folder of a data set; None to make people of ``anny-humans`` under `out`.
        out: Folder of everything that is made.
        subjects: People: so many are made, or at most so many are taken of `data`, one picture each.
        models: ``NAME`` or ``NAME:CHECKPOINT`` each; the first is the baseline.
        maskers: Registered maskers; empty for those of the paper that are at hand, and `OWN_MASKER`.
        encoder: ``NAME`` or ``NAME:FOLDER``.
        tables: Numbers of tables, and
        figures: of figures; both empty for all.
        model_options: Options of models by name; a model takes those that it has.
        iterations: Of refinement; the paper has 100.
        refined: At most so many pictures are refined.
        refine_size: Side of what is rendered in a refinement, pixels.
        device: ``cpu``, ``cuda`` or ``auto``.
        workers: Processes that each open a model.
        seed: Of people and corruptions.
        level: Coverage of the intervals.
        fresh: Forget what is done.
        quiet: Show no progress.
        json: Tell progress as JSON lines.
    """

    data: Path | None = None
    out: Path = Path("reproduced")
    subjects: int = 20
    models: tuple[str, ...] = ("pifu-mini",)
    maskers: tuple[str, ...] = ()
    encoder: str = "clip-vit-l14"
    tables: tuple[int, ...] = ()
    figures: tuple[int, ...] = ()
    model_options: Mapping[str, str] = field(default_factory=dict)
    iterations: int = 100
    refined: int = 5
    refine_size: int = 512
    device: str = "auto"
    workers: int = 1
    seed: int = 0
    level: float = 0.95
    fresh: bool = False
    quiet: bool = False
    json: bool = False

    @property
    def choices(self) -> tuple[ModelChoice, ...]:
        """The models, the baseline first.

        Raises:
            UsageError: If one is not understood.
        """
        return tuple(ModelChoice.parse(text) for text in self.models)


def file_id(text: str) -> str:
    """Return a text as part of a file's name."""
    return safe_id(text.replace(" ", "-"))


def weights(choice: ModelChoice) -> tuple[str, str]:
    """Return what names a model's weights: another file by the same name is another model."""
    path = choice.checkpoint
    if path is None:
        return choice.name, ""
    return choice.name, sha256_file(path) if path.is_file() else str(path.resolve())
