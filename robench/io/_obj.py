"""A Wavefront OBJ reader that keeps the file's vertices.

General loaders split vertices at texture seams, which turns a watertight scan into an open one. Here geometry
stays as written; a texture, where the material file names one, becomes vertex colours.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.errors import UsageError
from robench.io.files import safe_join


def parse_obj(data: bytes, folder: Path) -> Mesh:
    """Parse an OBJ file.

    Args:
        data: The file's content.
        folder: Where its material and texture files are looked for.

    Returns:
        (V, 3) float64 vertices as written, (F, 3) int64 faces (polygons fanned), and (V, 3) uint8 colours from
        ``v x y z r g b`` or from the texture of the first material that has one, else None.

    Raises:
        ValueError: If a line is malformed.
    """
    lines = data.decode("utf-8", errors="replace").replace("\\\n", " ").splitlines()
    positions = [line[2:] for line in lines if line.startswith(("v ", "v\t"))]
    table = _table(positions)
    if table.shape[0] and table.shape[1] < 3:
        raise ValueError("a vertex has fewer than 3 coordinates")
    corners, texels = _faces([line[2:] for line in lines if line.startswith(("f ", "f\t"))], lines)
    faces = _resolved(corners, len(table))
    colours = None
    if table.shape[1] >= 6:
        rgb = table[:, -3:]
        # Written as 0..1 (PIFu, MeshLab) or, by some tools, as 0..255.
        colours = np.clip(np.rint(rgb if rgb.max(initial=0) > 1 else rgb * 255), 0, 255).astype(np.uint8)
    elif texels is not None:
        colours = _textured(lines, folder, faces, texels, len(table))
    return Mesh(table[:, :3], faces, colours)  # type: ignore[arg-type]  # the caller casts after checking


def _table(rows: list[str]) -> NDArray[np.float64]:
    if not rows:
        return np.zeros((0, 3))
    width = len(rows[0].split())
    values = np.array(" ".join(rows).split(), np.float64)
    if values.size == width * len(rows):
        return values.reshape(len(rows), width)
    # Rows of unequal width: colours on some vertices only, or a fourth coordinate here and there.
    return np.array([[float(x) for x in row.split()[:3]] for row in rows])


def _faces(rows: list[str], lines: list[str]) -> tuple[NDArray[np.int64], NDArray[np.int64] | None]:
    """Return (F, 3) one-based vertex and texture indices as written."""
    if not rows:
        return np.zeros((0, 3), np.int64), None
    split = [row.split("#")[0].split() for row in rows]
    sizes = {len(corners) for corners in split}
    if min(sizes) < 3:
        raise ValueError("a face has fewer than 3 corners")
    if sizes != {3}:
        split = [[s[0], s[i], s[i + 1]] for s in split for i in range(1, len(s) - 1)]
    corners = list(itertools.chain.from_iterable(split))
    text = " ".join(corners)
    if "-" in text:
        return _relative(lines), None
    slashes = {corner.count("/") for corner in corners}
    if "//" not in text and len(slashes) == 1:
        table = np.array(text.replace("/", " ").split(), np.int64).reshape(-1, 3, slashes.pop() + 1)
        return table[:, :, 0], table[:, :, 1] if table.shape[2] > 1 else None
    # "v//n", or corners of several spellings in one file: there are no texture coordinates for all.
    return np.array([corner.split("/")[0] for corner in corners], np.int64).reshape(-1, 3), None


def _relative(lines: list[str]) -> NDArray[np.int64]:
    """Resolve faces with negative indices, which count back from the vertices seen so far."""
    seen, triangles = 0, []
    for line in lines:
        if line.startswith(("v ", "v\t")):
            seen += 1
        elif line.startswith(("f ", "f\t")):
            index = [int(c.split("/")[0]) for c in line[2:].split("#")[0].split()]
            index = [i if i > 0 else seen + 1 + i for i in index]
            triangles += [[index[0], index[k], index[k + 1]] for k in range(1, len(index) - 1)]
    return np.array(triangles, np.int64).reshape(-1, 3)


def _resolved(corners: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    if len(corners) and (corners.min() < 1 or corners.max() > count):
        wrong = corners.max() if corners.max() > count else corners.min()
        raise ValueError(f"a face names vertex {wrong}, but there are {count} vertices")
    return corners - 1


def _textured(
    lines: list[str], folder: Path, faces: NDArray[np.int64], texels: NDArray[np.int64], count: int
) -> NDArray[np.uint8] | None:
    """Sample the texture at each vertex (nearest texel; at a seam, the first corner wins); None without a texture."""
    picture = _texture(lines, folder)
    uv = _table([line[3:] for line in lines if line.startswith(("vt ", "vt\t"))])
    if picture is None or not len(uv) or texels.min() < 1 or texels.max() > len(uv):
        return None
    height, width = picture.shape[:2]
    owner = np.zeros(count, np.int64)
    owner[faces.reshape(-1)[::-1]] = texels.reshape(-1)[::-1] - 1
    u, v = uv[owner, 0] % 1.0, uv[owner, 1] % 1.0
    x = np.clip((u * width).astype(np.int64), 0, width - 1)
    y = np.clip(((1 - v) * height).astype(np.int64), 0, height - 1)  # v points up, rows point down
    return np.ascontiguousarray(picture[y, x])


def _texture(lines: list[str], folder: Path) -> NDArray[np.uint8] | None:
    from robench.io.images import read_image

    for line in lines:
        if not line.startswith("mtllib "):
            continue
        material = _beside(folder, line.split(None, 1)[1].strip())
        for entry in material.read_text(errors="replace").splitlines() if material else ():
            words = entry.split()
            if len(words) > 1 and words[0].lower() == "map_kd":
                # The name may hold spaces, or options may stand before it.
                picture = _beside(folder, entry.split(None, 1)[1].strip()) or _beside(folder, words[-1])
                if picture:
                    return read_image(picture)
    return None


def _beside(folder: Path, name: str) -> Path | None:
    """Return a file in the mesh's folder; material files often name their author's disk, which is not followed."""
    try:
        path = safe_join(folder, name)
    except UsageError:
        return None
    return path if path.is_file() else None
