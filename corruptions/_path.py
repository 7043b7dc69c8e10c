"""What the two motion blurs share: the camera's path, the published exposure of it, and the way to the pixels."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from corruptions._base import Corrupted, Image, Params
from corruptions._depth import STANDS, ReadsDepth

PATH_FRAMES = 60
"""Frames of a whole path in the published generator, of which a severity averages the first few."""

DEVIATIONS = (
    "no learned inpainting: hidden background is filled from the farther side, borders are replicated",
    STANDS,
    "frames averaged before one rounding, not truncated twice",
)


@dataclass(frozen=True)
class Path:
    """Where the camera goes in one whole exposure.

    Attributes:
        shift: (u, v) end shift at depth d_c, pixels.
        zoom: rho; 1 is no motion towards the scene, 0.5 doubles the picture at d_c by the end.
        start: Fraction of the path where the exposure starts.
        stop: Fraction of the path where it stops.
    """

    shift: tuple[float, float]
    zoom: float = 1.0
    start: float = 0.0
    stop: float = 1.0


def exposures(frames: Sequence[int], subframes: Sequence[int]) -> dict[int, Params]:
    """Return the severity table: the share of the path that so many published frames cover, and our sub-frames."""
    return {
        s: {"share": (n - 1) / (PATH_FRAMES - 1), "subframes": own}
        for s, (n, own) in enumerate(zip(frames, subframes, strict=True), 1)
    }


class PathBlur(ReadsDepth, ABC):
    """Motion blur along a path; a subclass draws it and reads it back."""

    @abstractmethod
    def path(self, params: Params, shift: tuple[float, float]) -> Path:
        """Return the path of drawn parameters, its shift being in pixels."""

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the blurred picture.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        from corruptions._motion import motion_blur

        image, depth, notes = self.read(image, params, aux)
        u, v = (float(s) * image.shape[1] for s in params["shift_of_width"])
        return Corrupted(motion_blur(image, depth, self.path(params, (u, v)), int(params["subframes"])), notes=notes)
