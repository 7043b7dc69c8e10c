"""The network's input: what rembg makes of a picture, so that training and use see the same numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image

SIDE = 320
"""Edge of the square input in pixels."""

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


def normalised(image: Image) -> NDArray[np.float32]:
    """Divide by the picture's own maximum, then subtract the mean and divide by the deviation of each channel.

    The division makes a dark picture bright before the network sees it; rembg does so, hence we train so.

    Args:
        image: (H, W, 3) uint8 sRGB.

    Returns:
        (3, H, W) float32.
    """
    bright = image / max(float(image.max()), 1e-6)
    return ((bright - MEAN) / STD).transpose(2, 0, 1).astype(np.float32)


def network_input(image: Image, side: int = SIDE) -> NDArray[np.float32]:
    """Squash a picture to (side, side) by Lanczos as rembg does, and normalise it.

    Args:
        image: (H, W, 3) uint8 sRGB.
        side: Edge in pixels.

    Returns:
        (3, side, side) float32.
    """
    from PIL import Image as Pictures

    squashed = Pictures.fromarray(image).resize((side, side), Pictures.Resampling.LANCZOS)
    return normalised(np.asarray(squashed))
