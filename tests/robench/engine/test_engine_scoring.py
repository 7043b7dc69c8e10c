"""What a metric's row says when something is missing."""

from __future__ import annotations

import pytest

from robench import registry
from robench.contracts import Failure, Scene
from robench.engine.scoring import score

NOTHING = Scene(prediction=None, truth=None, mask=None, true_mask=None, camera=None)


@pytest.mark.parametrize(("said", "kept"), [("skipped", "failed"), ("oom", "oom"), ("no_detection", "no_detection")])
def test_a_model_cannot_skip_a_sample(said, kept):
    found = score(registry.load("metrics", "chamfer_cm"), NOTHING, Failure(said, "why"))
    assert (found.status, found.value, found.message) == (kept, None, "why")


@pytest.mark.parametrize(("has_mask", "status"), [(True, "failed"), (False, "skipped")])
def test_an_unread_mask_is_a_failure_and_an_absent_one_is_not(has_mask, status):
    metric = registry.load("metrics", "mask_iou")
    assert score(metric, NOTHING, Failure("failed", "unreadable"), has_mask=has_mask).status == status


def test_data_without_ground_truth_is_skipped():
    assert score(registry.load("metrics", "chamfer_cm"), NOTHING, None).status == "skipped"
