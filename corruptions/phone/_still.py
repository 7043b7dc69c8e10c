"""Still picture codecs (Pillow): encode in memory, decode, and count the bytes."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from typing import Any, ClassVar

import numpy as np

from corruptions._base import Card, Corrupted, Image, MissingInput, Params, checked, level

_PARTS = {"JPEG": "PIL.Image", "WEBP": "PIL._webp", "AVIF": "PIL._avif"}


class MissingCodec(MissingInput):
    """This installation cannot write a picture format."""


def require(codec: str, who: str) -> None:
    """Check, without importing it, that a codec is installed; called when a corruption is made, so before a run.

    Args:
        codec: ``JPEG``, ``WEBP`` or ``AVIF``.
        who: Name of the corruption, for the message.

    Raises:
        MissingCodec: If it is not.
    """
    if find_spec("PIL") is None or find_spec(_PARTS[codec]) is None:
        raise MissingCodec(
            f"{who} needs Pillow with the {codec} codec, got an installation without it; "
            "expected the wheel of pillow >= 13 (pip install --force-reinstall pillow)"
        )


def still(image: Image, codec: str, **options: Any) -> tuple[Image, int]:
    """Send an image through a still picture codec and back.

    Args:
        image: (H, W, 3) uint8 sRGB.
        codec: ``JPEG``, ``WEBP`` or ``AVIF``.
        options: Of Pillow's encoder.

    Returns:
        The decoded (H, W, 3) uint8 image and the bytes of the file.
    """
    from PIL import Image as Pillow

    file = BytesIO()
    Pillow.fromarray(image).save(file, codec, **options)
    size = file.tell()
    with Pillow.open(file) as picture:
        decoded: Image = np.array(picture.convert("RGB"))
    return decoded, size


def checked_quality(quality: int) -> int:
    """Return a quality.

    Raises:
        ValueError: If it is not from 0 to 100.
    """
    if not 0 <= quality <= 100:
        raise ValueError(f"the quality must be from 0 to 100, got {quality}")
    return quality


class StillCodec:
    """A corruption that is one lossy format, by its quality.

    Raises:
        MissingCodec: If this installation cannot write the format.
    """

    card: Card
    codec: ClassVar[str]
    encode: Callable[[Image, int], tuple[Image, int]]
    moves_pixels = False

    def __init__(self) -> None:
        require(self.codec, self.card.name)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the compressed picture; the note ``bytes`` is the file's size.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, size = self.encode(checked(image), int(params["quality"]))
        return Corrupted(result, notes={"bytes": size})
