from __future__ import annotations

import io
import pickle
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from robench.errors import ExitCode, SampleFailure
from robench.io._png import encode_png
from robench.io.images import (
    UnreadableInput,
    image_size,
    may_have_alpha,
    pixels_sha256,
    read_image,
    read_mask,
    read_rgba,
    write_mask,
    write_png,
)


@pytest.fixture
def picture():
    y, x = np.mgrid[0:48, 0:64]
    return np.stack([4 * x, 5 * y, (x * y) % 256], axis=2).astype(np.uint8)


@given(
    st.sampled_from([(), (3,), (4,)]),
    st.sampled_from([np.uint8, np.uint16]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
    st.booleans(),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_pngs_decode_to_the_same_pixels_in_another_library(channels, dtype, height, width, seed, flat):
    rng = np.random.default_rng(seed)
    top = 2 if flat else np.iinfo(dtype).max + 1
    pixels = rng.integers(0, top, (height, width, *channels)).astype(dtype)
    data = encode_png(pixels)
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    order = {(): slice(None), (3,): [2, 1, 0], (4,): [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(found[..., order] if channels else found, pixels)
    assert encode_png(np.asfortranarray(pixels)) == data
    if dtype == np.uint8:
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), pixels)


@pytest.mark.parametrize(
    "bad", [np.zeros((4, 4), np.float32), np.zeros((4, 4, 2), np.uint8), np.zeros((0, 4), np.uint8)]
)
def test_the_encoder_refuses_what_a_png_cannot_hold(bad):
    with pytest.raises(ValueError, match="PNG needs"):
        encode_png(bad)


def test_a_written_image_reads_back_and_gives_the_same_bytes_twice(tmp_path, picture):
    first, second = write_png(tmp_path / "a.png", picture), write_png(tmp_path / "b.png", picture)
    assert first == second
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    chunks = {b"tEXt", b"tIME", b"pHYs", b"gAMA", b"iCCP", b"eXIf"}
    assert not any(name in (tmp_path / "a.png").read_bytes() for name in chunks)


@pytest.mark.parametrize(("suffix", "options"), [("png", {}), ("bmp", {}), ("tiff", {}), ("webp", {"lossless": True})])
def test_lossless_formats_give_the_pixels(tmp_path, picture, suffix, options):
    Image.fromarray(picture).save(tmp_path / f"a.{suffix}", **options)
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{suffix}"), picture)
    assert image_size(tmp_path / f"a.{suffix}") == (48, 64)


def test_jpeg_whatever_its_suffix_says(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.jpg", quality=95)
    (tmp_path / "b.png").write_bytes((tmp_path / "a.jpg").read_bytes())
    np.testing.assert_array_equal(read_image(tmp_path / "b.png"), np.asarray(Image.open(tmp_path / "a.jpg")))


def test_grey_palette_bilevel_and_cmyk_become_rgb(tmp_path, picture):
    grey = Image.fromarray(picture[..., 0])
    grey.save(tmp_path / "grey.png")
    np.testing.assert_array_equal(read_image(tmp_path / "grey.png"), np.repeat(picture[..., :1], 3, axis=2))
    Image.fromarray(picture).quantize(16).save(tmp_path / "palette.png")
    expected = np.asarray(Image.fromarray(picture).quantize(16).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "palette.png"), expected)
    grey.convert("1").save(tmp_path / "bilevel.png")
    assert set(np.unique(read_image(tmp_path / "bilevel.png"))) == {0, 255}
    red = Image.new("CMYK", (40, 40), (0, 255, 255, 0))
    red.save(tmp_path / "cmyk.tiff")
    np.testing.assert_array_equal(read_image(tmp_path / "cmyk.tiff")[0, 0], [255, 0, 0])


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_rounded_not_cut(tmp_path, suffix):
    deep = np.full((40, 50, 3), 511, np.uint16)  # 511 / 257 = 1.99: cutting the low byte would give 1
    deep[0, 0] = [65535, 257 * 100, 0]
    cv2.imwrite(str(tmp_path / f"a.{suffix}"), deep[..., ::-1])
    found = read_image(tmp_path / f"a.{suffix}")
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found[0, 0], [255, 100, 0])
    assert (found[1:] == 2).all()
    cv2.imwrite(str(tmp_path / f"g.{suffix}"), deep[..., 0])
    found = read_image(tmp_path / f"g.{suffix}")
    assert found.shape == (40, 50, 3)
    assert found[0, 0].tolist() == [255, 255, 255]
    assert (found[1:] == 2).all()


def test_sixteen_bit_alpha_is_composited(tmp_path):
    deep = np.full((40, 40, 4), 65535, np.uint16)
    deep[:20, :, 3] = 0
    (tmp_path / "a.png").write_bytes(encode_png(deep))
    image, alpha = read_rgba(tmp_path / "a.png")
    assert (image[:20] == 0).all()
    assert (image[20:] == 255).all()
    np.testing.assert_array_equal(alpha[:, 0], np.repeat([0, 1], 20).astype(np.float32))


def test_alpha_is_composited_on_black_and_returned(tmp_path, picture):
    alpha = np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "a.png")
    image, found = read_rgba(tmp_path / "a.png")
    np.testing.assert_array_equal(found, alpha.astype(np.float32) / 255)
    np.testing.assert_allclose(image, picture * (alpha[..., None] / 255), atol=0.5001)
    assert may_have_alpha(tmp_path / "a.png")
    Image.fromarray(np.dstack([picture, np.full_like(alpha, 255)])).save(tmp_path / "b.png")
    image, found = read_rgba(tmp_path / "b.png")
    assert found is None
    np.testing.assert_array_equal(image, picture)


@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8])
@pytest.mark.parametrize("deep", [False, True])
def test_exif_turns_are_applied_as_pillow_does(tmp_path, picture, orientation, deep):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(ImageOps.exif_transpose(_with_exif(Image.fromarray(picture), exif)))
    path = tmp_path / "a.png"
    if deep:
        path.write_bytes(_add_chunk(encode_png(picture.astype(np.uint16) * 257), b"eXIf", exif.tobytes()[6:]))
    else:
        Image.fromarray(picture).save(path, exif=exif)
    found = read_image(path)
    np.testing.assert_array_equal(found, upright)
    assert image_size(path) == found.shape[:2]
    assert found.flags.c_contiguous


def _with_exif(image, exif):
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    return Image.open(buffer)


def _add_chunk(png, kind, data):
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return png[:33] + chunk + png[33:]


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "bmp", "tiff"])
def test_a_truncated_file_is_refused_or_whole(tmp_path, suffix):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    whole = tmp_path / f"a.{suffix}"
    Image.fromarray(noise).save(whole)
    data, reference = whole.read_bytes(), read_image(whole)
    refused = 0
    for fraction in (0, 0.001, 0.01, 0.1, 0.5, 0.9, 0.99):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: int(len(data) * fraction)])
        try:
            found = read_image(cut)
        except UnreadableInput:
            refused += 1
        else:
            np.testing.assert_array_equal(found, reference)
    assert refused >= 6


def test_a_truncated_deep_png_is_refused(tmp_path):
    data = encode_png(np.random.default_rng(0).integers(0, 65536, (64, 64, 3)).astype(np.uint16))
    (tmp_path / "a.png").write_bytes(data[: len(data) // 2])
    with pytest.raises(UnreadableInput, match="truncated"):
        read_image(tmp_path / "a.png")


def test_each_bad_file_gets_its_own_sentence(tmp_path, picture):
    def refusal(name, content=None):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableInput) as caught:
            read_image(tmp_path / name)
        assert caught.value.message.startswith(name)
        assert caught.value.exit_code == ExitCode.USAGE
        assert caught.value.kind == "failed"
        return caught.value.reason

    assert "no such file" in refusal("missing.png")
    assert "empty (0 bytes)" in refusal("zero.png", b"")
    assert "not a PNG" in refusal("text.png", b"<!doctype html><title>404</title>")
    Image.fromarray(picture).save(tmp_path / "anim.gif")
    assert "not a PNG" in refusal("anim.gif")
    Image.new("RGB", (20, 400)).save(tmp_path / "small.png")
    assert "20x400 pixels, smaller than 32" in refusal("small.png")
    Image.new("L", (16400, 40)).save(tmp_path / "large.png")
    assert "larger than 16384" in refusal("large.png")
    Image.fromarray(np.ones((40, 40), np.float32)).save(tmp_path / "float.tiff")
    assert "32-bit" in refusal("float.tiff")
    (tmp_path / "folder.png").mkdir()
    assert "directory" in refusal("folder.png")


def test_a_decompression_bomb_is_refused_at_once(tmp_path):
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    data = struct.pack(">I", 4) + b"IDAT" + b"\x78\x9c\x03\x00" + b"\x00" * 8
    (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + data)
    with pytest.raises(UnreadableInput, match="too many pixels"):
        read_image(tmp_path / "bomb.png")


def test_eight_thousand_pixels_a_side_are_read(tmp_path):
    grey = np.zeros((8000, 8000), np.uint8)
    grey[-1, -1] = 9
    write_png(tmp_path / "a.png", grey)
    found = read_image(tmp_path / "a.png")
    assert found.shape == (8000, 8000, 3)
    assert found[-1, -1].tolist() == [9, 9, 9]


def test_masks_round_trip_and_must_fit_their_image(tmp_path):
    mask = np.linspace(0, 1, 30 * 40, dtype=np.float32).reshape(30, 40)
    write_mask(tmp_path / "m.png", mask)
    found = read_mask(tmp_path / "m.png", (30, 40))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, mask, atol=0.5 / 255 + 1e-6)
    with pytest.raises(UnreadableInput, match="the mask is 40x30 pixels but its image is 30x40"):
        read_mask(tmp_path / "m.png", (40, 30))
    for bad in (mask * 2, mask - 1, np.full_like(mask, np.nan)):
        with pytest.raises(ValueError, match=r"\[0, 1\]"):
            write_mask(tmp_path / "m.png", bad)


def test_masks_take_alpha_where_it_says_something_else_luma(tmp_path, picture):
    alpha = np.zeros((48, 64), np.uint8)
    alpha[10:20, 5:30] = 255
    Image.fromarray(np.dstack([picture, alpha])).save(tmp_path / "cut_out.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "cut_out.png"), (alpha / 255).astype(np.float32))
    Image.fromarray(picture).save(tmp_path / "colour.png")
    expected = np.asarray(Image.fromarray(picture).convert("L")).astype(np.float32) / 255
    np.testing.assert_array_equal(read_mask(tmp_path / "colour.png"), expected)
    Image.fromarray(np.dstack([alpha] * 3)).save(tmp_path / "rgb.png")
    assert set(np.unique(read_mask(tmp_path / "rgb.png"))) == {0.0, 1.0}
    cv2.imwrite(str(tmp_path / "deep.png"), alpha.astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png"), (alpha / 255).astype(np.float32))


def test_pixel_hashes_see_pixels_shape_and_type_only(tmp_path, picture):
    Image.fromarray(picture).save(tmp_path / "a.bmp")
    write_png(tmp_path / "a.png", picture)
    assert pixels_sha256(read_image(tmp_path / "a.bmp")) == pixels_sha256(read_image(tmp_path / "a.png"))
    assert pixels_sha256(np.zeros((2, 3), np.uint8)) != pixels_sha256(np.zeros((3, 2), np.uint8))


def test_a_refusal_survives_the_way_home_from_a_worker():
    error = UnreadableInput("/a/b.png", "it is bad")
    again = pickle.loads(pickle.dumps(error))
    assert isinstance(again, SampleFailure)
    assert (again.kind, again.message, again.reason, str(again)) == (
        error.kind,
        error.message,
        error.reason,
        str(error),
    )
