"""XY motion blur: the camera moves sideways during the exposure; near things smear more."""

from __future__ import annotations

import numpy as np

from corruptions._base import PAPER_3DCC, REFERENCE_WIDTH, Card, Depth, Image, Params
from corruptions._depth import DepthRule
from corruptions._path import DEVIATIONS, Path, PathBlur, exposures

FRAMES = (20, 30, 40, 50, 60)
"""Frames that the published generator averages."""
LEAST, MOST = 50 / REFERENCE_WIDTH, 75 / REFERENCE_WIDTH
"""End shift of a whole path at the depth of the subject, as a share of the image width."""

CARD = Card(
    name="xy_motion_blur",
    version="2",
    summary="The camera moves sideways during the exposure: blur with parallax, longer for near things.",
    reference=f"{PAPER_3DCC}, XY motion blur",
    needs=frozenset({"depth"}),
    extra={
        "family": "motion",
        "stochastic": True,
        "levels": "published",
        "formula": "mean over tau of the views x' = x - tau shift d_c / d",
        "severities": {
            s: {
                **row,
                "least_blur_widths": round(row["share"] * LEAST, 3),
                "most_blur_widths": round(row["share"] * MOST * 2**0.5, 3),
            }
            for s, row in exposures(FRAMES, range(16, 49, 8)).items()
        },
        "paper_severity": 1,
        "deviations": [
            "path as a share of the image width (50/512 to 75/512), drawn from a continuous range",
            "16 to 48 sub-frames at the midpoints of the exposure instead of 20 to 60 at its points",
            *DEVIATIONS,
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
    from corruptions._motion import motion_blur

    return motion_blur(image, depth, sideways(shift, share, centred), subframes)


def sideways(shift: tuple[float, float], share: float, centred: bool) -> Path:
    """Return the path of `xy_motion_blur`."""
    start = -share / 2 if centred else 0.0
    return Path(shift, 1.0, start, start + share)


class XyMotionBlur(PathBlur):
    """Sideways motion blur. One draw of the generator gives one path for all severities; they differ in its share.

    Args:
        centred: Centre the blur on the true view instead of starting there (as published).
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def __init__(self, centred: bool = False, depth: DepthRule | None = None) -> None:
        super().__init__(depth)
        self.centred = centred

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw the path (shares of the image width) of one image."""
        side = 1.0 if rng.random() < 0.5 else -1.0
        across, down = side * rng.uniform(LEAST, MOST), rng.uniform(-MOST, MOST)
        path = {"shift_of_width": [float(across), float(down)], "centred": self.centred}
        return {**self.level(severity), **path}

    def path(self, params: Params, shift: tuple[float, float]) -> Path:
        """See `sideways`."""
        return sideways(shift, float(params["share"]), bool(params["centred"]))
