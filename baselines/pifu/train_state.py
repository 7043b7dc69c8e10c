"""What a training run keeps between steps: optimiser, averaged weights, the file to resume from."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from baselines.muon import MuonAdam
from baselines.pifu.items import Batch
from baselines.pifu.train_config import TrainConfig
from robench.errors import UsageError
from robench.io.files import atomic_path, make_folder, write_text_atomic

N = TypeVar("N", bound=nn.Module)
STATE_FILE = "last.pt"
OPTIONS_FILE = "options.json"
_STATE_FORMAT = "robench-pifu-run/1"


@dataclass
class Phase(Generic[N]):
    """What differs between the training of the two networks.

    Attributes:
        name: ``shape`` or ``colour``, or what another system calls its parts.
        net: The network in training.
        steps: Optimiser steps.
        batch: The batch of a step.
        loss: Loss of a batch.
        validate: Metrics of the averaged network, smaller ``val_mse`` better; None to skip.
        keep: Called with the averaged network to export, if nothing later replaces it.
        file: What `keep` writes in the run's folder, if it writes a file.
    """

    name: str
    net: N
    steps: int
    lr: float
    batch: Callable[[int], Batch]
    loss: Callable[[N, Batch], Tensor]
    validate: Callable[[N], dict[str, float]] | None
    keep: Callable[[N], None]
    file: str = ""


class Average(Generic[N]):
    """An exponential moving average of a network's weights.

    Args:
        net: The network.
        decay: Final decay; it grows towards this during the first steps, so that the start is soon forgotten. 0 copies.
    """

    def __init__(self, net: N, decay: float) -> None:
        self.net: N = copy.deepcopy(net)
        self.net.eval()
        self.decay = decay
        for parameter in self.net.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, net: N, step: int) -> None:
        """Move towards the network after its `step`-th step; buffers are copied."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.decay else 0.0
        mine: list[torch.Tensor] = list(self.net.parameters())
        theirs: list[torch.Tensor] = list(net.parameters())
        torch._foreach_lerp_(mine, theirs, 1.0 - decay)
        for a, b in zip(self.net.buffers(), net.buffers(), strict=True):
            a.copy_(b)


def make_optimizer(name: str, net: nn.Module, lr: float) -> torch.optim.Optimizer:
    """Return Adam, RMSprop as published (no momentum, no decay), or Muon, which needs a quarter of the pictures."""
    if name == "rmsprop":
        return torch.optim.RMSprop(net.parameters(), lr=lr, momentum=0, weight_decay=0)
    if name == "muon":
        return MuonAdam(net, lr)
    return torch.optim.Adam(net.parameters(), lr=lr)


def learning_rate(config: TrainConfig, base: float, step: int, steps: int) -> float:
    """Return the rate of a step: linear warm-up, then a cosine to zero or factors of 0.1 at the milestones."""
    warm = min(1.0, (step + 1) / config.warmup) if config.warmup else 1.0
    done = step / steps
    if config.schedule == "cosine":
        return base * warm * 0.5 * (1 + math.cos(math.pi * done))
    return base * warm * 0.1 ** sum(done >= m for m in config.milestones)


def save_state_file(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values atomically."""
    with atomic_path(path) as temporary:
        torch.save({"format": _STATE_FORMAT, **state}, temporary)


def load_state_file(path: Path) -> dict[str, Any] | None:
    """Read what `save_state_file` wrote, without running code in it; None if there is no such file.

    Raises:
        UsageError: If the file is damaged or something else.
    """
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise UsageError(
            f"Cannot resume from {path}", got=type(error).__name__, hint="start again in another --out"
        ) from error
    if not isinstance(state, dict) or state.get("format") != _STATE_FORMAT:
        raise UsageError(
            f"Cannot resume from {path}", got="a file of another format", hint="start again in another --out"
        )
    return state


def open_run(config: TrainConfig, out: Path, resume: bool) -> None:
    """Make a run's folder and write its options there.

    Raises:
        UsageError: If it holds a run that is not to be resumed, or one with other options.
    """
    make_folder(out)
    options = out / OPTIONS_FILE
    if resume and options.is_file():
        if options.read_text("utf-8") != config.to_json():
            raise UsageError(
                f"The run in {out} was started with other options", expected=f"those in {options}", hint="another --out"
            )
    elif (out / STATE_FILE).exists():
        raise UsageError(f"{out} already holds a training run", hint="--resume to go on with it, or another --out")
    write_text_atomic(options, config.to_json())
