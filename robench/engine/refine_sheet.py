"""The picture that a refinement leaves of a sample: what its cameras see, before and after."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from robench.contracts import Image

TILE = 256
"""Longer side of a kept picture of one view."""


def sheet(pictures: Mapping[str, Image], mode: str = "") -> Image:
    """Lay out what the cameras see: a column a camera, the rows before, after and (where there is one) truth.

    The input stands at the left of the first row, and the names of the rows at the left.

    Args:
        pictures: As `robench.contracts.Refinement` has them.
        mode: Way of embedding, to print.

    Returns:
        (H, W, 3) uint8, in tiles of at most `TILE` pixels.
    """
    names = [name for name in ("before", "after", "truth") if name in pictures]
    rows = []
    for name in names:
        left = _tile(pictures["input"][0] if name == "before" else np.zeros_like(pictures["input"][0]))
        label = {"before": "input; before", "after": f"after, {mode}"}.get(name, name)
        rows.append([_labelled(left, label), *(_tile(image) for image in pictures[name])])
    return np.concatenate([np.concatenate(row, axis=1) for row in rows], axis=0)


def _tile(image: Image) -> Image:
    import cv2

    side = min(TILE, image.shape[0])
    return np.asarray(cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA), np.uint8)


def _labelled(tile: Image, text: str) -> Image:
    import cv2

    at, scale = (4, tile.shape[0] - 6), 0.45 * tile.shape[0] / TILE
    return np.asarray(cv2.putText(tile.copy(), text, at, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 1), np.uint8)
