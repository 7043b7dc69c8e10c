"""Adapting a model on a few pictures: what it is given, what it must do, what it gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from robench.contracts import Camera, Image, Mask


@dataclass(frozen=True, eq=False)
class Lesson:
    """A picture with its ground truth, to learn from.

    Attributes:
        name: No other lesson's: sample and condition.
        image: (H, W, 3) uint8 sRGB.
        mask: (H, W) float32 in [0, 1].
        camera: Of this picture; its view frame is where a corruption turned the person to.
        mesh: File of the ground truth, world frame, centimetres.
    """

    name: str
    image: Image
    mask: Mask
    camera: Camera
    mesh: Path


@dataclass(frozen=True)
class Adapted:
    """What adapting a model gave.

    Attributes:
        weights: A checkpoint that the model's `open` takes.
        base_sha256: Of the checkpoint that it started from.
        error: Mean error on the lessons held out, smaller is better; None without any.
    """

    weights: Path
    base_sha256: str
    error: float | None = None


@dataclass(frozen=True, eq=False)
class AdaptJob:
    """What a model is to learn, and how.

    Attributes:
        batches: As many lessons each, a step of Adam a batch, in their order; without any the checkpoint is written as
            it is.
        out: Folder of the new checkpoint.
        lr: Learning rate, constant.
        epochs: How often the batches are gone through.
        seed: Of what is drawn.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        held_out: Lessons to judge by, not to learn from.
        facts: JSON-able; the checkpoint says them of its making.
        scratch: Folder for what several adaptations share.
    """

    batches: Sequence[Sequence[Lesson]]
    out: Path
    lr: float
    epochs: int
    seed: int
    device: str
    held_out: Sequence[Lesson]
    facts: Mapping[str, Any]
    scratch: Path


@runtime_checkable
class Adaptable(Protocol):
    """What a `Reconstructor` may have besides: it can be tuned on a few pictures with ground truth."""

    def adapt(self, weights: Path | None, job: AdaptJob) -> Adapted:
        """Take the steps of a job and write a checkpoint; what is frozen stays so.

        Args:
            weights: Checkpoint to start from; None for the model's own.
            job: What to learn.
        """
        ...
