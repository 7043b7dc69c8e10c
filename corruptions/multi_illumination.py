"""Multi-illumination: the person is lit by few lamps, down to one."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params
from corruptions._light import DEVIATIONS, LAMPS, Lamplit, draw_lamps, relighting
from corruptions.shadow import relight

TABLE = ((5, 0.2, 0.3), (4, 0.25, 0.35), (3, 0.35, 0.45), (2, 0.5, 0.6), (1, 1.0, 1.1))
"""Lamps, and the range of the gain of each, by severity."""

CARD = Card(
    name="multi_illumination",
    version="1",
    summary="The person stands in the light of several lamps, fewer and stronger ones with severity.",
    reference=f"{PAPER_3DCC}, multi-illumination",
    needs=frozenset({"depth"}),
    extra={
        "family": "light",
        "stochastic": True,
        "levels": "published",
        "formula": "I' = clip(sum over k of g_k I L_k), lamps picked out of 10 with replacement",
        "severities": {
            s: {"lights": count, "least_gain": low, "most_gain": high} for s, (count, low, high) in enumerate(TABLE, 1)
        },
        "deviations": [
            "no published gain makes whole pictures differ more with severity: on the person PSNR falls on average, "
            "while the wall behind may take more light from five lamps than from one",
            *DEVIATIONS,
        ],
    },
)


class MultiIllumination(Lamplit):
    """Several lamps with shadows.

    Args:
        mode: ``mesh`` casts rays at the person's mesh, ``image`` looks for shadows in depth; ``auto`` the mesh where
            there is one.
        ambient: Share of the light that reaches the shade, in [0, 1]; 0 as published.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw ten lamps, which of them are lit, and their gains."""
        params = self.level(severity)
        lamps = draw_lamps(rng)
        picked = rng.integers(0, LAMPS, TABLE[0][0])[: params["lights"]]
        gains = params["least_gain"] + (params["most_gain"] - params["least_gain"]) * rng.random(len(picked))
        lit = [{**lamps[k], "gain": float(g)} for k, g in zip(picked, gains, strict=True)]
        return {**params, "lamps": lit}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture in the light of the lamps.

        Raises:
            MissingInput: If there is neither mesh nor depth.
            ValueError: If image or depth have a wrong shape.
        """
        image, surface, notes = self.surface(image, params, aux)
        total = np.zeros(image.shape[:2], np.float32)
        for lamp in params["lamps"]:
            total += np.float32(lamp["gain"]) * relighting(surface, lamp, float(params["ambient"]))
        notes["mean_light"] = float(total[surface.person].mean())
        return Corrupted(relight(image, total), notes=notes)
