"""XY motion blur: the camera moves sideways during the exposure; near things smear more."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, REFERENCE_WIDTH, Card, Corrupted, Depth, Image, Params, checked, level
from corruptions._depth import DepthRule, metric_depth

FRAMES = (20, 30, 40, 50, 60)
"""Frames averaged of a path of 60 in the published generator."""
LEAST, MOST = 50 / REFERENCE_WIDTH, 75 / REFERENCE_WIDTH
"""End shift of a whole path at the depth of the subject, as a share of the image width."""

CARD = Card(
    name="xy_motion_blur",
    version="1",
    summary="The camera moves sideways during the exposure: blur with parallax, longer for near things.",
    reference=f"{PAPER_3DCC}, XY motion blur",
    needs=frozenset({"depth"}),
    extra={
        "family": "motion",
        "stochastic": True,
        "levels": "published",
        "formula": "mean over tau of the views x' = x - tau shift d_c / d",
        "severities": {s: {"share": (n - 1) / 59, "subframes": 8 + 8 * s} for s, n in enumerate(FRAMES, 1)},
        "paper_severity": 1,
        "deviations": [
            "path as a share of the image width (50/512 to 75/512), drawn from a continuous range",
            "no learned inpainting: hidden background is filled from the farther side, borders are replicated",
            "16 to 48 sub-frames at the midpoints of the exposure instead of 20 to 60 at its points",
            "depth from a camera 3 m before the nearest point, background at 6 m",
            "frames averaged before one rounding, not truncated twice",
        ],
    },
)


def xy_motion_blur(
    image: Image, depth: Depth, shift: tuple[float, float], share: float, subframes: int, centred: bool = False
) -> Image:
    """Blur by a sideways motion of the camera: a point moves by ``-tau * shift * d_c / d``, tau in [0, share].

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit: only ratios matter.
        shift: (u, v) end shift of the whole path at depth d_c, pixels. d_c is the nearest depth in the middle half.
        share: Part of the path that the exposure covers, in [0, 1].
        subframes: Views averaged.
        centred: Let the exposure reach from -share / 2 to share / 2, so that nothing is displaced on average.

    Returns:
        (H, W, 3) uint8.
    """
    from corruptions._motion import Path, motion_blur

    start = -share / 2 if centred else 0.0
    return motion_blur(image, depth, Path(shift, 1.0, start, start + share), subframes)


class XyMotionBlur:
    """Sideways motion blur. One draw of the generator gives one path for all severities; they differ in its share.

    Args:
        centred: Centre the blur on the true view instead of starting there (as published).
        depth: Where the camera stands and how far the background is.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, centred: bool = False, depth: DepthRule | None = None) -> None:
        self.centred = centred
        self.depth = depth or DepthRule()

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw the path (shares of the image width) of one image."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        across, down = side * rng.uniform(LEAST, MOST), rng.uniform(-MOST, MOST)
        path = {"shift_of_width": [float(across), float(down)], "centred": self.centred}
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
        share, subframes = float(params["share"]), int(params["subframes"])
        return Corrupted(xy_motion_blur(image, depth, (u, v), share, subframes, bool(params["centred"])), notes=notes)
