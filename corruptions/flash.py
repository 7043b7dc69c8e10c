"""Flash: a light at the camera is added to the picture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, to_uint8
from corruptions._light import Relit

if TYPE_CHECKING:
    from corruptions._surface import Surface

KAPPAS = (2.4, 1.4, 0.9, 0.6, 0.4)

CARD = Card(
    name="flash",
    version="1",
    summary="A flash at the camera: surfaces that are near and face the camera gain most, and burn out.",
    reference=f"{PAPER_3DCC}, flash",
    needs=frozenset({"depth"}),
    extra={
        "family": "light",
        "stochastic": False,
        "levels": "published",
        "formula": "I' = min(1, I (1 + R / kappa)), R = V max(0, n . v) (z_ref / z)²",
        "severities": {s: {"kappa": k, "peak_gain": round(1 + 1 / k, 2)} for s, k in enumerate(KAPPAS, 1)},
        "deviations": [
            "the reshading picture R is computed: from the person's mesh with cast shadows (mode mesh), or from depth "
            "(mode image); z_ref is the nearest depth (2nd percentile), R at most 1",
            "what has no depth is a wall at 6 m that faces the camera",
            "depth from a camera 3 m before the nearest point, where the flash is",
            "rounded, not truncated, to 8 bits",
        ],
    },
)


def flash(image: Image, reshading: NDArray[np.float32], kappa: float) -> Image:
    """Return ``min(1, I (1 + R / kappa))``, in display values as published.

    Args:
        image: (H, W, 3) uint8.
        reshading: (H, W) in [0, 1]: what a white surface shows under the flash.
        kappa: The smaller, the stronger; > 0.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ValueError: If kappa is not positive.
    """
    if kappa <= 0:
        raise ValueError(f"a flash needs kappa > 0, got {kappa}")
    gain = 1 + np.asarray(reshading, np.float32) / np.float32(kappa)
    return to_uint8(image * gain[..., None])


def reshading(surface: Surface) -> NDArray[np.float32]:
    """Return R, (H, W) in [0, 1]: Lambertian shading by a lamp at the camera, falling with the square of depth."""
    cosine, _ = surface.towards(surface.eye)
    away = np.float32(surface.eye[2]) - surface.points[..., 2]
    nearest = np.percentile(away[surface.person], 2)
    near = np.square(np.float32(nearest) / np.maximum(away, np.float32(1e-3)))
    # What the camera sees, the flash sees, unless an orthographic camera looks past where the flash is.
    seen = np.float32(1) if surface.scene is None else surface.scene.visibility(surface.eye, 0.0, 1)
    return np.asarray(np.minimum(1, seen * cosine * near), np.float32)


class Flash(Relit):
    """A flash at the camera.

    Args:
        mode: ``mesh`` takes the surface from the person's mesh, ``image`` from depth; ``auto`` either.
        depth: Where the camera stands and how far the background is.
    """

    card = CARD

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return self.level(severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture taken with a flash.

        Raises:
            MissingInput: If there is neither mesh nor depth.
            ValueError: If image or depth have a wrong shape.
        """
        image, surface, notes = self.surface(image, params, aux)
        light = reshading(surface)
        notes["mean_reshading"] = float(light[surface.person].mean())
        return Corrupted(flash(image, light, float(params["kappa"])), notes=notes)
