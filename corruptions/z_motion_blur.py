"""Z motion blur: the camera moves towards the scene during the exposure."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, REFERENCE_WIDTH, Card, Corrupted, Depth, Image, Params, checked, level
from corruptions._depth import DepthRule, metric_depth

FRAMES = (20, 25, 30, 35, 38)
"""Frames averaged of a path of 60 in the published generator."""
MOST = 30 / REFERENCE_WIDTH
"""End shift of a whole path, as a share of the image width."""

CARD = Card(
    name="z_motion_blur",
    version="1",
    summary="The camera moves towards the scene during the exposure: radial blur, stronger for near things.",
    reference=f"{PAPER_3DCC}, Z motion blur",
    needs=frozenset({"depth"}),
    extra={
        "family": "motion",
        "stochastic": True,
        "levels": "published",
        "formula": "mean over tau of the views magnified by d / (d + d_c (r - 1)), r = 1 + tau (zoom - 1)",
        "severities": {s: {"share": (n - 1) / 59, "subframes": 16 + 4 * s} for s, n in enumerate(FRAMES, 1)},
        "paper_severity": 1,
        "deviations": [
            "shift of the path as a share of the image width (up to 30/512), drawn from a continuous range",
            "no learned inpainting: hidden background is filled from the farther side, borders are replicated",
            "20 to 36 sub-frames at the midpoints of the exposure instead of 20 to 38 at its points",
            "the published height factor, which had no effect, is not drawn",
            "depth from a camera 3 m before the nearest point, background at 6 m",
            "frames averaged before one rounding, not truncated twice",
        ],
    },
)


def z_motion_blur(
    image: Image, depth: Depth, shift: tuple[float, float], zoom: float, share: float, subframes: int
) -> Image:
    """Blur by a forward motion of the camera: depth d is magnified by ``d / (d + d_c (r - 1))``.

    Here ``r = 1 + tau (zoom - 1)``, tau in [0, share].

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit: only ratios matter.
        shift: (u, v) end shift of the whole path at depth d_c, pixels. d_c is the nearest depth in the middle half.
        zoom: Share of the distance to d_c that is left at the end of the whole path, in (0, 1].
        share: Part of the path that the exposure covers, in [0, 1].
        subframes: Views averaged.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If the zoom is not in (0, 1].
    """
    from corruptions._motion import Path, motion_blur

    if not 0 < zoom <= 1:
        raise ValueError(f"the zoom of a forward motion must be in (0, 1], got {zoom}")
    return motion_blur(image, depth, Path(shift, zoom, 0.0, share), subframes)


class ZMotionBlur:
    """Forward motion blur. One draw of the generator gives one path for all severities; they differ in its share.

    Args:
        depth: Where the camera stands and how far the background is.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, depth: DepthRule | None = None) -> None:
        self.depth = depth or DepthRule()

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw the path (shares of the image width, and the zoom) of one image."""
        shift = [float(rng.uniform(-MOST, MOST)), float(rng.uniform(-MOST, MOST))]
        path = {"shift_of_width": shift, "zoom": float(rng.uniform(0.5, 0.6))}
        return {**level(self.card, severity), **path, **self.depth.params()}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image = checked(image)
        depth, notes = metric_depth(aux, image.shape[:2], DepthRule.of(params), self.card.name)
        u, v = (float(s) * image.shape[1] for s in params["shift_of_width"])
        zoom, share, subframes = float(params["zoom"]), float(params["share"]), int(params["subframes"])
        return Corrupted(z_motion_blur(image, depth, (u, v), zoom, share, subframes), notes=notes)
