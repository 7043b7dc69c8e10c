"""What every corruption shares: the card, the inputs beside the image, the result, and a few checks.

This package stands alone: it imports nothing of ours, so that anybody can use the functions on plain arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from corruptions._scene import CameraLike, SceneLike

Image = NDArray[np.uint8]
Depth = NDArray[np.float32]
Affine = NDArray[np.float64]
Params = dict[str, Any]
"""Drawn parameters: JSON-able, so that a manifest can replay an image."""

SEVERITIES = (1, 2, 3, 4, 5)
REFERENCE_WIDTH = 512
"""Lengths in pixels are stated for an image of this width and scale with the width."""
SMALLEST = 32

PAPER_3DCC = "Kar et al., 3D Common Corruptions and Data Augmentation, CVPR 2022"
PAPER_2D_PRIORS = (
    "Fantini, Li and Liu, Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction, 2023"
)


class MissingInput(ValueError):
    """A corruption needs an input beside the image (a depth map) that it was not given."""


@dataclass(frozen=True)
class Card:
    """Who a corruption is.

    Attributes:
        name: The name users type.
        version: Goes up when the pixels change.
        summary: One line.
        licence: SPDX id.
        reference: Paper and section, or "ours".
        needs: Inputs beyond the image, e.g. ``{"depth"}``.
        extra: ``family``, ``stochastic`` (whether `sample` draws), ``severities`` ({1..5: physical parameters}),
            ``deviations`` (every way in which this differs from the published generator), and ``paper_severity`` where
            the 2D-priors paper has it (its level).
    """

    name: str
    version: str
    summary: str
    licence: str = "Apache-2.0"
    reference: str = "ours"
    needs: frozenset[str] = frozenset()
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Aux:
    """What lies beside the image.

    Attributes:
        depth: (H, W) float32 metres along the viewing axis, ``+inf`` where nothing is hit; or None.
        mask: (H, W) mask of the person; or None.
        scene: The mesh behind the picture; or None.
        camera: The camera that took the picture, as far as it is known; or None.
    """

    depth: Depth | None = None
    mask: NDArray[Any] | None = None
    scene: SceneLike | None = None
    camera: CameraLike | None = None


@dataclass(frozen=True, eq=False)
class Corrupted:
    """A corrupted image.

    Attributes:
        image: (H, W, 3) uint8 sRGB.
        affine: (2, 3) map from old to new pixel coordinates if the corruption moved pixels, else None.
        notes: JSON-able facts found on the way (bytes of a stream, share of invalid depth, ...).
        view_change: (4, 4) rigid map from the old view frame to the new one (centimetres) if the camera itself moved,
            else None. `affine` is applied after it.
        mask: (H, W) float32 in [0, 1], the person's true mask in the new picture, where it is not the old one moved by
            `affine` (re-rendered, hidden in part); else None.
        depth: (H, W) float32 metres of the new picture, where it is not the old one moved by `affine`; else None.
    """

    image: Image
    affine: Affine | None = None
    notes: Mapping[str, Any] = field(default_factory=dict)
    view_change: NDArray[np.float64] | None = None
    mask: NDArray[np.float32] | None = None
    depth: Depth | None = None


def level(card: Card, severity: int) -> Params:
    """Return a copy of the physical parameters of a severity.

    Raises:
        ValueError: If the severity is not one of 1..5.
    """
    table: Mapping[int, Mapping[str, Any]] = card.extra["severities"]
    if isinstance(severity, bool) or severity not in table:
        raise ValueError(f"{card.name} has no severity {severity!r}; expected a whole number from 1 to 5")
    return dict(table[severity])


def checked(image: Image) -> Image:
    """Return the image as a contiguous array.

    Raises:
        ValueError: If it is not (H, W, 3) uint8 with both sides >= 32.
    """
    array = np.asarray(image)
    if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
        raise ValueError(
            f"a corruption needs an (H, W, 3) uint8 sRGB image, got shape {array.shape} of {array.dtype}; "
            "convert grey or RGBA pictures first"
        )
    if min(array.shape[:2]) < SMALLEST:
        raise ValueError(
            f"an image must be at least {SMALLEST} pixels on both sides, got {array.shape[1]}x{array.shape[0]}"
        )
    return np.ascontiguousarray(array)


def check_shapes(who: str, shape: tuple[int, int], **maps: NDArray[Any] | None) -> None:
    """Raise ValueError, naming it, if one of the maps does not have the image's shape."""
    for what, array in maps.items():
        if array is not None and np.shape(array) != tuple(shape):
            name = {"depth": "depth map"}.get(what, what)
            raise ValueError(f"the {name} of {who} must have the image's shape {tuple(shape)}, got {np.shape(array)}")


def beside(what: Literal["mask", "depth"], aux: Any, shape: tuple[int, int], who: str) -> NDArray[np.float32] | None:
    """Return the person's mask or the depth as (H, W) float32, or None where there is none.

    Args:
        what: Which of them.
        aux: May have it.
        shape: (H, W) of the picture.
        who: Name of the corruption, for the message.

    Raises:
        ValueError: If its shape is not the picture's.
    """
    given = getattr(aux, what, None)
    check_shapes(who, shape, **{what: given})
    return None if given is None else np.asarray(given, np.float32)


def draw_seed(rng: np.random.Generator) -> int:
    """Draw a seed that fits into JSON."""
    return int(rng.integers(0, 2**32))


def seeded(seed: int) -> np.random.Generator:
    """Return the generator that belongs to a drawn seed."""
    return np.random.Generator(np.random.PCG64(int(seed)))


def to_uint8(values: NDArray[Any]) -> Image:
    """Round (never truncate) values of the 0..255 scale to uint8, clipped."""
    rounded = np.rint(values)
    return np.asarray(np.clip(rounded, 0, 255, out=rounded).astype(np.uint8))


def pixel_scale(width: int) -> float:
    """Return the factor of lengths in pixels at this image width."""
    return width / REFERENCE_WIDTH
