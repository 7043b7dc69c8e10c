"""Laws of a mask that follows its picture."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from robench.masking.carry import carried_mask


def disc(size=128, centre=(63.5, 63.5), radius=40.0, soft=False):
    y, x = np.mgrid[0:size, 0:size]
    distance = radius - np.hypot(x - centre[0], y - centre[1])
    return np.clip(distance + 0.5, 0, 1).astype(np.float32) if soft else (distance >= 0).astype(np.float32)


def body(size=256):
    """A shape without symmetry: head, trunk, one raised arm."""
    mask = np.zeros((size, size), np.uint8)
    cv2.circle(mask, (size // 2, size // 4), size // 12, 255, -1)
    cv2.ellipse(mask, (size // 2, size // 2), (size // 9, size // 5), 0, 0, 360, 255, -1)
    cv2.line(mask, (size // 2, size * 2 // 5), (size * 3 // 4, size // 4), 255, size // 20)
    return (mask / 255).astype(np.float32)


def turn(degrees, size, scale=1.0):
    return cv2.getRotationMatrix2D(((size - 1) / 2, (size - 1) / 2), degrees, scale)


def test_nothing_moved_gives_the_same_values_in_other_memory():
    mask = disc(soft=True)
    carried = carried_mask(mask, None, mask.shape, soft=True)
    np.testing.assert_array_equal(carried, mask)
    assert not np.shares_memory(carried, mask)


@pytest.mark.parametrize("soft", [True, False])
@pytest.mark.parametrize("degrees", [1.0, 7.0, 30.0, 45.0, -90.0])
def test_roll_keeps_the_area_within_a_thousandth(degrees, soft):
    mask = body(512)
    carried = carried_mask(mask, turn(degrees, 512), mask.shape, soft=soft)
    assert carried.sum() == pytest.approx(mask.sum(), rel=1e-3)


def test_quarter_turn_is_exact():
    mask = body()
    carried = carried_mask(mask, turn(90, 256), mask.shape, soft=False)
    np.testing.assert_array_equal(carried, np.rot90(mask))


def test_there_and_back_is_the_same_but_for_the_outline():
    mask = body(512)
    there = carried_mask(mask, turn(17, 512), mask.shape, soft=False)
    back = carried_mask(there, turn(-17, 512), mask.shape, soft=False)
    assert (back != mask).sum() < 0.01 * mask.sum()


def test_whole_pixel_shift_moves_every_value():
    mask = disc(soft=True)
    carried = carried_mask(mask, np.array([[1.0, 0, 5], [0, 1, -3]]), mask.shape, soft=True)
    np.testing.assert_allclose(carried[:-3, 5:], mask[3:, :-5], atol=1e-6)
    assert carried[-3:].max() == 0
    assert carried[:, :5].max() == 0


def test_half_pixel_shift_is_soft_and_then_sharp():
    mask = np.zeros((33, 40), np.float32)
    mask[:, 10:20] = 1
    half = np.array([[1.0, 0, 0.5], [0, 1, 0]])
    soft = carried_mask(mask, half, mask.shape, soft=True)
    assert soft[16, 10] == pytest.approx(0.5, abs=1e-3)
    assert soft[16, 20] == pytest.approx(0.5, abs=1e-3)
    sharp = carried_mask(mask, half, mask.shape, soft=False)
    assert set(np.unique(sharp)) == {0.0, 1.0}


@pytest.mark.parametrize("scale", [0.23, 0.5, 0.8, 2.0])
def test_zoom_scales_the_area_by_its_square(scale):
    mask = disc(256, (127.5, 127.5), 50, soft=True)
    carried = carried_mask(mask, turn(0, 256, scale), mask.shape, soft=True)
    assert carried.sum() == pytest.approx(scale**2 * mask.sum(), rel=2e-3)
    y, x = np.mgrid[0:256, 0:256]
    centre = (carried * x).sum() / carried.sum(), (carried * y).sum() / carried.sum()
    assert centre == pytest.approx((127.5, 127.5), abs=0.02)


def test_a_thin_limb_survives_shrinking():
    mask = np.zeros((200, 200), np.float32)
    mask[:, 101:103] = 1
    carried = carried_mask(mask, turn(0, 200, 0.25), mask.shape, soft=True)
    np.testing.assert_allclose(carried[90:110].sum(1), 0.5, atol=0.01)


def test_the_new_shape_may_differ():
    mask = disc(64, (31.5, 31.5), 20)
    carried = carried_mask(mask, np.array([[1.0, 0, 10], [0, 1, 20]]), (100, 90), soft=False)
    assert carried.shape == (100, 90)
    assert carried.dtype == np.float32
    assert carried.sum() == mask.sum()


def test_blank_stays_blank_and_full_stays_full_inside():
    blank = np.zeros((64, 64), np.float32)
    assert carried_mask(blank, turn(20, 64), blank.shape, soft=True).max() == 0
    full = carried_mask(blank + 1, turn(20, 64), blank.shape, soft=True)
    assert full[20:44, 20:44].min() == 1
    assert full[0, 0] == 0


@pytest.mark.parametrize(
    ("mask", "affine", "shape", "word"),
    [
        (np.zeros((8, 8, 1), np.float32), None, (8, 8), "shape"),
        (np.zeros((8, 8), np.float32), None, (8, 9), "nothing moved"),
        (np.full((8, 8), np.nan, np.float32), None, (8, 8), "finite"),
        (np.zeros((8, 8), np.float32), np.eye(3), (8, 8), "invertible"),
        (np.zeros((8, 8), np.float32), np.zeros((2, 3)), (8, 8), "invertible"),
        (np.zeros((8, 8), np.float32), np.full((2, 3), np.inf), (8, 8), "invertible"),
    ],
)
def test_nonsense_is_refused(mask, affine, shape, word):
    with pytest.raises(ValueError, match=word):
        carried_mask(mask, affine, shape, soft=True)
