"""Poses: families from standing to sitting, each a set of ranges that a seed draws from."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

Pose = dict[str, tuple[float, float, float]]
Tags = tuple[str, str]


class _Joints:
    """Collects rotations: x bends forward and back, y turns, z abducts (degrees)."""

    def __init__(self, rng: np.random.Generator) -> None:
        self.u = rng.uniform
        self.turns: dict[str, tuple[float, float, float]] = {}

    def add(self, bone: str, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
        a, b, c = self.turns.get(bone, (0.0, 0.0, 0.0))
        self.turns[bone] = (a + x, b + y, c + z)

    def arm(
        self, tag: str, *, down: float, forward: float = 0.0, elbow: float = 0.0, turn: float = 0.0, inward: float = 0.0
    ) -> None:
        s = 1.0 if tag == "L" else -1.0
        # In the neutral pose arms hang 45 degrees out; +z turns the left arm up, so "down" is negative.
        # Past the horizontal the collar bone lifts with the arm, as a real shoulder does.
        lift = max(0.0, -down - 30.0)
        self.add(f"clavicle.{tag}", z=s * 0.25 * lift)
        self.add(f"upperarm01.{tag}", x=-forward, y=s * turn, z=-s * (down + 0.25 * lift))
        self.add(f"lowerarm01.{tag}", x=-elbow, z=-s * inward)

    def leg(self, tag: str, *, forward: float = 0.0, out: float = 0.0, knee: float = 0.0, turn: float = 0.0) -> None:
        s = 1.0 if tag == "L" else -1.0
        self.add(f"upperleg01.{tag}", x=-forward, y=s * turn, z=s * out)
        self.add(f"lowerleg01.{tag}", x=knee)
        self.add(f"foot.{tag}", x=float(np.clip(forward - knee, -25, 25)) * 0.4)


def _standing(j: _Joints, tags: Tags) -> None:
    u = j.u
    for tag in tags:
        j.arm(tag, down=u(22, 40), forward=u(-8, 12), elbow=u(-5, 35))
        j.leg(tag, forward=u(-4, 4), out=u(-8, 3), turn=u(-5, 12))


def _contrapposto(j: _Joints, tags: Tags) -> None:
    u = j.u
    _standing(j, tags)
    j.leg(tags[0], forward=u(8, 22), out=u(2, 8), knee=u(15, 35), turn=u(0, 15))
    j.add("spine05", z=u(-5, 5))


def _walking(j: _Joints, tags: Tags, pace: float = 1.0) -> None:
    u = j.u
    step = u(14, 26) * pace
    j.leg(tags[0], forward=step, knee=u(2, 12) * pace * pace, out=u(-3, 1))
    j.leg(tags[1], forward=-step * 0.8, knee=u(12, 30) * pace * pace, out=u(-3, 1))
    j.arm(tags[0], down=u(28, 40), forward=-step * u(0.7, 1.2), elbow=u(5, 30) * pace * pace)
    j.arm(tags[1], down=u(28, 40), forward=step * u(0.7, 1.2), elbow=u(10, 35) * pace * pace)
    j.add("spine03", x=u(0, 5) * pace * pace)


def _running(j: _Joints, tags: Tags) -> None:
    _walking(j, tags, pace=1.55)


def _sitting(j: _Joints, tags: Tags) -> None:
    u = j.u
    spread = u(-4, 12)
    for tag in tags:
        j.leg(tag, forward=u(70, 88), out=spread, knee=u(65, 95))
        j.arm(tag, down=u(22, 34), forward=u(5, 30), elbow=u(25, 60), turn=u(-10, 10))
    j.add("root", x=u(-6, 4))


def _arms_raised(j: _Joints, tags: Tags) -> None:
    u = j.u
    for tag in tags:
        j.arm(tag, down=u(-115, -70), forward=u(-5, 15), elbow=u(-5, 15))
        j.leg(tag, forward=u(-5, 8), out=u(-7, 6))


def _arms_out(j: _Joints, tags: Tags) -> None:
    u = j.u
    for tag in tags:
        j.arm(tag, down=u(-45, 10), forward=u(-15, 20), elbow=u(-10, 25))
        j.leg(tag, forward=u(-6, 10), out=u(-7, 9))


def _hands_on_hips(j: _Joints, tags: Tags) -> None:
    u = j.u
    for tag in tags:
        j.arm(tag, down=u(2, 12), forward=u(-16, -6), elbow=u(-22, -10), inward=u(62, 80))
        j.leg(tag, forward=u(-3, 5), out=u(-6, 5))


def _waving(j: _Joints, tags: Tags) -> None:
    u = j.u
    j.arm(tags[0], down=u(-95, -30), forward=u(0, 25), elbow=u(10, 45))
    j.arm(tags[1], down=u(25, 40), forward=u(-5, 20), elbow=u(0, 50))
    for tag in tags:
        j.leg(tag, forward=u(-5, 8), out=u(-8, 4), knee=u(0, 8))


_FAMILIES: Mapping[str, Callable[[_Joints, Tags], None]] = {
    "standing": _standing,
    "contrapposto": _contrapposto,
    "walking": _walking,
    "running": _running,
    "sitting": _sitting,
    "arms_raised": _arms_raised,
    "arms_out": _arms_out,
    "hands_on_hips": _hands_on_hips,
    "waving": _waving,
}
POSES = tuple(_FAMILIES)


def draw_pose(family: str, rng: np.random.Generator) -> Pose:
    """Draw one pose of a family.

    Args:
        family: One of `POSES`.
        rng: The subject's generator.

    Returns:
        Rotation vectors in degrees by bone, see `body.pose_body`.

    Raises:
        ValueError: If the family is unknown.
    """
    if family not in _FAMILIES:
        raise ValueError(f"unknown pose '{family}', expected one of {', '.join(POSES)}")
    joints = _Joints(rng)
    # Everybody turns a little and leans a little.
    for bone in ("spine03", "spine02", "spine01"):
        joints.add(bone, x=rng.uniform(-2, 3), y=rng.uniform(-4, 4), z=rng.uniform(-1.5, 1.5))
    joints.add("head", x=rng.uniform(-8, 10), y=rng.uniform(-22, 22), z=rng.uniform(-5, 5))
    _FAMILIES[family](joints, ("L", "R") if rng.random() < 0.5 else ("R", "L"))
    return joints.turns
