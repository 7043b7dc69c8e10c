"""Lens dirt: smears, finger prints and dust on the glass in front of the lens, out of focus."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded

SPREAD = 0.05
"""How far grease spreads light, in widths (standard deviation)."""
STRAY = 0.5
"""Light of the surroundings, linear: a bright room or sky beyond the frame."""

CARD = Card(
    name="lens_dirt",
    version="1",
    summary="Smears and finger prints veil the picture in places, dust specks darken it, all far out of focus.",
    reference=(
        "ours; image formation as in Gu, Ramamoorthi, Belhumeur and Nayar, Removing Image Artifacts Due to Dirty "
        "Camera Lenses and Thin Occluders, SIGGRAPH Asia 2009"
    ),
    extra={
        "family": "phone",
        "stochastic": True,
        "levels": "ours",
        "formula": "L' = (1 - a - s) L + s (2/3 G * L + 1/3 V) in linear light; a: dust, s: grease, V = 0.5",
        "severities": {
            1: {"smudges": 1, "prints": 0, "dust": 10, "haze": 0.3},
            2: {"smudges": 2, "prints": 1, "dust": 20, "haze": 0.42},
            3: {"smudges": 4, "prints": 1, "dust": 32, "haze": 0.54},
            4: {"smudges": 6, "prints": 2, "dust": 48, "haze": 0.67},
            5: {"smudges": 8, "prints": 3, "dust": 72, "haze": 0.8},
        },
        "deviations": [
            "the dirt of a level is part of the next level's (for the same seed), and its grease is thicker",
            "shapes are drawn, not measured: Gaussian smears with streaks, elliptic prints with ridges, soft discs",
        ],
    },
)


def lens_dirt(image: Image, smudges: int, prints: int, dust: int, haze: float, rng: np.random.Generator) -> Image:
    """Look at an image through a dirty lens.

    Args:
        image: (H, W, 3) uint8 sRGB.
        smudges: Wiped smears, 0 to 8.
        prints: Finger prints, 0 to 3.
        dust: Specks, 0 to 72.
        haze: Share of the light that the middle of a smear scatters, in [0, 1].
        rng: Source of places and shapes.

    Returns:
        (H, W, 3) uint8 sRGB.

    Raises:
        ValueError: If a parameter is out of range.
    """
    return _lens_dirt(image, smudges, prints, dust, haze, rng)[0]


def _lens_dirt(
    image: Image, smudges: int, prints: int, dust: int, haze: float, rng: np.random.Generator
) -> tuple[Image, dict[str, float]]:
    from corruptions.phone._dirt import draw_dirt, through

    dirt = draw_dirt((image.shape[0], image.shape[1]), smudges, prints, dust, haze, rng)
    notes = {"light_scattered": float(dirt.scattered.mean()), "light_taken": float(dirt.taken.mean())}
    return through(image, dirt, SPREAD, STRAY), notes


class LensDirt:
    """Dirt on the front lens."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of places and shapes."""
        return {**level(self.card, severity), "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture through the dirt; the notes are the mean shares of light scattered and taken.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        smudges, prints, dust = (int(params[kind]) for kind in ("smudges", "prints", "dust"))
        haze, rng = float(params["haze"]), seeded(params["seed"])
        result, notes = _lens_dirt(checked(image), smudges, prints, dust, haze, rng)
        return Corrupted(result, notes=notes)
