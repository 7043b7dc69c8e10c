"""Colours: skin of all tones with a face on it, and cloth that is plain, striped, checked, printed or denim."""

from __future__ import annotations

import colorsys
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.data.anny_humans.body import Template

Colours = NDArray[np.float32]
PATTERNS = ("plain", "stripes", "checks", "print", "denim")
# Anchors from very light to very dark; a subject's tone lies anywhere between two neighbours.
_SKIN = np.array(
    [
        *[(250, 220, 200), (238, 196, 165), (222, 170, 130), (196, 138, 98)],
        *[(158, 104, 70), (116, 74, 50), (78, 50, 38), (52, 34, 28)],
    ],
    np.float32,
)
_HAIR = np.array(
    [(24, 20, 18), (48, 32, 22), (84, 54, 32), (132, 92, 54), (196, 158, 104), (150, 148, 146), (120, 54, 30)],
    np.float32,
)
_EYES = np.array([(60, 38, 24), (88, 62, 36), (70, 96, 80), (78, 112, 140)], np.float32)


@dataclass(frozen=True)
class Material:
    """A cloth: its pattern, two colours (sRGB 0..255), the size of a repeat in cm, a turn in radians and a seed."""

    pattern: str
    base: tuple[float, float, float]
    second: tuple[float, float, float]
    repeat: float
    turn: float
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def draw_colour(rng: np.random.Generator) -> tuple[float, float, float]:
    """Draw a plausible cloth colour: half of them greys, whites, blacks, navy and beige, half of them saturated."""
    if rng.random() < 0.45:
        v = float(rng.choice([0.08, 0.16, 0.3, 0.5, 0.72, 0.92])) + rng.uniform(-0.04, 0.04)
        tint = rng.uniform(0.0, 0.12)
        rgb = colorsys.hsv_to_rgb(rng.choice([0.09, 0.6, 0.62]), tint, min(max(v, 0.04), 0.97))
    else:
        rgb = colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.35, 0.9), rng.uniform(0.25, 0.92))
    return (rgb[0] * 255.0, rgb[1] * 255.0, rgb[2] * 255.0)


def draw_material(rng: np.random.Generator, pattern: str | None = None) -> Material:
    """Draw a cloth; `pattern` fixes its pattern."""
    chosen = pattern or str(rng.choice(PATTERNS[:4], p=[0.5, 0.2, 0.14, 0.16]))
    base, second = draw_colour(rng), draw_colour(rng)
    if chosen == "denim":
        depth = rng.uniform(0.35, 1.0)
        base = (60.0 * depth + 10, 84.0 * depth + 12, 130.0 * depth + 16)
    return Material(
        chosen,
        tuple(round(c, 1) for c in base),  # type: ignore[arg-type]
        tuple(round(c, 1) for c in second),  # type: ignore[arg-type]
        round(float(rng.uniform(3.0, 11.0)), 2),
        float(rng.choice([0.0, 0.0, np.pi / 2, 0.6])),
        int(rng.integers(2**31)),
    )


def _hash01(cell: NDArray[np.int64], seed: int) -> NDArray[np.float64]:
    """Return a repeatable uniform number for each (N, D) integer cell."""
    h = np.full(len(cell), seed & 0xFFFFFFFF, np.uint64)
    for axis in range(cell.shape[1]):
        h ^= (cell[:, axis].astype(np.int64) & 0xFFFFFFFF).astype(np.uint64)
        h = (h * np.uint64(0x9E3779B97F4A7C15)) & np.uint64(0xFFFFFFFFFFFFFFFF)
        h ^= h >> np.uint64(29)
    return (h >> np.uint64(11)).astype(np.float64) / 2.0**53


def cloth(material: Material, sheet: NDArray[np.float64]) -> Colours:
    """Colour points of a cloth.

    Args:
        material: The cloth.
        sheet: (N, 3) coordinates in cm on the cloth: across, up, and depth (which only tells front from back).

    Returns:
        (N, 3) float32 sRGB in [0, 255].
    """
    c, s = np.cos(material.turn), np.sin(material.turn)
    u = c * sheet[:, 0] + s * sheet[:, 1]
    v = -s * sheet[:, 0] + c * sheet[:, 1]
    base, second = np.array(material.base), np.array(material.second)
    r = material.repeat
    if material.pattern == "stripes":
        mix = (np.mod(v / r, 1.0) < 0.45).astype(float)
    elif material.pattern == "checks":
        mix = 0.5 * (np.mod(u / r, 1.0) < 0.5) + 0.5 * (np.mod(v / r, 1.0) < 0.5)
    elif material.pattern == "print":
        cell = np.stack([np.floor(u / r), np.floor(v / r), np.sign(sheet[:, 2])], 1).astype(np.int64)
        du = np.mod(u / r, 1.0) - 0.3 - 0.4 * _hash01(cell, material.seed)
        dv = np.mod(v / r, 1.0) - 0.3 - 0.4 * _hash01(cell, material.seed + 1)
        size = 0.12 + 0.2 * _hash01(cell, material.seed + 2)
        mix = (np.hypot(du, dv) < size).astype(float)
    elif material.pattern == "denim":
        mix = 0.10 * (np.mod((u + v) / 1.4, 1.0) < 0.5) + 0.12 * np.exp(-((sheet[:, 0] ** 2) / 200.0))
        second = np.array([170.0, 185.0, 205.0])
    else:
        mix = np.zeros(len(sheet))
    return np.asarray(base + (second - base) * mix[:, None], np.float32)


def skin_tone(t: float) -> Colours:
    """Return the skin colour at `t` in [0, 1], from very light to very dark."""
    x = np.clip(t, 0.0, 1.0) * (len(_SKIN) - 1)
    i = min(int(x), len(_SKIN) - 2)
    return np.asarray(_SKIN[i] + (x - i) * (_SKIN[i + 1] - _SKIN[i]), np.float32)


def draw_hair_colour(age: float, rng: np.random.Generator) -> Colours:
    """Draw a hair colour; grey grows likelier with age (0..1)."""
    grey = rng.random() < np.clip((age - 0.75) * 3.0, 0.02, 0.8)
    base = _HAIR[5] * rng.uniform(0.8, 1.5) if grey else _HAIR[rng.choice([0, 0, 1, 1, 2, 3, 4, 6])]
    return np.asarray(np.clip(base * rng.uniform(0.85, 1.15), 8, 235), np.float32)


def draw_eye_colour(rng: np.random.Generator) -> Colours:
    """Draw an iris colour."""
    return np.asarray(_EYES[rng.integers(len(_EYES))], np.float32)


def skin(t: Template, tone: Colours, hair: Colours, iris: Colours, *, lipstick: float, brows: bool) -> Colours:
    """Paint the bare body: tone, lips, cheeks, brows, eyes, darker elbows and knees.

    Args:
        t: The neutral body.
        tone: (3,) skin colour.
        hair: (3,) colour of the brows.
        iris: (3,) colour of the eyes.
        lipstick: Redness of the lips in [0, 1].
        brows: Whether there are any.

    Returns:
        (V, 3) float32 sRGB in [0, 255].
    """
    x, y, z = t.rest.T
    face = (t.part["head"] > 0.5) & (z > 5.0)
    out = np.tile(tone, (len(t.rest), 1)).astype(np.float32)

    def tint(weight: NDArray[Any], colour: NDArray[Any]) -> None:
        w = np.clip(weight, 0.0, 1.0)[:, None]
        out[:] = out * (1.0 - w) + np.asarray(colour, np.float32) * w

    cheeks = np.exp(-(((np.abs(x) - 4.6) / 2.2) ** 2 + ((y - 70.0) / 2.2) ** 2))
    tint(0.25 * cheeks * face, tone * (1.0, 0.75, 0.72))
    lips = np.exp(-(((np.abs(x) / 2.7) ** 4) + ((y - 66.2) / 1.1) ** 4))
    tint(lips * face * (0.55 + 0.4 * lipstick), tone * (0.86, 0.52 - 0.2 * lipstick, 0.52 - 0.15 * lipstick))
    if brows:
        brow = np.exp(-(((np.abs(x) - 3.6) / 2.2) ** 4) - ((y - 75.6 - 0.1 * (np.abs(x) - 3.6)) / 0.75) ** 4)
        tint(0.9 * brow * face, hair * 0.8)
    bend = np.exp(-(((t.arm - 1.0) / 0.1) ** 2)) + np.exp(-(((t.leg - 1.0) / 0.08) ** 2)) * (z > 0)
    tint(0.22 * np.clip(bend, 0, 1), tone * 0.72)
    ball = t.part["eyeball"] > 0.5
    out[ball] = (206, 198, 192)
    gap = np.hypot(np.abs(x) - 3.3, y - 73.4)
    out[ball & (gap < 0.95) & (z > 10)] = iris
    out[ball & (gap < 0.5) & (z > 10)] = (12, 10, 10)
    lashes = face & ~ball & (np.abs(y - 74.2) < 0.6) & (np.abs(np.abs(x) - 3.3) < 1.7)
    tint(0.6 * lashes, hair * 0.5)
    return out
