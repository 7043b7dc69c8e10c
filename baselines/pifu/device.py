"""Where and how a model of the family computes, checked before anything is loaded."""

from __future__ import annotations

import torch

from baselines.pifu.rays import Precision
from baselines.pifu.reconstruct import check_resolution
from baselines.pifu.training import resolve_device
from robench.errors import UsageError


def working_device(device: str, resolution: int, precision: Precision, system: str) -> torch.device:
    """Return the device to use.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
        resolution: Grid nodes an axis.
        precision: See `baselines.pifu.rays.Rays`.
        system: What to call the model in a message.

    Raises:
        EnvironmentNotReady: If the device is not there.
        UsageError: If there is no such device, resolution, or precision on it.
    """
    try:
        check_resolution(resolution)
    except ValueError as error:
        raise UsageError(f"The grid of {system} cannot have this resolution", got=str(error)) from error
    target = resolve_device(device)
    if precision == "tf32" and target.type != "cuda":
        raise UsageError(
            "TF32 is an arithmetic of CUDA devices",
            got=f"precision=tf32 on '{target}'",
            hint="--model-option precision=float32",
        )
    return target
