"""Where a model that knows only the neighbourhood of people looks for one."""

from __future__ import annotations

import numpy as np

from baselines.pifu.predict import GROWN, bounds


def test_the_box_of_a_mask_has_y_up_and_is_grown():
    mask = np.zeros((100, 100), np.uint8)
    mask[10:60, 40:50] = 255
    low, high = bounds(mask)
    assert np.allclose(low, [-0.2 - 2 * GROWN, -0.2 - 2 * GROWN])
    assert np.allclose(high, [0.0 + 2 * GROWN, 0.8 + 2 * GROWN])


def test_float_and_byte_masks_agree_and_a_blank_one_bounds_nothing():
    mask = np.zeros((64, 64), np.uint8)
    assert np.allclose(bounds(mask), ([-1, -1], [1, 1]))
    mask[5:9, 7:30] = 255
    assert np.allclose(bounds(mask), bounds(mask.astype(np.float32) / 255))
