from __future__ import annotations

import io
import subprocess
import sys

import numpy as np
import pytest
import trimesh
from PIL import Image

from robench.contracts import Mesh
from robench.io._ply import parse_ply
from robench.io.images import UnreadableInput
from robench.io.meshes import encode_ply, open_edges, read_mesh, write_mesh


@pytest.fixture(scope="module")
def ball():
    sphere = trimesh.creation.icosphere(3, radius=50)
    colours = np.random.default_rng(0).integers(0, 256, (len(sphere.vertices), 3)).astype(np.uint8)
    return Mesh(sphere.vertices.astype(np.float32), sphere.faces.astype(np.int32), colours)


def same(a, b, tolerance=0.0):
    np.testing.assert_allclose(a.vertices, b.vertices, atol=tolerance)
    np.testing.assert_array_equal(a.faces, b.faces)


@pytest.mark.parametrize("name", ["a.ply", "a.ply.gz"])
@pytest.mark.parametrize("coloured", [True, False])
def test_ply_round_trips_exactly_and_reproduces_its_bytes(tmp_path, ball, name, coloured):
    mesh = ball if coloured else Mesh(ball.vertices, ball.faces)
    (tmp_path / "other").mkdir()
    assert write_mesh(tmp_path / name, mesh) == write_mesh(tmp_path / "other" / f"b{name}", mesh)
    found = read_mesh(tmp_path / name)
    same(found, mesh)
    assert found.vertices.dtype == np.float32
    assert found.faces.dtype == np.int32
    if coloured:
        np.testing.assert_array_equal(found.colours, ball.colours)
    else:
        assert found.colours is None


def test_another_library_reads_our_ply(ball):
    loaded = trimesh.load(io.BytesIO(encode_ply(ball)), file_type="ply", process=False)
    np.testing.assert_array_equal(loaded.vertices, ball.vertices)
    np.testing.assert_array_equal(loaded.faces, ball.faces)
    np.testing.assert_array_equal(loaded.visual.vertex_colors[:, :3], ball.colours)


@pytest.mark.parametrize("encoding", ["binary", "ascii"])
def test_we_read_another_librarys_ply(tmp_path, ball, encoding):
    other = trimesh.Trimesh(ball.vertices, ball.faces, vertex_colors=ball.colours, process=False)
    other.export(tmp_path / "a.ply", encoding=encoding, vertex_normal=True)
    found = read_mesh(tmp_path / "a.ply")
    same(found, ball, 1e-4)
    np.testing.assert_array_equal(found.colours, ball.colours)


def plys(ball):
    """PLY files as other programs write them: the plain ones first, then those that only the general loader reads."""
    kinds = dict.fromkeys("xyz", "double") | dict.fromkeys(("nx", "ny", "nz"), "float")
    kinds |= dict.fromkeys(("red", "green", "blue", "alpha"), "uchar")
    stored = {"double": "<f8", "float": "<f4", "uchar": "u1"}
    vertex = np.zeros(len(ball.vertices), [(name, stored[kind]) for name, kind in kinds.items()])
    for axis, name in enumerate("xyz"):
        vertex[name] = ball.vertices[:, axis].astype(np.float64) / 3.0
    for channel, name in enumerate(("red", "green", "blue")):
        vertex[name] = ball.colours[:, channel]
    corner = np.zeros(len(ball.faces), [("n", "u1"), ("v", "<u4", (3,))])
    corner["n"], corner["v"] = 3, ball.faces

    def ply(format_name="binary_little_endian", face=("property list uchar uint vertex_index",), end=b""):
        lines = ["ply", f"format {format_name} 1.0", "comment made by hand", f"element vertex {len(vertex)}"]
        lines += [
            *(f"property {kind} {name}" for name, kind in kinds.items()),
            f"element face {len(corner)}",
            *face,
            "end_header",
            "",
        ]
        swap = (lambda a: a.astype(a.dtype.newbyteorder(">"))) if "big" in format_name else (lambda a: a)
        return "\n".join(lines).encode() + swap(vertex).tobytes() + swap(corner).tobytes() + end

    edge = (*["property list uchar uint vertex_index", "element edge 1"], *(f"property int vertex{k}" for k in "12"))
    return {
        "plain": ply(),
        "ours": encode_ply(ball),
        "uncoloured": encode_ply(Mesh(ball.vertices, ball.faces)),
        "big-endian": ply("binary_big_endian"),
        "edges": ply(face=edge, end=bytes(8)),
        "carriage returns": ply().replace(b"\nend_header\n", b"\r\nend_header\r\n"),
    }


def test_the_quick_reader_of_ply_agrees_with_the_general_loader(tmp_path, ball):
    read_quickly = []
    for name, data in plys(ball).items():
        (tmp_path / "a.ply").write_bytes(data)
        found, quick = read_mesh(tmp_path / "a.ply"), parse_ply(data)
        loaded = trimesh.load(io.BytesIO(data), file_type="ply", process=False)
        np.testing.assert_array_equal(found.vertices, np.asarray(loaded.vertices, np.float32), err_msg=name)
        np.testing.assert_array_equal(found.faces, loaded.faces, err_msg=name)
        if name == "uncoloured":
            assert found.colours is None
        else:
            np.testing.assert_array_equal(found.colours, loaded.visual.vertex_colors[:, :3], err_msg=name)
        if quick is not None:
            read_quickly.append(name)
            np.testing.assert_array_equal(quick.faces, found.faces)
    assert read_quickly == ["plain", "ours", "uncoloured"]


def test_the_quick_reader_of_ply_leaves_what_it_does_not_know(ball):
    data = encode_ply(ball)
    assert parse_ply(data) is not None
    others = {
        "truncated": data[:-1],
        "longer": data + b"\0",
        "without header": data.replace(b"end_header", b"end_heade_"),
        "textured": data.replace(b"element vertex", b"comment TextureFile a.png\nelement vertex"),
        "with another property": data.replace(b"uchar red", b"uchar ref"),
        "with 16-bit colours": data.replace(b"uchar red", b"ushort red"),
        "with red twice": data.replace(b"uchar green", b"uchar red"),
        "with a quadrilateral": data[:-13] + b"\4" + data[-12:],
        "without z": data.replace(b"property float z\n", b""),
        "without faces": encode_ply(Mesh(ball.vertices, ball.faces[:0])),
        "with a count that is none": data.replace(b"element face ", b"element face -"),
        "not of Latin letters": data.replace(b"ply\n", b"ply\ncomment \xff\n", 1),
    }
    for name, other in others.items():
        assert parse_ply(other) is None, name


def test_plain_meshes_are_read_without_the_general_loader(tmp_path, ball):
    write_mesh(tmp_path / "a.ply.gz", ball)
    code = (
        "import sys; from pathlib import Path; from robench.io.meshes import read_mesh; read_mesh(Path(sys.argv[1]));"
    )
    code += "print([name for name in ('trimesh', 'scipy', 'networkx') if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "a.ply.gz"], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("suffix", ["obj", "glb", "off"])
def test_other_formats_keep_vertex_order(tmp_path, ball, suffix):
    trimesh.Trimesh(ball.vertices, ball.faces, process=False).export(tmp_path / f"a.{suffix}")
    same(read_mesh(tmp_path / f"a.{suffix}"), ball, 1e-3)


def test_stl_is_welded_into_a_watertight_mesh(tmp_path, ball):
    trimesh.Trimesh(ball.vertices, ball.faces, process=False).export(tmp_path / "a.stl")
    found = read_mesh(tmp_path / "a.stl")
    assert found.vertices.shape == ball.vertices.shape
    assert open_edges(found) == 0


@pytest.mark.parametrize(("units", "factor"), [("m", 100), ("cm", 1), ("mm", 0.1)])
def test_units_become_centimetres(tmp_path, ball, units, factor):
    write_mesh(tmp_path / "a.ply", ball)
    np.testing.assert_allclose(read_mesh(tmp_path / "a.ply", units).vertices, ball.vertices * factor, rtol=1e-6)


def obj(tmp_path, text):
    (tmp_path / "a.obj").write_text(text)
    return read_mesh(tmp_path / "a.obj")


def test_obj_faces_in_every_spelling(tmp_path):
    vertices = "v 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\n"
    square = [[0, 1, 2], [0, 2, 3]]
    assert obj(tmp_path, vertices + "f 1 2 3 4\n").faces.tolist() == square
    assert (
        obj(tmp_path, "# c\n" + vertices + "vn 0 0 1\nf 1//1 2//1 3//1 # x\nf 1//1 3//1 4//1\n").faces.tolist()
        == square
    )
    assert obj(tmp_path, vertices + "f -4 -3 -2 -1\n").faces.tolist() == square
    assert obj(tmp_path, vertices + "f 1/1 2/2/2 3\nf 1 3//3 4/4\n").faces.tolist() == square
    assert obj(tmp_path, vertices + "f 1 2 \\\n3 4\n").faces.tolist() == square
    assert obj(tmp_path, vertices.replace("\n", "\r\n") + "f 1 2 3\r\nf 1 3 4\r\n").faces.tolist() == square


def test_obj_relative_indices_count_from_the_face(tmp_path):
    text = "v 0 0 0\nv 1 0 0\nv 1 1 0\nf -3 -2 -1\nv 0 0 5\nv 1 0 5\nv 1 1 5\nf -3 -2 -1\n"
    assert obj(tmp_path, text).faces.tolist() == [[0, 1, 2], [3, 4, 5]]


def test_obj_colours_in_both_ranges(tmp_path):
    text = "v 0 0 0 {0} 0 0\nv 1 0 0 0 {0} 0\nv 1 1 0 0 0 {0}\nf 1 2 3\n"
    for white in ("1.0", "255"):
        assert obj(tmp_path, text.format(white)).colours.tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_obj_texture_becomes_colours_and_seams_stay_closed(tmp_path):
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:32, :32], picture[:32, 32:], picture[32:, :32], picture[32:, 32:] = (
        [9, 0, 0],
        [0, 9, 0],
        [0, 0, 9],
        [9, 9, 9],
    )
    Image.fromarray(picture).save(tmp_path / "my skin.png")
    (tmp_path / "a.mtl").write_text("newmtl m\nKd 1 1 1\nmap_Kd my skin.png\n")
    text = (
        "mtllib a.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\n"
        "vt 0.1 0.9\nvt 0.9 0.9\nvt 0.1 0.1\nvt 0.9 0.1\nvt 0.5 0.5\n"
        "f 1/1 3/3 2/2\nf 1/5 2/2 4/4\nf 1/5 4/4 3/3\nf 2/5 3/5 4/5\n"
    )
    mesh = obj(tmp_path, text)
    assert len(mesh.vertices) == 4
    assert open_edges(mesh) == 0
    assert mesh.colours.tolist() == [[9, 0, 0], [0, 9, 0], [0, 0, 9], [9, 9, 9]]
    (tmp_path / "a.mtl").write_text("map_Kd /etc/hostname\n")
    assert obj(tmp_path, text).colours is None


def test_open_edges_counts_holes(ball):
    assert open_edges(ball) == 0
    assert open_edges(Mesh(ball.vertices, ball.faces[1:])) == 3
    assert open_edges(Mesh(ball.vertices, np.vstack([ball.faces, ball.faces[:1]]))) == 3
    soup = Mesh(ball.vertices[ball.faces].reshape(-1, 3), np.arange(3 * len(ball.faces), dtype=np.int32).reshape(-1, 3))
    assert open_edges(soup) == 0


def refusal(path):
    with pytest.raises(UnreadableInput) as caught:
        read_mesh(path)
    assert caught.value.message.startswith(path.name)
    return caught.value.reason


@pytest.mark.parametrize("suffix", ["ply", "ply.gz", "obj", "glb", "stl", "off"])
def test_empty_and_senseless_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    assert "no such file" in refusal(path)
    path.write_bytes(b"")
    assert refusal(path)
    path.write_bytes(b"<!doctype html>\n<title>Not found</title>")
    assert refusal(path)
    path.write_bytes(bytes(range(256)) * 20)
    assert refusal(path)


@pytest.mark.parametrize("suffix", ["ply", "ply.gz", "glb", "stl"])
@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.7, 0.99])
def test_truncated_binaries(tmp_path, ball, suffix, fraction):
    path = tmp_path / f"a.{suffix}"
    if suffix.startswith("ply"):
        write_mesh(path, ball)
    else:
        trimesh.Trimesh(ball.vertices, ball.faces, process=False).export(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * fraction)])
    assert refusal(path)


def test_each_unsound_mesh_gets_its_own_sentence(tmp_path, ball):
    path = tmp_path / "a.ply"
    write_mesh(path, Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32)))
    assert "empty (0 vertices, 0 faces)" in refusal(path)
    write_mesh(path, Mesh(ball.vertices, ball.faces[:0]))
    assert "0 faces" in refusal(path)
    broken = ball.vertices.copy()
    broken[7] = np.nan
    write_mesh(path, Mesh(broken, ball.faces))
    assert "1 of its vertices are not finite" in refusal(path)
    faces = ball.faces.copy()
    faces[3, 1] = 10**6
    write_mesh(path, Mesh(ball.vertices, faces))
    assert "names vertex 1000000" in refusal(path)
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 4\n")
    assert "names vertex 4" in refusal(tmp_path / "a.obj")
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\nf 1 2")
    assert "fewer than 3 corners" in refusal(tmp_path / "a.obj")
    (tmp_path / "a.fbx").write_text("x")
    assert "one of .ply" in refusal(tmp_path / "a.fbx")
    with pytest.raises(ValueError, match=r"\.ply or \.ply\.gz"):
        write_mesh(tmp_path / "b.obj", ball)
