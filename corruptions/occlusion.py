"""Occlusion: something stands between the camera and the person."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, draw_seed, level
from corruptions._scene import Mode, checked_mode, scene_for

KINDS = ("box", "bar", "plant", "bag")

CARD = Card(
    name="occlusion",
    version="1",
    summary="A solid object (box, bar, plant or bag) between camera and person hides a given share of the person.",
    reference=f"{PAPER_3DCC}, occlusion (named there, without levels)",
    extra={
        "family": "semantic",
        "stochastic": True,
        "levels": "ours",
        "formula": "1 - |visible| / |amodal| = target, by the size of the object",
        "severities": {s: {"occlusion_ratio": s / 10} for s in range(1, 6)},
        "deviations": [
            "published: pictures chosen by what furniture happens to hide; here an object is put before the person",
            "levels are ours: 10 to 50 % of the person's pixels within the frame",
            "the object is placed in the scene of the mesh (mode mesh), or before its mask or depth (mode image)",
            "the person's mask in the data stays the whole (amodal) one, since the shape to be found is whole; what "
            "a masker could see at best is in the notes (visible_px of amodal_px)",
            "without mesh, mask and depth the person is assumed to be an upright ellipse in the middle (notes: person)",
        ],
    },
)


class Occlusion:
    """A solid object before the person.

    Args:
        mode: ``mesh`` puts the object into the scene of the person's mesh, ``image`` before the picture; ``auto`` the
            scene where there is one.
        kinds: Objects to choose from: ``box``, ``bar``, ``plant``, ``bag``.

    Raises:
        ValueError: If there is no such mode or object.
    """

    card = CARD
    moves_pixels = False

    def __init__(self, mode: Mode = "auto", kinds: tuple[str, ...] = KINDS) -> None:
        if not kinds or not set(kinds) <= set(KINDS):
            raise ValueError(f"kinds must be some of {', '.join(KINDS)}, got {tuple(kinds)!r}")
        self.mode = checked_mode(mode)
        self.kinds = tuple(kinds)

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Draw an object, its form, its place and its light; the severity is the share that it hides."""
        kind = self.kinds[int(rng.integers(len(self.kinds)))]
        grounded = kind == "plant" or rng.random() < 0.5
        form = {
            "aspect": float(rng.uniform(0.7, 1.2)),
            "upright": bool(rng.random() < 0.6),
            "seed": draw_seed(rng),
            "tint": int(rng.integers(4)),
        }
        place = {
            "across": float(rng.uniform(0.25, 0.75)),
            "above": float(rng.uniform(0.1, 0.55)),
            "floating": kind in ("box", "bag") and not grounded,
            "gap": float(rng.uniform(0.1, 1.0)),
            "yaw_deg": float(rng.uniform(-40, 40)),
            "tilt_deg": float(rng.uniform(-6, 6)),
            "light": [float(rng.uniform(-0.8, 0.8)), float(rng.uniform(0.2, 1.0)), float(rng.uniform(0.4, 1.0))],
        }
        if grounded and kind != "bar":
            place |= {"above": 0.0, "tilt_deg": 0.0}
        if kind == "bar":
            # A bar is turned by its tilt alone, or it would leave the picture towards the viewer.
            place["yaw_deg"] = 0.0
        return {**level(self.card, severity), "mode": self.mode, "object": kind, "form": form, **place}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with the object.

        Raises:
            MissingInput: If the mode is ``mesh`` and there is no mesh.
            ValueError: If image, mask or depth have a wrong shape, or the mesh is not in the picture.
        """
        from corruptions import _stage

        image = checked(image)
        shape = (image.shape[0], image.shape[1])
        scene = scene_for(params["mode"], aux, shape, self.card.name)
        stage = _stage.stage_of(aux, shape, scene)
        thing, front, metres, normals = _stage.fit(stage, params, float(params["occlusion_ratio"]))
        amodal, visible = int(stage.person.sum()), int((stage.person & ~front).sum())
        notes = {
            "mode": "image" if scene is None else "mesh",
            "person": stage.source,
            "object": params["object"],
            "size_cm": thing.size_cm,
            "amodal_px": amodal,
            "visible_px": visible,
            "occlusion_ratio": 1 - visible / amodal,
        }
        depth = getattr(aux, "depth", None)
        if depth is not None:
            depth = np.where(front, metres, np.asarray(depth, np.float32)).astype(np.float32)
        return Corrupted(_stage.paint(image, stage, params, thing, (front, metres, normals)), notes=notes, depth=depth)
