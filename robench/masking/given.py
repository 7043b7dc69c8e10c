"""Maskers that do not look at the picture: the true mask, the true mask as a picture, and no mask at all.

The engine reads `source`: for ``given`` and ``corrupted`` it has the data set's mask at hand and calls `carry`;
``none`` answers by itself. Every other masker is ``predicted``.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from robench.contracts import Affine, Card, Image, Mask
from robench.errors import UsageError
from robench.masking.carry import carried_mask

MaskSource = Literal["given", "corrupted", "none", "predicted"]
"""Where a mask came from, as on the row (`mask_source`)."""


class _FromTruth:
    """What `Given` and `Corrupted` share: they need the data set's mask and no device."""

    card: Card
    source: MaskSource
    soft: bool

    def open(self, device: str) -> str:
        """Take nothing; the work is done on the CPU whatever was asked for."""
        return "cpu"

    def mask(self, image: Image) -> Mask:
        """Refuse: a bare picture has no true mask.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            f"The masker '{self.card.name}' moves a data set's true mask and cannot find a person in a bare picture",
            expected="a data set with masks",
            hint="robench mask CSET --masker u2netp-anny",
        )

    def carry(self, mask: Mask, affine: Affine | None, shape: tuple[int, int]) -> Mask:
        """Return the true mask as it lies in the corrupted picture.

        Args:
            mask: (H, W) float32 in [0, 1], the clean picture's true mask.
            affine: (2, 3) map from old to new pixel coordinates, or None.
            shape: (H, W) of the corrupted picture.

        Returns:
            (H, W) float32 in [0, 1].
        """
        return carried_mask(mask, affine, shape, soft=self.soft)

    def close(self) -> None:
        """Nothing to free."""


class Given(_FromTruth):
    """The true mask, moved with the picture's geometry and sharp: what a perfect segmenter would give."""

    source: MaskSource = "given"
    soft = False
    card = Card(
        name="given",
        version="1",
        summary="the data set's true mask, moved with the picture, 0 or 1",
        needs=frozenset({"mask"}),
        extra={"source": "given", "values": "binary, threshold 0.5 after bilinear resampling", "device": "none"},
    )


class Corrupted(_FromTruth):
    """The true mask treated as a picture and sent through the same geometry (the paper's "mask" row).

    Corruptions that move no pixels leave it as it is; those that do resample it, and the grey edge stays.
    """

    source: MaskSource = "corrupted"
    soft = True
    card = Card(
        name="corrupted",
        version="1",
        summary="the data set's mask picture, sent through the same geometry, its soft edge kept",
        needs=frozenset({"mask"}),
        extra={"source": "corrupted", "values": "soft, bilinear resampling", "device": "none"},
    )


class WholeFrame:
    """No mask: every pixel counts as the person."""

    source: MaskSource = "none"
    card = Card(
        name="none",
        version="1",
        summary="the whole frame: every pixel counts as the person",
        extra={"source": "none", "values": "all ones", "device": "none"},
    )

    def open(self, device: str) -> str:
        """Take nothing; the work is done on the CPU whatever was asked for."""
        return "cpu"

    def mask(self, image: Image) -> Mask:
        """Return ones of the picture's (H, W), float32."""
        return np.ones(image.shape[:2], np.float32)

    def close(self) -> None:
        """Nothing to free."""
