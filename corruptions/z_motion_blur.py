"""Z motion blur: the camera moves towards the scene during the exposure."""

from __future__ import annotations

import numpy as np

from corruptions._base import PAPER_3DCC, REFERENCE_WIDTH, Card, Depth, Image, Params
from corruptions._path import DEVIATIONS, Path, PathBlur, exposures

FRAMES = (20, 25, 30, 35, 38)
"""Frames that the published generator averages."""
MOST = 30 / REFERENCE_WIDTH
"""End shift of a whole path, as a share of the image width."""
NEAREST, FARTHEST = 0.5, 0.6
"""Share of the distance to the subject that is left at the end of a whole path."""

CARD = Card(
    name="z_motion_blur",
    version="2",
    summary="The camera moves towards the scene during the exposure: radial blur, stronger for near things.",
    reference=f"{PAPER_3DCC}, Z motion blur",
    needs=frozenset({"depth"}),
    extra={
        "family": "motion",
        "stochastic": True,
        "levels": "published",
        "formula": "mean over tau of the views magnified by d / (d + d_c (r - 1)), r = 1 + tau (zoom - 1)",
        "severities": {
            s: {**row, "most_magnification": round(1 / (1 + row["share"] * (NEAREST - 1)), 2)}
            for s, row in exposures(FRAMES, range(20, 37, 4)).items()
        },
        "paper_severity": 1,
        "deviations": [
            "shift of the path as a share of the image width (up to 30/512), drawn from a continuous range",
            "20 to 36 sub-frames at the midpoints of the exposure instead of 20 to 38 at its points",
            "the published height factor, which had no effect, is not drawn",
            *DEVIATIONS,
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
    from corruptions._motion import motion_blur

    return motion_blur(image, depth, forward(shift, zoom, share), subframes)


def forward(shift: tuple[float, float], zoom: float, share: float) -> Path:
    """Return the path of `z_motion_blur`.

    Raises:
        ValueError: If the zoom is not in (0, 1].
    """
    if not 0 < zoom <= 1:
        raise ValueError(f"the zoom of a forward motion must be in (0, 1], got {zoom}")
    return Path(shift, zoom, 0.0, share)


class ZMotionBlur(PathBlur):
    """Forward motion blur. One draw of the generator gives one path for all severities; they differ in its share.

    Args:
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw the path (shares of the image width, and the zoom) of one image."""
        shift = [float(rng.uniform(-MOST, MOST)), float(rng.uniform(-MOST, MOST))]
        path = {"shift_of_width": shift, "zoom": float(rng.uniform(NEAREST, FARTHEST))}
        return {**self.level(severity), **path}

    def path(self, params: Params, shift: tuple[float, float]) -> Path:
        """See `forward`."""
        return forward(shift, float(params["zoom"]), float(params["share"]))
