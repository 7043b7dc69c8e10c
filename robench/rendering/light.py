"""Light: order-2 spherical-harmonic environments and lamps, and Lambertian shading in linear light.

Convention: ``shading`` is irradiance divided by pi, so a white environment of radiance 1 from everywhere shows a
surface in its own colour. Colours are decoded from sRGB, multiplied by the shading, clipped to [0, 1] (no tone curve)
and encoded as sRGB again (IEC 61966-2-1).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image

Float = NDArray[np.float32]
Frame = Literal["view", "world"]
# Clamped-cosine transfer per band, over pi (Ramamoorthi and Hanrahan 2001, section 3).
_BAND = np.array([1.0] + [2.0 / 3.0] * 3 + [0.25] * 5, np.float32)


def srgb_to_linear(colour: NDArray[Any]) -> Float:
    """Decode sRGB in [0, 255] (any shape) to linear light in [0, 1], float32."""
    c = np.asarray(colour, np.float32) / np.float32(255.0)
    return np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4).astype(np.float32)


def linear_to_srgb(light: NDArray[Any]) -> Image:
    """Clip linear light to [0, 1] and encode it as sRGB, rounded to uint8."""
    c = np.clip(np.asarray(light, np.float32), 0.0, 1.0)
    encoded = np.where(c <= 0.0031308, c * 12.92, 1.055 * np.maximum(c, 1e-8) ** (1.0 / 2.4) - 0.055)
    return np.rint(encoded * 255.0).astype(np.uint8)


def sh_basis(directions: NDArray[Any]) -> Float:
    """Evaluate the nine real orthonormal spherical harmonics of order 2.

    Args:
        directions: (..., 3) unit vectors.

    Returns:
        (..., 9) float32 in the order 00, 1-1, 10, 11, 2-2, 2-1, 20, 21, 22 with y, z, x as the band-1 axes.
    """
    d = np.asarray(directions, np.float32)
    x, y, z = d[..., 0], d[..., 1], d[..., 2]
    c0, c1 = 0.5 / np.sqrt(np.pi), np.sqrt(3.0 / (4.0 * np.pi))
    c2, c3, c4 = np.sqrt(15.0 / (4.0 * np.pi)), np.sqrt(5.0 / (16.0 * np.pi)), np.sqrt(15.0 / (16.0 * np.pi))
    bands = [
        np.full_like(x, c0),
        *(c1 * y, c1 * z, c1 * x),
        *(c2 * x * y, c2 * y * z, c3 * (3.0 * z * z - 1.0), c2 * x * z, c4 * (x * x - y * y)),
    ]
    basis: Float = np.stack(bands, axis=-1).astype(np.float32)
    return basis


def cosine_transfer(normals: NDArray[Any]) -> Float:
    """Return (..., 9) float32: what an unoccluded surface of (..., 3) unit normals takes from each coefficient."""
    return sh_basis(normals) * _BAND


@dataclass(frozen=True, eq=False)
class SphericalHarmonics:
    """An environment's radiance in order-2 spherical harmonics.

    Attributes:
        coefficients: (9, 3) linear RGB, in the order of `sh_basis`.
        frame: The frame its directions are in.
    """

    coefficients: NDArray[np.float64]
    frame: Frame = "view"

    @classmethod
    def uniform(cls, radiance: float = 1.0) -> SphericalHarmonics:
        """Return the environment that is equally bright everywhere."""
        coefficients = np.zeros((9, 3))
        coefficients[0] = radiance * np.sqrt(4.0 * np.pi)
        return cls(coefficients)

    @classmethod
    def random(cls, rng: np.random.Generator, frame: Frame = "view") -> SphericalHarmonics:
        """Draw a plausible environment: a grey base, a brighter sky, one to three tinted sources above the horizon.

        The mean shading of surfaces that face the viewer is drawn from [0.7, 1.0], so pictures are well exposed.
        """
        coefficients: NDArray[np.float64] = SphericalHarmonics.uniform(rng.uniform(0.25, 0.5)).coefficients
        tint = _tint(rng, 0.12)
        coefficients[1] += rng.uniform(0.1, 0.4) * tint
        for _ in range(int(rng.integers(1, 4))):
            azimuth, height = rng.uniform(-np.pi, np.pi), rng.uniform(0.1, 1.2)
            towards = [np.sin(azimuth) * np.cos(height), np.sin(height), np.cos(azimuth) * np.cos(height)]
            strength = rng.uniform(0.4, 1.6) * _tint(rng, 0.15)
            coefficients += sh_basis(np.array(towards))[:, None] * strength
        light: SphericalHarmonics = cls(coefficients, frame)
        normals = _sphere(256)
        facing = shading(light, normals[normals[:, 2] > 0]).mean()
        return cls(np.asarray(coefficients, np.float64) * (rng.uniform(0.7, 1.0) / float(facing)), frame)

    def rotated(self, matrix: NDArray[Any], frame: Frame) -> SphericalHarmonics:
        """Return the environment turned by a (3, 3) rotation (exact: each band is closed under rotation)."""
        directions = _sphere(64)
        # Radiance seen towards d after turning is what was seen towards R^-1 d before.
        before = sh_basis(directions @ np.asarray(matrix)).astype(np.float64) @ self.coefficients
        fitted = np.linalg.lstsq(sh_basis(directions).astype(np.float64), before, rcond=None)[0]
        return SphericalHarmonics(np.asarray(fitted, np.float64), frame)


@dataclass(frozen=True)
class Lamp:
    """One source.

    Attributes:
        towards: Direction to the lamp (any length), or its position in centimetres if `positional`.
        colour: Linear RGB; the shading of a surface that faces the lamp (at `reach` centimetres if positional).
        positional: True for a point source with inverse-square fall-off.
        reach: Distance in centimetres at which a positional lamp gives `colour`.
        softness: Angular radius in degrees as seen from the person; softens cast shadows.
    """

    towards: tuple[float, float, float]
    colour: tuple[float, float, float] = (1.0, 1.0, 1.0)
    positional: bool = False
    reach: float = 200.0
    softness: float = 2.0

    def reaches(self, positions: Float | None, like: Float) -> tuple[Float, Float]:
        """Return unit directions to the lamp, shaped as `like`, and the fall-off (..., 1) at those positions."""
        if not self.positional:
            unit = np.asarray(self.towards, np.float32) / np.float32(np.linalg.norm(self.towards))
            return np.broadcast_to(unit, like.shape), np.ones((*like.shape[:-1], 1), np.float32)
        if positions is None:
            raise ValueError("a positional lamp needs the positions of the surface")
        away = np.asarray(self.towards, np.float32) - positions
        distance = np.maximum(np.linalg.norm(away, axis=-1, keepdims=True), np.float32(1e-3))
        return away / distance, np.square(np.float32(self.reach) / distance)


@dataclass(frozen=True)
class Lamps:
    """Lamps over an even ambient light.

    Attributes:
        lamps: The sources; the first is the key lamp.
        ambient: Linear RGB shading that everything gets.
        frame: The frame that directions and positions are in.
    """

    lamps: Sequence[Lamp] = field(default_factory=lambda: (Lamp((0.4, 0.7, 1.0), (0.75, 0.75, 0.75)),))
    ambient: tuple[float, float, float] = (0.3, 0.3, 0.3)
    frame: Frame = "view"

    @classmethod
    def random(cls, rng: np.random.Generator, frame: Frame = "view") -> Lamps:
        """Draw a key lamp from above and in front, a weaker fill lamp from the other side, and sometimes a rim lamp."""
        side = float(rng.choice([-1.0, 1.0]))

        def lamp(azimuth: float, height: float, strength: float) -> Lamp:
            a, h = np.radians(azimuth), np.radians(height)
            towards = (float(np.sin(a) * np.cos(h)), float(np.sin(h)), float(np.cos(a) * np.cos(h)))
            r, g, b = (strength * _tint(rng, 0.1)).tolist()
            return Lamp(towards, (r, g, b), softness=float(rng.uniform(1.0, 8.0)))

        key = lamp(side * rng.uniform(10, 60), rng.uniform(20, 60), rng.uniform(0.6, 0.9))
        fill = lamp(-side * rng.uniform(20, 80), rng.uniform(0, 30), rng.uniform(0.1, 0.35))
        found = [key, fill]
        if rng.random() < 0.5:
            found.append(lamp(side * rng.uniform(130, 180), rng.uniform(20, 50), rng.uniform(0.2, 0.6)))
        r, g, b = (rng.uniform(0.15, 0.3) * _tint(rng, 0.08)).tolist()
        return cls(tuple(found), (r, g, b), frame)

    def rotated(self, matrix: NDArray[Any], frame: Frame, shift: NDArray[Any] | None = None) -> Lamps:
        """Return the lamps turned by a (3, 3) rotation; positional ones are then moved by `shift`."""
        turn = np.asarray(matrix, np.float64)

        def moved(lamp: Lamp) -> Lamp:
            v = turn @ np.asarray(lamp.towards)
            if lamp.positional and shift is not None:
                v = v + shift
            return replace(lamp, towards=(float(v[0]), float(v[1]), float(v[2])))

        return Lamps(tuple(moved(lamp) for lamp in self.lamps), self.ambient, frame)


Light = SphericalHarmonics | Lamps


def in_frame(light: Light, frame: Frame, view_from_world: NDArray[np.float64]) -> Light:
    """Return the light in the asked frame, through a camera's (4, 4) rigid transform."""
    if light.frame == frame:
        return light
    turn, shift = view_from_world[:3, :3], view_from_world[:3, 3]
    if frame == "world":
        turn, shift = turn.T, -turn.T @ shift
    if isinstance(light, SphericalHarmonics):
        return light.rotated(turn, frame)
    return light.rotated(turn, frame, shift)


def shading(
    light: Light,
    normals: NDArray[Any],
    positions: NDArray[Any] | None = None,
    visible: Sequence[NDArray[Any] | None] | None = None,
    openness: NDArray[Any] | None = None,
) -> Float:
    """Return irradiance over pi at surface points.

    Args:
        light: In the frame of the normals.
        normals: (..., 3) unit normals.
        positions: (..., 3) centimetres; only positional lamps need them.
        visible: For each lamp its visibility (...) in [0, 1], or None for all of it.
        openness: (...) share of ambient light that arrives, in [0, 1] (ambient occlusion), or None for all of it.

    Returns:
        (..., 3) float32, linear RGB, >= 0.

    Raises:
        ValueError: If a positional lamp is given no positions.
    """
    n = np.asarray(normals, np.float32)
    scale = np.float32(1.0) if openness is None else np.asarray(openness, np.float32)[..., None]
    if isinstance(light, SphericalHarmonics):
        value = cosine_transfer(n) @ light.coefficients.astype(np.float32) * scale
        return np.asarray(np.maximum(value, 0.0), np.float32)
    where = None if positions is None else np.asarray(positions, np.float32)
    total = np.broadcast_to(np.asarray(light.ambient, np.float32) * scale, n.shape).copy()
    for index, lamp in enumerate(light.lamps):
        towards, fall = lamp.reaches(where, n)
        lit = np.maximum((n * towards).sum(-1, keepdims=True), 0.0) * fall
        seen = None if visible is None else visible[index]
        if seen is not None:
            lit = lit * np.asarray(seen, np.float32)[..., None]
        total += lit * np.asarray(lamp.colour, np.float32)
    return total


def shade(
    albedo: Image,
    normals: NDArray[Any],
    light: Light,
    positions: NDArray[Any] | None = None,
    visible: Sequence[NDArray[Any] | None] | None = None,
    openness: NDArray[Any] | None = None,
) -> Image:
    """Light sRGB colours (..., 3) uint8 by unit normals in the light's frame; return sRGB uint8. See `shading`."""
    return linear_to_srgb(srgb_to_linear(albedo) * shading(light, normals, positions, visible, openness))


def _tint(rng: np.random.Generator, spread: float) -> NDArray[np.float64]:
    """A warm or cold white of mean 1: red and blue move against each other, as daylight and bulbs do."""
    warmth, green = rng.uniform(-spread, spread), rng.uniform(-spread, spread) / 4.0
    colour = np.array([1.0 + warmth, 1.0 + green, 1.0 - warmth])
    return np.asarray(colour / colour.mean())


def _sphere(count: int) -> NDArray[np.float64]:
    """Directions spread evenly over the sphere (Fibonacci lattice)."""
    i = np.arange(count) + 0.5
    z, angle = 1.0 - 2.0 * i / count, np.pi * (1.0 + np.sqrt(5.0)) * i
    r = np.sqrt(1.0 - z * z)
    return np.stack([r * np.cos(angle), r * np.sin(angle), z], axis=1)
