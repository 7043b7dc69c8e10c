"""Closed-form weights and inputs, by which two implementations can be compared without any checkpoint.

Two rules fill a state dict from the names of its tensors: ``sin`` (rank-2 matrices, badly conditioned) and ``hash``
(SplitMix64, full rank). Both are scaled so that activations keep their size.
"""

from __future__ import annotations

import math
import zlib
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

Rule = Literal["sin", "hash"]
_GOLDEN_GAMMA = 0x9E3779B97F4A7C15
_BLOCK = 32768
_HALTON_BASES = (2, 3, 5)


def raw_values(key: str, count: int, rule: Rule, offset: float, *, matrix: bool) -> NDArray[np.float64]:
    """Return the rule's values for one tensor, before scaling.

    Args:
        key: The tensor's name in the state dict.
        count: Its number of elements.
        rule: ``sin`` or ``hash``.
        offset: Shifts the phase (``sin``) or the seed (``hash``).
        matrix: Whether the tensor has two or more dimensions (``hash`` then has unit variance).

    Returns:
        (count,) float64 in [-1, 1], or [-sqrt(3), sqrt(3)].
    """
    crc = zlib.crc32(key.encode("utf-8"))
    if rule == "sin":
        return np.sin(0.37 * np.arange(count, dtype=np.float64) + (crc % 10007) + offset)
    seed = (crc + (round(1000.0 * offset) << 32)) % 2**64
    x = np.empty(count)
    # Block by block, which stays in the cache: large networks have hundreds of millions of weights.
    for start in range(0, count, _BLOCK):
        x[start : start + _BLOCK] = _splitmix64(seed, start, min(_BLOCK, count - start))
    if matrix:
        x *= math.sqrt(3.0)
    return x


def _splitmix64(seed: int, start: int, count: int) -> NDArray[np.float64]:
    """Return outputs `start` to ``start + count`` of SplitMix64, as numbers in [-1, 1)."""
    with np.errstate(over="ignore"):  # uint64 arithmetic is meant to wrap
        z = np.arange(start + 1, start + count + 1, dtype=np.uint64)
        z *= np.uint64(_GOLDEN_GAMMA)
        z += np.uint64(seed)
        z ^= z >> np.uint64(30)
        z *= np.uint64(0xBF58476D1CE4E5B9)
        z ^= z >> np.uint64(27)
        z *= np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    z >>= np.uint64(11)
    x = z.astype(np.float64)
    x *= 2.0**-52
    x -= 1.0
    return x


def rule_value(key: str, shape: tuple[int, ...], rule: Rule, offset: float) -> NDArray[np.float32]:
    """Return the rule's tensor for one floating-point key, scaled by what the key's last part says it is."""
    x = raw_values(key, math.prod(shape), rule, offset, matrix=len(shape) >= 2)
    last = key.rsplit(".", 1)[-1]
    if last == "weight_g":
        x = 1.0 + 0.1 * x
    elif len(shape) >= 2:
        x *= math.sqrt(2.0 / math.prod(shape[1:]))
    elif last == "running_var":
        x = 1.0 + 0.1 * x**2
    elif last == "weight":
        x = 1.0 + 0.1 * x
    else:
        x = 0.01 * x
    return x.reshape(shape).astype(np.float32)


def fill(net: nn.Module, rule: Rule, offset: float = 0.0) -> None:
    """Fill every tensor of a network's state dict in place.

    One tensor under several names takes the value of the lexicographically last name; integers become 0.
    """
    names: dict[int, str] = {}
    state = net.state_dict(keep_vars=True)
    for key, tensor in state.items():
        names[id(tensor)] = max(names.get(id(tensor), key), key)
    with torch.no_grad():
        for key, tensor in state.items():
            if not tensor.is_floating_point():
                tensor.zero_()
            elif names[id(tensor)] == key:
                tensor.copy_(torch.from_numpy(rule_value(key, tuple(tensor.shape), rule, offset)))


def wave_image(size: int = 512) -> NDArray[np.float32]:
    """Return the (3, size, size) wave inside an ellipse; lengths scale with the size, 512 being the unit."""
    unit = size / 512.0
    axis = np.arange(size, dtype=np.float64)
    channel = np.arange(1, 4, dtype=np.float64)[:, None, None]
    wave = np.sin(0.01 / unit * (axis[None, None, :] + 1) * channel) * np.cos(0.013 / unit * (axis[None, :, None] + 1))
    x, y = axis[None, :] - 256 * unit, axis[:, None] - 256 * unit
    inside = (x / (120 * unit)) ** 2 + (y / (220 * unit)) ** 2 <= 1.0
    return (wave * inside).astype(np.float32)


def _radical_inverse(indices: NDArray[np.int64], base: int) -> NDArray[np.float64]:
    result, digit, rest = np.zeros(len(indices)), 1.0 / base, indices.copy()
    while rest.any():
        result += digit * (rest % base)
        rest //= base
        digit /= base
    return result


def halton(count: int, extent: float) -> NDArray[np.float32]:
    """Return (3, count) Halton points (bases 2, 3, 5; from index 1) in [-extent, extent]."""
    indices = np.arange(1, count + 1, dtype=np.int64)
    unit = np.stack([_radical_inverse(indices, base) for base in _HALTON_BASES])
    return np.asarray(extent * (2.0 * unit - 1.0), np.float32)


def cylinder_labels(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (1, N) occupancy of an upright cylinder at (3, N) points: radius 0.25, half height 0.7."""
    x, y, z = points.astype(np.float64)
    return np.asarray((x**2 + z**2 <= 0.25**2) & (np.abs(y) <= 0.7), np.float32)[None]
