"""Where the camera stands, and what lies behind."""

import numpy as np
import pytest
from corruption_pictures import aux_of

from corruptions._depth import DepthRule, metric_depth


def _read(depth, rule):
    return metric_depth(aux_of(np.asarray(depth, np.float32)), np.shape(depth), rule, "test")


def test_person_mode_moves_the_nearest_point_to_the_camera_distance():
    depth, notes = _read([[10.0, 10.4], [11.0, np.inf]], DepthRule())
    assert np.allclose(depth, [[3.0, 3.4], [4.0, 6.0]], atol=1e-5)
    assert notes == pytest.approx({"no_depth_share": 0.25, "nearest_m": 3.0, "farthest_m": 6.0})


def test_background_is_never_before_the_farthest_finite_point():
    depth, _ = _read([[2.0, 20.0], [5.0, np.inf]], DepthRule())
    assert depth[1, 1] == depth[0, 1] == pytest.approx(21.0)


def test_metres_as_given_are_trusted():
    depth, _ = _read([[2.0, 4.0], [5.0, np.inf]], DepthRule("as_given", background_m=9.0))
    assert depth.tolist() == [[2.0, 4.0], [5.0, 9.0]]


def test_rule_survives_the_manifest():
    rule = DepthRule("as_given", 2.5, 8.0)
    assert DepthRule.of(rule.params()) == rule


@pytest.mark.parametrize("wrong", [{"depth_mode": "metric"}, {"camera_m": 0.0}, {"background_m": -1.0}])
def test_wrong_rules_are_told(wrong):
    with pytest.raises(ValueError, match="must be"):
        DepthRule(**wrong)
