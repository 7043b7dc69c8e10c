"""Shadow: one lamp lights the person, and leaves in shade what it does not reach."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, to_uint8
from corruptions._light import DEVIATIONS, Lamplit, draw_lamps, relighting

PICKED = 5
DARKEST = 10 / 255
"""A lamp that leaves the person darker than this is not taken, as published."""

CARD = Card(
    name="shadow",
    version="1",
    summary="The person stands in the light of one lamp; parts that face away or are covered are in shade.",
    reference=f"{PAPER_3DCC}, shadow",
    needs=frozenset({"depth"}),
    extra={
        "family": "light",
        "stochastic": True,
        "levels": "published",
        "formula": "I' = clip(I L g), L of the lamp with the s-th largest mean of 5 out of 10, g in [1, 1.1)",
        "severities": {s: {"rank": s} for s in range(1, PICKED + 1)},
        "deviations": [*DEVIATIONS],
    },
)


def relight(image: Image, lights: NDArray[np.float32]) -> Image:
    """Return ``clip(I L)``, in display values as published.

    Args:
        image: (H, W, 3) uint8.
        lights: (H, W) >= 0, the sum of the lamps times their gains.

    Returns:
        (H, W, 3) uint8.
    """
    return to_uint8(image * lights[..., None])


class Shadow(Lamplit):
    """One lamp with shadows.

    Args:
        mode: ``mesh`` casts rays at the person's mesh, ``image`` looks for shadows in depth; ``auto`` the mesh where
            there is one.
        ambient: Share of the light that reaches the shade, in [0, 1]; 0 as published.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw ten lamps (the first five that light the person are compared) and the gain."""
        lamps = draw_lamps(rng)
        return {**self.level(severity), "lamps": lamps, "gain": float(rng.uniform(1.0, 1.1))}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in the light of one lamp.

        Raises:
            MissingInput: If there is neither mesh nor depth.
            ValueError: If image or depth have a wrong shape.
        """
        image, surface, notes = self.surface(image, params, aux)
        ambient = float(params["ambient"])
        means: list[tuple[float, int]] = []
        for index, lamp in enumerate(params["lamps"]):
            mean = float(relighting(surface, lamp, ambient, soft=False)[surface.person].mean())
            if mean - ambient > DARKEST:
                means.append((-mean, index))
            if len(means) == PICKED:
                break
        if not means:
            raise ValueError("no lamp of this draw lights anything; is the depth map upside down or of one value?")
        # With fewer lamps than ranks the darkest serves the highest ones.
        _, chosen = sorted(means)[min(int(params["rank"]), len(means)) - 1]
        light = relighting(surface, params["lamps"][chosen], ambient)
        notes |= {"lamp": chosen, "mean_light": float(light[surface.person].mean())}
        return Corrupted(relight(image, light * np.float32(params["gain"])), notes=notes)
