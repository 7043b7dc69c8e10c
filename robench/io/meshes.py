"""Triangle meshes: PLY, OBJ (with vertex colours or a texture), GLB, STL and OFF in; binary PLY out.

Nothing is merged or reordered on the way in, so that vertex ``i`` of a file is vertex ``i`` of the mesh; the exception
is STL, which stores no connectivity and is welded where positions are equal bit by bit. Polygons become triangles.
"""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from io import BufferedReader
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Mesh
from robench.io.files import open_regular, sha256_bytes, write_bytes_atomic
from robench.io.images import UnreadableInput

LengthUnit = Literal["m", "cm", "mm"]
SUFFIXES: Final = (".ply", ".ply.gz", ".obj", ".glb", ".stl", ".off")
"""File name suffixes (lower case) that are taken for meshes."""
CENTIMETRES: Final = {"m": 100.0, "cm": 1.0, "mm": 0.1}

MAX_BYTES: Final = 1 << 30
"""Of a mesh file, unpacked: some 25 million vertices with their faces. A small archive can unpack to any size."""

MAX_FACES: Final = 50_000_000
_PART: Final = 1 << 24

_CORNER = np.dtype([("n", "u1"), ("v", "<i4", (3,))])


def read_mesh(path: Path, units: LengthUnit = "cm") -> Mesh:
    """Read a triangle mesh.

    Args:
        path: A file with one of `SUFFIXES`.
        units: The unit of length in the file (OBJ, STL, OFF and PLY do not say it; GLB is in metres by its standard).

    Returns:
        The mesh in centimetres, with vertex colours if the file (or its texture) has any.

    Raises:
        UnreadableInput: If the file is missing, damaged, of an unknown format, has no triangle, or has a vertex that is
            not finite.
    """
    path = Path(path)
    suffix = mesh_suffix(path)
    if suffix is None:
        raise UnreadableInput(path, "a mesh is one of " + ", ".join(SUFFIXES))
    try:
        with open_regular(path) as file:
            data = _bounded(path, file)
        if suffix == ".ply.gz":
            with gzip.open(io.BytesIO(data)) as packed:
                data, suffix = _bounded(path, packed), ".ply"
        if not data:
            raise UnreadableInput(path, "it is empty (0 bytes)")
        mesh = _parse(path, data, suffix)
    except FileNotFoundError:
        raise UnreadableInput(path, "there is no such file") from None
    except UnreadableInput:
        raise
    except OSError as error:
        raise UnreadableInput(path, f"it cannot be read ({error})") from error
    except Exception as error:  # the parsers of trimesh raise whatever a damaged byte leads them to
        raise UnreadableInput(
            path, f"it is not a valid {suffix[1:].upper()} mesh ({type(error).__name__}: {error})"
        ) from error
    return _checked(path, mesh, CENTIMETRES[units])


def write_mesh(path: Path, mesh: Mesh) -> str:
    """Write a mesh as binary little-endian PLY (gzipped if the name ends in ``.gz``), atomically.

    The bytes depend on the mesh alone: no comment, no time, no file name.

    Args:
        path: Ends in ``.ply`` or ``.ply.gz``.
        mesh: Centimetres; vertex colours are kept.

    Returns:
        The SHA-256 of the file.

    Raises:
        ValueError: If the suffix is another.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    suffix = mesh_suffix(Path(path))
    if suffix not in (".ply", ".ply.gz"):
        raise ValueError(f"meshes are written as .ply or .ply.gz, got {path}")
    data = encode_ply(mesh)
    data = _gzip(data) if suffix == ".ply.gz" else data
    write_bytes_atomic(path, data)
    return sha256_bytes(data)


def encode_ply(mesh: Mesh) -> bytes:
    """Return a mesh as the bytes of a binary little-endian PLY file."""
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [("p", "<f4", (3,))]
    lines = ["ply", "format binary_little_endian 1.0", f"element vertex {len(mesh.vertices)}"]
    lines += [f"property float {axis}" for axis in "xyz"]
    if mesh.colours is not None:
        fields.append(("c", "u1", (3,)))
        lines += [f"property uchar {name}" for name in ("red", "green", "blue")]
    lines += [f"element face {len(mesh.faces)}", "property list uchar int vertex_indices", "end_header", ""]
    vertices = np.zeros(len(mesh.vertices), np.dtype(fields))
    vertices["p"] = mesh.vertices
    if mesh.colours is not None:
        vertices["c"] = mesh.colours
    faces = np.zeros(len(mesh.faces), _CORNER)
    faces["n"], faces["v"] = 3, mesh.faces
    return "\n".join(lines).encode() + vertices.tobytes() + faces.tobytes()


def open_edges(mesh: Mesh) -> int:
    """Return how many edges do not belong to exactly two faces; 0 means watertight.

    Vertices at one place count as one.
    """
    if mesh.is_empty:
        return 0
    _, welded = np.unique(mesh.vertices, axis=0, return_inverse=True)
    faces = welded.reshape(-1)[mesh.faces].astype(np.int64)
    # A face that collapses onto an edge when vertices are welded bounds nothing.
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 2] != faces[:, 0])]
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    _, counts = np.unique(edges[:, 0] * (len(mesh.vertices) + 1) + edges[:, 1], return_counts=True)
    return int((counts != 2).sum())


def mesh_suffix(path: Path) -> str | None:
    """Return which of `SUFFIXES` a file name has, or None."""
    name = Path(path).name.lower()
    return next((s for s in (".ply.gz", *SUFFIXES) if name.endswith(s)), None)


def _bounded(path: Path, file: BufferedReader | gzip.GzipFile) -> bytes:
    # In parts: Python makes room for all that is asked for, even if little comes.
    parts, size = [], 0
    while part := file.read(_PART):
        parts.append(part)
        size += len(part)
        if size > MAX_BYTES:
            raise UnreadableInput(path, f"it holds more than {MAX_BYTES >> 30} GiB; simplify the mesh first")
    return b"".join(parts)


def _gzip(data: bytes) -> bytes:
    # By hand, because Python's writers put the time, the operating system or the file name into the header.
    deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = deflate.compress(data) + deflate.flush()
    return (
        b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
        + body
        + struct.pack("<II", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    )


def _parse(path: Path, data: bytes, suffix: str) -> Mesh:
    if suffix == ".obj":
        from robench.io._obj import parse_obj

        return parse_obj(data, path.parent)
    if suffix == ".ply":
        from robench.io._ply import parse_ply

        mesh = parse_ply(data)
        if mesh is not None:
            return mesh
    import trimesh

    scene = trimesh.load_scene(io.BytesIO(data), file_type=suffix[1:], process=False)
    # A GLB may place one mesh many times over; each is copied here.
    faces_placed = sum(len(getattr(scene.geometry[scene.graph[n][1]], "faces", ())) for n in scene.graph.nodes_geometry)
    if faces_placed > MAX_FACES:
        raise UnreadableInput(path, f"its parts have {faces_placed:,} faces together, more than {MAX_FACES:,}")
    loaded = scene.to_mesh()
    faces = np.asarray(getattr(loaded, "faces", np.zeros((0, 3))), np.int64)
    vertices = np.asarray(loaded.vertices, np.float64).reshape(-1, 3)
    if suffix == ".stl" and len(vertices):
        vertices, index = np.unique(vertices, axis=0, return_inverse=True)
        return Mesh(vertices, index.reshape(-1)[faces], None)  # type: ignore[arg-type]  # cast in _checked
    return Mesh(vertices, faces, _colours(loaded, len(vertices)))  # type: ignore[arg-type]  # cast in _checked


def _colours(loaded: Any, count: int) -> NDArray[np.uint8] | None:
    visual = getattr(loaded, "visual", None)
    if visual is not None and getattr(visual, "kind", None) == "texture":
        visual = visual.to_color()
    if visual is None or getattr(visual, "kind", None) != "vertex":
        return None
    colours = np.asarray(visual.vertex_colors)
    return colours[:, :3].astype(np.uint8) if colours.shape[:1] == (count,) else None


def _checked(path: Path, mesh: Mesh, scale: float) -> Mesh:
    vertices = np.asarray(mesh.vertices, np.float64)
    faces = np.asarray(mesh.faces, np.int64).reshape(-1, 3)
    if not len(vertices) or not len(faces):
        raise UnreadableInput(path, f"the mesh is empty ({len(vertices)} vertices, {len(faces)} faces)")
    if not np.isfinite(vertices).all():
        raise UnreadableInput(path, f"{int((~np.isfinite(vertices)).any(axis=1).sum())} of its vertices are not finite")
    if faces.min() < 0 or faces.max() >= len(vertices):
        wrong = faces.max() if faces.max() >= len(vertices) else faces.min()
        raise UnreadableInput(path, f"a face names vertex {wrong}, but there are {len(vertices)} vertices")
    return Mesh((vertices * scale).astype(np.float32), np.ascontiguousarray(faces, np.int32), mesh.colours)
