"""The seed rule: one generator per (seed, sample, corruption@version), whatever the order of work."""

from __future__ import annotations

import hashlib

import numpy as np


def generator(seed: int, sample_id: str, *parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to a cell.

    Args:
        seed: The user's seed.
        sample_id: The sample's stable id.
        *parts: What else names the cell, e.g. ``"fog_3d@1"``.

    Returns:
        A PCG64 generator seeded from the SHA-256 of ``robench/1|seed|sample_id|part|...``.
    """
    key = "|".join(["robench/1", str(seed), sample_id, *map(str, parts)])
    words = np.frombuffer(hashlib.sha256(key.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))
