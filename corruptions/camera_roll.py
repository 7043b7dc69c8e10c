"""Camera roll: the camera turns about its viewing axis; the picture turns about its centre."""

from __future__ import annotations

from typing import Any

import numpy as np

from corruptions._base import PAPER_2D_PRIORS, Affine, Card, Corrupted, Image, Params, checked, level

CARD = Card(
    name="camera_roll",
    version="1",
    summary="The picture turns anticlockwise about its centre on the same canvas; corners are black.",
    reference=f"{PAPER_2D_PRIORS}, camera roll (80 degrees); the other levels are ours",
    extra={
        "family": "camera",
        "stochastic": False,
        "levels": "ours",
        "formula": "x' = c + R(theta) (x - c)",
        "severities": {
            1: {"degrees": 5.0},
            2: {"degrees": 10.0},
            3: {"degrees": 20.0},
            4: {"degrees": 45.0},
            5: {"degrees": 80.0},
        },
        "paper_severity": 5,
        "deviations": [
            "turns about the centre of the pixel grid ((W-1)/2, (H-1)/2), not about (W/2, H/2)",
            "returns the map, so that masks, camera and ground truth follow; published meshes were not turned",
            "levels 1 to 4 are ours",
        ],
    },
)


def roll_affine(shape: tuple[int, int], degrees: float) -> Affine:
    """Return the (2, 3) map from old to new pixel coordinates of a roll.

    Args:
        shape: (H, W) of the image.
        degrees: Angle; positive is anticlockwise as displayed.
    """
    centre = np.array([(shape[1] - 1) / 2, (shape[0] - 1) / 2])
    turn = np.deg2rad(degrees)
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    if degrees % 90 == 0:
        cos, sin = round(cos), round(sin)
    # y points down, so an anticlockwise turn on the screen is a negative one in (x, y).
    matrix = np.array([[cos, sin], [-sin, cos]], np.float64)
    return np.concatenate([matrix, (centre - matrix @ centre)[:, None]], axis=1)


def roll(image: Image, degrees: float) -> Image:
    """Turn an image anticlockwise about its centre on the same canvas, bilinear, black outside.

    Args:
        image: (H, W, 3) uint8.
        degrees: Angle, anticlockwise as displayed.
    """
    from corruptions._pixels import warp

    return warp(image, roll_affine(image.shape[:2], degrees))


class CameraRoll:
    """Camera roll by a fixed angle per severity."""

    card = CARD
    moves_pixels = True

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity; nothing is drawn."""
        return level(self.card, severity)

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the turned picture and its (2, 3) map.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        degrees = float(params["degrees"])
        return Corrupted(roll(image, degrees), affine=roll_affine(image.shape[:2], degrees))
