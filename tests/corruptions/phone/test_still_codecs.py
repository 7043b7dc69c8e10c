"""WebP, AVIF and what social media do: sizes, quality, exactness of the steps, missing codecs."""

import importlib.util
import io

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from PIL import Image
from scipy import ndimage

from corruptions import MissingInput, load
from corruptions.phone.avif import avif
from corruptions.phone.social_media import share, social_media, unsharp
from corruptions.phone.webp import webp
from robench import registry
from robench.errors import EnvironmentNotReady


def _smooth(height=128, width=128, seed=0):
    return cv2.GaussianBlur(texture(height, width, seed, smooth=4), (0, 0), 2)


@pytest.mark.parametrize("name", ["webp", "avif", "social_media"])
def test_files_shrink_and_pictures_get_worse_with_every_level(name):
    for image in (_smooth(), person(128, 128)[0]):
        results = [corrupt(name, severity, image, None) for severity in range(1, 6)]
        sizes = np.array([r.notes["bytes"] for r in results])
        assert (np.diff(sizes, axis=0) < 0).all(), sizes
        assert (np.diff([psnr(image, r.image) for r in results]) < 0).all()


@pytest.mark.parametrize(
    ("code", "name", "options"),
    [(webp, "WEBP", {"method": 4}), (avif, "AVIF", {"speed": 8, "subsampling": "4:2:0", "max_threads": 1})],
)
def test_pixels_and_size_are_those_of_a_file_on_disk(tmp_path, code, name, options):
    image = person(80, 96)[0]
    path = tmp_path / "picture"
    Image.fromarray(image).save(path, name, quality=30, **options)
    result, size = code(image, 30)
    assert size == path.stat().st_size
    assert np.array_equal(result, np.asarray(Image.open(path).convert("RGB")))


@pytest.mark.parametrize("name", ["webp", "avif", "social_media"])
@pytest.mark.parametrize("shape", [(96, 96), (97, 101)])
def test_result_is_aligned_with_the_picture(name, shape):
    image = _smooth(*shape)
    result = corrupt(name, 2, image, None).image
    inside = np.s_[4:-4, 4:-4]
    errors = {
        (dy, dx): np.mean((np.roll(result, (dy, dx), (0, 1))[inside].astype(float) - image[inside]) ** 2)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == (0, 0)


@pytest.mark.parametrize("name", ["webp", "avif", "social_media"])
@pytest.mark.parametrize("value", [0, 60, 128, 255])
def test_constant_picture_within_four_levels(name, value):
    """Coarse quantisers may miss a grey by a few levels, at the strongest level too; nothing else may appear in it."""
    result = corrupt(name, 5, np.full((64, 64, 3), value, np.uint8), None).image.astype(int)
    assert np.abs(result - value).max() <= 4
    assert np.ptp(result) <= 2


def test_sharpening_is_unsharp_masking():
    image = person(64, 64)[0]
    blurred = ndimage.gaussian_filter(image.astype(float), (0.8, 0.8, 0), mode="nearest", truncate=4)
    expected = np.clip(np.rint(image + 0.7 * (image - blurred)), 0, 255)
    assert psnr(unsharp(image, 0.7), expected) > 52
    assert np.array_equal(unsharp(image, 0.0), image)
    flat = np.full((40, 40, 3), 77, np.uint8)
    assert np.array_equal(unsharp(flat, 1.0), flat)


def test_sharing_writes_a_smaller_jpeg_with_halved_chroma():
    image = person(120, 90)[0]
    shared, size = share(image, 0.5, 0.0, 70)
    assert shared.shape == (60, 45, 3)
    file = io.BytesIO()
    Image.fromarray(cv2.resize(image, (45, 60), interpolation=cv2.INTER_AREA)).save(
        file, "JPEG", quality=70, subsampling=2
    )
    assert size == file.tell()
    assert np.array_equal(shared, np.asarray(Image.open(file)))


def test_shared_twice_is_sharing_what_was_shared():
    image = person(96, 96)[0]
    once, first = share(image, 0.8, 0.5, 60)
    twice, second = share(once, 0.8, 0.5, 60)
    result, sizes = social_media(image, 0.8, 0.5, 60)
    assert sizes == [first, second]
    assert np.array_equal(result, cv2.resize(twice, (96, 96), interpolation=cv2.INTER_CUBIC))


def test_gentlest_sharing_keeps_the_picture():
    """Full size, no sharpening, best quality: only halved chroma is left."""
    image = cv2.GaussianBlur(texture(128, 128, smooth=4), (0, 0), 4)
    assert psnr(social_media(image, 1.0, 0.0, 100)[0], image) > 42


def test_impossible_settings_are_refused():
    image = _smooth(32, 32)
    for code in (webp, avif):
        for quality in (-1, 101):
            with pytest.raises(ValueError, match=f"from 0 to 100, got {quality}"):
                code(image, quality)
    for scale, sharpen in ((0.0, 0.5), (1.5, 0.5), (0.5, -1.0), (float("nan"), 0.5)):
        with pytest.raises(ValueError, match=r"scale in \(0, 1\]"):
            social_media(image, scale, sharpen, 50)


@pytest.mark.parametrize(("name", "part"), [("webp", "_webp"), ("avif", "_avif"), ("social_media", "PIL")])
def test_missing_codec_is_told_before_anything_runs(monkeypatch, name, part):
    """An installation of Pillow without the codec: the corruption cannot be made, so no run begins."""
    real = importlib.util.find_spec
    monkeypatch.setattr(
        "corruptions.phone._still.find_spec", lambda module: None if module.endswith(part) else real(module)
    )
    with pytest.raises(MissingInput, match=f"^{name} needs Pillow with the [A-Z]+ codec, got .* without it; expected"):
        load(name)
    with pytest.raises(EnvironmentNotReady, match=name) as told:
        registry.load("corruptions", name)
    assert "needs Pillow" in told.value.got
