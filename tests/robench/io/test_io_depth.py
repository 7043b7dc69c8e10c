from __future__ import annotations

import json

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from robench.errors import UsageError
from robench.io.depth import (
    STEP,
    encode_depth_mm,
    read_array,
    read_depth,
    read_depth_counted,
    read_normals,
    write_depth,
    write_normals,
    write_npz,
)
from robench.io.images import UnreadableInput


@pytest.fixture
def depth():
    values = np.random.default_rng(0).uniform(0.4, 12, (40, 50))
    values[:, :10] = np.inf
    return values


def test_depth_round_trips_within_half_a_step_and_reproduces_its_bytes(tmp_path, depth):
    first, second = write_depth(tmp_path / "a.npz", depth), write_depth(tmp_path / "b.npz", depth)
    assert first == second
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    found = read_depth(tmp_path / "a.npz", (40, 50))
    assert found.dtype == np.float32
    assert np.isinf(found[:, :10]).all()
    assert np.abs(found[:, 10:] - depth[:, 10:]).max() <= STEP / 2
    assert STEP / 2 < 0.0005
    assert write_depth(tmp_path / "c.npz", found) == first, "writing what was read changes nothing"
    with np.load(tmp_path / "a.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["depth"], found)


@pytest.mark.parametrize("bad", [np.zeros((4, 4)), np.full((4, 4), np.nan), np.full((4, 4), -1.0), np.ones(4)])
def test_depth_that_is_none_is_not_written(tmp_path, bad):
    with pytest.raises(ValueError, match="positive"):
        write_depth(tmp_path / "a.npz", bad)
    with pytest.raises(ValueError, match="npz"):
        write_depth(tmp_path / "a.png", np.ones((4, 4)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("unit", "metres"), [("mm", 0.001), ("1/512m", 1 / 512), ("m", 1.0)])
def test_depth_pngs_beyond_the_signed_range_are_not_negative(tmp_path, unit, metres):
    values = np.array([[1, 1000, 32767, 32768], [40000, 65534, 0, 65535]], np.uint16)
    cv2.imwrite(str(tmp_path / "d.png"), values)
    found = read_depth(tmp_path / "d.png", (2, 4), unit)
    np.testing.assert_allclose(found.reshape(-1)[:6], values.reshape(-1)[:6] * metres, rtol=1e-6)
    assert np.isinf(found.reshape(-1)[6:]).all()
    assert (found > 0).all()


def test_the_unit_of_a_png_is_declared_never_guessed(tmp_path):
    cv2.imwrite(str(tmp_path / "d.png"), np.full((4, 4), 2000, np.uint16))
    with pytest.raises(UsageError, match=r"unit .* is not declared"):
        read_depth(tmp_path / "d.png")
    (tmp_path / "depth.json").write_text(json.dumps({"unit": "furlong"}))
    with pytest.raises(UsageError, match="furlong"):
        read_depth(tmp_path / "d.png")
    (tmp_path / "depth.json").write_text(json.dumps({"unit": "mm"}))
    np.testing.assert_allclose(read_depth(tmp_path / "d.png"), 2.0)


def test_npy_and_values_that_mean_nothing(tmp_path):
    np.save(tmp_path / "d.npy", np.array([[1.5, np.nan], [-1.0, 0.0]]))
    np.testing.assert_array_equal(
        read_depth(tmp_path / "d.npy"), np.array([[1.5, np.inf], [np.inf, np.inf]], np.float32)
    )
    np.save(tmp_path / "mm.npy", np.array([[1500]], np.int32))
    np.testing.assert_allclose(read_depth(tmp_path / "mm.npy", unit="mm"), 1.5)


def test_each_bad_depth_file_gets_its_own_sentence(tmp_path, depth):
    def refusal(name):
        with pytest.raises(UnreadableInput) as caught:
            read_depth(tmp_path / name, (40, 50), "mm")
        return caught.value.reason

    assert "no such file" in refusal("missing.npz")
    assert "no such file" in refusal("missing.png")
    (tmp_path / "zero.npz").write_bytes(b"")
    assert "damaged" in refusal("zero.npz")
    write_depth(tmp_path / "whole.npz", depth)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "whole.npz").read_bytes()[:-200])
    assert "damaged" in refusal("cut.npz")
    np.save(tmp_path / "pickle.npy", np.array({"a": 1}, dtype=object), allow_pickle=True)
    assert "its values are object, not numbers" in refusal("pickle.npy")
    write_npz(tmp_path / "two.npz", {"a": depth, "b": depth})
    assert "no array 'depth' but a, b" in refusal("two.npz")
    np.save(tmp_path / "text.npy", np.array([["a"]]))
    assert "not numbers" in refusal("text.npy")
    np.save(tmp_path / "cube.npy", np.ones((4, 4, 4)))
    assert "(H, W)" in refusal("cube.npy")
    np.save(tmp_path / "other.npy", depth.T)
    assert "40x50 pixels but its image is 50x40" in refusal("other.npy")
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "shallow.png")
    assert "16-bit" in refusal("shallow.png")
    (tmp_path / "depth.exr").write_bytes(b"x")
    assert "not an EXR file" in refusal("depth.exr")
    (tmp_path / "depth.pfm").write_bytes(b"x")
    assert ".npz, .npy" in refusal("depth.pfm")
    cv2.imwrite(str(tmp_path / "deep.png"), np.random.default_rng(0).integers(0, 65536, (40, 50)).astype(np.uint16))
    (tmp_path / "cut.png").write_bytes((tmp_path / "deep.png").read_bytes()[:2000])
    assert "truncated" in refusal("cut.png")


def test_one_array_is_found_whatever_its_name(tmp_path):
    write_npz(tmp_path / "a.npz", {"disparity": np.arange(6).reshape(2, 3)})
    np.testing.assert_array_equal(read_array(tmp_path / "a.npz", "depth"), np.arange(6).reshape(2, 3))


def test_normals_round_trip_within_a_hundredth_of_a_degree(tmp_path):
    normals = np.random.default_rng(1).normal(size=(40, 50, 3))
    normals /= np.linalg.norm(normals, axis=2, keepdims=True)
    normals[:5] = 0
    assert write_normals(tmp_path / "a.png", normals) == write_normals(tmp_path / "b.png", normals)
    found = read_normals(tmp_path / "a.png", (40, 50))
    assert found.dtype == np.float32
    assert (found[:5] == 0).all()
    sine = np.linalg.norm(np.cross(found[5:].astype(np.float64), normals[5:]), axis=2)
    assert np.rad2deg(sine.max()) < 0.01
    with pytest.raises(UnreadableInput, match="50x40 pixels"):
        read_normals(tmp_path / "a.png", (50, 40))
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        write_normals(tmp_path / "c.png", normals * 2)


def test_what_has_no_depth_is_counted_by_kind(tmp_path):
    values = np.array([[np.nan, 0.0, -1.0, np.inf], [1e10, 65504.0, 2.0, 3.0]], np.float32)
    np.save(tmp_path / "d.npy", values)
    found, counts = read_depth_counted(tmp_path / "d.npy")
    assert counts == {"zero": 1, "nan": 1, "negative": 1, "far": 3}
    assert found[1, 2:].tolist() == [2.0, 3.0]
    assert np.isinf(found).sum() == 6
    cv2.imwrite(str(tmp_path / "d.png"), np.array([[0, 65535, 65535, 7]], np.uint16))
    found, counts = read_depth_counted(tmp_path / "d.png", unit="mm")
    assert counts == {"zero": 1, "saturated": 2}
    np.testing.assert_allclose(found[0, 3], 0.007, rtol=1e-6)
    # The same integers as an array are read alike.
    np.save(tmp_path / "i.npy", np.array([[0, 65535, 65535, 7]], np.uint16))
    again, counts = read_depth_counted(tmp_path / "i.npy", unit="mm")
    assert counts == {"zero": 1, "saturated": 2}
    assert np.array_equal(again, found)


def test_a_millimetre_png_reads_back_within_half_a_millimetre(tmp_path, depth):
    depth[20, 20], depth[20, 21] = 0.0002, 80.0
    (tmp_path / "d.png").write_bytes(encode_depth_mm(depth))
    found = read_depth(tmp_path / "d.png", (40, 50), "mm")
    assert np.array_equal(np.isinf(found), np.isinf(depth))
    ordinary = np.isfinite(depth) & (depth > 0.001) & (depth < 65)
    assert np.abs(found[ordinary] - depth[ordinary]).max() <= 0.0005 + 1e-6
    assert found[20, 20] == np.float32(0.001), "what is there stays there, however near"
    assert found[20, 21] == np.float32(65.534)


def write_exr(path, values, names, compression="ZIP"):
    header = {"compression": getattr(OpenEXR, f"{compression}_COMPRESSION"), "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {name: np.ascontiguousarray(values) for name in names}) as file:
        file.write(str(path))


@pytest.mark.parametrize("compression", ["NO", "RLE", "ZIPS", "ZIP", "PIZ"])
@pytest.mark.parametrize(
    ("names", "kind"), [(["Z"], "float32"), (["B", "G", "R"], "float16"), (["A", "depth.V"], "float32")]
)
def test_exr_depth_is_read_exactly(tmp_path, depth, names, compression, kind):
    values = np.round(depth, 1).astype(kind)
    write_exr(tmp_path / "d.exr", values, names, compression)
    found = read_depth(tmp_path / "d.exr", (40, 50))
    np.testing.assert_array_equal(found, values.astype(np.float32))


@pytest.mark.parametrize("compression", ["none", "rle", "zip1", "zip16"])
def test_exr_of_another_program_is_read(tmp_path, depth, compression):
    import av

    values = np.where(np.isfinite(depth), depth, 0).astype(np.float32)
    with av.open(str(tmp_path / "d.exr"), "w", format="image2", options={"update": "1"}) as out:
        stream = out.add_stream("exr", rate=1, options={"compression": compression, "format": "float"})
        stream.width, stream.height, stream.pix_fmt = 50, 40, "gbrpf32le"
        frame = av.VideoFrame.from_ndarray(np.repeat(values[..., None], 3, 2), format="gbrpf32le")
        out.mux([*stream.encode(frame), *stream.encode(None)])
    found, counts = read_depth_counted(tmp_path / "d.exr", (40, 50))
    assert counts == {"zero": 400}
    np.testing.assert_array_equal(np.where(np.isinf(found), 0, found), values)


def test_exr_that_cannot_be_read_says_why(tmp_path, depth):
    path = tmp_path / "d.exr"

    def refusal():
        with pytest.raises(UnreadableInput) as caught:
            read_depth(path)
        return caught.value.reason

    write_exr(path, depth.astype(np.float32), ["height", "width"])
    assert "no depth channel" in refusal()
    three = {"R": depth, "G": depth + np.float32(1), "B": depth}
    with OpenEXR.File({"type": OpenEXR.scanlineimage}, {k: v.astype(np.float32) for k, v in three.items()}) as file:
        file.write(str(path))
    assert "no depth channel" in refusal()
    write_exr(path, depth.astype(np.float32), ["Z"])
    whole = path.read_bytes()
    for cut in (6, 40, 200, len(whole) - 200):
        path.write_bytes(whole[:cut])
        assert "damaged" in refusal()
