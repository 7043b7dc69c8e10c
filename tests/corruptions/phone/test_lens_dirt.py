"""Dirt on the lens: clean glass, energy, nesting, softness."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import load
from corruptions.phone._dirt import MOST, Dirt, draw_dirt, through
from corruptions.phone.lens_dirt import lens_dirt


def _linear(values):
    v = np.asarray(values, np.float64) / 255
    return np.where(v <= 0.04045, v / 12.92, ((v + 0.055) / 1.055) ** 2.4)


def _display(light):
    return 255 * np.where(light <= 0.0031308, 12.92 * light, 1.055 * np.maximum(light, 1e-9) ** (1 / 2.4) - 0.055)


def test_clean_glass_is_invisible():
    every_value = np.arange(256, dtype=np.uint8).reshape(16, 16).repeat(4, 0).repeat(4, 1)[..., None].repeat(3, 2)
    for image in (every_value, texture(64, 48)):
        assert np.array_equal(lens_dirt(image, 0, 0, 0, 0.5, np.random.default_rng(0)), image)


@pytest.mark.parametrize("value", [0, 30, 128, 255])
def test_plain_picture_follows_the_formula(value):
    """Where nothing varies the blur has no effect: ``L' = (1 - a - s) L + s (2/3 L + 1/3 V)``."""
    image = np.full((48, 48, 3), value, np.uint8)
    for taken, scattered in ((0.3, 0.0), (0.0, 0.6), (0.25, 0.5)):
        dirt = Dirt(np.full((24, 24), taken, np.float32), np.full((24, 24), scattered, np.float32))
        light = _linear(value)
        share = (1 - taken) * scattered
        expected = _display((1 - taken - share) * light + share * (2 / 3 * light + 0.5 / 3))
        result = through(image, dirt, 0.05, 0.5)
        assert np.abs(result - expected).max() <= 0.51 + 1e-3


def test_grease_lowers_contrast_and_dust_only_darkens():
    image = texture(128, 128)
    greasy = lens_dirt(image, 5, 2, 0, 0.7, np.random.default_rng(1))
    assert _linear(greasy).std() < 0.85 * _linear(image).std()
    dusty = lens_dirt(image, 0, 0, 40, 0.7, np.random.default_rng(1)).astype(int)
    assert (dusty <= image).all()
    changed = (dusty != image).any(axis=2).mean()
    assert 0.01 < changed < 0.5


def test_light_is_spread_not_made():
    """Without stray light, grease that lies everywhere keeps two thirds of what it scatters and adds none."""
    image = cv2.GaussianBlur(texture(128, 128), (0, 0), 3)
    dirt = Dirt(np.zeros((64, 64), np.float32), np.full((64, 64), 0.6, np.float32))
    result = through(image, dirt, 0.03, 0.0)
    assert _linear(result).mean() == pytest.approx((0.4 + 0.6 * 2 / 3) * _linear(image).mean(), rel=0.01)


def test_dirt_of_a_level_lies_on_the_next_one():
    levels = load("lens_dirt").card.extra["severities"]
    before = None
    for severity in range(1, 6):
        dirt = draw_dirt((96, 128), **levels[severity], rng=np.random.default_rng(4))
        assert dirt.taken.max() < 1
        assert dirt.scattered.max() < 1
        if before is not None:
            assert (dirt.taken >= before.taken).all()
            assert (dirt.scattered >= before.scattered).all()
        before = dirt


def test_notes_tell_the_light_lost_and_grow():
    image = texture(96, 96)
    notes = [corrupt("lens_dirt", s, image, None, seed=2).notes for s in range(1, 6)]
    for key in ("light_scattered", "light_taken"):
        values = [n[key] for n in notes]
        assert values[0] > 0
        assert (np.diff(values) > 0).all()
        assert values[-1] < 1


def test_dirt_is_out_of_focus():
    """No edge: neighbouring pixels of a 512 wide picture differ by little."""
    dirt = draw_dirt((512, 512), **load("lens_dirt").card.extra["severities"][5], rng=np.random.default_rng(3))
    for part, steepest in ((dirt.taken, 0.15), (dirt.scattered, 0.15)):
        assert max(np.abs(np.diff(part, axis=a)).max() for a in (0, 1)) < steepest


def test_twice_the_resolution_is_the_same_picture():
    image = cv2.GaussianBlur(person(128, 128)[0], (0, 0), 1.5)
    big = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    small = corrupt("lens_dirt", 4, image, None, seed=3).image
    large = corrupt("lens_dirt", 4, big, None, seed=3).image
    assert psnr(small, cv2.resize(large, (128, 128), interpolation=cv2.INTER_AREA)) > 30


def test_impossible_dirt_is_refused():
    image = texture(32, 32)
    for wrong in ((MOST["smudges"] + 1, 0, 0, 0.5), (0, -1, 0, 0.5), (0, 0, 1000, 0.5), (1, 1, 1, 1.5)):
        with pytest.raises(ValueError, match=r"haze in \[0, 1\] and at most"):
            lens_dirt(image, *wrong, np.random.default_rng(0))
