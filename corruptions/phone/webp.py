"""WebP: the format that messengers and web servers turn uploads into."""

from __future__ import annotations

from corruptions._base import Card, Image
from corruptions.phone._still import StillCodec, checked_quality, still

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


class Webp(StillCodec):
    """Lossy WebP.

    Raises:
        MissingCodec: If this installation has no WebP.
    """

    card = CARD
    codec = "WEBP"
    encode = staticmethod(webp)
