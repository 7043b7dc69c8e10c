"""Social media: a picture is shared, saved from there, and shared again."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, level
from corruptions.phone._still import checked_quality, require, still

SHARINGS = 2
UNSHARP_SIGMA = 0.8
"""Pixels of the smaller picture: servers sharpen what they have made smaller, at whatever size."""
SMALLEST = 8

CARD = Card(
    name="social_media",
    version="1",
    summary="Made smaller, sharpened and saved as JPEG by a server, twice, and shown at the old size.",
    reference="ours",
    extra={
        "family": "phone",
        "stochastic": False,
        "levels": "ours",
        "formula": "y = enlarge(P(P(x))), P(x) = JPEG_q(z + a (z - G_0.8 * z)), z = area-average of x to the share s",
        "severities": {
            1: {"scale": 0.9, "sharpen": 0.4, "quality": 80},
            2: {"scale": 0.8, "sharpen": 0.5, "quality": 70},
            3: {"scale": 0.7, "sharpen": 0.6, "quality": 55},
            4: {"scale": 0.6, "sharpen": 0.8, "quality": 40},
            5: {"scale": 0.5, "sharpen": 1.0, "quality": 30},
        },
        "deviations": [
            "sizes are shares of the picture's own: platforms limit pixels, which would do nothing to a small picture",
            "enlarged to the old size at the end (bicubic), so that masks and cameras stay true",
        ],
    },
)


def unsharp(image: Image, amount: float) -> Image:
    """Return ``x + amount (x - blur(x))`` with a Gaussian of 0.8 pixels, clipped.

    Args:
        image: (H, W, 3) uint8.
        amount: 0 leaves the image as it is.
    """
    import cv2

    blurred = cv2.GaussianBlur(image, (0, 0), UNSHARP_SIGMA, borderType=cv2.BORDER_REPLICATE)
    sharp: Image = cv2.addWeighted(image, 1 + amount, blurred, -amount, 0)
    return sharp


def share(image: Image, scale: float, sharpen: float, quality: int) -> tuple[Image, int]:
    """Return what a server makes of an upload: smaller, sharpened, JPEG 4:2:0.

    Args:
        image: (H, W, 3) uint8 sRGB.
        scale: New sides as a share of the old ones, in (0, 1].
        sharpen: Amount of unsharp masking, >= 0.
        quality: Of the JPEG, 0 to 100.

    Returns:
        The smaller (h, w, 3) uint8 image and the bytes of the file.

    Raises:
        ValueError: If a parameter is out of range.
    """
    import cv2

    if not 0 < scale <= 1 or not sharpen >= 0:
        raise ValueError(f"sharing needs a scale in (0, 1] and sharpen >= 0, got {scale} and {sharpen}")
    height, width = (max(SMALLEST, round(side * scale)) for side in image.shape[:2])
    smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    return still(unsharp(smaller, sharpen), "JPEG", quality=checked_quality(quality), subsampling="4:2:0")


def social_media(image: Image, scale: float, sharpen: float, quality: int) -> tuple[Image, list[int]]:
    """Share an image twice and bring it back to its size.

    Args:
        image: (H, W, 3) uint8 sRGB.
        scale: Shrinking of each sharing, in (0, 1].
        sharpen: Amount of unsharp masking of each sharing, >= 0.
        quality: Of each JPEG, 0 to 100.

    Returns:
        (H, W, 3) uint8, and the bytes of each file.

    Raises:
        ValueError: If a parameter is out of range.
    """
    import cv2

    shared, sizes = image, []
    for _ in range(SHARINGS):
        shared, size = share(shared, scale, sharpen, quality)
        sizes.append(size)
    shown: Image = cv2.resize(shared, (image.shape[1], image.shape[0]), interpolation=cv2.INTER_CUBIC)
    return shown, sizes


class SocialMedia:
    """A picture that was shared twice.

    Raises:
        MissingCodec: If this installation has no JPEG.
    """

    card = CARD
    moves_pixels = False

    def __init__(self) -> None:
        require("JPEG", self.card.name)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the shared picture; the note ``bytes`` has the size of each file.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        result, sizes = social_media(
            checked(image), float(params["scale"]), float(params["sharpen"]), int(params["quality"])
        )
        return Corrupted(result, notes={"bytes": sizes})
