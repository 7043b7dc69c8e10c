"""The depth channel of an OpenEXR file, by the format's own library."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"v/1\x01"
_NAMES: Final = ("depth.z", "depth.v", "z", "v", "depth", "y")
"""Names of a depth channel, the first that is there counts; else the only channel, else R, G, B where all are alike."""


def read_exr(path: Path) -> NDArray[Any]:
    """Return the depth channel of an EXR file as (H, W), in its own type.

    Raises:
        ValueError: If it is no such file, damaged, or has no depth channel.
        OSError: If it cannot be opened.
    """
    import OpenEXR

    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise ValueError("it is not an EXR file")
    try:
        with OpenEXR.File(str(path), separate_channels=True) as whole:
            channels = {name: np.array(channel.pixels) for name, channel in whole.channels().items()}
    except (RuntimeError, ValueError, TypeError) as error:
        raise ValueError(f"it is a damaged EXR file ({' '.join(str(error).split())[:120]})") from error
    return _depth(channels)


def _depth(channels: dict[str, NDArray[Any]]) -> NDArray[Any]:
    by_name = {name.lower(): pixels for name, pixels in channels.items() if pixels.ndim == 2}
    for name in _NAMES:
        if name in by_name:
            return by_name[name]
    if len(by_name) == 1:
        return next(iter(by_name.values()))
    grey = [by_name[name] for name in "rgb" if name in by_name]
    if len(grey) == 3 and all(np.array_equal(grey[0], other, equal_nan=True) for other in grey[1:]):
        return grey[0]
    raise ValueError(f"it has no depth channel (Z, V, depth or Y) but {', '.join(channels) or 'nothing'}")
