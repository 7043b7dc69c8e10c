"""Pictures of a kept sample for a page: input, mask, mesh from four sides, and its error from two."""

from __future__ import annotations

import base64
import io
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Image, Mesh
from robench.reporting.examples import Example
from robench.reporting.qualitative import ERROR_MAP, Window, in_view, surface_error, zoomed

HEIGHT = 300
"""Pixels; a picture is shown about half as high, so that it is sharp on dense screens."""
SIDES = ("front", "left", "back", "right")
"""In quarter turns: from the front, the person's left, the back, the person's right."""
_QUALITY = 82
_GROUND = (240, 240, 240)


def turned(camera: Camera, middle: NDArray[Any], quarters: int) -> Camera:
    """Return the orthographic camera that sees, at the same scale and height, the person after quarter turns about y.

    Args:
        camera: A camera of meshes in its view frame.
        middle: (3,) point that the view turns about; it comes to the middle column.
        quarters: 1 is the view from the person's left, 2 from the back, 3 from the right.
    """
    cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[quarters % 4]
    # x' = cos x - sin z, z' = sin x + cos z: the person's left (+x) turns towards the camera (+z).
    turn = np.array([[cos, 0, -sin, 0], [0, 1, 0, 0], [sin, 0, cos, 0], [0, 0, 0, 1]], np.float64)
    scale = camera.scale if camera.kind == "orthographic" else camera.scale / camera.distance
    across = cos * float(middle[0]) - sin * float(middle[2])
    centre = ((camera.width - 1) / 2 - scale * across, camera.centre[1])
    return replace(
        camera, view_from_world=turn @ camera.view_from_world, scale=scale, centre=centre, kind="orthographic"
    )


def pictures_of(example: Example, window: Window, top: float) -> dict[str, str]:
    """Return data URIs by name.

    ``input`` and ``mask``; where there is a mesh, the four `SIDES`; where there is also a truth, ``error`` and
    ``error_back``.

    Args:
        example: A stored cell.
        window: Rectangle of its picture to show.
        top: Centimetres at the end of the colour scale.
    """
    grey = np.repeat(np.rint(255 * np.asarray(example.mask))[..., None], 3, axis=2).astype(np.uint8)
    found = {"input": encoded(cut(example.image, window, HEIGHT)), "mask": encoded(cut(grey, window, HEIGHT))}
    mesh, truth = example.prediction, example.truth
    if mesh is None or mesh.is_empty:
        return found
    from robench.rendering import render

    clay = replace(mesh, colours=None)
    around = truth if truth is not None and not truth.is_empty else mesh
    middle = (around.vertices.min(axis=0) + around.vertices.max(axis=0)) / 2
    front = zoomed(in_view(example.camera), window, HEIGHT)
    cameras = [front, *(turned(front, middle, quarters) for quarters in (1, 2, 3))]
    for side, camera in zip(SIDES, cameras, strict=True):
        found[side] = encoded(render(clay, camera, _light(), samples=2, background=_GROUND).colour)
    if truth is not None and not truth.is_empty:
        for name, camera in (("error", cameras[0]), ("error_back", cameras[2])):
            found[name] = encoded(error_picture(clay, truth, camera, top))
    return found


def error_picture(mesh: Mesh, truth: Mesh, camera: Camera, top: float) -> Image:
    """Return (H, W, 3) uint8: the distance of visible predicted points to the truth in colours, 0 to `top` cm."""
    import matplotlib as mpl

    # One ray a pixel: the browser shows the picture smaller, which smooths its outline.
    error, facing = surface_error(mesh, truth, camera)
    hit = np.isfinite(error)
    colours = mpl.colormaps[ERROR_MAP](np.clip(np.where(hit, error, 0) / top, 0, 1))[..., :3]
    ground = np.asarray(_GROUND) / 255
    picture = np.where(hit[..., None], colours * (0.82 + 0.18 * facing[..., None]), ground)
    return np.asarray(np.rint(255 * picture), np.uint8)


def cut(image: Image, window: Window, height: int) -> Image:
    """Return the window of a picture, `height` pixels high; what lies outside the picture is grey."""
    from PIL import Image as Pillow

    width = round(window.half_width / window.half_height * height)
    corner = round(window.u - window.half_width + 0.5), round(window.v - window.half_height + 0.5)
    size = max(1, round(2 * window.half_width)), max(1, round(2 * window.half_height))
    paper = Pillow.new("RGB", size, _GROUND)
    paper.paste(Pillow.fromarray(image), (-corner[0], -corner[1]))
    return np.asarray(paper.resize((width, height), Pillow.Resampling.LANCZOS))


def encoded(image: Image) -> str:
    """Return a picture as a data URI (WebP)."""
    from PIL import Image as Pillow

    buffer = io.BytesIO()
    Pillow.fromarray(image).save(buffer, "WEBP", quality=_QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _light() -> Any:
    from robench.rendering import Lamp, Lamps

    lamps = (Lamp((0.6, 0.8, 0.8), (0.85, 0.85, 0.85)), Lamp((-0.9, 0.1, 0.5), (0.2, 0.2, 0.2)))
    return Lamps(lamps, (0.14, 0.14, 0.14))
