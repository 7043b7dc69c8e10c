"""Elastic transform: the picture pulled about by a smooth random field."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from corruptions._base import Card, Corrupted, Image, Params, checked, draw_seed, level, seeded
from corruptions.common._source import PAPER

IMAGENET_C = {
    1: {"alpha": 488.0, "sigma": 170.8, "corner_px": 24.4},
    2: {"alpha": 488.0, "sigma": 19.52, "corner_px": 48.8},
    3: {"alpha": 12.2, "sigma": 2.44, "corner_px": 4.88},
    4: {"alpha": 17.08, "sigma": 2.44, "corner_px": 4.88},
    5: {"alpha": 29.28, "sigma": 2.44, "corner_px": 4.88},
}
"""Levels of the option ``variant='imagenet-c'``: amplitude, smoothing, and how far three corners of an affine move."""

CARD = Card(
    name="elastic_transform",
    version="1",
    summary="The picture pulled about by a smooth random field of a few pixels; labels are not moved.",
    reference=f"{PAPER}, elastic transform, in the form of imagecorruptions (Michaelis et al., 2019)",
    extra={
        "family": "digital",
        "stochastic": True,
        "levels": "published",
        "formula": "y(p) = x(p + alpha (u * G)(p)), u uniform in +-0.005 W, G a Gaussian of 0.01 W",
        "severities": {
            1: {"alpha": 12.5},
            2: {"alpha": 16.25},
            3: {"alpha": 21.25},
            4: {"alpha": 25.0},
            5: {"alpha": 30.0},
        },
        "deviations": [
            "pixels move by a field, not by an affine, and labels are not moved with them; the notes give the mean "
            "and the largest displacement",
            "the form of imagecorruptions, which has no affine; ImageNet-C's is an option (variant='imagenet-c'), "
            "its affine and its field applied in one resampling",
            "displacement follows the width (scaled=False: pixels as published), and so is alike on both axes",
            "positions to 1/32 px",
            "seeded per image",
        ],
    },
)


class ElasticTransform:
    """The picture pulled about.

    Args:
        variant: ``imagecorruptions`` has the field alone and grows evenly; ``imagenet-c`` adds a random affine, and its
            levels 1 and 2 are nothing but that.
        scaled: Whether lengths follow the resolution; False takes the published numbers at any size.

    Raises:
        ValueError: If there is no such variant.
    """

    card = CARD
    moves_pixels = False

    def __init__(
        self, variant: Literal["imagecorruptions", "imagenet-c"] = "imagecorruptions", scaled: bool = True
    ) -> None:
        if variant not in ("imagecorruptions", "imagenet-c"):
            raise ValueError(f"elastic_transform has the variants 'imagecorruptions' and 'imagenet-c', got {variant!r}")
        self.variant = variant
        self.scaled = scaled

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity and the seed of the field."""
        row = level(self.card, severity)
        if self.variant == "imagenet-c":
            row = dict(IMAGENET_C[severity])
        return {**row, "variant": self.variant, "scaled": self.scaled, "seed": draw_seed(rng)}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture pulled about, and the displacement in pixels in the notes.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        from corruptions.common._elastic import affine_field, pulled, smooth_field

        image = checked(image)
        shape, scaled, rng = image.shape[:2], bool(params["scaled"]), seeded(params["seed"])
        if params["variant"] == "imagenet-c":
            field = affine_field(
                shape, float(params["alpha"]), float(params["sigma"]), float(params["corner_px"]), rng, scaled
            )
        else:
            field = smooth_field(shape, float(params["alpha"]), rng, scaled)
        length = np.sqrt(field[0] * field[0] + field[1] * field[1])
        notes = {
            "mean_displacement_px": round(float(length.mean()), 3),
            "max_displacement_px": round(float(length.max()), 3),
        }
        return Corrupted(pulled(image, field), notes=notes)
