"""boxes.json of a plain folder."""

from __future__ import annotations

import json

import numpy as np
import pytest

from robench.contracts import Box
from robench.data.folder import Folder
from robench.errors import UsageError
from robench.io.images import write_png

FOLDER = Folder()


@pytest.fixture
def pictures(tmp_path):
    for name in ("a", "monday/b", "c"):
        path = tmp_path / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        write_png(path, np.full((60, 40, 3), 90, np.uint8))
    return tmp_path


def say(root, boxes):
    (root / "boxes.json").write_text(boxes if isinstance(boxes, str) else json.dumps(boxes))


def test_boxes_belong_to_pictures_by_name(pictures):
    before = FOLDER.revision(pictures)
    say(pictures, {"a": [1, 2, 30, 40], "monday/b": [-3.5, 0, 10, 10]})
    found = {s.sample_id: s.box for s in FOLDER.samples(pictures)}
    assert list(found.values()) == [Box(1, 2, 30, 40), None, Box(-3.5, 0, 10, 10)]
    assert FOLDER.verify(pictures) == []
    first = FOLDER.revision(pictures)
    say(pictures, {"a": [1, 2, 30, 41], "monday/b": [-3.5, 0, 10, 10]})
    assert len({before, first, FOLDER.revision(pictures)}) == 3


def test_a_box_beside_its_picture_or_of_no_picture_is_a_problem_of_the_data(pictures):
    say(pictures, {"a": [40, 2, 30, 40], "c": [39, 59, 5, 5], "d": [1, 1, 5, 5]})
    first, second = sorted(f"{p.path.name} {p.message}" for p in FOLDER.verify(pictures))
    assert first == "a.png its person box [40.0, 2.0, 30.0, 40.0] in boxes.json lies outside its 40x60 pixels"
    assert second == "boxes.json names 'd', and there is no such picture"


@pytest.mark.parametrize(
    ("boxes", "message"),
    [
        ([[1, 2, 3, 4]], "not a table of person boxes"),
        ({"a": [1, 2, 3]}, "The person box of 'a' in .* is wrong"),
        ({"a": {"x": 1}}, "The person box of 'a' in .* is wrong"),
        ({"a": [1, 2, 1, 40]}, "at least 2"),
        ({"a": [1, 2, 30, 1e9]}, "no number beyond 65536"),
        ('{"a": [1, 2, NaN, 4]}', "The person box of 'a' in .* is wrong"),
        ('{"a": ', "boxes.json"),
    ],
)
def test_a_wrong_table_is_refused_by_name(pictures, boxes, message):
    say(pictures, boxes)
    with pytest.raises(UsageError, match=message):
        list(FOLDER.samples(pictures))
    assert len(FOLDER.verify(pictures)) == 1
