"""View jitter: a hand-held camera stands a little elsewhere, is turned, and aims beside the person."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, level
from corruptions._scene import Mode, checked_mode
from corruptions._views import LENS_DEGREES, rotation

CARD = Card(
    name="view_jitter",
    version="2",
    summary="The camera moves a little: around the person, about its axis, nearer or farther, and aims beside them.",
    reference=f"{PAPER_3DCC}, view jitter (named there, no generator and no levels published)",
    extra={
        "family": "camera",
        "stochastic": True,
        "levels": "ours",
        "formula": "p' = R(axis, theta) (p - m) + m, distance / (1 + nearing), x' = x + shift W; directions drawn",
        "severities": {
            1: {"degrees": 3.0, "shift": 0.02, "nearing": 0.03},
            2: {"degrees": 6.0, "shift": 0.04, "nearing": 0.06},
            3: {"degrees": 9.0, "shift": 0.06, "nearing": 0.09},
            4: {"degrees": 12.0, "shift": 0.08, "nearing": 0.12},
            5: {"degrees": 15.0, "shift": 0.10, "nearing": 0.15},
        },
        "deviations": [
            "levels are ours; the direction of every motion is drawn, and is the same at all levels of an image",
            "without the mesh, what a camera that stands elsewhere would see is not known: it turns where it stands, "
            "and its distance stays",
        ],
    },
)


class ViewJitter:
    """A small motion of the camera in a drawn direction.

    Args:
        mode: ``mesh`` renders the person anew and needs ``aux.scene``; ``image`` uses the homography of a turning
            pinhole and leaves out what only the mesh can show; ``auto`` takes the mesh where there is one.
        lens_degrees: Angle that the longer side of the picture spans, where no pinhole camera is given.
    """

    card = CARD
    moves_pixels = True

    def __init__(self, mode: Mode = "auto", lens_degrees: float = LENS_DEGREES) -> None:
        self.mode = checked_mode(mode)
        self.lens_degrees = lens_degrees

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; draw the axis of the turn, and where shift and distance go.

        ``shift`` is a fraction of the frame's width, ``nearing`` the largest relative change of the person's size.
        """
        axis = rng.normal(size=3)
        axis = axis / np.linalg.norm(axis)
        return {
            **level(self.card, severity),
            "axis": [float(a) for a in axis],
            "towards_degrees": float(rng.uniform(0, 360)),
            "nearing_share": float(rng.uniform(-1, 1)),
            "mode": self.mode,
            "lens_degrees": self.lens_degrees,
        }

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture of the moved camera; camera, mask and depth follow.

        Raises:
            MissingInput: If the mode is ``mesh`` and there is no mesh.
            ValueError: If the image, or what lies beside it, has a wrong shape or type.
        """
        from corruptions._camera_motion import Motion, moved_camera

        image = checked(image)
        x, y, z = (float(a) for a in params["axis"])
        length = float(params["shift"]) * image.shape[1]
        towards = np.radians(float(params["towards_degrees"]))
        motion = Motion(
            turn=rotation((x, y, z), float(params["degrees"])),
            orbit=True,
            nearing=1.0 + float(params["nearing"]) * float(params["nearing_share"]),
            shift=(length * float(np.cos(towards)), -length * float(np.sin(towards))),
        )
        lens = float(params["lens_degrees"])
        return moved_camera(image, motion, aux, checked_mode(params["mode"]), lens, self.card.name)
