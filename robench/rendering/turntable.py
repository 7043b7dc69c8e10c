"""A person seen from all around: cameras that walk around the person, and the pictures they take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from robench.contracts import Camera, Image, Mesh
from robench.rendering.raycast import RayScene

_BARE = 180  # the grey of a mesh without colours, as `robench.rendering.frame` has it


def turned(camera: Camera, angle: float) -> Camera:
    """Return a camera after it walked around the vertical axis through its view frame's origin.

    Args:
        camera: Either kind.
        angle: Degrees; from the person's front, 90 leads to their own left side, 180 to their back.
    """
    c, s = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    turn = np.array([[c, 0, -s], [0, 1, 0], [s, 0, c]])
    view = camera.view_from_world
    origin = -view[:3, :3].T @ view[:3, 3]  # of the view frame, in the world
    around = np.eye(4)
    around[:3, :3], around[:3, 3] = turn, origin - turn @ origin
    return replace(camera, view_from_world=view @ around)


def azimuth(camera: Camera) -> float:
    """Return where a camera stands around the person, in degrees from -180 to 180: 0 in front, 90 at their left.

    Args:
        camera: Of a world in which the person faces +z.
    """
    towards = camera.view_from_world[2, :3]
    return math.degrees(math.atan2(towards[0], towards[2]))


def turn_pictures(
    mesh: Mesh, camera: Camera, angles: Sequence[float], *, samples: int = 2, device: str = "cpu"
) -> list[Image]:
    """Return pictures of a mesh in its own colours, unlit, before black.

    Args:
        mesh: Centimetres; grey where it has no colours.
        camera: In front of the person; gives the pictures' size.
        angles: Degrees to walk around, see `turned`.
        samples: Along each side of a pixel, averaged.
        device: Of the ray casts.

    Returns:
        An (H, W, 3) uint8 picture an angle.
    """
    scene = RayScene(mesh, device)
    height, width = camera.height, camera.width
    fine = camera.resized(width * samples, height * samples)
    found = []
    for angle in angles:
        hits = scene.cast(turned(fine, angle))
        colours = hits.colours
        if colours is None:
            colours = np.repeat(hits.mask[..., None] * np.float32(_BARE), 3, axis=2)
        blocks = colours.reshape(height, samples, width, samples, 3)
        found.append(np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8))
    return found
