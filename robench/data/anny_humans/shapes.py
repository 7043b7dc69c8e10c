"""What does not follow the skin: skirts that hang free of the legs, and hair that falls or is tied up."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.data.anny_humans.body import Body, Template

Points = NDArray[np.float64]
Field = NDArray[np.float32]
_DIRECTIONS = 48
_ROWS = 40


@dataclass(frozen=True)
class Skirt:
    """A bell of cloth, open below: its outer radius by height and direction around a vertical axis.

    Attributes:
        axis: (2,) x and z of the axis, cm.
        low: Height of the hem, cm.
        high: Height of the waist, cm.
        radius: (rows, directions) outer radius in cm, first row at the hem.
        wall: Thickness of the cloth, cm.
        material: Index of the cloth.
    """

    axis: NDArray[np.float64]
    low: float
    high: float
    radius: NDArray[np.float64]
    wall: float
    material: int

    @functools.cached_property
    def slope(self) -> NDArray[np.float64]:
        """(rows, directions) cm of radius per cm of height."""
        return np.asarray(np.gradient(self.radius, (self.high - self.low) / (_ROWS - 1), axis=0))

    def __call__(self, points: Points) -> Field:
        """Return (N,) cm to the cloth, negative inside it."""
        flat = points[:, [0, 2]] - self.axis
        away = np.hypot(flat[:, 0], flat[:, 1])
        theta = np.arctan2(flat[:, 1], flat[:, 0]) / (2 * np.pi) * _DIRECTIONS
        row = np.clip((points[:, 1] - self.low) / (self.high - self.low), 0, 1) * (_ROWS - 1)
        i, j = np.minimum(row.astype(int), _ROWS - 2), np.floor(theta).astype(int)
        fi, fj = row - i, theta - j
        a, b = j % _DIRECTIONS, (j + 1) % _DIRECTIONS
        r = (1 - fi) * ((1 - fj) * self.radius[i, a] + fj * self.radius[i, b])
        r += fi * ((1 - fj) * self.radius[i + 1, a] + fj * self.radius[i + 1, b])
        # A sitter's lap makes the bell almost flat: measure across the cloth, not along the radius.
        slope = (1 - fj) * self.slope[i, a] + fj * self.slope[i, b]
        outer = 0.9 * (away - r) / np.hypot(1.0, slope)
        shell = np.maximum(outer, -(outer + self.wall))
        bounds = np.maximum(self.low - points[:, 1], points[:, 1] - self.high)
        return np.asarray(np.maximum(shell, bounds), np.float32)


def drape(
    body: Body,
    t: Template,
    *,
    waist: float,
    length: float,
    flare: float,
    ease: float,
    folds: int,
    depth: float,
    phase: float,
    material: int,
) -> Skirt:
    """Hang a skirt from the waist over the posed legs.

    At each height the cloth goes around the convex hull of all the body that lies between there and the waist (cloth
    cannot come back in under a knee that pushes it out), then flares.

    Args:
        body: The posed body.
        t: The neutral body.
        waist: Height of the waist over the hip joints on the neutral body, cm.
        length: Cm from waist to hem.
        flare: Cm outwards per cm downwards.
        ease: Cm between body and cloth.
        folds: Number of folds around.
        depth: Depth of the folds at the hem, cm.
        phase: Where the first fold lies, radians.
        material: Index of the cloth.

    Returns:
        The skirt.
    """
    from scipy import ndimage

    arm = t.part["arm"] + t.part["hand"] > 0.3
    ring = ~arm & (np.abs(t.rest[:, 1] - waist) < 2.0)
    high = float(body.vertices[ring, 1].mean()) + 1.0
    low = max(high - length, 4.0)
    wrapped = body.vertices[~arm & (t.rest[:, 1] < waist + 1.0)].astype(np.float64)
    axis = body.vertices[ring][:, [0, 2]].mean(0).astype(np.float64)
    angles = np.arange(_DIRECTIONS) * 2 * np.pi / _DIRECTIONS
    normals = np.stack([np.cos(angles), np.sin(angles)], 1)
    reach = (wrapped[:, [0, 2]] - axis) @ normals.T
    heights = np.linspace(low, high, _ROWS)
    support = np.stack(
        [
            reach[(wrapped[:, 1] > y - 1.0)].max(0) if (wrapped[:, 1] > y - 1.0).any() else np.full(_DIRECTIONS, 8.0)
            for y in heights
        ]
    )
    support += ease + flare * (high - heights)[:, None]
    # From supporting lines to the radius of the polygon that they bound.
    turn = angles[None, :] - angles[:, None]
    facing = np.cos(turn) > 0.2
    radius = np.min(np.where(facing, support[:, :, None] / np.where(facing, np.cos(turn), 1.0), np.inf), axis=1)
    radius = ndimage.gaussian_filter1d(radius, 1.5, axis=0, mode="nearest")
    wave = np.sin(folds * angles + phase) + 0.4 * np.sin((2 * folds + 1) * angles + 2.1 * phase)
    radius += depth * ((high - heights) / (high - low))[:, None] * wave[None, :]
    return Skirt(axis, low, high, radius, wall=1.5, material=material)


@dataclass(frozen=True)
class Blob:
    """A round cone between two points (or an ellipsoid's stand-in), in world cm; part of a hair style."""

    a: NDArray[np.float64]
    b: NDArray[np.float64]
    ra: float
    rb: float
    squash: NDArray[np.float64]

    def __call__(self, points: Points) -> Field:
        """Return (N,) cm to the blob, negative inside."""
        p, a, b = points @ self.squash.T, self.squash @ self.a, self.squash @ self.b
        d = b - a
        t = np.clip((p - a) @ d / max(float(d @ d), 1e-9), 0.0, 1.0)
        gap = np.linalg.norm(p - a - t[:, None] * d, axis=1)
        return np.asarray(gap - (self.ra + (self.rb - self.ra) * t), np.float32)


HAIR_STYLES = ("bald", "buzz", "short", "side_part", "bob", "long", "ponytail", "bun", "afro")


def hair_blobs(style: str, body: Body, t: Template, rng: np.random.Generator) -> list[Blob]:
    """Return the free-hanging part of a hair style on a posed head (empty for styles that lie on the skull).

    Args:
        style: One of `HAIR_STYLES`.
        body: The posed body.
        t: The neutral body.
        rng: The subject's generator.
    """
    turn = body.frames["head"]
    origin = body.joints["head"]
    rest_span = np.linalg.norm(t.joints["eye.L"] - t.joints["head"])
    size = float(np.linalg.norm(body.joints["eye.L"] - origin) / rest_span)

    def place(x: float, y: float, z: float) -> NDArray[np.float64]:
        local = (np.array([x, y, z]) - t.joints["head"]) * size
        return np.asarray(origin + turn @ local, np.float64)

    flat = turn @ np.diag([1.0, 1.0, 1.6]) @ turn.T  # thin from front to back
    narrow = turn @ np.diag([1.6, 1.0, 1.0]) @ turn.T  # thin from side to side
    u = rng.uniform

    def blob(a: Any, b: Any, ra: float, rb: float, squash: NDArray[np.float64] | None = None) -> Blob:
        return Blob(place(*a), place(*b), ra * size, rb * size, np.eye(3) if squash is None else squash)

    if style in ("bob", "long"):
        end = u(62, 66) if style == "bob" else u(40, 56)
        back = blob((0, 76, -2.5), (0, end, -7.5), 7.5, u(5.0, 7.5), flat)
        sides = [blob((s * 7.2, 77, 0.5), (s * 8.2, max(end, 56), 1.0), 2.6, 1.8, narrow) for s in (1, -1)]
        return [back, *sides]
    if style == "ponytail":
        y = u(74, 79)
        knot = blob((0, y, -8.0), (0, y - 5, -12.5), 2.4, 2.6)
        return [knot, blob((0, y - 5, -12.5), (0, y - u(16, 28), -12.0), 2.6, 1.0)]
    if style == "bun":
        y, z = (84.5, -4.0) if rng.random() < 0.5 else (75.0, -10.0)
        r = u(3.0, 4.4)
        return [blob((0, y, z), (0, y + 0.5, z), r, r)]
    return []
