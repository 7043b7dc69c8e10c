"""Far focus: the lens is focused on the background and the person is out of focus."""

from __future__ import annotations

from corruptions._base import PAPER_3DCC, Card, Depth, Image
from corruptions._lens import DEVIATIONS, LayeredFocus

MOST = 4.0
"""Largest blur in apertures: a point at a fifth of the focus distance has it, nearer ones no more."""

CARD = Card(
    name="far_focus",
    version="1",
    summary="Depth of field with the focus on far points; blur grows towards the camera and is capped.",
    reference=f"{PAPER_3DCC}, far focus",
    needs=frozenset({"depth"}),
    extra={
        "family": "focus",
        "stochastic": False,
        "levels": "published",
        "formula": "sigma(d) = min(A |d - f| / d, 4 A), f the 7/8 quantile of depth, layers mixed as for near focus",
        "severities": {s: {"aperture_px": s + 0.5} for s in range(1, 6)},
        "deviations": [
            "blur capped at 4 apertures (published: without bound as depth goes to 0)",
            *DEVIATIONS,
        ],
    },
)


def far_focus(image: Image, depth: Depth, aperture: float, truncate: float = 4.0) -> Image:
    """Focus on the depth f that 7/8 of the pixels do not exceed: blur ``sigma = min(A |d - f| / d, 4 A)``.

    Depth is cut at its octiles; the picture is blurred once for each, and every pixel mixes the two layers around its
    depth with weights ``1 - a²`` and ``1 - (1 - a)²``, a being its place between them.

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit: only ratios matter.
        aperture: Blur of a point at half the focus distance, pixels.
        truncate: Where the Gaussian is cut, in sigmas.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If depth is not finite and positive.
    """
    from corruptions._focus import LAYERS, depth_of_field

    return depth_of_field(image, depth, LAYERS - 1, aperture, truncate, MOST * aperture)


class FarFocus(LayeredFocus):
    """Depth of field focused on far points.

    Args:
        truncate: Where the Gaussian is cut, in sigmas.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def focused(self, image: Image, depth: Depth, aperture: float, truncate: float) -> Image:
        """See `far_focus`."""
        return far_focus(image, depth, aperture, truncate)
