"""Radial blur."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from scipy.ndimage import map_coordinates

from corruptions import load
from corruptions.zoom_blur_2d import zoom_blur


def _passes(image, b, passes):
    """The published loop, in floating point and with reflected borders."""
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    cy, cx = (height - 1) / 2, (width - 1) / 2
    result = image.astype(float)
    for _ in range(passes):
        zoomed = []
        for s in (1 + b, 1 - b):
            at = [cy + (y - cy) * s, cx + (x - cx) * s]
            zoomed.append([map_coordinates(result[..., c], at, order=1, mode="mirror") for c in range(3)])
        result = np.mean(zoomed, axis=0).transpose(1, 2, 0)
    return result


@pytest.mark.parametrize("shape", [(96, 96), (64, 120)])
def test_closed_form_is_the_loop(shape):
    image = cv2.GaussianBlur(texture(*shape), (0, 0), 4)
    inside = np.s_[8:-8, 8:-8]
    assert psnr(zoom_blur(image, 0.02)[inside], _passes(image, 0.02, 5)[inside]) > 50


def test_binomial_sum_computed_independently():
    image = cv2.GaussianBlur(texture(80, 80), (0, 0), 1.5)
    y, x = np.mgrid[:80, :80] - 39.5
    expected = np.zeros(image.shape)
    for k, weight in enumerate((1, 5, 10, 10, 5, 1)):
        s = 1.03**k * 0.97 ** (5 - k)
        at = [39.5 + y * s, 39.5 + x * s]
        for c in range(3):
            expected[..., c] += weight / 32 * map_coordinates(image[..., c].astype(float), at, order=1, mode="mirror")
    assert psnr(zoom_blur(image, 0.03), expected) > 55


@pytest.mark.parametrize("severity", range(1, 6))
def test_radial_sigma(severity):
    """A thin ring of radius r becomes a bell of sigma b sqrt(5) r, b = 0.01 times the severity."""
    size, radius = 501, 120.0
    y, x = np.mgrid[:size, :size] - (size - 1) / 2
    distance = np.hypot(x, y)
    ring = np.clip(255 * np.exp(-0.5 * ((distance - radius) / 1.5) ** 2), 0, 255).astype(np.uint8)
    params = load("zoom_blur_2d").sample(severity, ring.shape, np.random.default_rng(0))
    blurred = zoom_blur(np.dstack([ring] * 3), **params)[..., 0].astype(float)
    # Weighted by 1/r², which the scaled copies of the ring carry.
    weight = blurred / np.maximum(distance, 1) ** 2
    mean = (weight * distance).sum() / weight.sum()
    sigma = np.sqrt((weight * (distance - mean) ** 2).sum() / weight.sum())
    assert np.sqrt(max(sigma**2 - 1.5**2, 0)) == pytest.approx(0.01 * severity * np.sqrt(5) * radius, rel=0.1)


def test_centre_is_unchanged():
    image = texture(65, 97)
    for severity in (1, 5):
        assert np.array_equal(corrupt("zoom_blur_2d", severity, image, None).image[32, 48], image[32, 48])


@pytest.mark.parametrize("shape", [(64, 64), (40, 90)])
def test_constant_image_stays_constant_to_the_border(shape):
    plain = np.full((*shape, 3), 200, np.uint8)
    assert np.array_equal(corrupt("zoom_blur_2d", 5, plain, None).image, plain)


@pytest.mark.parametrize(
    "turn", [np.rot90, np.fliplr, np.flipud, lambda a: np.rot90(a, 2)], ids=["rot90", "fliplr", "flipud", "rot180"]
)
def test_symmetric(turn):
    image = texture(64, 80)
    turned = zoom_blur(np.ascontiguousarray(turn(image)), 0.04).astype(int)
    assert np.abs(turned - turn(zoom_blur(image, 0.04))).max() <= 1


@pytest.mark.parametrize(("passes", "least"), [(5, 0.97), (31, 0.99)])
def test_a_mask_blurred_along_keeps_its_outline_at_one_half(passes, least):
    """Labels stay where they are: blurred along and cut at one half, a mask is the clean one; cut above 0 it swells.

    With the five passes of the source the values between two ghosts are one half themselves.
    """
    _, _, mask = person(256, 256)
    blurred = zoom_blur(np.repeat(np.uint8(255) * mask[..., None], 3, axis=2), 0.02 * (5 / passes) ** 0.5, passes)

    def iou(other):
        return (other & mask).sum() / (other | mask).sum()

    assert iou(blurred[..., 0] > 127) > least
    assert iou(blurred[..., 0] > 0) < 0.91


def test_no_step_is_the_identity():
    image = texture(50, 60)
    assert np.array_equal(zoom_blur(image, 0.0), image)


@pytest.mark.parametrize(("step", "passes"), [(-0.01, 5), (0.3, 5), (0.02, 0)])
def test_impossible_steps_are_refused(step, passes):
    with pytest.raises(ValueError, match="zoom blur needs"):
        zoom_blur(texture(32, 32), step, passes)
