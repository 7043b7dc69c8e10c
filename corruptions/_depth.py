"""How the depth of a picture is read: where the camera stands, and how far the background is.

An orthographic render has no camera distance (ours is nominally 10 m, so a person would have no parallax and stand in
fog like a house across the street), and its background is at infinity (where any fog erases everything). A photograph
of a whole person is taken from about 3 m. So the default rule, ``person``, moves the depth along the viewing axis until
the nearest finite point lies at ``camera_m``, and puts what has no depth at ``background_m``. Fog uses the metres;
focus and motion use ratios of depths only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from corruptions._base import Card, Depth, Image, MissingInput, Params, check_shapes, checked, level

STANDS = "depth from a camera 3 m before the nearest point, background at 6 m"
"""What cards say of the default rule."""


@dataclass(frozen=True)
class DepthRule:
    """How to turn a depth map into finite positive metres from a camera.

    Attributes:
        depth_mode: ``person`` moves the nearest finite depth to `camera_m`; ``as_given`` trusts the metres.
        camera_m: Distance of the camera to the nearest point under ``person``, metres.
        background_m: Distance given to pixels without depth, metres; never nearer than the farthest finite depth.
    """

    depth_mode: Literal["person", "as_given"] = "person"
    camera_m: float = 3.0
    background_m: float = 6.0

    def __post_init__(self) -> None:
        if self.depth_mode not in ("person", "as_given"):
            raise ValueError(f"depth_mode must be 'person' or 'as_given', got {self.depth_mode!r}")
        if not (self.camera_m > 0 and self.background_m > 0):
            raise ValueError(
                f"camera_m and background_m must be > 0 metres, got {self.camera_m} and {self.background_m}"
            )

    def params(self) -> Params:
        """Return the rule as plain values for a manifest."""
        return asdict(self)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> DepthRule:
        """Read the rule back from drawn parameters."""
        return cls(params["depth_mode"], float(params["camera_m"]), float(params["background_m"]))


def metric_depth(aux: Any, shape: tuple[int, int], rule: DepthRule, who: str) -> tuple[Depth, dict[str, Any]]:
    """Return finite, positive depth for every pixel.

    Args:
        aux: Has ``depth``, (H, W) metres along the viewing axis; ``+inf``, NaN and values <= 0 have no depth.
        shape: (H, W) of the image.
        rule: Where the camera stands.
        who: Name of the corruption, for the messages.

    Returns:
        (H, W) float32 metres, all finite and > 0; and the notes ``no_depth_share``, ``nearest_m``, ``farthest_m``.

    Raises:
        MissingInput: If there is no depth map, or no pixel of it has depth.
        ValueError: If its shape is not the image's.
    """
    given = getattr(aux, "depth", None)
    if given is None:
        raise MissingInput(
            f"{who} needs a depth map, got none; expected (H, W) metres along the viewing axis, given as depth"
        )
    depth = np.asarray(given, np.float32)
    check_shapes(who, shape, depth=depth)
    valid = (depth > 0) & (depth < np.inf)
    count = int(np.count_nonzero(valid))
    if not count:
        raise MissingInput(f"{who} needs a depth map, got one without a single finite positive value; expected metres")
    import cv2

    nearest, farthest, _, _ = cv2.minMaxLoc(np.ascontiguousarray(depth), valid.view(np.uint8))
    offset = rule.camera_m - nearest if rule.depth_mode == "person" else 0.0
    moved = np.full(depth.shape, max(rule.background_m, farthest + offset), np.float32)
    np.add(depth, np.float32(offset), out=moved, where=valid)
    notes = {
        "no_depth_share": 1.0 - count / valid.size,
        "nearest_m": nearest + offset,
        "farthest_m": float(moved.max()),
    }
    return moved, notes


class ReadsDepth:
    """What corruptions with depth share: they keep the rule by which depth is read, and put it into their parameters.

    Args:
        depth: Where the camera stands and how far the background is.
    """

    card: Card
    moves_pixels = False

    def __init__(self, depth: DepthRule | None = None) -> None:
        self.depth = depth or DepthRule()

    def level(self, severity: int) -> Params:
        """Return the physical parameters of a severity and the rule.

        Raises:
            ValueError: If the severity is not one of 1..5.
        """
        return {**level(self.card, severity), **self.depth.params()}

    def read(self, image: Image, params: Params, aux: Any) -> tuple[Image, Depth, dict[str, Any]]:
        """Return the checked image, finite positive depth in metres, and the notes of `metric_depth`.

        Raises:
            MissingInput: If there is no depth.
            ValueError: If image or depth have a wrong shape.
        """
        image = checked(image)
        return image, *metric_depth(aux, (image.shape[0], image.shape[1]), DepthRule.of(params), self.card.name)
