"""Procedural pictures with depth for the tests of the corruptions. In whole numbers: the same everywhere."""

from __future__ import annotations

import numpy as np

from corruptions import NAMES, Aux, load

ALL = sorted(NAMES)
CARDS = {name: load(name).card for name in ALL}
WITH_DEPTH = [name for name in ALL if "depth" in CARDS[name].needs]
STOCHASTIC = [name for name in ALL if CARDS[name].extra["stochastic"]]
PAPER = [name for name in ALL if "paper_severity" in CARDS[name].extra]


def texture(height, width, seed=0, smooth=2):
    """A smooth random colour picture that uses most of the range."""
    noise = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (height, width, 3)).astype(np.int64)
    for _ in range(smooth):
        for axis in (0, 1):
            noise = noise + np.roll(noise, 1, axis) + np.roll(noise, -1, axis)
    low, high = noise.min(), noise.max()
    return ((noise - low) * 255 // (high - low)).astype(np.uint8)


def person(height=96, width=96, seed=0):
    """A textured ellipse before a textured wall: image, depth (+inf behind), mask."""
    y, x = np.mgrid[:height, :width]
    u = (2 * x - (width - 1)) * 100 // (width * 6 // 10)
    v = (2 * y - (height - 1)) * 100 // (height * 9 // 10)
    mask = u * u + v * v <= 10_000
    image = texture(height, width, seed)
    image[mask] = texture(height, width, seed + 1000, smooth=4)[mask] // 2 + 100
    depth = np.full((height, width), np.inf, np.float32)
    depth[mask] = (10_000 + (u * u + v * v)[mask] // 4) / np.float32(1000)
    return image, depth, mask


def aux_of(depth, mask=None):
    return Aux(depth=depth, mask=mask)


def corrupt(name, severity, image, depth, seed=0):
    """Sample and apply with a fresh generator."""
    corruption = load(name)
    params = corruption.sample(severity, image.shape[:2], np.random.default_rng(seed))
    return corruption.apply(image, params, aux_of(depth))


def psnr(a, b):
    error = np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
