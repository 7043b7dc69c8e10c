"""Contrast, elastic transform, pixelate, JPEG and saturate against their published formulas, computed otherwise."""

import io
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from PIL import Image as Pictures
from scipy.ndimage import gaussian_filter, map_coordinates
from skimage.color import hsv2rgb, rgb2hsv

from corruptions import load
from corruptions.common._elastic import affine_field, pulled, smooth_field
from corruptions.common.contrast import lower_contrast
from corruptions.common.elastic_transform import IMAGENET_C, ElasticTransform
from corruptions.common.jpeg_compression import jpeg
from corruptions.common.pixelate import Pixelate, pixelate
from corruptions.common.saturate import saturate

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("name", "keys", "table"),
    [
        ("contrast", ("kept",), [(0.4,), (0.3,), (0.2,), (0.1,), (0.05,)]),
        ("elastic_transform", ("alpha",), [(12.5,), (16.25,), (21.25,), (25,), (30,)]),
        ("pixelate", ("kept",), [(0.6,), (0.5,), (0.4,), (0.3,), (0.25,)]),
        ("jpeg_compression", ("quality",), [(25,), (18,), (15,), (10,), (7,)]),
        ("saturate", ("gain", "raise"), [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)]),
    ],
)
def test_levels_are_the_published_ones(name, keys, table):
    card = load(name).card
    assert [tuple(row[k] for k in keys) for row in card.extra["severities"].values()] == table
    assert card.extra["levels"] == "published"
    assert card.extra["family"] == "digital"


# Contrast


@pytest.mark.parametrize("severity", range(1, 6))
def test_contrast_is_its_formula(severity):
    image = texture(64, 80)
    image[..., 1] //= 2
    mean = image.reshape(-1, 3).mean(axis=0)
    expected = (image - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + mean
    result = corrupt("contrast", severity, image, None).image
    assert np.abs(result - expected).max() <= 0.51
    assert np.abs(result.reshape(-1, 3).mean(axis=0) - mean).max() < 0.5


def test_contrast_kept_and_lost():
    image = texture(40, 40)
    assert np.array_equal(lower_contrast(image, 1.0), image)
    assert np.ptp(lower_contrast(image, 0.0), axis=(0, 1)).tolist() == [0, 0, 0]
    with pytest.raises(ValueError, match="must be >= 0"):
        lower_contrast(image, -0.1)


# Saturate


@pytest.mark.parametrize("severity", range(1, 6))
def test_saturate_is_its_formula_in_hsv(severity):
    image = np.random.default_rng(1).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    image[:8] = texture(8, 80)
    image[8:10], image[10:12], image[12:14], image[14:16] = 0, 255, 90, (200, 90, 90)
    gain, offset = [(0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2)][severity - 1]
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 1] = np.clip(hsv[..., 1] * gain + offset, 0, 1)
    expected = hsv2rgb(hsv) * 255
    assert np.abs(corrupt("saturate", severity, image, None).image - expected).max() <= 1


def test_saturate_keeps_hue_and_value():
    image = np.random.default_rng(0).integers(60, 256, (40, 40, 3)).astype(np.uint8)
    for gain in (0.6, 1.5):
        result = saturate(image, gain, 0.0)
        assert np.array_equal(result.max(axis=2), image.max(axis=2))
        before, after = rgb2hsv(image), rgb2hsv(result)
        turn = np.abs(after[..., 0] - before[..., 0])[before[..., 1] > 0.3]
        assert np.minimum(turn, 1 - turn).max() < 0.03


def test_no_change_of_saturation_is_the_identity_and_impossible_ones_are_refused():
    image = texture(40, 40)
    assert np.array_equal(saturate(image, 1.0, 0.0), image)
    assert np.ptp(saturate(image, 0.0, 0.0), axis=2).max() == 0
    for gain, offset in ((-1, 0), (1, -0.1), (1, 1.5)):
        with pytest.raises(ValueError, match="saturation needs"):
            saturate(image, gain, offset)


def test_saturate_grows_on_both_of_its_scales():
    """Levels 1 and 2 wash out, 3 to 5 glare: each scale grows in itself."""
    image, _, _ = person(128, 128)
    quality = [psnr(image, corrupt("saturate", s, image, None).image) for s in range(1, 6)]
    assert quality[0] > quality[1]
    assert quality[2] > quality[3] > quality[4]


# Pixelate


def _cells(length, count):
    """Which cell a pixel's centre lies in, and which cell is shown at a pixel (no centre lies between two cells)."""
    centre = np.arange(length) + 0.5
    return np.minimum(np.ceil(centre * count / length - 1e-9).astype(int) - 1, count - 1), (
        centre * count / length
    ).astype(int)


@pytest.mark.parametrize("shape", [(224, 224), (96, 128), (96, 52)])
@pytest.mark.parametrize("severity", range(1, 6))
def test_pixelate_is_the_mean_of_cells(shape, severity):
    image = texture(*shape)
    kept = (0.6, 0.5, 0.4, 0.3, 0.25)[severity - 1]
    counts = [int(round(side * kept, 6)) for side in shape]
    (from_y, to_y), (from_x, to_x) = (_cells(side, n) for side, n in zip(shape, counts, strict=True))
    total, members = np.zeros((*counts, 3)), np.zeros((*counts, 1))
    np.add.at(total, (from_y[:, None], from_x[None]), image.astype(float))
    np.add.at(members, (from_y[:, None], from_x[None]), 1)
    expected = (total / members)[to_y[:, None], to_x[None]]
    assert np.abs(corrupt("pixelate", severity, image, None).image - expected).max() <= 1


def test_pixelate_has_fewer_cells_with_severity():
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3)).astype(np.uint8)
    blocks = [len(np.unique(corrupt("pixelate", s, image, None).image.reshape(-1, 3), axis=0)) for s in range(1, 6)]
    assert (np.diff(blocks) < 0).all()
    assert blocks[-1] <= 56 * 56


def test_pixelate_follows_the_resolution():
    big = cv2.resize(texture(224, 224), (672, 672), interpolation=cv2.INTER_CUBIC)
    scaled = corrupt("pixelate", 5, big, None)
    assert scaled.notes["cell_px"] == pytest.approx(12)
    assert all((scaled.image[y : y + 12, x : x + 12] == scaled.image[y, x]).all() for y, x in ((0, 0), (324, 600)))
    published = Pixelate(scaled=False)
    result = published.apply(big, published.sample(5, big.shape[:2], np.random.default_rng(0)), None)
    assert result.notes["cell_px"] == pytest.approx(4)
    assert psnr(result.image, big) > psnr(scaled.image, big) + 3


def test_pixelate_of_plain_and_whole_pictures():
    plain = np.full((50, 61, 3), (3, 200, 90), np.uint8)
    assert np.array_equal(pixelate(plain, 0.3), plain)
    image = texture(40, 40)
    assert np.array_equal(pixelate(image, 1.0), image)
    assert pixelate(image, 1e-4).std(axis=(0, 1)).tolist() == [0, 0, 0]
    for kept in (0, 1.1):
        with pytest.raises(ValueError, match=r"\(0, 1\]"):
            pixelate(image, kept)


# JPEG


@pytest.mark.parametrize("severity", range(1, 6))
def test_jpeg_is_that_of_another_encoder(severity):
    image = texture(97, 130)
    result = corrupt("jpeg_compression", severity, image, None)
    stream = io.BytesIO()
    quality = (25, 18, 15, 10, 7)[severity - 1]
    Pictures.fromarray(image).save(stream, "JPEG", quality=quality, subsampling="4:2:0", optimize=False)
    assert np.abs(result.image.astype(int) - np.asarray(Pictures.open(stream))).max() <= 1
    assert result.notes["bytes"] == pytest.approx(len(stream.getvalue()), rel=0.01)


def test_jpeg_gets_smaller_with_severity():
    image, _, _ = person(128, 128)
    sizes = [corrupt("jpeg_compression", s, image, None).notes["bytes"] for s in range(1, 6)]
    assert (np.diff(sizes) < 0).all()


def test_jpeg_halves_the_resolution_of_colour():
    """Columns of two colours of one brightness survive in brightness alone."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[:, ::2], image[:, 1::2] = (180, 100, 100), (100, 141, 100)
    red = jpeg(image, 95)[0].astype(int)[8:-8, 8:-8, 0]
    assert np.abs(red[:, ::2] - red[:, 1::2]).mean() < 15


def test_jpeg_keeps_plain_pictures_and_refuses_other_qualities():
    plain = np.full((40, 56, 3), 130, np.uint8)
    assert np.abs(jpeg(plain, 7)[0].astype(int) - 130).max() <= 2
    for quality in (0, 101):
        with pytest.raises(ValueError, match="from 1 to 100"):
            jpeg(plain, quality)


def test_broken_jpeg_codec_is_told(monkeypatch):
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(RuntimeError, match="JPEG codec failed on a picture of 40x32"):
        jpeg(np.zeros((32, 40, 3), np.uint8), 50)


# Elastic transform


def _published_field(alpha, rng):
    """Noise in ±0.005 H smoothed with 0.01 H, in floating point, at 224 px."""
    noise = (rng.integers(0, 255, (2, 224, 224), dtype=np.uint8) - 127.0) / 127.5 * 0.005 * 224
    return np.stack([gaussian_filter(n, 2.24, mode="reflect", truncate=3) for n in noise]) * alpha


@pytest.mark.parametrize("severity", [1, 5])
def test_elastic_field_is_smoothed_noise(severity):
    alpha = (12.5, 16.25, 21.25, 25, 30)[severity - 1]
    expected = _published_field(alpha, np.random.default_rng(5))
    assert smooth_field((224, 224), alpha, np.random.default_rng(5)) == pytest.approx(expected, abs=0.01)


def test_elastic_moves_pixels_as_published():
    image = cv2.GaussianBlur(texture(224, 224), (0, 0), 2)
    field = _published_field(30.0, np.random.default_rng(2))
    y, x = np.mgrid[:224, :224]
    expected = np.dstack(
        [
            map_coordinates(image[..., c].astype(float), [y + field[1], x + field[0]], order=1, mode="reflect")
            for c in range(3)
        ]
    )
    assert psnr(pulled(image, smooth_field((224, 224), 30.0, np.random.default_rng(2))), expected) > 55


def test_elastic_displacement_has_the_strength_of_its_formula():
    """Uniform noise has sigma a / sqrt(3); a Gaussian leaves the share sqrt(sum k²) of it along each axis."""
    taps = np.exp(-0.5 * (np.arange(-7, 8) / 2.24) ** 2)
    share = (taps**2).sum() / taps.sum() ** 2
    for severity, alpha in enumerate((12.5, 16.25, 21.25, 25, 30), start=1):
        sigma = alpha * 1.12 / np.sqrt(3) * share
        result = corrupt("elastic_transform", severity, texture(224, 224), None)
        assert result.notes["mean_displacement_px"] == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)
        assert 3 * sigma < result.notes["max_displacement_px"] < 6 * sigma
        assert result.affine is None


def test_elastic_displacement_follows_the_width():
    small, large = (smooth_field((n, n), 20.0, np.random.default_rng(0)) for n in (224, 448))
    assert np.abs(large).mean() == pytest.approx(2 * np.abs(small).mean(), rel=0.05)
    kept = smooth_field((448, 448), 20.0, np.random.default_rng(0), scaled=False)
    assert np.array_equal(kept * 2, large)
    wide = smooth_field((300, 600), 20.0, np.random.default_rng(0))
    assert wide[0].std() == pytest.approx(wide[1].std(), rel=0.1)


def test_elastic_keeps_plain_pictures_and_moves_nothing_by_nothing():
    plain = np.full((64, 80, 3), (10, 200, 90), np.uint8)
    assert np.array_equal(corrupt("elastic_transform", 5, plain, None).image, plain)
    image = texture(64, 80)
    assert np.array_equal(pulled(image, np.zeros((2, 64, 80), np.float32)), image)
    moved = pulled(image, np.stack([np.full((64, 80), 3, np.float32), np.full((64, 80), -2, np.float32)]))
    assert np.array_equal(moved[10:-10, 10:-10], image[8:-12, 13:-7])
    assert np.array_equal(moved[0, :-3], image[1, 3:]), "mirrored at the edge, the edge itself twice"


@pytest.mark.parametrize("severity", range(1, 6))
def test_imagenet_c_field_is_affine_and_noise(severity):
    """Computed from where the affine brings every point, not from its inverse."""
    row = IMAGENET_C[severity]
    shape = (224, 224)
    field = affine_field(shape, row["alpha"], row["sigma"], row["corner_px"], np.random.default_rng(9))
    rng = np.random.default_rng(9)
    before = 112 + 74 * np.array([[1, 1], [1, -1], [-1, -1]], float)
    after = before + rng.uniform(-row["corner_px"], row["corner_px"], (3, 2))
    ones = np.ones((3, 1))
    forth = np.linalg.solve(np.hstack([before, ones]), after).T
    noise = rng.uniform(-1, 1, (2, *shape))
    local = [row["alpha"] * gaussian_filter(n, row["sigma"], mode="reflect", truncate=3) for n in noise]
    y, x = np.mgrid[:224, :224]
    source = np.stack([x + field[0], y + field[1], np.ones(shape)])
    there = np.einsum("ij,jhw->ihw", forth, source)
    assert np.abs(there[0] - (x + local[0])).max() < 2e-3
    assert np.abs(there[1] - (y + local[1])).max() < 2e-3


def test_imagenet_c_levels_are_the_published_ones():
    assert [tuple(row.values()) for row in IMAGENET_C.values()] == [
        (488.0, 170.8, 24.4),
        (488.0, 19.52, 48.8),
        (12.2, 2.44, 4.88),
        (17.08, 2.44, 4.88),
        (29.28, 2.44, 4.88),
    ]


def test_imagenet_c_variant_is_an_option():
    image = texture(96, 120)
    variant = ElasticTransform(variant="imagenet-c")
    params = variant.sample(3, (96, 120), np.random.default_rng(0))
    assert params["sigma"] == 2.44
    result = variant.apply(image, params, None)
    # Whoever replays needs the parameters alone.
    assert np.array_equal(ElasticTransform().apply(image, params, None).image, result.image)
    assert result.affine is None
    assert 0 < result.notes["mean_displacement_px"] < result.notes["max_displacement_px"] < 8
    published = ElasticTransform(variant="imagenet-c", scaled=False)
    kept = published.apply(image, published.sample(3, (96, 120), np.random.default_rng(0)), None)
    assert kept.notes["mean_displacement_px"] > 1.5 * result.notes["mean_displacement_px"]
    with pytest.raises(ValueError, match="'imagecorruptions' and 'imagenet-c', got 'mine'"):
        ElasticTransform(variant="mine")


# All


@pytest.mark.parametrize(("name", "least"), [("elastic_transform", 45), ("pixelate", 33)])
def test_twice_the_resolution_is_the_same_distortion(name, least):
    image = cv2.GaussianBlur(person(240, 240)[0], (0, 0), 1.5)
    big = cv2.resize(image, (480, 480), interpolation=cv2.INTER_CUBIC)
    shrunk = cv2.resize(corrupt(name, 4, big, None, seed=3).image, (240, 240), interpolation=cv2.INTER_AREA)
    assert psnr(corrupt(name, 4, image, None, seed=3).image, shrunk) > least


def test_bytes_do_not_depend_on_the_vector_instructions():
    """The same pictures from a process that has no AVX and no vendor kernels."""
    code = (
        "import hashlib; from corruption_pictures import corrupt, person\n"
        "names = 'snow frost fog brightness spatter contrast elastic_transform pixelate jpeg_compression saturate'\n"
        "for shape in ((96, 128), (260, 240)):\n"
        "    image = person(*shape)[0]\n"
        "    for n in names.split():\n"
        "        for s in (1, 5): print(n, s, hashlib.sha256(corrupt(n, s, image, None).image.tobytes()).hexdigest())"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "corruptions")])
    plain = {
        "OPENCV_IPP": "disabled",
        "OPENCV_CPU_DISABLE": "AVX512-SKX,AVX2,FP16,AVX,SSE4.2",
        "NPY_DISABLE_CPU_FEATURES": "AVX512_SPR AVX512_ICL X86_V4 X86_V3",
    }
    results = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", code],
            env={**os.environ, "PYTHONPATH": path, **extra},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for extra in ({}, plain)
    ]
    assert len(results[0].splitlines()) == 40
    assert results[0] == results[1]
