"""H.265 at a limited bit rate: streaming over a thin line."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, level

CARD = Card(
    name="h265_abr",
    version="2",
    summary="The picture as the last frame of a still clip in H.265 at a fraction of its H.264 bit rate.",
    reference=f"{PAPER_3DCC}, H.265 ABR",
    extra={
        "family": "codec",
        "stochastic": False,
        "levels": "published",
        "formula": "encode at source bit rate / k, decode",
        "severities": {s: {"divisor": 2**s} for s in range(1, 6)},
        "paper_severity": 3,
        "deviations": [
            "the source rate is that of a one-second clip of two still frames in H.264 at CRF 23, pictures only, not "
            "that of a file with camera motion; about 3 dB milder than 120 still frames at 25 a second, but without "
            "the floor that makes its levels 4 and 5 the same",
            "the picture itself is encoded, not the lossy H.264 clip",
            "rd=1, the rate-distortion search of the encoder's faster presets",
            "one encoder thread (pools=none, frame-threads=1): the published setting gives other pixels on every run",
            "odd sides, and sides below 64, are padded by repeated rows and columns and cut back, not cropped",
        ],
    },
)


RATE = 2
"""Frames a second: the clip of two lasts one second, as long as the buffer of the rate control."""


def source_rate(image: Image) -> int:
    """Return the bits a second of the still clip in H.264 at CRF 23."""
    from corruptions import _video

    stream = b"".join(_video.h264_stream(image, rate=RATE))
    return _video.picture_bytes(stream) * 8 * RATE // _video.FRAMES


def h265_abr(image: Image, kilobits: int) -> tuple[Image, int]:
    """Send an image through H.265 at an average and peak bit rate, with a buffer of one second.

    Args:
        image: (H, W, 3) uint8.
        kilobits: Kilobits a second, >= 1.

    Returns:
        The decoded (H, W, 3) uint8 image and the bytes of the stream.

    Raises:
        ValueError: If the rate is less than 1.
    """
    from corruptions._video import h265

    if kilobits < 1:
        raise ValueError(f"the bit rate must be at least 1 kbit/s, got {kilobits}")
    return h265(image, f"bitrate={kilobits}:vbv-maxrate={kilobits}:vbv-bufsize={kilobits}", rate=RATE)


class H265Abr:
    """H.265 at a limited bit rate."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the compressed picture; the notes are source rate, target rate and bytes.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        source = source_rate(image)
        target = max(1, source // int(params["divisor"]) // 1000)
        result, size = h265_abr(image, target)
        return Corrupted(result, notes={"source_bits_per_s": source, "target_kbits_per_s": target, "bytes": size})
