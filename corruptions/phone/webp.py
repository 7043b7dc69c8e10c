"""WebP: the format that messengers and web servers turn uploads into."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.phone._still import checked_quality, require, still

CARD = Card(
    name="webp",
    version="1",
    summary="The picture as a lossy WebP, as messengers and web servers keep it.",
    reference="ours; codec by Google, IETF RFC 9649",
    extra={
        "family": "phone",
        "stochastic": False,
        "levels": "ours",
        "formula": "y = decode(encode_WebP(x, quality q)), 4:2:0",
        "severities": {s: {"quality": quality} for s, quality in enumerate((50, 25, 10, 4, 0), 1)},
        "deviations": ["libwebp of the pillow wheel, method 4 (its default effort)"],
    },
)


def webp(image: Image, quality: int) -> tuple[Image, int]:
    """Send an image through lossy WebP and back.

    Args:
        image: (H, W, 3) uint8 sRGB.
        quality: 0 (worst) to 100.

    Returns:
        The decoded (H, W, 3) uint8 image and the bytes of the file.

    Raises:
        ValueError: If the quality is out of range.
    """
    return still(image, "WEBP", quality=checked_quality(quality), method=4)


class Webp:
    """Lossy WebP.

    Raises:
        MissingCodec: If this installation has no WebP.
    """

    card = CARD
    moves_pixels = False

    def __init__(self) -> None:
        require("WEBP", self.card.name)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the compressed picture; the note ``bytes`` is the file's size.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, size = webp(checked(image), int(params["quality"]))
        return Corrupted(result, notes={"bytes": size})
