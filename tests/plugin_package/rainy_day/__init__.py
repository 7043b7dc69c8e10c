"""A corruption and a metric for robench, as somebody outside writes them: no base class, two imports."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np

from robench.contracts import Card, Degenerate


def striped(image, period, strength):
    """Darken every `period`-th line by `strength` in [0, 1]."""
    out = image.astype(np.float32)
    out[::period] *= 1 - strength
    return out.round().astype(np.uint8)


class Stripes:
    """A display with dead lines."""

    moves_pixels = False
    card = Card(
        name="stripes",
        version="1",
        summary="every n-th line of the sensor reads too little",
        licence="MIT",
        extra={"severities": {s: {"period_px": 8, "strength": s / 5} for s in range(1, 6)}},
    )

    def sample(self, severity, shape, rng):
        return dict(self.card.extra["severities"][severity])

    def apply(self, image, params, aux):
        return SimpleNamespace(image=striped(image, params["period_px"], params["strength"]), affine=None, notes={})


class HeightError:
    """How much too tall or too short."""

    card = Card(
        name="height_error_cm",
        version="1",
        summary="difference of the heights of the two bounding boxes",
        licence="MIT",
        extra={"unit": "cm", "direction": "lower", "formula": "|height(prediction) - height(truth)|"},
    )

    def __call__(self, scene):
        if scene.prediction is None or scene.prediction.is_empty or scene.truth is None:
            return Degenerate("no mesh")
        low, high = (float(np.ptp(mesh.vertices[:, 1])) for mesh in (scene.prediction, scene.truth))
        return abs(low - high)


class HalfDone:
    """Mistake one: a metric that cannot be called."""

    card = HeightError.card


def recipes():
    return Path(__file__).parent
