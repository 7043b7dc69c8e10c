"""The person in three dimensions, as corruptions may use it: what lies behind the pixels of a picture.

Whoever has the mesh and the camera of a picture can offer such a scene in ``aux.scene``; corruptions that find one
re-light or re-render the person, and say so in their notes. Only NumPy types cross this border.

View frame: x right, y up, z towards the viewer, centimetres; depth in metres along the viewing axis.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from corruptions._base import MissingInput

Mode = Literal["auto", "mesh", "image"]
"""Whether a corruption works on the scene: where there is one, always, or never."""


def checked_mode(mode: str) -> Mode:
    """Return the mode.

    Raises:
        ValueError: If it is none of auto, mesh and image.
    """
    if mode not in ("auto", "mesh", "image"):
        raise ValueError(f"mode must be 'auto', 'mesh' or 'image', got {mode!r}")
    return mode  # type: ignore[return-value]  # checked above


Array = NDArray[np.float32]
Transform = NDArray[np.float64]


@runtime_checkable
class CameraLike(Protocol):
    """An orthographic or pinhole camera that looks along -z of the view frame.

    Orthographic: ``u = scale x + cx``, ``v = -scale y + cy``, `scale` in pixels per centimetre. Pinhole: the same with
    ``scale / (distance - z)``, `scale` being the focal length in pixels and `distance` centimetres from the camera to
    the frame's origin. Integers are pixel centres.
    """

    @property
    def kind(self) -> Literal["orthographic", "pinhole"]: ...
    @property
    def scale(self) -> float: ...
    @property
    def centre(self) -> tuple[float, float]: ...
    @property
    def distance(self) -> float: ...
    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...


class LayerLike(Protocol):
    """The person alone, seen by some camera."""

    @property
    def image(self) -> NDArray[np.uint8]:
        """(H, W, 3) uint8 sRGB; colours go on beyond the outline, so that they can be blended by `alpha`."""
        ...

    @property
    def alpha(self) -> Array:
        """(H, W) float32 in [0, 1]: the share of each pixel that the person covers."""
        ...

    @property
    def depth(self) -> Array:
        """(H, W) float32 metres at pixel centres, ``+inf`` where nothing is hit."""
        ...

    @property
    def seen(self) -> float:
        """Share of the person's pixels whose colours are the picture's own; the rest is filled in."""
        ...


@runtime_checkable
class SceneLike(Protocol):
    """The mesh behind a picture and the camera that took it. All maps are (H, W) of the picture."""

    @property
    def camera(self) -> CameraLike:
        """The camera; its frame is the view frame of everything here."""
        ...

    def mask(self) -> NDArray[np.bool_]:
        """Return (H, W) bool: which pixel centres see the person."""
        ...

    def depth(self) -> Array:
        """Return (H, W) metres along the viewing axis, ``+inf`` where nothing is hit."""
        ...

    def normals(self) -> Array:
        """Return (H, W, 3) unit normals in the view frame, zero where nothing is hit."""
        ...

    def positions(self) -> Array:
        """Return (H, W, 3) centimetres in the view frame of what each pixel sees, zero where nothing is hit."""
        ...

    def bounds(self) -> tuple[Array, Array]:
        """Return the lowest and the highest corner (3,) of the person's box in the view frame, centimetres."""
        ...

    def visibility(self, position_cm: NDArray[np.floating], radius_cm: float, samples: int) -> Array:
        """Return (H, W) in [0, 1]: the share of a lamp that each visible surface point sees (cast shadows).

        Args:
            position_cm: (3,) centre of the lamp in the view frame.
            radius_cm: Radius of the lamp, a disc that faces each point; 0 gives hard shadows.
            samples: Points on the lamp.

        Returns:
            0 also on surfaces that face away from the lamp; 1 where no person is.
        """
        ...

    def with_object(
        self, vertices: NDArray[np.floating], faces: NDArray[np.integer]
    ) -> tuple[NDArray[np.bool_], Array, Array]:
        """Put an object into the scene.

        Args:
            vertices: (V, 3) view-frame centimetres.
            faces: (F, 3) vertex indices.

        Returns:
            (H, W) bool where the object is in front of everything else; (H, W) metres to it, ``+inf`` where it is not
            hit; (H, W, 3) unit normals of it in the view frame, zero where it is not hit.
        """
        ...

    def followed(self, change: Transform | None, affine: Transform | None) -> SceneLike:
        """Return the same person seen by the camera that moved.

        Args:
            change: (4, 4) rigid map from the old view frame to the new one, or None.
            affine: (2, 3) similarity of the pixels, applied after it, or None.
        """
        ...

    def seen_from(self, image: NDArray[np.uint8], change: Transform | None, affine: Transform | None) -> LayerLike:
        """Draw the person as the moved camera sees them, in the light and the colours of this picture.

        Colours are those of `image` wherever the surface is visible in it; the rest takes the mesh's own colours under
        the light that the picture shows.

        Args:
            image: (H, W, 3) uint8 sRGB, taken by `camera`.
            change: As for `followed`.
            affine: As for `followed`.
        """
        ...


def scene_for(mode: str, aux: Any, shape: tuple[int, int], who: str) -> SceneLike | None:
    """Return the scene to work with, or None for the image mode.

    Args:
        mode: ``auto`` takes the mesh where there is one.
        aux: May have ``scene``.
        shape: (H, W) of the picture.
        who: Name of the corruption, for the messages.

    Raises:
        MissingInput: If the mode is ``mesh`` and there is none.
        ValueError: If there is no such mode, or the scene's camera is not one of this picture.
    """
    scene: SceneLike | None = None if checked_mode(mode) == "image" else getattr(aux, "scene", None)
    if mode == "mesh" and scene is None:
        raise MissingInput(
            f"{who} in mode 'mesh' needs the mesh behind the picture, got none; "
            "expected aux.scene, or mode 'image' or 'auto'"
        )
    if scene is not None and (scene.camera.height, scene.camera.width) != tuple(shape):
        raise ValueError(
            f"the scene of {who} is for {scene.camera.width}x{scene.camera.height} pixels, "
            f"the picture has {shape[1]}x{shape[0]}"
        )
    return scene
