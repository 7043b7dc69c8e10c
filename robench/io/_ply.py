"""A reader for the PLY files that nearly all programs write: binary, little-endian, triangles.

It saves a worker the general loader, whose import alone takes 60 MB, and copies none of the file's content twice.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from robench.contracts import Mesh

_FLOATS: Final = {"float": "<f4", "float32": "<f4", "double": "<f8", "float64": "<f8"}
_BYTES: Final = {"uchar": "u1", "uint8": "u1"}
_INDICES: Final = {"int": "<i4", "int32": "<i4", "uint": "<u4", "uint32": "<u4"}
_VERTEX: Final = {
    **dict.fromkeys(("x", "y", "z", "nx", "ny", "nz"), _FLOATS),
    **dict.fromkeys(("red", "green", "blue", "alpha"), _BYTES),
}
_COLOUR: Final = ("red", "green", "blue")
_LONGEST_HEADER: Final = 1 << 14


def parse_ply(data: bytes) -> Mesh | None:
    """Parse a binary little-endian PLY file of vertices, with or without normals and 8-bit colours, and triangles.

    Args:
        data: The file's content.

    Returns:
        (V, 3) vertices as written, float32 or float64, (F, 3) faces as written, int32 or uint32, and (V, 3) uint8
        colours or None; V and F are at least 1. None for every other PLY file, whole or damaged: a general loader has
        more to say about it.
    """
    head, end, _ = data[:_LONGEST_HEADER].partition(b"\nend_header\n")
    layout = _layout(head) if end else None
    if layout is None:
        return None
    vertex, vertices, corner, faces = layout
    start = len(head) + len(end)
    middle = start + vertices * vertex.itemsize
    if vertices < 1 or faces < 1 or len(data) != middle + faces * corner.itemsize:
        return None
    points = np.frombuffer(data, vertex, vertices, start)
    corners = np.frombuffer(data, corner, faces, middle)
    if (corners["n"] != 3).any():
        return None
    colours = None
    if set(_COLOUR) <= set(vertex.names or ()):
        colours = np.stack([points[name] for name in _COLOUR], axis=1)
    xyz = np.stack([points[axis] for axis in "xyz"], axis=1)
    return Mesh(xyz, np.ascontiguousarray(corners["v"]), colours)


def _layout(head: bytes) -> tuple[np.dtype[np.void], int, np.dtype[np.void], int] | None:
    """Return type and count of vertices and of faces as a header declares them, or None for what is not read here."""
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        return None
    if lines[:2] != ["ply", "format binary_little_endian 1.0"]:
        return None
    counts: list[int] = []
    vertex: list[tuple[str, str]] = []
    corner = None
    for line in lines[2:]:
        match line.split():
            case [("comment" | "obj_info"), *_] if "texturefile" not in line.lower():
                continue
            case ["element", name, count] if (
                count.isdecimal() and len(counts) < 2 and name == ("vertex", "face")[len(counts)]
            ):
                counts.append(int(count))
            case ["property", kind, name] if len(counts) == 1 and kind in _VERTEX.get(name, ()):
                vertex.append((name, _VERTEX[name][kind]))
            case ["property", "list", count, kind, ("vertex_indices" | "vertex_index")] if (
                len(counts) == 2 and corner is None and count in _BYTES and kind in _INDICES
            ):
                corner = np.dtype([("n", "u1"), ("v", _INDICES[kind], (3,))])
            case _:
                return None
    names = [name for name, _ in vertex]
    if corner is None or len(set(names)) < len(names) or not {"x", "y", "z"} <= set(names):
        return None
    return np.dtype(vertex), counts[0], corner, counts[1]
