"""AVIF: the format that newer phones and servers write, smooth where JPEG has blocks."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.phone._still import checked_quality, require, still

SPEED = 8
"""Of libavif, 0 (best) to 10 (fastest)."""

CARD = Card(
    name="avif",
    version="1",
    summary="The picture as a lossy AVIF, as phones and web servers write it.",
    reference="ours; codec by AOMedia, AV1 Image File Format 1.1",
    extra={
        "family": "phone",
        "stochastic": False,
        "levels": "ours",
        "formula": "y = decode(encode_AVIF(x, quality q)), 4:2:0",
        "severities": {s: {"quality": quality} for s, quality in enumerate((50, 32, 20, 10, 1), 1)},
        "deviations": [
            "libavif and libaom of the pillow wheel, speed 8 of 10: a quarter of the default effort's time for 0.6 dB",
            "one encoder thread, so that tiles and pixels do not depend on the machine",
        ],
    },
)


def avif(image: Image, quality: int) -> tuple[Image, int]:
    """Send an image through lossy AVIF and back.

    Args:
        image: (H, W, 3) uint8 sRGB.
        quality: 0 (worst) to 100.

    Returns:
        The decoded (H, W, 3) uint8 image and the bytes of the file.

    Raises:
        ValueError: If the quality is out of range.
    """
    return still(image, "AVIF", quality=checked_quality(quality), speed=SPEED, subsampling="4:2:0", max_threads=1)


class Avif:
    """Lossy AVIF.

    Raises:
        MissingCodec: If this installation has no AVIF.
    """

    card = CARD
    moves_pixels = False

    def __init__(self) -> None:
        require("AVIF", self.card.name)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the compressed picture; the note ``bytes`` is the file's size.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, size = avif(checked(image), int(params["quality"]))
        return Corrupted(result, notes={"bytes": size})
