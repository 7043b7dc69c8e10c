"""The undressed body: anny's shape and pose model, in robench's world frame, with coordinates that clothes hang on."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# anny: z up, the face looks along -y.  World: y up, the face looks along +z.  Left stays at +x.
_WORLD_FROM_ANNY = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], np.float64)
_TEMPLATE_SHAPE = {"gender": 0.5, "age": 0.67, "muscle": 0.5, "weight": 0.5, "height": 0.5, "proportions": 0.5}


@dataclass(frozen=True)
class Template:
    """Facts of the neutral body, vertex by vertex, true of every shape and pose (V: anny's less teeth and tongue).

    Attributes:
        rest: (V, 3) neutral A-pose vertices, cm, world axes.
        faces: (F, 3) int32.
        keep: Indices of anny's vertices that are kept (skin and eyeballs; no teeth, no tongue).
        part: Bone-weight sums by part name, each (V,) in [0, 1]: head, neck, torso, arm, hand, leg, foot; and eyeball.
        arm: (V,) position along the arm: 0 shoulder, 1 elbow, 2 wrist, 3 finger tips; 0 away from arms.
        leg: (V,) position along the leg: 0 hip, 1 knee, 2 ankle; 0 away from legs.
        side: (V,) +1 on the person's left, -1 on the right.
        joints: Neutral joint positions (3,) by bone name.
    """

    rest: Array
    faces: NDArray[np.int32]
    keep: NDArray[np.int64]
    part: Mapping[str, Array]
    arm: Array
    leg: Array
    side: Array
    joints: Mapping[str, NDArray[np.float64]]

    @functools.cached_property
    def _average(self) -> Any:
        from scipy import sparse

        count = len(self.rest)
        a, b = self.faces.ravel(), np.roll(self.faces, 1, axis=1).ravel()
        ones = np.ones(len(a), np.float32)
        links = sparse.coo_matrix((ones, (a, b)), shape=(count, count)).tocsr()
        links = ((links + links.T) > 0).astype(np.float32) + sparse.identity(count, dtype=np.float32, format="csr")
        return sparse.diags(1.0 / np.asarray(links.sum(1)).ravel()) @ links

    def smoothed(self, values: Array, times: int = 3) -> Array:
        """Average (V,) values with their neighbours over the mesh, so that an edge of cloth is not ragged."""
        for _ in range(times):
            values = self._average @ values
        return np.asarray(values, np.float32)


@functools.cache
def _model() -> Any:
    import anny

    import robench.geometry._kernels  # noqa: F401  # quietens Warp before its banner

    return anny.Anny().float().eval()


def _forward(shape: Mapping[str, float], turns: Any) -> Any:
    import torch

    model = _model()
    threads = torch.get_num_threads()
    # One thread: the order of sums, and so the bytes, must not depend on cores or on what set threads before us.
    torch.set_num_threads(1)
    try:
        with torch.no_grad():
            return model(pose_parameters=turns, phenotype_kwargs=dict(shape))
    finally:
        torch.set_num_threads(threads)


def _to_world(points: Any) -> NDArray[np.float64]:
    return np.asarray(points, np.float64) @ _WORLD_FROM_ANNY.T * 100.0


def _along(points: NDArray[np.float64], knots: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Return how far along a chain of joints each point lies: i + fraction on the nearest segment."""
    best = np.full(len(points), np.inf)
    where = np.zeros(len(points))
    for i, (a, b) in enumerate(pairwise(knots)):
        d = b - a
        t = (points - a) @ d / (d @ d)
        low = -0.6 if i == 0 else 0.0
        high = 1.4 if i == len(knots) - 2 else 1.0
        tc = np.clip(t, low, high)
        gap = np.linalg.norm(points - (a + tc[:, None] * d), axis=1)
        nearer = gap < best
        best[nearer], where[nearer] = gap[nearer], (i + tc)[nearer]
    return where


@functools.cache
def template() -> Template:
    """Return the neutral body with its part labels; loads anny once (about 5 s, longer the first time on a machine)."""
    import trimesh

    model = _model()
    out = _forward(_TEMPLATE_SHAPE, None)
    rest_all = _to_world(out["vertices"][0].numpy())
    faces_all = model.get_triangular_faces().numpy()
    names = list(model.bone_labels)
    heads = _to_world(out["bone_poses"][0][:, :3, 3].numpy())
    joints = dict(zip(names, heads, strict=True))
    weights = np.zeros((len(rest_all), len(names)), np.float32)
    index = model.vertex_bone_indices.numpy().astype(np.int64)
    value = model.vertex_bone_weights.numpy()
    np.add.at(weights, (np.arange(len(rest_all))[:, None], index), value)

    # The largest connected component is the skin; of the others the eyeballs stay, teeth and tongue go.
    labels = trimesh.graph.connected_component_labels(
        trimesh.Trimesh(rest_all, faces_all, process=False).edges, node_count=len(rest_all)
    )
    sizes = np.bincount(labels)
    eyes = weights[:, [i for i, n in enumerate(names) if n.startswith("eye")]].sum(1)
    eye_share = np.bincount(labels, eyes) / np.maximum(sizes, 1)
    kept = (np.arange(len(sizes)) == sizes.argmax()) | (eye_share > 0.9)
    keep = np.flatnonzero(kept[labels])
    renumber = np.full(len(rest_all), -1)
    renumber[keep] = np.arange(len(keep))
    faces = renumber[faces_all[kept[labels[faces_all[:, 0]]]]].astype(np.int32)
    eyeball = labels[keep] != sizes.argmax()
    weights = weights[keep]

    def share(*prefixes: str) -> Array:
        chosen = [i for i, n in enumerate(names) if n.startswith(prefixes)]
        return np.asarray(weights[:, chosen].sum(1), np.float32)

    part = {
        "head": share("head", "eye"),
        "neck": share("neck"),
        "arm": share("upperarm", "lowerarm"),
        "hand": share("wrist", "finger", "metacarpal"),
        "leg": share("upperleg", "lowerleg"),
        "foot": share("foot", "toe"),
        "eyeball": eyeball.astype(np.float32),
        "torso": share("root", "pelvis", "spine", "clavicle", "shoulder", "breast"),
    }
    rest = rest_all[keep]
    side = np.where(rest[:, 0] >= 0, 1.0, -1.0)
    arm, leg = np.zeros(len(rest)), np.zeros(len(rest))
    for sign, tag in ((1, "L"), (-1, "R")):
        here = side == sign
        arm_chain = [joints[f"{n}.{tag}"] for n in ("upperarm01", "lowerarm01", "wrist", "finger3-3")]
        leg_chain = [joints[f"{n}.{tag}"] for n in ("upperleg01", "lowerleg01", "foot")]
        arm[here] = _along(rest[here], arm_chain)
        leg[here] = _along(rest[here], leg_chain)
    return Template(
        rest=rest.astype(np.float32),
        faces=faces,
        keep=keep,
        part=part,
        arm=arm.astype(np.float32),
        leg=leg.astype(np.float32),
        side=side.astype(np.float32),
        joints=joints,
    )


@dataclass(frozen=True)
class Body:
    """A posed body: (V, 3) vertices in cm with the feet's lowest point at y = 0, and joint frames by bone name."""

    vertices: Array
    joints: Mapping[str, NDArray[np.float64]]
    frames: Mapping[str, NDArray[np.float64]]


def pose_body(shape: Mapping[str, float], pose: Mapping[str, tuple[float, float, float]]) -> Body:
    """Shape and pose the body.

    Args:
        shape: anny phenotype values in [0, 1]: gender, age, muscle, weight, height, proportions.
        pose: Rotation vectors in degrees by bone, in world axes of the neutral A-pose (x to the person's left, y up,
            z forward), each relative to its parent.

    Returns:
        The posed body. `frames` hold each bone's rotation relative to the neutral pose.
    """
    import torch
    from scipy.spatial.transform import Rotation

    turns = {}
    for bone, degrees in pose.items():
        rotvec = _WORLD_FROM_ANNY.T @ np.deg2rad(np.asarray(degrees, np.float64))
        matrix = torch.eye(4)
        matrix[:3, :3] = torch.from_numpy(Rotation.from_rotvec(rotvec).as_matrix())
        turns[bone] = matrix[None]
    model = _model()
    out = _forward(shape, turns or None)
    vertices = _to_world(out["vertices"][0].numpy())[template().keep]
    lift = np.array([0.0, -vertices[:, 1].min(), 0.0])
    poses = out["bone_poses"][0].numpy().astype(np.float64)
    rests = out["rest_bone_poses"][0].numpy().astype(np.float64)
    joints, frames = {}, {}
    for name, now, rest in zip(model.bone_labels, poses, rests, strict=True):
        joints[name] = _to_world(now[:3, 3]) + lift
        turn = now[:3, :3] @ rest[:3, :3].T
        frames[name] = _WORLD_FROM_ANNY @ turn @ _WORLD_FROM_ANNY.T
    return Body((vertices + lift).astype(np.float32), joints, frames)
