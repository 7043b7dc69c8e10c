"""What a training does when: picture sizes, batches, learning rate; all that decides the result besides the data."""

from __future__ import annotations

import math
from dataclasses import dataclass

from baselines.u2netp.normalise import SIDE
from robench.errors import UsageError


@dataclass(frozen=True)
class Phase:
    """Picture size of a part of the training.

    Attributes:
        until: Share of the whole training at which it ends, in (0, 1].
        side: Edge of the pictures in pixels.
        batch: Pictures in a step.
    """

    until: float
    side: int
    batch: int


PLAN = (Phase(0.4, 96, 4), Phase(0.75, 160, 4), Phase(1.0, SIDE, 4))


@dataclass(frozen=True)
class Settings:
    """All that decides the result besides the data; kept in the checkpoint and in the weights' record.

    Attributes:
        seed: Seeds weights and pictures.
        steps: Length in steps, or None to follow the clock.
        minutes: Length in minutes if `steps` is None.
        plan: Sizes.
        rate: Muon's step size at its peak; it warms up linearly and falls along a cosine.
        adam_rate: Adam's, likewise.
        warmup: Steps of warming up.
        ema: Weight of the past in the running average of the weights.
        bfloat16: Compute in mixed precision.
        calibration: Steps of measuring batch statistics at the end.
        as_rendered: Share of training pictures that keep their rendered background.
        start: SHA-256 of the checkpoint whose averaged weights are the first, or None for random ones.
    """

    seed: int = 0
    steps: int | None = None
    minutes: float = 25.0
    plan: tuple[Phase, ...] = PLAN
    rate: float = 0.02
    adam_rate: float = 2e-3
    warmup: int = 30
    ema: float = 0.99
    bfloat16: bool = False
    calibration: int = 40
    as_rendered: float = 0.5
    start: str | None = None

    def phase(self, progress: float) -> Phase:
        """Return the phase at a share of the training in [0, 1]."""
        return next((p for p in self.plan if progress < p.until), self.plan[-1])

    def pace(self, step: int, progress: float) -> float:
        """Return the share of the peak step size: linear warm-up, then half a cosine down to a hundredth."""
        fall = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
        return min(1.0, (step + 1) / self.warmup) * fall


def parsed_plan(text: str) -> tuple[Phase, ...]:
    """Read a plan such as ``0.4:96:4,0.75:160:4,1.0:320:2`` (share at which a phase ends, side, batch).

    Raises:
        UsageError: If it is not a rising list of shares that ends at 1.
    """
    try:
        parts = [part.split(":") for part in text.split(",")]
        plan = tuple(Phase(float(until), int(side), int(batch)) for until, side, batch in parts)
    except ValueError:
        plan = ()
    shares = [p.until for p in plan]
    sound = plan and shares == sorted(set(shares)) and shares[-1] == 1.0 and shares[0] > 0
    if not sound or any(p.side < 32 or p.batch < 2 for p in plan):
        raise UsageError(
            "The plan of sizes cannot be read",
            got=repr(text),
            expected="share:side:batch,... with rising shares up to 1.0, sides of 32 or more, batches of 2 or more",
        )
    return plan
