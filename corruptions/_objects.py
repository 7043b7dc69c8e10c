"""Things that stand between a camera and a person: closed meshes of unit size, and what covers them.

Object frame: x right, y up from the base (a bar: from its middle), z towards the viewer; height 1 (a bar: thickness 1,
and length 1 before `stretch`).
Colours are functions of the place on the object, so that any way of drawing it (rays, triangles) shows the same thing.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Faces = NDArray[np.int32]
KINDS = ("box", "bar", "plant", "bag")
_BAR_CM = 1500.0
"""Length of a bar, whatever its thickness: the ends lie outside the picture."""
_LEAVES, _POT = 34, 0.24
_PALETTES: dict[str, tuple[tuple[float, float, float], ...]] = {
    "box": ((0.74, 0.57, 0.38), (0.82, 0.80, 0.76), (0.35, 0.47, 0.60), (0.66, 0.33, 0.27)),
    "bar": ((0.62, 0.63, 0.65), (0.78, 0.16, 0.14), (0.55, 0.38, 0.24), (0.22, 0.25, 0.24)),
    "plant": ((0.30, 0.48, 0.20), (0.22, 0.40, 0.24), (0.42, 0.52, 0.22), (0.34, 0.44, 0.32)),
    "bag": ((0.20, 0.27, 0.42), (0.55, 0.20, 0.22), (0.30, 0.33, 0.22), (0.72, 0.62, 0.42)),
}


def mesh_of(kind: str, form: dict[str, Any]) -> tuple[Array, Faces]:
    """Return (V, 3) vertices of unit size and (F, 3) faces, counter-clockwise seen from outside.

    Args:
        kind: One of `KINDS`.
        form: ``aspect`` (width over height), ``upright`` (of a bar), ``seed`` (of a plant's leaves).
    """
    return _made(kind, float(form["aspect"]), bool(form["upright"]), int(form["seed"]))


@functools.lru_cache(maxsize=8)
def _made(kind: str, aspect: float, upright: bool, seed: int) -> tuple[Array, Faces]:
    if kind == "box":
        return _boxed(aspect)
    if kind == "bar":
        vertices, faces = _lathe([(0.0, -1.0), (0.5, -1.0), (0.5, 1.0), (0.0, 1.0)], 40)
        vertices[:, 1] /= 2
        return (vertices if upright else vertices[:, [1, 0, 2]] * (1, -1, 1)), faces
    if kind == "plant":
        return _plant(aspect, seed)
    return _bag(aspect)


def stretch(kind: str, form: dict[str, Any], size_cm: float) -> Array:
    """Return (3,) centimetres of a unit along each axis of an object of some size."""
    scale = np.full(3, size_cm)
    if kind == "bar":
        scale[1 if form["upright"] else 0] = _BAR_CM
    return scale


def _boxed(aspect: float) -> tuple[Array, Faces]:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (0.0, 1.0) for z in (-0.5, 0.5)])
    faces = [[1, 5, 7], [1, 7, 3], [5, 4, 6], [5, 6, 7], [4, 0, 2], [4, 2, 6], [0, 1, 3], [0, 3, 2]]
    faces += [[3, 7, 6], [3, 6, 2], [0, 4, 5], [0, 5, 1]]
    return corners * (aspect, 1.0, aspect), np.array(faces, np.int32)


def _lathe(profile: list[tuple[float, float]], sides: int) -> tuple[Array, Faces]:
    """Turn a profile of (radius, height), from the lower to the upper end, about the y axis."""
    angle = 2 * np.pi * np.arange(sides) / sides
    rings = [np.stack([r * np.sin(angle), np.full(sides, h), r * np.cos(angle)], axis=1) for r, h in profile]
    faces = []
    for k in range(len(profile) - 1):
        for i in range(sides):
            a, b = k * sides + i, k * sides + (i + 1) % sides
            faces += [[a, b, b + sides], [a, b + sides, a + sides]]
    return np.concatenate(rings), np.array(faces, np.int32)


def _plant(aspect: float, seed: int) -> tuple[Array, Faces]:
    rng = np.random.Generator(np.random.PCG64(seed))
    pot, pot_faces = _lathe([(0.0, 0.0), (0.09, 0.0), (0.125, _POT), (0.11, _POT), (0.0, _POT - 0.03)], 24)
    vertices, faces, count = [pot], [pot_faces], len(pot)
    for k in range(_LEAVES):
        turn = 2.399963 * k  # the golden angle, as leaves do
        lean = (0.15 + 0.85 * (k / _LEAVES)) * rng.uniform(0.8, 1.1)
        length, width = rng.uniform(0.45, 0.8), rng.uniform(0.05, 0.09)
        t = np.linspace(0, 1, 6)[:, None]
        # A stem that rises, leans outwards and droops at its end.
        out = lean * aspect * length * (0.35 * t + 0.65 * t**2)
        rise = _POT - 0.02 + length * (t - 0.35 * lean * t**2)
        side = np.array([np.cos(turn), 0.0, -np.sin(turn)])
        spine = np.hstack([out * np.sin(turn), rise, out * np.cos(turn)])
        half = width * np.sin(np.pi * np.clip(0.08 + 0.92 * t, 0, 1)) ** 0.7
        blade = np.concatenate([spine - half * side, spine + half * side])
        strip = [[i, i + 6, i + 7] for i in range(5)] + [[i, i + 7, i + 1] for i in range(5)]
        vertices.append(blade)
        faces.append(np.array(strip, np.int32) + count)
        count += len(blade)
    whole = np.concatenate(vertices)
    return whole / (1, whole[:, 1].max(), 1), np.concatenate(faces)


def _bag(aspect: float) -> tuple[Array, Faces]:
    # A soft box: a superellipsoid 0.78 high, and a handle over it.
    rows, sides = 15, 32
    lat = np.linspace(-np.pi / 2, np.pi / 2, rows)

    def power(value: Array, exponent: float) -> Array:
        return np.sign(value) * np.abs(value) ** exponent

    vertices, faces = _lathe([(float(np.cos(a)), float(np.sin(a))) for a in lat], sides)
    angle = np.tile(2 * np.pi * np.arange(sides) / sides, rows)
    belt = power(np.repeat(np.cos(lat), sides), 0.45)
    vertices = np.stack(
        [
            aspect / 2 * belt * power(np.sin(angle), 0.5),
            0.39 + 0.39 * power(np.repeat(np.sin(lat), sides), 0.45),
            0.3 * aspect * belt * power(np.cos(angle), 0.5),
        ],
        axis=1,
    )
    arc, tube, thick = 17, 8, 0.022
    bend = np.linspace(0, np.pi, arc)
    around = 2 * np.pi * np.arange(tube) / tube
    reach = 1.0 - 0.74 - thick
    middle = np.stack([0.3 * aspect * np.cos(bend), 0.74 + reach * np.sin(bend), 0 * bend], axis=1)
    outward = np.stack([np.cos(bend), np.sin(bend), 0 * bend], axis=1)
    # The ends of the handle, inside the bag, are closed: their rings have no width.
    middle, outward = (a[[0, *range(arc), -1]] for a in (middle, outward))
    width = thick * np.array([0.0, *np.ones(arc), 0.0])[:, None, None]
    rings = middle[:, None] + width * (
        np.cos(around)[None, :, None] * outward[:, None] + np.sin(around)[None, :, None] * np.array([0.0, 0.0, 1.0])
    )
    strap = []
    for k in range(arc + 1):
        for i in range(tube):
            a, b = k * tube + i, k * tube + (i + 1) % tube
            strap += [[a, a + tube, b], [b, a + tube, b + tube]]
    return (
        np.concatenate([vertices, rings.reshape(-1, 3)]),
        np.concatenate([faces, np.array(strap, np.int32) + len(vertices)]),
    )


def colours_at(kind: str, form: dict[str, Any], places: Array, normals: Array) -> Array:
    """Return (N, 3) display colours in [0, 1] before shading.

    Args:
        kind: One of `KINDS`.
        form: As for `mesh_of`, and ``tint`` (which of four colours).
        places: (N, 3) in the object's frame, in sizes (along a bar, too).
        normals: (N, 3) in the object's frame.
    """
    rng = np.random.Generator(np.random.PCG64(int(form["seed"]) + 1))
    base = np.array(_PALETTES[kind][int(form["tint"]) % 4])
    colour = np.broadcast_to(base, places.shape).copy()
    x, y, z = places.T
    if kind == "box":
        upward = normals[:, 1] > 0.7
        tape = np.abs(np.where(np.abs(normals[:, 0]) > 0.7, z, x)) < 0.05 * form["aspect"]
        colour[tape] = colour[tape] * 0.55 + 0.36
        facing = normals[:, 2] > 0.5
        left, low = rng.uniform(-0.4, 0.05) * form["aspect"], rng.uniform(0.15, 0.5)
        label = facing & (x > left) & (x < left + 0.34 * form["aspect"]) & (y > low) & (y < low + 0.22)
        colour[label] = (0.93, 0.92, 0.88)
        colour[label & (np.sin(y * 170) > 0.2) & (x < left + 0.3 * form["aspect"]) & (x > left + 0.04)] = (
            0.2,
            0.2,
            0.22,
        )
        colour[upward & (np.abs(z) < 0.01)] *= 0.5
        grain = _grain(rng, places, (14, 40, 90))
    elif kind == "bar":
        along = y if form["upright"] else x
        if int(form["tint"]) % 2:
            colour[np.sin(2 * np.pi * along / 3.0) > 0.15] = (0.90, 0.89, 0.86)
        stretched = places / ((1, 12, 1) if form["upright"] else (12, 1, 1))
        grain = _grain(rng, stretched, (5, 12, 26))
    elif kind == "plant":
        pot = (y < _POT) & (np.hypot(x, z) < 0.14)
        colour = colour * (0.75 + 0.5 * y[:, None]) * (1 + 0.25 * np.sin(23 * np.arctan2(x, z)))[:, None]
        colour[pot] = (0.68, 0.38, 0.27)
        colour[pot & (y > _POT * 0.8)] = (0.74, 0.44, 0.32)
        grain = _grain(rng, places, (9, 30, 70))
    else:
        strap = y > 0.775
        pocket = (normals[:, 2] > 0.2) & (y > 0.12) & (y < 0.45) & (np.abs(x) < 0.33 * form["aspect"])
        colour[pocket] *= 0.86
        seam = pocket & ((np.abs(y - 0.44) < 0.012) | (np.abs(np.abs(x) - 0.32 * form["aspect"]) < 0.012))
        colour[seam] = 0.35 * colour[seam] + 0.5
        colour[np.abs(y - 0.6) < 0.012] *= 0.5
        weave = np.sin(260 * x) * np.sin(260 * y)
        colour = np.where(strap[:, None], colour * 0.6, colour * (1 + 0.10 * weave[:, None]))
        grain = _grain(rng, places, (6, 15, 40))
    return np.asarray(np.clip(colour * (1 + 0.14 * grain[:, None]), 0, 1))


def _grain(rng: np.random.Generator, places: Array, frequencies: tuple[float, ...]) -> Array:
    """Return a smooth random field over space, about in [-1, 1]."""
    total = np.zeros(len(places))
    for k, frequency in enumerate(frequencies):
        for _ in range(3):
            direction = rng.standard_normal(3)
            phase = places @ (frequency * direction / np.linalg.norm(direction)) + rng.uniform(0, 2 * np.pi)
            total += np.sin(phase + 1.5 * np.sin(0.37 * phase)) / (k + 1)
    return total / 4
