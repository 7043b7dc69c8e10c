"""JPEG compression at a low quality."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.common._source import PAPER

CARD = Card(
    name="jpeg_compression",
    version="1",
    summary="Baseline JPEG at a low quality, colours at half resolution.",
    reference=f"{PAPER}, JPEG compression",
    extra={
        "family": "digital",
        "stochastic": False,
        "levels": "published",
        "formula": "decode(encode(x, quality q, 4:2:0))",
        "severities": {
            1: {"quality": 25},
            2: {"quality": 18},
            3: {"quality": 15},
            4: {"quality": 10},
            5: {"quality": 7},
        },
        "deviations": [
            "sampling (4:2:0), baseline coding and standard Huffman tables are stated, not left to the library",
            "the 8 px blocks are those of the codec at any resolution",
        ],
    },
)


def jpeg(image: Image, quality: int) -> tuple[Image, int]:
    """Encode and decode a picture as baseline JPEG, 4:2:0, with the standard Huffman tables.

    Args:
        image: (H, W, 3) uint8 sRGB.
        quality: IJG quality, 1..100.

    Returns:
        (H, W, 3) uint8, and the size of the stream in bytes.

    Raises:
        ValueError: If the quality is outside 1..100.
        RuntimeError: If the codec fails.
    """
    import cv2

    if not 1 <= quality <= 100:
        raise ValueError(f"JPEG quality runs from 1 to 100, got {quality}")
    options = {
        cv2.IMWRITE_JPEG_QUALITY: quality,
        cv2.IMWRITE_JPEG_SAMPLING_FACTOR: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
        cv2.IMWRITE_JPEG_OPTIMIZE: 0,
        cv2.IMWRITE_JPEG_PROGRESSIVE: 0,
        cv2.IMWRITE_JPEG_RST_INTERVAL: 0,
    }
    flat = [int(word) for pair in options.items() for word in pair]
    done, stream = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), flat)
    decoded: Image | None = cv2.imdecode(stream, cv2.IMREAD_COLOR_RGB) if done else None
    if decoded is None:
        raise RuntimeError(f"the JPEG codec failed on a picture of {image.shape[1]}x{image.shape[0]}")
    return decoded, int(stream.size)


class JpegCompression:
    """A picture after JPEG."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the decoded picture, and the size of the stream (``bytes``) in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        decoded, size = jpeg(checked(image), int(params["quality"]))
        return Corrupted(decoded, notes={"bytes": size})
