"""Poses: families from standing to sitting, each a set of ranges that a seed draws from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

Pose = dict[str, tuple[float, float, float]]
POSES = ("standing", "contrapposto", "walking", "running", "sitting", "arms_raised", "arms_out", "hands_on_hips", "waving")


def draw_pose(family: str, rng: np.random.Generator) -> Pose:
    """Draw one pose of a family.

    Args:
        family: One of `POSES`.
        rng: The subject's generator.

    Returns:
        Rotation vectors in degrees by bone (see `body.pose_body`): x bends forward and back, y turns, z abducts.

    Raises:
        ValueError: If the family is unknown.
    """
    if family not in POSES:
        raise ValueError(f"unknown pose '{family}', expected one of {', '.join(POSES)}")
    u = rng.uniform
    pose: dict[str, list[float]] = {}

    def add(bone: str, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
        old = pose.setdefault(bone, [0.0, 0.0, 0.0])
        pose[bone] = [old[0] + x, old[1] + y, old[2] + z]

    def arm(
        tag: str, *, down: float, forward: float = 0.0, elbow: float = 0.0, turn: float = 0.0, inward: float = 0.0
    ) -> None:
        s = 1.0 if tag == "L" else -1.0
        # In the neutral pose arms hang 45 degrees out; +z turns the left arm up, so "down" is negative.
        # Past the horizontal the collar bone lifts with the arm, as a real shoulder does.
        lift = max(0.0, -down - 30.0)
        add(f"clavicle.{tag}", z=s * 0.25 * lift)
        add(f"upperarm01.{tag}", x=-forward, y=s * turn, z=-s * (down + 0.25 * lift))
        add(f"lowerarm01.{tag}", x=-elbow, z=-s * inward)

    def leg(tag: str, *, forward: float = 0.0, out: float = 0.0, knee: float = 0.0, turn: float = 0.0) -> None:
        s = 1.0 if tag == "L" else -1.0
        add(f"upperleg01.{tag}", x=-forward, y=s * turn, z=s * out)
        add(f"lowerleg01.{tag}", x=knee)
        add(f"foot.{tag}", x=float(np.clip(forward - knee, -25, 25)) * 0.4)

    # Everybody turns a little and leans a little.
    for bone in ("spine03", "spine02", "spine01"):
        add(bone, x=u(-2, 3), y=u(-4, 4), z=u(-1.5, 1.5))
    add("head", x=u(-8, 10), y=u(-22, 22), z=u(-5, 5))
    tags = ("L", "R") if rng.random() < 0.5 else ("R", "L")
    if family in ("standing", "contrapposto"):
        for tag in tags:
            arm(tag, down=u(22, 40), forward=u(-8, 12), elbow=u(-5, 35))
            leg(tag, forward=u(-4, 4), out=u(-8, 3), turn=u(-5, 12))
        if family == "contrapposto":
            leg(tags[0], forward=u(8, 22), out=u(2, 8), knee=u(15, 35), turn=u(0, 15))
            add("spine05", z=u(-5, 5))
    elif family in ("walking", "running"):
        k = 1.0 if family == "walking" else 1.55
        step = u(14, 26) * k
        leg(tags[0], forward=step, knee=u(2, 12) * k * k, out=u(-3, 1))
        leg(tags[1], forward=-step * 0.8, knee=u(12, 30) * k * k, out=u(-3, 1))
        arm(tags[0], down=u(28, 40), forward=-step * u(0.7, 1.2), elbow=u(5, 30) * k * k)
        arm(tags[1], down=u(28, 40), forward=step * u(0.7, 1.2), elbow=u(10, 35) * k * k)
        add("spine03", x=u(0, 5) * k * k)
    elif family == "sitting":
        spread = u(-4, 12)
        for tag in tags:
            leg(tag, forward=u(70, 88), out=spread, knee=u(65, 95))
            arm(tag, down=u(22, 34), forward=u(5, 30), elbow=u(25, 60), turn=u(-10, 10))
        add("root", x=u(-6, 4))
    elif family == "arms_raised":
        for tag in tags:
            arm(tag, down=u(-115, -70), forward=u(-5, 15), elbow=u(-5, 15))
            leg(tag, forward=u(-5, 8), out=u(-7, 6))
    elif family == "arms_out":
        for tag in tags:
            arm(tag, down=u(-45, 10), forward=u(-15, 20), elbow=u(-10, 25))
            leg(tag, forward=u(-6, 10), out=u(-7, 9))
    elif family == "hands_on_hips":
        for tag in tags:
            arm(tag, down=u(2, 12), forward=u(-16, -6), elbow=u(-22, -10), inward=u(62, 80))
            leg(tag, forward=u(-3, 5), out=u(-6, 5))
    else:
        arm(tags[0], down=u(-95, -30), forward=u(0, 25), elbow=u(10, 45))
        arm(tags[1], down=u(25, 40), forward=u(-5, 20), elbow=u(0, 50))
        for tag in tags:
            leg(tag, forward=u(-5, 8), out=u(-8, 4), knee=u(0, 8))
    return {bone: (v[0], v[1], v[2]) for bone, v in pose.items()}


def pose_to_json(pose: Mapping[str, tuple[float, float, float]]) -> dict[str, list[float]]:
    """Return plain rounded lists, for the subject's record."""
    return {bone: [round(x, 3) for x in turn] for bone, turn in sorted(pose.items())}
