"""Where and how a model of the family computes, checked before anything is loaded."""

from __future__ import annotations

import torch

from baselines.pifu.rays import Precision
from baselines.pifu.reconstruct import check_resolution
from robench.errors import EnvironmentNotReady, UsageError


def resolve_device(device: str) -> torch.device:
    """Return the torch device for ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Raises:
        UsageError: If the name is none of these.
        EnvironmentNotReady: If CUDA is asked for and not there.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device != "cpu" and device != "cuda" and not device.removeprefix("cuda:").isdigit():
        raise UsageError("Unknown device", got=repr(device), expected="cpu, cuda, cuda:N or auto")
    if device != "cpu" and not torch.cuda.is_available():
        raise EnvironmentNotReady(f"No CUDA device for '{device}'", got="torch sees none", hint="--device cpu")
    return torch.device(device)


def reduced_precision(device: torch.device, precision: str) -> bool:
    """True if the image filter shall run in bfloat16: asked for, or `auto` on hardware that multiplies it natively."""
    if precision != "auto":
        return precision == "bfloat16"
    return device.type == "cuda" or bool(torch.cpu._is_amx_tile_supported())


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
