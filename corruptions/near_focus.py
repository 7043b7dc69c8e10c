"""Near focus: the lens is focused on the nearest plane and the rest is out of focus."""

from __future__ import annotations

from corruptions._base import PAPER_3DCC, Card, Depth, Image
from corruptions._lens import DEVIATIONS, LayeredFocus

CARD = Card(
    name="near_focus",
    version="2",
    summary="Depth of field with the focus on the nearest point; blur grows with depth and saturates.",
    reference=f"{PAPER_3DCC}, near focus",
    needs=frozenset({"depth"}),
    extra={
        "family": "focus",
        "stochastic": False,
        "levels": "published",
        "formula": "sigma(d) = A (1 - d_min / d), layers at the octiles of depth mixed by place",
        "severities": {s: {"aperture_px": float(s + 2)} for s in range(1, 6)},
        "paper_severity": 1,
        "deviations": [*DEVIATIONS],
    },
)


def near_focus(image: Image, depth: Depth, aperture: float, truncate: float = 4.0) -> Image:
    """Focus on the nearest depth: blur ``sigma = A (1 - d_min / d)``, which saturates at the aperture.

    Depth is cut at its octiles; the picture is blurred once for each, and every pixel mixes the two layers around its
    depth with weights ``1 - a²`` and ``1 - (1 - a)²``, a being its place between them.

    Args:
        image: (H, W, 3) uint8.
        depth: (H, W) finite and > 0, any unit: only ratios matter.
        aperture: Blur far behind the focus, pixels.
        truncate: Where the Gaussian is cut, in sigmas.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If depth is not finite and positive.
    """
    from corruptions._focus import depth_of_field

    return depth_of_field(image, depth, 0, aperture, truncate)


class NearFocus(LayeredFocus):
    """Depth of field focused on the nearest point.

    Args:
        truncate: Where the Gaussian is cut, in sigmas.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def focused(self, image: Image, depth: Depth, aperture: float, truncate: float) -> Image:
        """See `near_focus`."""
        return near_focus(image, depth, aperture, truncate)
