"""The seed rule: one generator per (seed, key, corruption@version), whatever the order of work.

The same rule as robench's, word for word, so that a library call draws what the command line draws for the sample of
that id; a test holds both together. This package imports nothing of ours, so it has its own copy.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

RULE = "robench/1"


def generator(seed: int, key: str, *parts: str | int) -> np.random.Generator:
    """Return the generator that belongs to a picture.

    Args:
        seed: The user's seed.
        key: What names the picture, e.g. the id of a sample.
        *parts: What else names the draw, e.g. ``"fog_3d@1"``.

    Returns:
        A PCG64 generator seeded from the SHA-256 of ``robench/1|seed|key|part|...``.
    """
    text = "|".join([RULE, str(seed), key, *map(str, parts)])
    words = np.frombuffer(hashlib.sha256(text.encode()).digest(), dtype="<u4")
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([int(w) for w in words])))


def pixel_key(image: NDArray[Any]) -> str:
    """Return a key made of the pixels: the same for equal pictures, wherever they came from."""
    array = np.ascontiguousarray(image)
    digest = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    digest.update(array.data)
    return f"pixels:{digest.hexdigest()}"
