"""H.265 at constant quality: strong video compression."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, level

CARD = Card(
    name="h265_crf",
    version="2",
    summary="The picture as a frame of a still clip in H.265 at a constant rate factor.",
    reference=f"{PAPER_3DCC}, H.265 CRF",
    extra={
        "family": "codec",
        "stochastic": False,
        "levels": "published",
        "formula": "encode at constant rate factor, decode",
        "severities": {1: {"crf": 24}, 2: {"crf": 26}, 3: {"crf": 32}, 4: {"crf": 39}, 5: {"crf": 41}},
        "paper_severity": 4,
        "deviations": [
            "the picture itself is coded, once, as a key frame of its own (4 a second), not a lossy H.264 clip with "
            "camera motion; the quality is that of the last of many still frames at 25 a second within 0.3 dB",
            "rd=1, the rate-distortion search of the encoder's faster presets: within 0.15 dB",
            "one encoder thread (pools=none, frame-threads=1), so that the pixels are reproducible",
            "odd sides, and sides below 64, are padded by repeated rows and columns and cut back, not cropped",
        ],
    },
)


def h265_crf(image: Image, crf: int) -> tuple[Image, int]:
    """Send an image through H.265 at a constant rate factor.

    Args:
        image: (H, W, 3) uint8.
        crf: 0 (best) to 51.

    Returns:
        The decoded (H, W, 3) uint8 image and the bytes of the stream.

    Raises:
        ValueError: If the rate factor is out of range.
    """
    from corruptions._video import h265

    if not 0 <= crf <= 51:
        raise ValueError(f"the rate factor must be from 0 to 51, got {crf}")
    # Alone and forced to be a key frame, the first frame already has the quality of the last of many still ones.
    return h265(image, f"crf={crf}:keyint=1", frames=1)


class H265Crf:
    """H.265 at constant quality."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the compressed picture; the note ``bytes`` is the stream's size.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, size = h265_crf(checked(image), int(params["crf"]))
        return Corrupted(result, notes={"bytes": size})
