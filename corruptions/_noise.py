"""Noise that is independent for every value, drawn exactly and fast.

Every 8-bit input level leads to a fixed distribution over the 256 output levels, which can be written down: for a
sensor (photons, then electronics, each followed by clipping) a sum over photon counts of Gaussian cells. One draw from
it (Walker's alias method) replaces a Poisson draw, a normal draw, two clips and a rounding. Probabilities are rounded
to 2**-24, so that the table, and with it every byte, does not depend on the last digit of a machine's ``exp``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from math import erf, lgamma, sqrt

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Image

_LEVELS = 256
_COLUMN = 1 << 16
"""Weight of one alias column; 256 columns make 2**24."""
_BLOCK = 1 << 15


@dataclass(frozen=True, eq=False)
class NoiseTable:
    """Alias tables, one row an input level: column j keeps j with probability ``keep / 2**16``, else gives ``alias``.

    Attributes:
        keep: (256, 256) uint32.
        alias: (256, 256) uint8.
    """

    keep: NDArray[np.uint32]
    alias: NDArray[np.uint8]

    @cached_property
    def packed(self) -> NDArray[np.uint32]:
        """(65536,) both in one word: ``keep`` above, ``alias`` below; a column that is always kept is its own alias."""
        always = self.keep >= _COLUMN
        keep = np.where(always, _COLUMN - 1, self.keep)
        alias = np.where(always, np.arange(_LEVELS), self.alias)
        return ((keep << 16) | alias).astype(np.uint32).ravel()


def sensor_distribution(mean: NDArray[np.float64], photons: float, sigma: float) -> NDArray[np.float64]:
    """Return the distribution of ``round(255 clip(clip(Pois(photons m) / photons) + N(0, sigma²)))``.

    Args:
        mean: (L,) expected values m in [0, 1].
        photons: Photons of a value of 1 (a whole number).
        sigma: Standard deviation of the Gaussian part, >= 0.

    Returns:
        (L, 256) probabilities.
    """
    count = np.arange(round(photons) + 1)
    rate = np.asarray(mean, np.float64)[:, None] * photons
    log_factorial = np.array([lgamma(n + 1.0) for n in count])
    with np.errstate(divide="ignore", invalid="ignore"):
        log_p = np.where(count == 0, 0.0, count * np.log(rate)) - rate - log_factorial
    poisson = np.exp(log_p)
    # All counts from `photons` on are clipped to 1.
    poisson[:, -1] = np.maximum(0.0, 1.0 - poisson[:, :-1].sum(axis=1))
    mixed: NDArray[np.float64] = poisson @ _cells(round(photons), float(sigma))
    return mixed


@lru_cache(maxsize=16)
def _cells(photons: int, sigma: float) -> NDArray[np.float64]:
    """Return (photons + 1, 256): from value n / photons, the chance of every output level after the Gaussian."""
    return normal_cells(np.arange(photons + 1) / photons, np.full(photons + 1, sigma))


def normal_cells(mean: NDArray[np.float64], sigma: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distribution of ``round(255 clip(N(mean, sigma²)))``.

    Args:
        mean: (L,) values on the scale 0..1.
        sigma: (L,) standard deviations, >= 0.

    Returns:
        (L, 256) probabilities.
    """
    edge = (np.arange(_LEVELS - 1) + 0.5) / 255
    z = (edge[None, :] - mean[:, None]) / (np.where(sigma > 0, sigma, 1.0)[:, None] * sqrt(2))
    below = np.array([[0.5 * (1 + erf(v)) for v in row] for row in z])
    ends = [np.zeros((len(mean), 1)), below, np.ones((len(mean), 1))]
    spread = np.diff(np.concatenate(ends, axis=1), axis=1)
    certain = np.eye(_LEVELS)[np.rint(np.clip(mean, 0, 1) * 255).astype(int)]
    cells: NDArray[np.float64] = np.where(sigma[:, None] > 0, spread, certain)
    return cells


def impulse_distribution(share: float) -> NDArray[np.float64]:
    """Return (256, 256): a level turns black or white, evenly, with chance ``share``, else it is kept."""
    distribution = (1 - share) * np.eye(_LEVELS)
    distribution[:, [0, -1]] += share / 2
    return distribution


def alias_table(distribution: NDArray[np.float64]) -> NoiseTable:
    """Return Walker's alias tables of (256, 256) distributions, in whole numbers."""
    total = _LEVELS * _COLUMN
    weight = np.floor(distribution * total + 1e-6).astype(np.int64)
    rows = np.arange(len(weight))
    weight[rows, distribution.argmax(axis=1)] += total - weight.sum(axis=1)
    left = weight.astype(np.int32)
    high = left.copy()
    keep = np.full(weight.shape, _COLUMN, np.uint32)
    alias = np.tile(np.arange(_LEVELS, dtype=np.uint8), (len(weight), 1))
    # All rows in step: the emptiest open column is filled up from the fullest one and closed.
    for _ in range(_LEVELS - 1):
        low, top = left.argmin(axis=1), high.argmax(axis=1)
        share = left[rows, low]
        keep[rows, low] = share
        alias[rows, low] = top
        left[rows, top] -= _COLUMN - share
        high[rows, top] = left[rows, top]
        left[rows, low] = np.iinfo(np.int32).max
        high[rows, low] = -1
    return NoiseTable(keep, alias)


@lru_cache(maxsize=32)
def sensor_table(mean: tuple[float, ...], photons: float, sigma: float) -> NoiseTable:
    """Return the tables of 256 expected values under photon and electronic noise (kept for the next image)."""
    return alias_table(sensor_distribution(np.array(mean), photons, sigma))


@lru_cache(maxsize=16)
def normal_table(constant: float, relative: float) -> NoiseTable:
    """Return the tables of ``x + N(0, constant² + (relative x)²)``, x in [0, 1]."""
    mean = np.arange(_LEVELS) / 255
    return alias_table(normal_cells(mean, np.hypot(constant, relative * mean)))


@lru_cache(maxsize=16)
def impulse_table(share: float) -> NoiseTable:
    """Return the tables of salt and pepper on a share of the values."""
    return alias_table(impulse_distribution(share))


def draw(levels: Image, table: NoiseTable, rng: np.random.Generator) -> Image:
    """Draw an output level for every input level, independently.

    Args:
        levels: uint8, any shape.
        table: Of `sensor_table`, `normal_table` or `impulse_table`.
        rng: Source of the draws; one 32-bit word each.
    """
    count = levels.size
    # Words in pairs: half the calls of the generator, and the same words on every machine.
    pairs = rng.integers(0, 1 << 64, size=(count + 1) // 2, dtype=np.uint64)
    word = pairs.astype("<u8", copy=False).view("<u4")[:count]
    flat = levels.reshape(-1)
    drawn = np.empty(count, np.uint8)
    # In blocks that stay in the cache; without branches, since half of them would be mispredicted.
    for start in range(0, count, _BLOCK):
        block = slice(start, start + _BLOCK)
        column = word[block].astype(np.uint8)
        entry = table.packed.take(np.left_shift(flat[block], 8, dtype=np.intp) | column)
        replaced = word[block] >= (entry & np.uint32(0xFFFF0000))
        drawn[block] = column ^ ((column ^ entry.astype(np.uint8)) * replaced)
    return drawn.reshape(levels.shape)
