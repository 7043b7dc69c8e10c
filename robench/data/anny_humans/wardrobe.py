"""Clothes that follow the body: each garment is a margin on the neutral body (cm inside its edge) and a thickness.

Margins are functions of the neutral body only, so a sleeve ends at the same place on every body in every pose.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.data.anny_humans.body import Template

Values = NDArray[np.float32]
_ARM_CM, _LEG_CM = 30.0, 44.0  # length of one arm or leg segment of the neutral body
_OUT = -99.0


@dataclass(frozen=True)
class Garment:
    """A layer over the body.

    Attributes:
        kind: What it is; also the name of its material.
        margin: (V,) cm from the garment's edge, positive where it covers.
        thickness: (V,) cm over the skin where it covers fully.
        material: Index into the subject's materials.
    """

    kind: str
    margin: Values
    thickness: Values
    material: int

    @functools.cached_property
    def offset(self) -> Values:
        """(V,) cm over the skin, eased to zero at the edge so that the cloth has a hem and not a cliff."""
        t = np.clip(self.margin / 1.2 + 0.5, 0.0, 1.0)
        return np.asarray(self.thickness * t * t * (3.0 - 2.0 * t), np.float32)


def _limbs(t: Template) -> tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]]:
    arm = t.part["arm"] + t.part["hand"] > 0.5
    leg = t.part["leg"] + t.part["foot"] > 0.5
    head = t.part["head"] + t.part["neck"] > 0.6
    return arm, leg, head


def _collar(t: Template, depth: float) -> Values:
    """Cm below the neck line; `depth` lowers its front into a V."""
    x, y, z = t.rest.T
    line = 57.0 - depth * np.clip(1.0 - np.abs(x) / 9.0, 0.0, 1.0) * (z > 0) + 0.12 * np.clip(-z, 0.0, 8.0)
    return np.asarray(line - y, np.float32)


def top(t: Template, *, hem: float, sleeve: float, collar: float, tight: float, flare: float, material: int) -> Garment:
    """A shirt, pullover, tank top or the bodice of a dress.

    Args:
        t: The neutral body.
        hem: Height of the hem over the hip joints, cm.
        sleeve: End of the sleeves along the arm (0 shoulder, 1 elbow, 2 wrist).
        collar: How deep the neck line dips in front, cm.
        tight: Thickness at the chest, cm.
        flare: Extra thickness at the hem and the sleeve's end, cm.
        material: Index of the cloth.
    """
    arm, _, head = _limbs(t)
    y = t.rest[:, 1]
    margin = np.where(arm, (sleeve - t.arm) * _ARM_CM, np.minimum(y - hem, _collar(t, collar)))
    margin = np.where(head | (t.part["head"] > 0.1), _OUT, margin)
    if sleeve < 0.15:  # no sleeves: cut around the shoulder
        hole = 15.0 - np.abs(t.rest[:, 0]) + np.clip(44.0 - y, 0.0, 30.0)
        margin = np.where(arm, np.minimum(hole, -2.0), np.minimum(margin, hole))
    down = np.clip((48.0 - y) / (48.0 - hem), 0.0, 1.0)
    along = np.clip(t.arm / max(sleeve, 0.3), 0.0, 1.0)
    thickness = tight + flare * np.where(arm, 0.6 * along, down**1.5)
    return Garment("top", margin.astype(np.float32), thickness.astype(np.float32), material)


def jacket(t: Template, *, hem: float, opening: float, tight: float, flare: float, material: int) -> Garment:
    """A jacket with long sleeves; `opening` cm of the front stay open on each side of the middle (0: closed)."""
    base = top(t, hem=hem, sleeve=1.95, collar=2.0, tight=tight, flare=flare, material=material)
    x, y, z = t.rest.T
    margin = base.margin
    if opening > 0:
        width = opening + 0.05 * np.clip(45.0 - y, 0.0, 60.0)
        front = (z > -2.0) & (t.part["arm"] < 0.5)
        margin = np.where(front, np.minimum(margin, np.abs(x) - width), margin)
    return Garment("jacket", margin.astype(np.float32), base.thickness, material)


def trousers(t: Template, *, cuff: float, waist: float, tight: float, flare: float, material: int) -> Garment:
    """Trousers, shorts or leggings.

    Args:
        t: The neutral body.
        cuff: Where they end along the leg (0 hip, 1 knee, 2 ankle).
        waist: Height of the waist over the hip joints, cm.
        tight: Thickness at the thigh, cm.
        flare: Extra thickness at the cuff, cm.
        material: Index of the cloth.
    """
    arm, leg, _ = _limbs(t)
    y = t.rest[:, 1]
    margin = np.where(leg, (cuff - t.leg) * _LEG_CM, waist - y)
    margin = np.where(arm | (t.part["foot"] > 0.6), _OUT, margin)
    along = np.clip(t.leg / max(cuff, 0.4), 0.0, 1.0)
    return Garment("trousers", margin.astype(np.float32), (tight + flare * along**1.3).astype(np.float32), material)


def shoes(t: Template, *, shaft: float, sole: float, material: int) -> Garment:
    """Shoes or boots: `shaft` is where they end along the leg (2 ankle, 1.3 high boots)."""
    arm, _, _ = _limbs(t)
    margin = np.where(arm | (t.part["torso"] > 0.3), _OUT, (t.leg - shaft) * _LEG_CM)
    margin = np.where(t.part["foot"] > 0.7, np.maximum(margin, 3.0), margin)
    low = np.clip((-93.0 - t.rest[:, 1]) / 4.0, 0.0, 1.0)
    return Garment("shoes", margin.astype(np.float32), (0.7 + sole * low).astype(np.float32), material)


def hair_cap(t: Template, *, thickness: float, hairline: float, sideburn: float, material: int) -> Garment:
    """Hair that lies on the skull, from a crop to an afro; `hairline` raises (cm) or lowers the front edge."""
    x, y, z = t.rest.T
    front = y - (80.0 + hairline) + 0.10 * np.abs(x)  # over the forehead
    side = np.minimum(4.0 + sideburn - z, y - (66.0 - 0.25 * z - sideburn))  # behind the temples, above the nape
    margin = np.maximum(np.where(z > 4.0 + sideburn, front, -9.0), np.minimum(side, 12.0))
    margin = np.where((z <= 4.0 + sideburn) & (y > 78), np.maximum(margin, y - 76.0), margin)
    ear = (np.abs(x) > 7.0) & (y < 75.5) & (z > 0.5)
    margin = np.where(ear, _OUT, margin)
    margin = np.where(t.part["head"] + t.part["neck"] > 0.4, margin, _OUT)
    top_heavy = 0.75 + 0.25 * np.clip((y - 70.0) / 12.0, 0.0, 1.0)
    return Garment("hair", margin.astype(np.float32), (thickness * top_heavy).astype(np.float32), material)


def wrinkles(t: Template, amplitude: float, rng: np.random.Generator) -> Values:
    """Folds of loose cloth: a few octaves of tilted waves over the neutral body, at most `amplitude` cm."""
    total = np.zeros(len(t.rest))
    for wavelength, weight in ((22.0, 0.45), (11.0, 0.35), (6.0, 0.2)):
        for _ in range(3):
            direction = rng.normal(size=3) * (0.6, 1.0, 0.6)
            direction /= np.linalg.norm(direction) + 1e-9
            bend = 0.4 * np.sin(t.rest @ rng.normal(size=3) / 15.0 + rng.uniform(0, 6.3))
            phase = rng.uniform(0, 6.3)
            total += weight / 3.0 * np.sin(t.rest @ direction * (2 * np.pi / wavelength) + phase + 2.0 * bend)
    return np.asarray(amplitude * total, np.float32)


def finished(t: Template, garment: Garment, folds: Values) -> Garment:
    """Return the garment with smooth edges and, if it is cloth, with its folds (deeper the looser it is)."""
    margin = t.smoothed(np.clip(garment.margin, -6.0, 6.0))
    thickness = garment.thickness
    if garment.kind in ("top", "trousers", "jacket"):
        thickness = np.maximum(thickness + np.minimum(thickness, 1.2) * folds, 0.2).astype(np.float32)
    return Garment(garment.kind, margin, thickness, garment.material)
