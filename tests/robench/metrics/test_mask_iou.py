from __future__ import annotations

import numpy as np
import pytest

from robench.contracts import Degenerate, Scene
from robench.metrics.iou import MaskIou, mask_iou

BLANK = np.zeros((8, 10), np.float32)


def half(columns):
    mask = BLANK.copy()
    mask[:, :columns] = 1.0
    return mask


def test_overlap_is_the_ratio_of_areas():
    assert mask_iou(half(4), half(8)) == pytest.approx(0.5)
    assert mask_iou(half(8), half(4)) == pytest.approx(0.5)
    assert mask_iou(half(4), half(4)) == 1.0
    assert mask_iou(half(4), half(10) - half(4)) == 0.0


def test_soft_masks_are_cut_at_one_half():
    soft = half(4) * np.float32(0.5) + half(10) * np.float32(0.4)
    assert mask_iou(soft, half(4)) == 1.0
    assert mask_iou(half(4) * np.float32(0.49), half(4)) == 0.0


def test_blank_masks():
    assert mask_iou(BLANK, BLANK) == 1.0, "both say that nobody is there"
    assert mask_iou(BLANK, half(3)) == 0.0
    assert mask_iou(half(3), BLANK) == 0.0


def test_missing_and_broken_masks_are_named():
    nan = BLANK.copy()
    nan[0, 0] = np.nan
    assert MaskIou()(Scene(None, None, None, BLANK, None)) == Degenerate("no_mask")
    assert MaskIou()(Scene(None, None, BLANK, None, None)) == Degenerate("no_true_mask")
    assert mask_iou(nan, half(3)) == Degenerate("non_finite")
    assert mask_iou(half(3), nan) == Degenerate("truth_non_finite")
    with pytest.raises(ValueError, match="shape"):
        mask_iou(half(3), half(3)[:4])
