"""Video call: a moving camera, a thin line, and no time to wait for better."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import REFERENCE_WIDTH, Card, Corrupted, Image, Params, checked, level, pixel_scale

RATE = 15
"""Frames a second."""
HISTORY = 7
"""Frames before the one that is kept: about half a second, in which the encoder recovers from its first frame."""
DRIFT_PX = 2.0
"""How far the picture moves from one frame to the next at width 512: 30 pixels a second, a hand that holds a phone."""
SMALLEST = 8
RATE_POWER = 0.75
"""How the bit rate grows with the number of pixels: small pictures have more detail per pixel."""

CARD = Card(
    name="video_call",
    version="1",
    summary="The picture as a frame of a video call: H.264 without delay at a low bit rate, after moving frames.",
    reference="ours",
    extra={
        "family": "phone",
        "stochastic": True,
        "levels": "ours",
        "formula": "y = enlarge(last frame of H.264(shrink(x moved by (7 - i) v, i = 0..7))), |v| = 2 px at 512",
        "severities": {
            1: {"kbit_per_s": 300, "scale": 1.0},
            2: {"kbit_per_s": 150, "scale": 1.0},
            3: {"kbit_per_s": 95, "scale": 0.6},
            4: {"kbit_per_s": 60, "scale": 0.5},
            5: {"kbit_per_s": 40, "scale": 0.4},
        },
        "deviations": [
            "rates are for 512 x 512 pixels and grow with the number of pixels to the power of 3/4",
            "the picture moves as a whole; the person does not move by themselves",
            "x264 at its veryfast preset, baseline profile, tuned for no delay, on one thread, independent of the "
            "processor, a buffer of half a second; at thin lines the picture is sent smaller, as calls do",
        ],
    },
)


def approach(image: Image, direction_deg: float, step: float, frames: int) -> list[Image]:
    """Return frames in which a picture drifts to its place; the last is the picture itself.

    Args:
        image: (H, W, 3) uint8.
        direction_deg: Direction of the drift, degrees clockwise from right as displayed.
        step: Pixels from frame to frame.
        frames: Number of frames, >= 1.
    """
    from corruptions._pixels import warp

    angle = np.deg2rad(direction_deg)
    moved = []
    for left in range(frames - 1, 0, -1):
        shift = -left * step * np.array([np.cos(angle), np.sin(angle)])
        moved.append(warp(image, np.column_stack([np.eye(2), shift]), border="reflect"))
    return [*moved, image]


def video_call(image: Image, kbit_per_s: float, scale: float, direction_deg: float) -> tuple[Image, dict[str, int]]:
    """Send an image through a video call.

    Args:
        image: (H, W, 3) uint8 sRGB.
        kbit_per_s: Bit rate for 512 x 512 pixels, > 0; it grows with the pixels of the image to the power of 3/4.
        scale: Size at which frames are sent, as a share of the image's, in (0, 1].
        direction_deg: Direction in which the picture drifted before.

    Returns:
        (H, W, 3) uint8, and ``bytes``, ``frames`` and ``kbit_per_s``: what was sent, and the rate that was asked for.

    Raises:
        ValueError: If rate or scale is out of range.
    """
    import cv2

    from corruptions._video import h264_call

    if not kbit_per_s > 0 or not 0 < scale <= 1:
        raise ValueError(f"a video call needs a rate > 0 and a scale in (0, 1], got {kbit_per_s} and {scale}")
    height, width = image.shape[:2]
    sent = image
    if scale < 1:
        size = tuple(max(SMALLEST, round(side * scale)) for side in (width, height))
        sent = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    frames = approach(sent, direction_deg, DRIFT_PX * pixel_scale(sent.shape[1]), HISTORY + 1)
    kilobits = max(1, round(kbit_per_s * (height * width / REFERENCE_WIDTH**2) ** RATE_POWER))
    seen, size_bytes = h264_call(frames, kilobits, RATE)
    if scale < 1:
        seen = cv2.resize(seen, (width, height), interpolation=cv2.INTER_LINEAR)
    return seen, {"bytes": size_bytes, "frames": len(frames), "kbit_per_s": kilobits}


class VideoCall:
    """A frame of a video call."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the direction of the drift."""
        return {**level(self.card, severity), "direction_deg": float(rng.uniform(0, 360))}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the received picture; the notes are bytes, frames and the rate that was asked for.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, notes = video_call(
            checked(image), float(params["kbit_per_s"]), float(params["scale"]), float(params["direction_deg"])
        )
        return Corrupted(result, notes=notes)
