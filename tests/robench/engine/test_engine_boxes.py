"""Person boxes: facts of the data that follow the picture, are kept in sets and reach the model."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from robench.contracts import Box, Camera
from robench.engine.cells import Cell, OnTheFly, corrupt_cell
from robench.engine.cset import open_set
from robench.engine.cset_index import COLUMNS, INDEX, read_index, rows_sha256, write_index
from robench.engine.cset_writer import write_set
from robench.engine.masks import load_masker
from robench.engine.pipeline import prepare
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.errors import Mismatch
from robench.io.files import sha256_bytes

ORTHOGRAPHIC = Camera(np.eye(4), 0.5, (49.5, 59.5), 100, 120)
PINHOLE = replace(ORTHOGRAPHIC, kind="pinhole", scale=600.0, distance=400.0)


def turn(axis: int, degrees: float) -> np.ndarray:
    """A turn of the view frame about its x (0) or y (1) axis."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    found = np.eye(4)
    a, b = [(1, 2), (2, 0)][axis]
    found[[a, a, b, b], [a, b, a, b]] = [c, -s, s, c]
    return found


def test_a_box_is_made_of_whole_pixels():
    # Columns 10 to 29 and rows 5 to 44, mirrored in a similarity of half a turn about the picture's middle.
    half = np.array([[-1.0, 0.0, 99.0], [0.0, -1.0, 119.0]])
    assert Box(10, 5, 20, 40).followed(ORTHOGRAPHIC, half) == Box(70, 75, 20, 40)
    # Twice as large: each pixel becomes two, and the first of them is at twice the place.
    twice = np.array([[2.0, 0.0, 0.5], [0.0, 2.0, 0.5]])
    assert Box(10, 5, 20, 40).followed(ORTHOGRAPHIC, twice) == Box(20, 10, 40, 80)
    assert Box(10, 5, 20, 40).followed(ORTHOGRAPHIC, None) == Box(10, 5, 20, 40)


def test_a_rolled_box_holds_all_that_was_in_it_and_no_more():
    c, s = np.cos(0.6), np.sin(0.6)
    affine = np.array([[c, -s, 13.0], [s, c, -7.0]])
    box = Box(10, 5, 20, 40)
    found = box.followed(ORTHOGRAPHIC, affine)
    assert found.width == pytest.approx(20 * c + 40 * s)
    assert found.height == pytest.approx(20 * s + 40 * c)
    middle = affine[:, :2] @ (19.5, 24.5) + affine[:, 2]
    assert (found.x + found.width / 2 - 0.5, found.y + found.height / 2 - 0.5) == pytest.approx(tuple(middle))


@pytest.mark.parametrize("camera", [ORTHOGRAPHIC, PINHOLE])
def test_a_box_follows_a_camera_that_moves(camera):
    box = Box(20, 10, 60, 100)
    np.testing.assert_allclose(box.followed(camera, None, np.eye(4)).to_json(), box.to_json(), atol=1e-9)
    # What stands in the plane through the origin is found by the camera's own way from the world to pixels.
    change = turn(0, 25.0) @ turn(1, -10.0)
    change[:3, 3] = 4.0, -3.0, 10.0
    k = camera.scale / (camera.distance if camera.kind == "pinhole" else 1)
    edges = [(u, v) for u in (19.5, 79.5) for v in (9.5, 109.5)]
    world = [((u - 49.5) / k, -(v - 59.5) / k, 0.0) for u, v in edges]
    shift = np.array([[1.0, 0.0, 5.0], [0.0, 1.0, 0.0]])
    seen = camera.followed(shift, change).project(np.array(world))[:, :2]
    found = box.followed(camera, shift, change)
    np.testing.assert_allclose([found.x, found.y], seen.min(axis=0) + 0.5)
    np.testing.assert_allclose([found.width, found.height], np.ptp(seen, axis=0))


def test_a_camera_that_moves_through_the_box_has_none():
    ahead = np.eye(4)
    ahead[2, 3] = 500.0
    with pytest.raises(ValueError, match="moved through the person box"):
        Box(20, 10, 60, 100).followed(PINHOLE, None, ahead)


@pytest.mark.parametrize(
    "wrong", [[1, 2, 3], [1, 2, 0, 4], [1, 2, 3, -4], [1, 2, 3, float("nan")], "1234", [True, 2, 3, 4], None]
)
def test_what_is_no_box_is_refused(wrong):
    with pytest.raises(ValueError, match="a box is"):
        Box.from_json(wrong)


@pytest.fixture
def boxed(people: Path) -> Path:
    (people / "boxes.json").write_text(json.dumps({"s0_0": [3, 2, 10, 20], "s2_0": [-4, 1.5, 12, 15]}))
    return people


def test_boxes_move_in_sets_as_on_the_fly_and_reach_the_model(boxed, tmp_path, plugins):
    recipe = custom_recipe(["darker", "side_step"], (3,))
    report = write_set(select(boxed), recipe, 0, tmp_path / "csets", quiet=True)
    rows = {(r["sample_id"], r["corruption"]): r["box"] for r in read_index(report.folder / INDEX)}
    expected = {"clean": [3, 2, 10, 20], "darker": [3, 2, 10, 20], "side_step": [6, 2, 10, 20]}
    assert {c: json.loads(rows["s0_0", c]) for c in expected} == expected
    assert rows["s1_0", "side_step"] is None
    cset = open_set(report.folder)
    masker = load_masker("given")
    for source in (cset, OnTheFly(0)):
        for sample in cset.select().samples:
            ready = prepare(Cell(sample, "side_step", 3), source, masker, None, lambda *_, **__: None)
            request = pickle.loads(pickle.dumps(ready.portable().request))
            wanted = {"s0_0": Box(6, 2, 10, 20), "s1_0": None, "s2_0": Box(-1, 1.5, 12, 15)}
            assert request.box == wanted[sample.sample_id]
    again = write_set(select(boxed), recipe, 0, tmp_path / "csets", quiet=True)
    assert (again.folder, again.made) == (report.folder, 0)


def test_a_box_that_is_changed_in_an_index_is_noticed(boxed, tmp_path, plugins):
    folder = write_set(select(boxed), custom_recipe(["darker"], (1,)), 0, tmp_path / "csets", quiet=True).folder
    rows = read_index(folder / INDEX)
    rows[0]["box"] = "[0.0, 0.0, 5.0, 5.0]"
    write_index(folder / INDEX, rows)
    with pytest.raises(Mismatch, match="index"):
        open_set(folder)


def test_data_without_boxes_keep_the_index_and_the_identity_that_they_had(people, boxed, tmp_path, plugins):
    (people / "boxes.json").unlink()
    without = select(people)
    report = write_set(without, custom_recipe(["darker"], (1,)), 0, tmp_path / "csets", quiet=True)
    rows = read_index(report.folder / INDEX)
    assert "box" not in rows[0]
    # The rule of before there were boxes, by hand.
    lines = "".join(json.dumps([row[c] for c in COLUMNS]) + "\n" for row in rows)
    assert rows_sha256(rows) == sha256_bytes(lines.encode())
    (people / "boxes.json").write_text(json.dumps({"s0_0": [3, 2, 10, 20]}))
    assert select(people).revision != without.revision


def test_a_roll_of_the_camera_carries_the_box(boxed):
    sample = select(boxed).samples[0]
    picture = corrupt_cell(Cell(sample, "camera_roll", 4), seed=3)
    a = picture.affine
    corners = np.array([(u, v) for u in (2.5, 12.5) for v in (1.5, 21.5)]) @ a[:, :2].T + a[:, 2]
    np.testing.assert_allclose([picture.box.x, picture.box.y], corners.min(axis=0) + 0.5)
    np.testing.assert_allclose([picture.box.width, picture.box.height], np.ptp(corners, axis=0))
