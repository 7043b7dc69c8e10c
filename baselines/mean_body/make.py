"""Make the asset of `mean-body`: anny's mean body, standing, as one closed surface.

Run ``python -m baselines.mean_body.make`` after a change of pose or of anny, then put the printed sha256 into the card.
Needs the ``anny`` package (code Apache-2.0, data CC0); the benchmark itself reads only the file this writes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from baselines.mean_body import ASSET, sha256_of

ARM_DOWN_DEGREES = 25.0
"""Turn of both upper arms out of anny's rest pose (arms at about 45 degrees) towards the body: a relaxed stand."""


def standing_body() -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return anny's mean body (every phenotype at its middle, 0.5) with relaxed arms.

    Returns:
        Vertices (V, 3) in centimetres, y up, facing +z, bounding box centred at the origin; faces (F, 3).
    """
    import anny
    import torch

    body: Any = anny.Anny()
    turns = {"upperarm01.L": _about_y(ARM_DOWN_DEGREES), "upperarm01.R": _about_y(-ARM_DOWN_DEGREES)}
    pose = {bone: torch.as_tensor(turn, dtype=body.dtype)[None] for bone, turn in turns.items()}
    with torch.no_grad():
        vertices = body(pose_parameters=pose)["vertices"][0].cpu().numpy()
    # anny: metres, z up, facing -y. Ours: centimetres, y up, facing +z.
    vertices = 100.0 * np.stack([vertices[:, 0], vertices[:, 2], -vertices[:, 1]], axis=1)
    vertices, faces = outer_skin(vertices, body.get_triangular_faces().cpu().numpy())
    vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
    return vertices.astype(np.float32), faces.astype(np.int32)


def outer_skin(
    vertices: NDArray[np.float64], faces: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Keep the connected part with most vertices: the skin; eyes and tongue lie inside it and are dropped."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]]])
    graph = coo_array((np.ones(len(edges), np.int8), (edges[:, 0], edges[:, 1])), shape=(len(vertices),) * 2)
    _, part = connected_components(graph, directed=False)
    keep = part == np.bincount(part).argmax()
    index = np.cumsum(keep) - 1
    return vertices[keep], index[faces[keep[faces[:, 0]]]]


def _about_y(degrees: float) -> NDArray[np.float64]:
    angle = np.deg2rad(degrees)
    turn = np.eye(4)
    turn[0, 0] = turn[2, 2] = np.cos(angle)
    turn[0, 2], turn[2, 0] = np.sin(angle), -np.sin(angle)
    return turn


def main(path: Path = ASSET) -> str:
    """Write the asset and return its sha256."""
    from safetensors.numpy import save_file

    vertices, faces = standing_body()
    # A ten-thousandth of a centimetre is far below every metric's noise and hides differences between maths libraries.
    save_file({"vertices": np.round(vertices, 4) + np.float32(0), "faces": faces}, path)
    return sha256_of(path)


if __name__ == "__main__":
    print(main())  # noqa: T201
