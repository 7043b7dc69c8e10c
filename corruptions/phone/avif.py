"""AVIF: the format that newer phones and servers write, smooth where JPEG has blocks."""

from __future__ import annotations

from corruptions._base import Card, Image
from corruptions.phone._still import StillCodec, checked_quality, still

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


class Avif(StillCodec):
    """Lossy AVIF.

    Raises:
        MissingCodec: If this installation has no AVIF.
    """

    card = CARD
    codec = "AVIF"
    encode = staticmethod(avif)
