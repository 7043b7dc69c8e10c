"""Memory that this process no longer needs."""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable


def give_back() -> None:
    """Return freed memory to the operating system, where the C library can: glibc keeps what lies below its last block.

    A worker that drops one sample's mesh and reads the next would grow from sample to sample, for their pieces never
    fit the holes. Takes about 5 ms, so call it once a sample, not once a picture.
    """
    _trim()(0)


@functools.cache
def _trim() -> Callable[[int], int]:
    try:
        trim = ctypes.CDLL(None).malloc_trim
    except (OSError, AttributeError, TypeError):  # another C library, another system
        return lambda _: 0
    trim.argtypes, trim.restype = [ctypes.c_size_t], ctypes.c_int
    return lambda pad: int(trim(pad))
