"""One dressed person: parameters drawn from a seed, and the watertight mesh that they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from robench import rng as seeds
from robench.contracts import Mesh
from robench.data.anny_humans import paint, shapes, wardrobe
from robench.data.anny_humans.body import Body, Template, pose_body, template
from robench.data.anny_humans.implicit import Field, Nearest, Points, nearest, polygonise
from robench.data.anny_humans.poses import POSES, Pose, draw_pose

VERSION = "1"
"""Goes up whenever the same seed gives another person."""
VOXEL_CM = 0.7
BOTTOMS = ("slim", "regular", "wide", "shorts", "leggings", "skirt", "dress")
TOPS = ("t-shirt", "long_sleeve", "tank", "pullover")


@dataclass(frozen=True)
class Person:
    """Everything that was drawn for a subject; replays the same mesh. JSON-able through `to_json`."""

    subject_id: str
    seed: int
    shape: Mapping[str, float]
    family: str
    pose: Pose
    top: str
    bottom: str
    jacket: bool
    boots: bool
    hair: str
    tone: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {**asdict(self), "pose": {k: list(v) for k, v in sorted(self.pose.items())}, "version": VERSION}


def draw_person(subject_id: str, seed: int) -> Person:
    """Draw a subject's parameters.

    Args:
        subject_id: Its stable id; with the seed it decides everything.
        seed: The data set's seed.
    """
    rng = seeds.generator(seed, subject_id, f"person@{VERSION}")
    female = rng.random() < 0.5
    # Children, adults, the old.
    ages = [rng.uniform(0.40, 0.55), rng.uniform(0.58, 0.8), rng.uniform(0.8, 1.0)]
    age = float(rng.choice(ages, p=[0.12, 0.63, 0.25]))
    shape = {
        "gender": float(rng.uniform(0.75, 1.0) if female else rng.uniform(0.0, 0.25)),
        "age": age,
        "muscle": float(rng.uniform(0.3, 0.75)),
        "weight": float(np.clip(rng.normal(0.5, 0.17), 0.15, 0.95)),
        "height": float(rng.uniform(0.3, 0.62)),
        "proportions": float(rng.uniform(0.3, 0.8)),
    }
    family = str(rng.choice(POSES, p=[0.2, 0.14, 0.16, 0.07, 0.09, 0.09, 0.1, 0.06, 0.09]))
    weights = [0.15, 0.2, 0.12, 0.13, 0.1, 0.15, 0.15] if female else [0.25, 0.38, 0.18, 0.15, 0.02, 0.01, 0.01]
    bottom = str(rng.choice(BOTTOMS, p=weights))
    styles = [0.02, 0.03, 0.1, 0.1, 0.2, 0.25, 0.15, 0.1, 0.05]
    if not female:
        styles = [0.08, 0.2, 0.36, 0.22, 0.02, 0.02, 0.01, 0.02, 0.07]
    return Person(
        subject_id=subject_id,
        seed=seed,
        shape={k: round(v, 4) for k, v in shape.items()},
        family=family,
        pose=draw_pose(family, rng),
        top=str(rng.choice(TOPS)),
        bottom=bottom,
        jacket=bool(rng.random() < 0.3),
        boots=bool(rng.random() < 0.2),
        hair=str(rng.choice(shapes.HAIR_STYLES, p=styles)),
        tone=round(float(rng.random()), 4),
    )


@dataclass(frozen=True)
class Outfit:
    """What a person wears: garments from the inside out, an optional skirt, loose hair, and their materials."""

    garments: list[wardrobe.Garment]
    skirt: shapes.Skirt | None
    blobs: list[shapes.Blob]
    materials: list[paint.Material]
    hair_colour: paint.Colours


def dress(person: Person, body: Body, t: Template) -> Outfit:
    """Put clothes, shoes and hair on a posed body."""
    rng = seeds.generator(person.seed, person.subject_id, f"outfit@{VERSION}")
    u = rng.uniform
    materials = [paint.draw_material(rng)]  # 0 top
    denim = person.bottom in ("slim", "regular", "shorts") and rng.random() < 0.45
    pattern = "denim" if denim else None if rng.random() < 0.3 else "plain"
    materials.append(paint.draw_material(rng, pattern))  # 1 bottom
    materials.append(paint.draw_material(rng, None if rng.random() < 0.25 else "plain"))  # 2 jacket
    materials.append(paint.draw_material(rng, "plain"))  # 3 shoes
    garments: list[wardrobe.Garment] = []
    tucked = rng.random() < 0.35
    waist = u(8.0, 15.0)

    cuff, tight, flare = {
        "slim": (u(1.85, 2.0), 0.5, u(0.2, 0.6)),
        "regular": (u(1.9, 2.02), u(0.8, 1.2), u(0.6, 1.4)),
        "wide": (u(1.9, 2.02), u(1.2, 1.8), u(2.5, 4.5)),
        "shorts": (u(0.45, 1.0), u(0.8, 1.3), u(0.8, 2.4)),
        "leggings": (u(1.75, 2.0), 0.25, 0.05),
        "skirt": (u(0.3, 2.0), 0.25, 0.05),
        "dress": (0.25, 0.25, 0.05),
    }[person.bottom]
    bottom = wardrobe.trousers(
        t, cuff=cuff, waist=waist, tight=tight, flare=flare, material=3 if person.bottom in ("skirt", "dress") else 1
    )
    sleeve, collar, snug, bell = {
        "t-shirt": (u(0.4, 0.8), u(0, 5), u(0.6, 1.3), u(0.3, 2.0)),
        "long_sleeve": (u(1.85, 1.98), u(0, 6), u(0.5, 1.2), u(0.2, 1.6)),
        "tank": (0.0, u(5, 10), u(0.4, 0.8), u(0.2, 1.2)),
        "pullover": (u(1.85, 1.98), u(-1, 2), u(1.3, 2.2), u(0.4, 2.2)),
    }[person.top]
    one_piece = person.bottom == "dress"
    bodice = wardrobe.top(
        t,
        hem=u(2.0, 8.0) if one_piece or person.bottom == "skirt" else u(-3.0, 5.0),
        sleeve=sleeve,
        collar=collar,
        tight=0.6 if one_piece else snug,
        flare=0.3 if one_piece else bell,
        material=0,
    )
    garments += [bodice, bottom] if tucked else [bottom, bodice]
    skirt = None
    if person.bottom in ("skirt", "dress"):
        height = float(body.vertices[:, 1].max()) if person.family != "sitting" else 165.0
        skirt = shapes.drape(
            body,
            t,
            waist=waist,
            length=height * u(0.2, 0.52),
            flare=u(0.06, 0.32),
            ease=1.0,
            folds=int(rng.integers(5, 11)),
            depth=u(0.2, 1.6),
            phase=u(0, 6.3),
            material=0 if one_piece else 1,
        )
    if person.jacket:
        if skirt is None and rng.random() < 0.4:  # a coat: its lower part hangs free too
            skirt = shapes.drape(
                body,
                t,
                waist=u(6.0, 12.0),
                length=u(20.0, 55.0),
                flare=u(0.02, 0.1),
                ease=2.4,
                folds=int(rng.integers(3, 6)),
                depth=u(0.2, 0.7),
                phase=u(0, 6.3),
                material=2,
            )
        garments.append(
            wardrobe.jacket(
                t,
                hem=u(-3.0, 4.0),
                opening=u(2.0, 6.0) if rng.random() < 0.6 else 0.0,
                tight=u(1.8, 2.8),
                flare=u(0.3, 1.6),
                material=2,
            )
        )
    shaft = u(1.25, 1.8) if person.boots else u(1.9, 2.0)
    garments.append(wardrobe.shoes(t, shaft=shaft, sole=u(0.6, 2.2), material=3))
    hair_colour = paint.draw_hair_colour(person.shape["age"], rng)
    if person.hair != "bald":
        thick = {"buzz": 0.35, "short": u(1.0, 2.4), "side_part": u(1.4, 2.6), "afro": u(4.0, 8.0)}
        depth = thick.get(person.hair, u(0.9, 1.6))
        garments.append(
            wardrobe.hair_cap(t, thickness=depth, hairline=u(-1.5, 1.5), sideburn=u(-1.0, 0.8), material=-1)
        )
    loose = wardrobe.wrinkles(t, u(0.25, 0.75), rng)
    worn = [wardrobe.finished(t, g, loose) for g in garments]
    return Outfit(worn, skirt, shapes.hair_blobs(person.hair, body, t, rng), materials, hair_colour)


@dataclass(frozen=True)
class Layers:
    """The implicit function of a dressed person, and which layer is on top where."""

    body: Body
    t: Template
    outfit: Outfit
    surface: Any

    def near(self, points: Points) -> Nearest:
        """Find the nearest skin."""
        return nearest(self.surface, points)

    def covered(self, near: Nearest) -> Field:
        """Return (N,) cm to the skin or the cloth on it, negative inside."""
        offset = np.max([g.offset for g in self.outfit.garments], axis=0)
        return near.distance - near.blend(self.t.faces, offset)

    def __call__(self, points: Points) -> Field:
        """Return (N,) cm to the outermost surface, negative inside."""
        value = self.covered(self.near(points))
        if self.outfit.skirt is not None:
            value = np.minimum(value, self.outfit.skirt(points))
        for blob in self.outfit.blobs:
            value = np.minimum(value, blob(points))
        return value


def build(person: Person) -> Mesh:
    """Build the dressed person.

    Args:
        person: What `draw_person` drew.

    Returns:
        One closed surface in cm, y up, facing +z, feet at y = 0, with vertex colours.
    """
    from robench.geometry import Surface

    t = template()
    body = pose_body(person.shape, person.pose)
    outfit = dress(person, body, t)
    # The builder that the people were first made with: another may change the last digit of a field, and so the data.
    layers = Layers(body, t, outfit, Surface(Mesh(body.vertices, t.faces), builder="sah"))
    reach = 4.0 + max(float(g.thickness.max()) for g in outfit.garments)
    low, high = body.vertices.min(0) - reach, body.vertices.max(0) + reach
    if outfit.skirt is not None:
        wide = float(outfit.skirt.radius.max()) + 3.0
        low[[0, 2]] = np.minimum(low[[0, 2]], outfit.skirt.axis - wide)
        high[[0, 2]] = np.maximum(high[[0, 2]], outfit.skirt.axis + wide)
    for blob in outfit.blobs:
        far = max(blob.ra, blob.rb) + 2.0
        low = np.minimum(low, np.minimum(blob.a, blob.b) - far)
        high = np.maximum(high, np.maximum(blob.a, blob.b) + far)
    mesh = polygonise(layers, low.astype(np.float64), high.astype(np.float64), VOXEL_CM, slope=1.5)
    colours = _colour(person, layers, mesh.vertices.astype(np.float64))
    vertices = mesh.vertices - np.array([0.0, mesh.vertices[:, 1].min(), 0.0], np.float32)
    return Mesh(vertices, mesh.faces, colours)


def _colour(person: Person, layers: Layers, points: Points) -> Any:
    """Colour the surface points by the layer that is outermost there."""
    rng = seeds.generator(person.seed, person.subject_id, f"paint@{VERSION}")
    t, outfit = layers.t, layers.outfit
    near = layers.near(points)
    bare = paint.skin(
        t,
        paint.skin_tone(person.tone),
        outfit.hair_colour,
        paint.draw_eye_colour(rng),
        lipstick=float(rng.random() * (person.shape["gender"] > 0.5)),
        brows=person.shape["age"] < 0.98,
    )
    colours = near.blend(t.faces, bare)
    sheet = near.blend(t.faces, t.rest).astype(np.float64)
    strands = 1.0 + 0.10 * np.sin(sheet[:, 0] * 2.6 + 2.0 * np.sin(sheet[:, 1] * 0.35))
    strands += rng.normal(0, 0.03, len(points))
    hair = outfit.hair_colour * strands[:, None].astype(np.float32)
    for garment in outfit.garments:
        on = near.blend(t.faces, garment.margin) > 0
        colours[on] = hair[on] if garment.material < 0 else paint.cloth(outfit.materials[garment.material], sheet[on])
    best = layers.covered(near)
    if outfit.skirt is not None:
        value = outfit.skirt(points)
        on = value < best
        flat = points[on][:, [0, 2]] - outfit.skirt.axis
        around = np.arctan2(flat[:, 0], flat[:, 1]) * outfit.skirt.radius.mean()
        wrap = np.stack([around, points[on, 1], flat[:, 1]], 1)
        colours[on] = paint.cloth(outfit.materials[outfit.skirt.material], wrap)
        best = np.minimum(best, value)
    for blob in outfit.blobs:
        value = blob(points)
        on = value < best
        colours[on] = hair[on]
        best = np.minimum(best, value)
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)
