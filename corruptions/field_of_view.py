"""Field of view: a wider lens, or a crop that leaves more room; the whole picture shrinks about its centre."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions import _views as views
from corruptions._base import PAPER_3DCC, Affine, Card, Corrupted, Image, Params, beside, checked, level
from corruptions._scene import Mode, SceneLike, checked_mode, scene_for

CARD = Card(
    name="field_of_view",
    version="2",
    summary="A wider field of view: the picture shrinks about its centre, and more of the surroundings appears.",
    reference=f"{PAPER_3DCC}, field of view (named there, no generator and no levels published)",
    extra={
        "family": "camera",
        "stochastic": False,
        "levels": "ours",
        "formula": "x' = c + z (x - c), z = f' / f = tan(fov / 2) / tan(fov' / 2)",
        "severities": {
            1: {"zoom": 0.85},
            2: {"zoom": 0.7},
            3: {"zoom": 0.58},
            4: {"zoom": 0.47},
            5: {"zoom": 0.38},
        },
        "deviations": [
            "levels are ours; a lens of 50 degrees becomes one of 58, 67, 78, 90 and 102",
            "beyond the old frame the background without the person goes on, mirrored and soon out of focus; where "
            "the person's mask is not known the edge pixels go on, blurred by half the distance",
            "what of the person was outside the old frame is rendered with the mesh; without, it stays cut off",
        ],
    },
)


def fov_affine(shape: tuple[int, int], zoom: float) -> Affine:
    """Return the (2, 3) map from old to new pixels of a zoom about the centre of an (H, W) picture.

    Raises:
        ValueError: If the zoom is not positive.
    """
    if not zoom > 0:
        raise ValueError(f"a zoom must be > 0, got {zoom}")
    return views.similarity(np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2]), zoom)


class FieldOfView:
    """A wider field of view.

    Args:
        mode: ``mesh`` draws what was outside the frame and needs ``aux.scene``; ``image`` leaves it out; ``auto`` takes
            the mesh where there is one.
    """

    card = CARD
    moves_pixels = True

    def __init__(self, mode: Mode = "auto") -> None:
        self.mode = checked_mode(mode)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "mode": self.mode}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture of the wider lens and its (2, 3) map.

        Raises:
            MissingInput: If the mode is ``mesh`` and there is no mesh.
            ValueError: If the image, or what lies beside it, has a wrong shape or type.
        """
        from corruptions._backdrop import blended, moved_mask, moved_picture, without_person

        image = checked(image)
        shape, name = (image.shape[0], image.shape[1]), self.card.name
        scene = scene_for(params["mode"], aux, shape, name)
        mask = beside("mask", aux, shape, name)
        if mask is None and scene is not None:
            mask = scene.mask().astype(np.float32)
        affine = fov_affine(shape, float(params["zoom"]))
        matrix = views.squared(affine)
        backdrop = None if mask is None else without_person(image, mask)
        result = moved_picture(image, backdrop, matrix)
        notes = {"mode": "image" if scene is None else "mesh", "border": "edge" if backdrop is None else "background"}
        if scene is None or _is_inside(scene):
            return Corrupted(result, affine, notes)
        layer = scene.seen_from(image, None, affine)
        beyond = layer.alpha * (1 - moved_mask(np.ones(shape, np.float32), matrix))
        result = blended(layer.image, beyond, result)
        return Corrupted(result, affine, notes, mask=layer.alpha, depth=layer.depth)


def _is_inside(scene: SceneLike) -> bool:
    """True if the person's box projects into the frame: then there is nothing to be drawn."""
    low, high = scene.bounds()
    corners = np.stack(np.meshgrid(*np.stack([low, high], axis=1), indexing="ij"), axis=-1).reshape(-1, 3)
    pixels = np.array([views.projected(scene.camera, corner) for corner in corners])
    limit = np.array([scene.camera.width, scene.camera.height]) - 0.5
    return bool((pixels > -0.5).all() and (pixels < limit).all())
