"""Bit errors: bytes of an H.264 stream are damaged on the way, and the decoder conceals what it cannot read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, draw_seed, level, seeded

HEADER = 12
"""First bytes of a slice that are never damaged: its header."""
SLICES = 8
GREY = 128

CARD = Card(
    name="bit_error",
    version="1",
    summary="Bytes of an H.264 stream are overwritten; slices break off and are concealed by the decoder.",
    reference=f"{PAPER_3DCC}, bit error",
    extra={
        "family": "codec",
        "stochastic": True,
        "levels": "published",
        "formula": "one byte in a of the coded pictures overwritten at drawn positions, nested over a; then decoded",
        "severities": {
            s: {"bytes_per_error": a, "least_errors": s}
            for s, a in enumerate((100_000, 50_000, 30_000, 20_000, 10_000), 1)
        },
        "paper_severity": 5,
        "deviations": [
            "nested errors: those of a severity are among those of the next, at seeded positions (published: an "
            "unseeded filter, not monotone, where a level may change nothing)",
            "at least one more error for each severity, whatever the size of the stream",
            "parameter sets and slice headers are protected, so that a full picture always comes out",
            "eight slices a picture, as in streaming, so that an error spoils a band and not the rest of the picture",
            "the source is a clip of two still frames, not one with camera motion of 120 frames",
            "one decoder thread: concealment depends on the number of threads",
        ],
    },
)


def damageable(stream: bytes) -> NDArray[np.intp]:
    """Return the positions of the coded picture data of an H.264 stream: no start codes, parameter sets or headers."""
    from corruptions._video import units

    parts = [
        np.arange(start + HEADER, end) for start, end, kind in units(stream) if kind in (1, 5) and end > start + HEADER
    ]
    return np.concatenate(parts) if parts else np.zeros(0, np.intp)


def damage(packets: Sequence[bytes], errors: int, rng: np.random.Generator) -> list[bytes]:
    """Overwrite bytes of an H.264 stream; the errors of a lower number are among those of a higher one.

    Args:
        packets: The stream.
        errors: Bytes to change; at most all that may be.
        rng: Source of positions and values; always used the same number of times for a stream.

    Returns:
        Packets of the same lengths, `errors` bytes of which differ.
    """
    stream = b"".join(packets)
    data = np.frombuffer(stream, np.uint8).copy()
    place = rng.permutation(damageable(stream))
    # Never below 4: no error may make a start code (0 0 1) and with it headers that nobody sent.
    value = rng.integers(4, 255, size=len(place), dtype=np.uint8)
    value += (value >= data[place]).astype(np.uint8)
    data[place[:errors]] = value[:errors]
    ends = np.cumsum([len(p) for p in packets])
    return [part.tobytes() for part in np.split(data, ends[:-1])]


def error_count(stream_bytes: int, bytes_per_error: int, least_errors: int) -> int:
    """Return the errors in a stream: one in so many bytes, and never fewer than a least number."""
    return max(least_errors, round(stream_bytes / bytes_per_error))


class BitError:
    """Transmission errors in a compressed stream.

    Args:
        mode: ``nested`` (ours), or ``filter`` for ffmpeg's ``noise`` bitstream filter as published: one byte in about
            `bytes_per_error` anywhere, headers too, with no seed.
        slices: Slices a picture.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, mode: Literal["nested", "filter"] = "nested", slices: int = SLICES) -> None:
        if mode not in ("nested", "filter"):
            raise ValueError(f"the mode of bit errors must be 'nested' or 'filter', got {mode!r}")
        self.mode = mode
        self.slices = slices

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the errors."""
        return {**level(self.card, severity), "mode": self.mode, "slices": self.slices, "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the damaged picture; the notes are bytes, errors, and whether nothing could be decoded at all.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        from corruptions import _video

        image = checked(image)
        packets = _video.h264_stream(image, int(params["slices"]))
        size = sum(map(len, packets))
        per_error = int(params["bytes_per_error"])
        if params["mode"] == "filter":
            sent = _video.filtered(packets, per_error)
        else:
            sent = damage(packets, error_count(size, per_error, int(params["least_errors"])), seeded(params["seed"]))
        before, after = (np.frombuffer(b"".join(p), np.uint8) for p in (packets, sent))
        result = _video.decode("h264", sent, (image.shape[0], image.shape[1]))
        notes = {"bytes": size, "errors": int((before != after).sum()), "lost": result is None}
        return Corrupted(np.full_like(image, GREY) if result is None else result, notes=notes)
