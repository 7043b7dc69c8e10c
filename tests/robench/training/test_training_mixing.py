"""The option ``corruptions``: how it is read, and what is refused."""

from __future__ import annotations

import json

import pytest

from robench.errors import UsageError
from robench.training.mixing import Mixing, Portion


def test_a_list_leaves_the_rest_clean():
    names = ("low_light", "iso_noise", "camera_roll", "zoom_blur_2d")
    mixing = Mixing.from_value([{"condition": name, "severities": [4], "share": 0.2} for name in names])
    assert mixing.clean_share == 0.2
    assert [portion.share for portion in mixing.portions] == [0.2] * 4
    assert mixing.portions[0] == Portion("low_light", 0.2, (4,))


def test_nothing_may_be_left_clean():
    assert Mixing.from_value([{"condition": "low_light", "share": 1.0}]).clean_share == 0.0


@pytest.mark.parametrize(
    "value",
    [
        {"recipe": "2d-priors", "clean_share": 0.25},
        [{"condition": "fog_3d:2 + iso_noise:3", "share": 0.5}, {"condition": "low_light", "share": 0.1}],
    ],
)
def test_what_is_written_is_read_again(value):
    mixing = Mixing.from_value(value)
    assert Mixing.from_value(json.loads(json.dumps(mixing.to_json()))) == mixing


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("2d-priors", "got 2d-priors; expected a list such as"),
        ({"recipe": "2d-priors"}, "clean_share that cannot be; got None; expected a number"),
        ({"recipe": "2d-priors", "clean_share": 1.0}, "less than 1"),
        ({"recipe": "2d-priors", "clean_share": float("nan")}, "less than 1"),
        ({"recipe": "2d-priors", "share": 0.2}, "expected a list such as"),
        ({"clean_share": 0.2}, "got nothing"),
        ([], "got nothing|less than 1"),
        ([{"condition": "low_light"}], "an entry that cannot be"),
        ([{"condition": "low_light", "share": "half"}], "expected a number"),
        ([{"condition": "low_light", "share": 0.7}, {"condition": "iso_noise", "share": 0.7}], "1.4 in all"),
        ([{"condition": "low_light", "share": -0.1}], "share that cannot be"),
        ([{"condition": "low_light", "share": 0.5, "severities": [0]}], "from 1 to 5"),
        ([{"condition": "low_light", "share": 0.5, "severities": []}], "from 1 to 5"),
        ([{"condition": "low_light", "share": 0.5, "severities": "1-5"}], "a list such as"),
        ([{"condition": 3, "share": 0.5}], "a corruption, or a chain"),
        ({"recipe": "a", "clean_share": 0.5, "portions": [{"condition": "low_light", "share": 0.5}]}, "both"),
    ],
)
def test_what_cannot_be_is_refused(value, match):
    with pytest.raises(UsageError, match=match):
        Mixing.from_value(value)
