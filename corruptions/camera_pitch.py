"""Camera pitch: the camera looks down on the person, or up at them."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_3DCC, Card, Corrupted, Image, Params, checked, level
from corruptions._scene import Mode, checked_mode
from corruptions._views import LENS_DEGREES, rotation

CARD = Card(
    name="camera_pitch",
    version="2",
    summary="The camera tilts down or up about its horizontal axis; the person stays in the middle of the frame.",
    reference=f"{PAPER_3DCC}, camera pitch (named there, no generator and no levels published)",
    extra={
        "family": "camera",
        "stochastic": True,
        "levels": "ours",
        "formula": "pinhole: x' ~ K R_x(theta) K^-1 x; orthographic, on the mesh: p' = R_x(theta) (p - m) + m",
        "severities": {
            1: {"degrees": 5.0},
            2: {"degrees": 10.0},
            3: {"degrees": 15.0},
            4: {"degrees": 20.0},
            5: {"degrees": 25.0},
        },
        "deviations": [
            "levels are ours; down or up is drawn, and by up to a tenth how far, the same for all levels of an image",
            "the frame follows the person's middle, which would otherwise leave it",
            "with the mesh the person is rendered anew before a background that moves like a wall; without, "
            "the whole picture goes through a homography, with a lens of 50 degrees where no pinhole camera is known",
        ],
    },
)


class CameraPitch:
    """A camera that looks down (or up) by a fixed angle per severity.

    Args:
        mode: ``mesh`` renders the person anew and needs ``aux.scene``; ``image`` uses the homography of a turning
            pinhole; ``auto`` takes the mesh where there is one.
        lens_degrees: Angle that the longer side of the picture spans, where no pinhole camera is given.
    """

    card = CARD
    moves_pixels = True

    def __init__(self, mode: Mode = "auto", lens_degrees: float = LENS_DEGREES) -> None:
        self.mode = checked_mode(mode)
        self.lens_degrees = lens_degrees

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity.

        Drawn is ``down``, by which the angle is multiplied: in [0.9, 1.1] if the camera looks down, the negative if up.
        """
        sign = 1 if rng.integers(0, 2) else -1
        down = sign * float(rng.uniform(0.9, 1.1))
        return {**level(self.card, severity), "down": down, "mode": self.mode, "lens_degrees": self.lens_degrees}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture of the tilted camera; camera, mask and depth follow.

        Raises:
            MissingInput: If the mode is ``mesh`` and there is no mesh.
            ValueError: If the image, or what lies beside it, has a wrong shape or type.
        """
        from corruptions._camera_motion import Motion, moved_camera

        image = checked(image)
        # Looking down: what is up comes nearer. x right, y up, z towards the viewer.
        turn = rotation((1.0, 0.0, 0.0), float(params["degrees"]) * float(params["down"]))
        lens = float(params["lens_degrees"])
        return moved_camera(image, Motion(turn), aux, checked_mode(params["mode"]), lens, self.card.name)
