"""Cells: pure pictures, what moves with them, what they need."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robench.engine.cells import Cell, OnTheFly, corrupt_cell, draw_params, is_able, needs_of, plan_cells, refuse_unable
from robench.engine.cset_writer import plan_set
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select, spread
from robench.engine.set_maker import SetMaker
from robench.errors import SampleFailure, UsageError


def test_plan_is_lazy_and_clean_first(people: Path, plugins) -> None:
    samples = select(people).samples
    touched = []

    def watched():
        for sample in samples:
            touched.append(sample.sample_id)
            yield sample

    cells = plan_cells(watched(), custom_recipe(["darker", "side_step"], [2, 4]))
    assert touched == []
    first = [next(cells) for _ in range(5)]
    assert [(c.corruption, c.severity) for c in first] == [
        ("clean", 0),
        ("darker", 2),
        ("darker", 4),
        ("side_step", 2),
        ("side_step", 4),
    ]
    assert touched == ["s0_0"]


def test_pictures_do_not_depend_on_order(people: Path, plugins) -> None:
    cells = list(plan_cells(select(people).samples, custom_recipe(["darker", "side_step"], [1, 3])))
    forward, backward = OnTheFly(7), OnTheFly(7)
    one = {cell.key: forward.picture(cell) for cell in cells}
    other = {cell.key: backward.picture(cell) for cell in reversed(cells)}
    for cell in cells:
        alone = corrupt_cell(cell, 7)
        assert np.array_equal(one[cell.key].image, alone.image)
        assert np.array_equal(other[cell.key].image, alone.image)
        assert one[cell.key].params == alone.params
    drawn = {one[cell.key].params["offset"] for cell in cells if cell.corruption == "darker"}
    assert len(drawn) == 3, "every sample has its own draw, which its levels share"
    darker = next(cell for cell in cells if cell.corruption == "darker")
    assert corrupt_cell(darker, 8).params != one[darker.key].params


def test_one_mesh_is_in_memory_at_a_time(people: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given_back: list[str] = []
    monkeypatch.setattr("robench.engine.cells.give_back", lambda: given_back.append("memory"))
    first, second, third = select(people).samples
    source = OnTheFly(0)
    inputs = source.inputs(first)
    vars(inputs)["scene"] = "a mesh with its tree"
    assert "scene" in vars(source.inputs(first)), "kept as long as the sample is worked on"
    assert given_back == []
    source.inputs(second)
    assert source.inputs(first) is inputs
    assert "scene" not in vars(inputs)
    assert given_back == ["memory"]
    source.inputs(third)
    assert given_back == ["memory"], "nothing to give back where no mesh was read"


def test_freed_memory_goes_back_while_a_mesh_is_worked_on(
    people: Path, plugins, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_back: list[str] = []
    monkeypatch.setattr("robench.engine.set_maker.give_back", lambda: given_back.append("memory"))
    selection = select(people)
    plan = plan_set(selection, custom_recipe(["darker"], [1, 2, 3, 4, 5]), 0, tmp_path)
    maker = SetMaker(plan.spec, lambda path, data: None)
    conditions = [("darker", severity) for severity in (1, 2, 3, 4, 5)] * 4
    assert len(maker.make(selection.samples[0], conditions)[0]) == 20
    assert given_back == [], "nothing large was in memory"
    vars(maker.source.inputs(selection.samples[1]))["scene"] = "a mesh with its tree"
    maker.make(selection.samples[1], conditions)
    assert given_back == ["memory"], "once in sixteen pictures"


@pytest.mark.parametrize("name", ["bit_error", "xy_motion_blur", "iso_noise", "shadow", "frost"])
def test_levels_of_a_sample_share_their_draw(name: str) -> None:
    """So that damaged bytes are nested, motion keeps its direction, and levels differ in strength alone."""
    from robench import registry

    corruption = registry.load("corruptions", name)
    by_level = [dict(draw_params(corruption, "s0", severity, (64, 64), 3)) for severity in range(1, 6)]
    stated = {key for level in corruption.card.extra["severities"].values() for key in level}
    drawn = [{key: value for key, value in params.items() if key not in stated} for params in by_level]
    assert drawn[0]
    assert all(other == drawn[0] for other in drawn)
    assert dict(draw_params(corruption, "s1", 1, (64, 64), 3)) != by_level[0]


def test_clean_picture_is_the_file(people: Path, plugins) -> None:
    from robench.io.images import read_image

    sample = select(people).samples[0]
    picture = corrupt_cell(Cell(sample, "clean", 0), 0)
    assert np.array_equal(picture.image, read_image(sample.image))
    assert picture.camera is sample.camera
    assert picture.affine is None


def test_camera_and_mask_follow_the_pixels(people: Path, plugins) -> None:
    sample = select(people).samples[0]
    clean, moved = corrupt_cell(Cell(sample, "clean", 0), 0), corrupt_cell(Cell(sample, "side_step", 3), 0)
    assert moved.camera.centre[0] == clean.camera.centre[0] + 3
    assert np.array_equal(moved.true_mask[:, 3:], clean.true_mask[:, :-3])


def test_roll_turns_the_camera_so_that_the_truth_falls_on_the_mask(people: Path) -> None:
    from robench.io.meshes import read_mesh

    sample = select(people).samples[1]
    rolled = corrupt_cell(Cell(sample, "camera_roll", 5), 0)
    pixels = rolled.camera.project(read_mesh(sample.mesh).vertices)[:, :2]
    rows, columns = np.nonzero(rolled.true_mask > 0.5)
    assert np.ptp(pixels[:, 0]) > np.ptp(pixels[:, 1]), "rolled by 80 degrees, the person lies"
    for axis, found in ((0, columns), (1, rows)):
        assert pixels[:, axis].min() == pytest.approx(found.min(), abs=1.5)
        assert pixels[:, axis].max() == pytest.approx(found.max(), abs=1.5)


def test_needs_are_refused_before_work(make_people, plugins) -> None:
    root = make_people()
    (root / "depth" / "s1_0.npz").unlink()
    (root / "meshes" / "s1_0.ply").unlink()
    samples, recipe = select(root).samples, custom_recipe(["darker", "foggy"], [1])
    with pytest.raises(
        UsageError, match=r"needs depth \(foggy\), which 1 of 3 samples do not have.*s1_0.*--skip-unable"
    ):
        refuse_unable(samples, recipe)
    needs = needs_of(recipe)
    unable = [cell.key for cell in plan_cells(samples, recipe) if not is_able(cell, needs)]
    assert unable == [("s1_0", "foggy", 1)]
    refuse_unable(samples, custom_recipe(["darker"], [1]))


@pytest.mark.parametrize(
    ("result", "says"),
    [
        (lambda image: image[:-1], "returned"),
        (lambda image: image.astype(np.float32), "returned"),
        (lambda image: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_broken_corruption_is_a_failed_sample(people: Path, plugins, result, says: str) -> None:
    from robench import registry

    class Broken(type(registry.load("corruptions", "darker"))):
        def apply(self, image, params, aux):
            return SimpleNamespace(image=result(image), affine=None, notes={})

    plugins.add("corruptions", "darker", Broken)
    with pytest.raises(SampleFailure, match=says):
        corrupt_cell(Cell(select(people).samples[0], "darker", 1), 0)


def test_shear_cannot_be_followed(people: Path, plugins) -> None:
    from robench import registry

    class Sheared(type(registry.load("corruptions", "darker"))):
        def apply(self, image, params, aux):
            return SimpleNamespace(image=image, affine=np.array([[1, 0.5, 0], [0, 1, 0]]), notes={})

    plugins.add("corruptions", "darker", Sheared)
    with pytest.raises(SampleFailure, match="similarity"):
        corrupt_cell(Cell(select(people).samples[0], "darker", 1), 0)


def test_parameters_are_what_json_gives_back() -> None:
    card = SimpleNamespace(name="x", version="1")
    odd = SimpleNamespace(card=card, sample=lambda severity, shape, rng: {"pair": (1, 2), 3: 0.1})
    assert draw_params(odd, "a", 1, (32, 32), 0) == {"pair": [1, 2], "3": 0.1}
    bad = SimpleNamespace(card=card, sample=lambda severity, shape, rng: {"nan": float("nan")})
    with pytest.raises(SampleFailure, match="not JSON"):
        draw_params(bad, "a", 1, (32, 32), 0)


def test_camera_of_another_size(people: Path, plugins) -> None:
    sample = select(people).samples[0]
    wrong = dataclasses.replace(sample, camera=dataclasses.replace(sample.camera, width=64))
    with pytest.raises(SampleFailure, match="64x48"):
        corrupt_cell(Cell(wrong, "clean", 0), 0)


def test_spread_takes_every_subject_first(make_people) -> None:
    samples = select(make_people(3, (0.0, 90.0))).samples
    assert [s.sample_id for s in spread(samples, 4)] == ["s0_0", "s0_90", "s1_0", "s2_0"]
    assert [s.sample_id for s in spread(samples, 99)] == [s.sample_id for s in samples]


def test_selection(make_people) -> None:
    root = make_people(3, (0.0, 90.0))
    chosen = select(root, subjects=["s2", "s0"], views=[90])
    assert [s.sample_id for s in chosen.samples] == ["s0_90", "s2_90"]
    assert chosen.partial
    assert not select(root).partial
    assert chosen.split_sha256 != select(root).split_sha256
    with pytest.raises(UsageError, match="no subject 's7'"):
        select(root, subjects=["s7"])
    with pytest.raises(UsageError, match="no view '45'"):
        select(root, views=[45])
    with pytest.raises(UsageError, match="from 1 up"):
        select(root, limit=0)
