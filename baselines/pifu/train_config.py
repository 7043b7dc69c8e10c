"""Options of a PIFu training run, read from YAML."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar

from baselines.pifu.config import MINI, PifuConfig, network_of
from robench.errors import UsageError
from robench.training.masks import Masking
from robench.training.mixing import Mixing

_CHOICES: Mapping[str, tuple[str, ...]] = {
    "optimizer": ("adam", "muon", "rmsprop"),
    "schedule": ("cosine", "steps"),
    "init": ("published", "kaiming"),
    "precision": ("auto", "float32", "bfloat16"),
    "export_dtype": ("float32", "float16"),
    "keep": ("last", "best"),
}
_UNSAID = ("corruptions", "masks", "start")
"""Options that came later: where they say nothing, a run has the identity that it had without them."""
SHIPPED = "pifu-mini"
"""In place of a file: the weights that robench ships."""

T = TypeVar("T", bound="TrainConfig")


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The published recipe is ``configs/paper.yaml``; the defaults are the small net's.

    Attributes:
        network: Options of both networks.
        seed: Of everything drawn.
        steps: Optimiser steps of the shape net.
        batch: Images a step.
        points: Supervision points an image and step.
        pool: Supervision points kept per subject.
        sigmas_cm: Standard deviations of the points' distance from the surface, in equal parts.
        uniform_share: Share of the pool drawn uniformly in the published cube of 256 cm.
        optimizer: ``adam``, ``rmsprop``, or ``muon`` (hidden weights at ten times `lr`, the rest by Adam).
        lr: Learning rate at the start (after the warm-up).
        schedule: ``cosine`` to zero, or ``steps``: times 0.1 at each milestone.
        milestones: Fractions of `steps` for ``steps``.
        warmup: Steps of linear warm-up.
        clip_norm: Largest gradient norm; 0 for none.
        init: ``published`` (N(0, 0.02)) or ``kaiming`` (torch's default).
        start: Weights to begin from instead: a checkpoint, or ``pifu-mini`` for the one that robench ships.
        flip: Probability of a mirrored item.
        zoom: Largest relative change of size.
        shift: Largest shift as a fraction of the side.
        ema: Decay of the averaged weights; 0 exports the plain ones.
        keep: Which averaged weights to export: of the ``last`` step, as published, or of the ``best`` validation.
        precision: ``auto`` takes bfloat16 where the hardware multiplies it natively (CUDA, AMX).
        log_every: Steps between log lines.
        val_every: Steps between validations.
        val_images: Images of a validation.
        val_points: Points an image of a validation.
        save_every: Steps between checkpoints to resume from.
        colour_steps: Steps of the colour net; 0 trains none.
        colour_batch: Images a step of the colour net.
        colour_points: Surface points an image and step.
        colour_lr: Learning rate of the colour net (Adam).
        colour_sigma_cm: Standard deviation of the points' shift along the normal.
        export_dtype: Number format of the exported file.
        corruptions: Which pictures are shown corrupted, and how: see `robench.training.mixing`; None for all clean.
        masks: Which share is shown with a masker's masks: see `robench.training.masks`; None for true masks alone.
    """

    network: PifuConfig = field(default_factory=lambda: MINI)
    seed: int = 0
    steps: int = 5000
    batch: int = 8
    points: int = 2000
    pool: int = 50_000
    sigmas_cm: tuple[float, ...] = (5.0,)
    uniform_share: float = 1 / 17
    optimizer: Literal["adam", "muon", "rmsprop"] = "adam"
    lr: float = 1e-3
    schedule: Literal["cosine", "steps"] = "cosine"
    milestones: tuple[float, ...] = (0.6, 0.8)
    warmup: int = 50
    clip_norm: float = 1.0
    init: Literal["published", "kaiming"] = "kaiming"
    start: str = ""
    flip: float = 0.5
    zoom: float = 0.1
    shift: float = 0.02
    ema: float = 0.998
    keep: Literal["last", "best"] = "last"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    log_every: int = 25
    val_every: int = 500
    val_images: int = 48
    val_points: int = 4000
    save_every: int = 250
    colour_steps: int = 600
    colour_batch: int = 8
    colour_points: int = 2000
    colour_lr: float = 1e-3
    colour_sigma_cm: float = 0.1
    export_dtype: Literal["float32", "float16"] = "float32"
    corruptions: Mixing | None = None
    masks: Masking | None = None
    paths: ClassVar[tuple[str, ...]] = ("start",)
    """Options that name files."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), "one of " + ", ".join(choices))
        for name in ("steps", "batch", "points", "log_every", "val_every", "save_every", "val_images", "val_points"):
            if getattr(self, name) < 1:
                raise _wrong(name, getattr(self, name), "at least 1")
        if self.pool < 2 * self.points:
            raise _wrong("pool", self.pool, f"at least twice 'points' ({2 * self.points})")
        for name, top in (("flip", 1.0), ("uniform_share", 1.0), ("ema", 0.99999), ("zoom", 0.5), ("shift", 0.5)):
            if not 0 <= getattr(self, name) <= top:
                raise _wrong(name, getattr(self, name), f"in [0, {top}]")
        if not self.sigmas_cm or min(self.sigmas_cm) <= 0:
            raise _wrong("sigmas_cm", list(self.sigmas_cm), "one or more positive distances")

    def to_json(self) -> str:
        """Return all options as a JSON object with sorted keys; those of `_UNSAID` only where they say something."""
        values = dataclasses.asdict(self)
        for name in _UNSAID:
            if not getattr(self, name):
                del values[name]
        return json.dumps(values, sort_keys=True)

    def refuse(self, *faults: tuple[str, bool, str]) -> None:
        """Refuse options: of each its name, whether it is wrong, and what it should be.

        Raises:
            UsageError: Of the first that is wrong.
        """
        for name, wrong, expected in faults:
            if wrong:
                raise _wrong(name, getattr(self, name), expected)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; ``network`` may name a ``preset`` and override its options.

        Raises:
            UsageError: If an option is unknown, has the wrong type or an impossible value.
        """
        fields = {f.name: f for f in dataclasses.fields(cls)}
        unknown = sorted(set(values) - set(fields))
        if unknown:
            raise UsageError(
                "PIFu's training has no such option",
                got=", ".join(map(repr, unknown)),
                expected="among " + ", ".join(fields),
            )
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name == "network":
                clean[name] = network_of(value, name, _wrong)
            elif name == "corruptions" and value is not None:
                clean[name] = value if isinstance(value, Mixing) else Mixing.from_value(value)
            elif name == "masks" and value is not None:
                clean[name] = value if isinstance(value, Masking) else Masking.from_value(value)
            elif dataclasses.is_dataclass(value):  # a subclass's own options, made already
                clean[name] = value
            else:
                clean[name] = _typed(name, value, fields[name].default)
        return cls(**clean)


def _typed(name: str, value: Any, default: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(default, tuple):
        if isinstance(value, (list, tuple)) and all(isinstance(v, (int, float)) for v in value):
            return tuple(float(v) for v in value)
        raise _wrong(name, value, "a list of numbers")
    if isinstance(default, float):
        if number:
            return float(value)
        raise _wrong(name, value, "a number")
    if type(value) is not type(default):
        raise _wrong(name, value, f"like {default!r}")
    return value


def _wrong(name: str, value: Any, expected: str) -> UsageError:
    return UsageError(f"The training option '{name}' is not possible", got=repr(value), expected=expected)


def read_train_config(path: Path, kind: type[T]) -> T:
    """Read a YAML file of training options; paths in it may be relative to its folder.

    Args:
        path: The file.
        kind: `TrainConfig`, or that of a system built on PIFu.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown or impossible option.
    """
    import yaml

    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(
            f"Cannot read the training options in {path}", got=" ".join(str(error).split())[:200]
        ) from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no training options", got=type(values).__name__, expected="a YAML mapping")
    config = kind.from_mapping(values)
    changes: dict[str, Any] = {}
    for name in kind.paths:
        said = getattr(config, name)
        beside = path.parent / said
        if said and said != SHIPPED and beside.exists():
            changes[name] = str(beside.resolve())
    return dataclasses.replace(config, **changes)
