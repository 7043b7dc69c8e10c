"""H.264 and H.265 in process: colour, alignment, rates."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import _video
from corruptions.h265_abr import h265_abr, source_rate
from corruptions.h265_crf import h265_crf


def _smooth(height=128, width=128, seed=0):
    return cv2.GaussianBlur(texture(height, width, seed, smooth=4), (0, 0), 2)


@pytest.mark.parametrize("shape", [(64, 64), (63, 65), (33, 40)])
def test_colour_there_and_back(shape):
    image = cv2.GaussianBlur(texture(*shape), (0, 0), 6, borderType=cv2.BORDER_REPLICATE)
    planes = _video.to_yuv(image)
    assert planes.dtype == np.uint8
    back = _video.from_yuv(planes, shape)
    assert back.shape == image.shape
    assert psnr(back, image) > 40


def test_coded_shape_is_even_and_not_below_one_block():
    """x265 with a rate buffer corrupts the heap below 64 pixels: free() aborts the process sooner or later."""
    assert _video.coded_shape((33, 47)) == (64, 64)
    assert _video.coded_shape((101, 64)) == (102, 64)
    for _ in range(6):
        assert corrupt("h265_abr", 1, person(33, 47)[0], None).image.shape == (33, 47, 3)


def test_colour_matrix_is_bt601():
    colours = np.array([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 140, 30]], np.uint8)
    for colour in colours:
        planes = _video.to_yuv(np.broadcast_to(colour, (64, 64, 3)))
        r, g, b = colour / 255
        y = 16 + 65.481 * r + 128.553 * g + 24.966 * b
        u = 128 - 37.797 * r - 74.203 * g + 112.0 * b
        v = 128 + 112.0 * r - 93.786 * g - 18.214 * b
        flat = planes.ravel()
        assert np.abs(np.array([flat[0], flat[64 * 64], flat[-1]]) - [y, u, v]).max() <= 0.51
        assert np.abs(_video.from_yuv(planes, (64, 64))[0, 0].astype(int) - colour).max() <= 2


def test_grey_is_kept_to_a_level():
    for value in range(0, 256, 5):
        grey = np.full((32, 32, 3), value, np.uint8)
        assert np.abs(_video.from_yuv(_video.to_yuv(grey), (32, 32)).astype(int) - value).max() <= 1


def test_more_compression_is_smaller_and_worse():
    for image in (_smooth(), person(128, 128)[0]):
        results = [h265_crf(image, crf) for crf in (24, 26, 32, 39, 41)]
        assert (np.diff([size for _, size in results]) < 0).all()
        assert (np.diff([psnr(image, r) for r, _ in results]) < 0).all()


@pytest.mark.parametrize("name", ["h265_crf", "h265_abr"])
@pytest.mark.parametrize("shape", [(96, 96), (97, 101)])
def test_decoded_frame_is_aligned(name, shape):
    image = _smooth(*shape)
    result = corrupt(name, 1, image, None).image
    assert result.shape == image.shape
    inside = np.s_[4:-4, 4:-4]
    errors = {
        (dy, dx): np.mean((np.roll(result, (dy, dx), (0, 1))[inside].astype(float) - image[inside]) ** 2)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == (0, 0)


@pytest.mark.parametrize("value", [0, 60, 128, 255])
def test_constant_image_within_two_levels(value):
    for name in ("h265_crf", "h265_abr", "bit_error"):
        plain = np.full((64, 64, 3), value, np.uint8)
        assert np.abs(corrupt(name, 1, plain, None).image.astype(int) - value).max() <= 2


def test_repeated_encoding_gives_the_same_packets():
    image = _smooth()
    options = {"x265-params": f"{_video.X265_PINNED}:crf=30"}
    assert len({tuple(_video.encode("libx265", image, options)) for _ in range(4)}) == 1
    assert len({h265_abr(image, 40)[0].tobytes() for _ in range(4)}) == 1


def test_one_key_frame_is_as_good_as_many_frames_of_the_default_search():
    """What the single frame stands for: the last of 60 frames at 25 a second, encoded with the default preset."""
    image, _, _ = person(160, 160)
    for crf in (26, 39):
        options = {"x265-params": f"pools=none:frame-threads=1:info=0:log-level=none:crf={crf}"}
        long_clip = _video.decode("hevc", _video.encode("libx265", image, options, frames=60, rate=25), (160, 160))
        assert psnr(image, h265_crf(image, crf)[0]) == pytest.approx(psnr(image, long_clip), abs=0.5)


@pytest.mark.parametrize("shape", [(64, 64), (66, 130)])
def test_encoded_colours_are_the_whole_number_formula(shape):
    """BT.601 in 2**-16, rounded; chroma of the sum of four pixels."""
    image = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    image[:2, :6] = [(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 255, 255)]
    r, g, b = np.moveaxis(image.astype(np.int64), 2, 0)
    luma = ((16829 * r + 33039 * g + 6416 * b + (1 << 15)) >> 16) + 16
    r, g, b = (p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2] for p in (r, g, b))
    cb = ((-9714 * r - 19071 * g + 28785 * b + (1 << 17)) >> 18) + 128
    cr = ((28785 * r - 24103 * g - 4682 * b + (1 << 17)) >> 18) + 128
    expected = np.concatenate([luma.ravel(), cb.ravel(), cr.ravel()])
    assert np.array_equal(_video.to_yuv(image).ravel(), expected)


@pytest.mark.parametrize("shape", [(64, 64), (66, 130)])
def test_decoded_colours_are_the_whole_number_formula(shape):
    """BT.601 in 2**-16, chroma in sixteenths, every term rounded down: written out in integers."""
    height, width = shape
    planes = np.random.default_rng(0).integers(0, 256, (height * 3 // 2, width), dtype=np.uint8)
    luma = planes[:height].astype(np.int64) - 16
    y, x = np.mgrid[:height, :width]
    chroma = []
    for part in planes.ravel()[height * width :].reshape(2, height // 2, width // 2).astype(np.int64) - 128:
        padded = np.pad(part, 1, mode="edge")
        # Each sample lies between four pixels: 3/4 of the nearer and 1/4 of the farther one, in both directions.
        near_y, near_x = y // 2 + 1, x // 2 + 1
        far_y, far_x = near_y + np.where(y % 2, 1, -1), near_x + np.where(x % 2, 1, -1)
        across = 3 * padded[:, near_x[0]] + padded[:, far_x[0]]
        chroma.append(3 * across[near_y[:, 0]] + across[far_y[:, 0]])
    cb, cr = chroma
    base = 76309 * luma + (1 << 15)
    red, blue = base + (104597 * cr >> 4), base + (132201 * cb >> 4)
    green = base - (25675 * cb + 53279 * cr >> 4)
    expected = np.clip(np.stack([red, green, blue], axis=2) >> 16, 0, 255)
    assert np.array_equal(_video.from_yuv(planes, shape), expected)


def test_lower_rates_are_not_better():
    image = person(192, 192)[0]
    rate = source_rate(image) // 1000
    quality = [psnr(image, h265_abr(image, max(1, rate // k))[0]) for k in (2, 4, 8, 16, 32)]
    assert (np.diff(quality) < 0.3).all()
    assert quality[0] > quality[-1] + 3


def test_rate_is_kept_where_the_picture_allows_it():
    image = person(256, 256)[0]
    for severity, divisor in ((1, 2), (2, 4)):
        notes = corrupt("h265_abr", severity, image, None).notes
        assert notes["target_kbits_per_s"] == notes["source_bits_per_s"] // divisor // 1000
        assert 0.5 < notes["bytes"] * 8 / 1000 / notes["target_kbits_per_s"] < 1.6


def test_source_rate_counts_pictures_only():
    image = _smooth(64, 64)
    stream = b"".join(_video.h264_stream(image, rate=2))
    kinds = [kind for _, _, kind in _video.units(stream)]
    assert {1, 5, 7, 8} <= set(kinds)
    assert source_rate(image) == _video.picture_bytes(stream) * 8
    assert _video.picture_bytes(stream) < len(stream)


def test_impossible_settings_are_refused():
    with pytest.raises(ValueError, match="from 0 to 51"):
        h265_crf(_smooth(32, 32), 60)
    with pytest.raises(ValueError, match="at least 1 kbit"):
        h265_abr(_smooth(32, 32), 0)
