"""Scale: the person is small in the frame, before the same background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions import _views as views
from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, beside, checked, level
from corruptions._scene import Mode, SceneLike, checked_mode, scene_for

CARD = Card(
    name="scale",
    version="2",
    summary="The person is smaller in the frame, on the same spot before the same background.",
    reference=f"{PAPER_3DCC}, scale (named there; a mask-rendering script only, no levels published)",
    extra={
        "family": "semantic",
        "stochastic": False,
        "levels": "ours",
        "formula": "x' = a + s (x - a) for the person, a = middle of the lower edge of the mask's box; x' = x behind",
        "severities": {
            1: {"size": 0.8},
            2: {"size": 0.65},
            3: {"size": 0.5},
            4: {"size": 0.4},
            5: {"size": 0.3},
        },
        "deviations": [
            "levels are ours",
            "with the mesh before a pinhole camera the person goes farther away and is rendered anew; before an "
            "orthographic one, or with a mask alone, the person shrinks",
            "what the person hid is filled in along the rows; with neither mask nor mesh the whole picture shrinks, "
            "and its edge pixels go on, blurred by half the distance",
        ],
    },
)


class Scale:
    """A person that is small in the frame.

    Args:
        mode: ``mesh`` renders the person anew and needs ``aux.scene``; ``image`` cuts the person out along the mask (or
            shrinks the whole picture if there is none); ``auto`` takes the mesh where there is one.
    """

    card = CARD
    moves_pixels = True

    def __init__(self, mode: Mode = "auto") -> None:
        self.mode = checked_mode(mode)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return {**level(self.card, severity), "mode": self.mode}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with the smaller person, and the (2, 3) map of the person's pixels.

        Raises:
            MissingInput: If the mode is ``mesh`` and there is no mesh.
            ValueError: If the size is not positive, or the image or what lies beside it has a wrong shape or type.
        """
        image = checked(image)
        shape, name, size = (image.shape[0], image.shape[1]), self.card.name, float(params["size"])
        if not size > 0:
            raise ValueError(f"the size of {name} must be > 0, got {size}")
        scene = scene_for(params["mode"], aux, shape, name)
        mask = beside("mask", aux, shape, name)
        if scene is not None:
            return _farther(image, size, scene, mask)
        return _shrunk(image, size, mask, beside("depth", aux, shape, name))


def anchor(mask: NDArray[Any], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return the pixel (x, y) that stays: the middle of the lower edge of the mask's box, or the picture's middle."""
    found = views.middle(mask, shape)
    rows = np.flatnonzero((mask >= 0.5).any(axis=1))
    if len(rows):
        found[1] = float(rows[-1])
    return found


def _farther(image: Image, size: float, scene: SceneLike, mask: NDArray[np.float32] | None) -> Corrupted:
    from corruptions._backdrop import blended, without_person

    shape, camera = (image.shape[0], image.shape[1]), scene.camera
    seen = scene.mask().astype(np.float32)
    stays = anchor(seen if mask is None else mask, shape)
    change: NDArray[np.float64] | None = None
    if camera.kind == "orthographic":
        affine = views.similarity(stays, size)
    else:
        low, high = scene.bounds()
        away = camera.distance - float(low[2] + high[2]) / 2
        change = np.eye(4)
        change[2, 3] = away - away / size
        centre = np.asarray(camera.centre)
        affine = views.similarity(centre + size * (stays - centre), to=stays)
    layer = scene.seen_from(image, change, affine)
    behind = without_person(image, seen if mask is None else np.maximum(seen, mask))
    result = blended(layer.image, layer.alpha, behind)
    notes = {"mode": "mesh", "own_colours": round(layer.seen, 4)}
    return Corrupted(result, affine, notes, view_change=change, mask=layer.alpha, depth=layer.depth)


def _shrunk(
    image: Image, size: float, mask: NDArray[np.float32] | None, depth: NDArray[np.float32] | None
) -> Corrupted:
    from corruptions import _backdrop

    shape = (image.shape[0], image.shape[1])
    if mask is None:
        affine = views.similarity(views.middle(None, shape), size)
        result = _backdrop.moved_picture(image, None, views.squared(affine))
        return Corrupted(result, affine, {"mode": "image", "moved": "picture"})
    affine = views.similarity(anchor(mask, shape), size)
    matrix = views.squared(affine)
    person, alpha = _backdrop.cut_out(image, mask, matrix)
    result = _backdrop.blended(person, alpha, _backdrop.without_person(image, mask))
    if depth is not None:
        # The person stands in front; what lay behind them is not known.
        front = _backdrop.moved_depth(np.where(mask >= 0.5, depth, np.float32(np.inf)), matrix)
        depth = np.where(np.isfinite(front), front, np.where(mask >= 0.1, np.float32(np.inf), depth))
    return Corrupted(result, affine, {"mode": "image", "moved": "person"}, depth=depth)
