"""The grid: views, windows and errors by geometry; examples read as the engine writes them."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robench.contracts import Camera, Mesh
from robench.errors import UsageError
from robench.reporting.examples import Example, choose, find_examples, load_examples
from robench.reporting.qualitative import (
    COLUMNS,
    common_windows,
    from_the_side,
    inputs_over_meshes,
    nice_ceiling,
    qualitative_grids,
    surface_error,
    zoomed,
)


@pytest.fixture
def example(toy_ball):
    def make(camera: Camera, **changes) -> Example:
        return replace(plain_example(camera, toy_ball(30.0), toy_ball(28.0)), **changes)

    return make


def plain_example(camera: Camera, prediction: Mesh, truth: Mesh) -> Example:
    mask = np.zeros((camera.height, camera.width), np.float32)
    mask[30:90, 50:70] = 1
    image = np.full((camera.height, camera.width, 3), 90, np.uint8)
    return Example("fog_3d", 3, "s", image, mask, camera, prediction, truth)


def test_error_of_concentric_balls_is_the_gap(toy_camera: Camera, toy_ball) -> None:
    error, shade = surface_error(toy_ball(40.0, fine=60), toy_ball(37.0, fine=60), toy_camera)
    hit = np.isfinite(error)
    assert hit.sum() == pytest.approx(np.pi * 40**2, rel=0.02)
    np.testing.assert_allclose(error[hit], 3.0, atol=0.1)  # facets of both balls
    assert shade[63, 63] == pytest.approx(1.0, abs=0.01)
    assert shade[hit].min() < 0.3


def test_side_view_sees_the_left_side_with_the_front_to_the_left(toy_camera: Camera) -> None:
    side = from_the_side(toy_camera, np.array([5.0, 0.0, 7.0]))
    front, top, middle = side.project(np.array([[0.0, 0.0, 30.0], [0.0, 20.0, 7.0], [99.0, 0.0, 7.0]]))
    assert front[0] == pytest.approx(63.5 - 23)  # 23 cm before the middle, one pixel a centimetre
    assert top[:2] == pytest.approx((63.5, 43.5))
    assert middle[:2] == pytest.approx((63.5, 63.5))
    left, right = side.project(np.array([[50.0, 0.0, 0.0], [-50.0, 0.0, 0.0]]))
    assert left[2] < right[2]  # the left arm (+x) is nearer
    pinhole = replace(toy_camera, kind="pinhole", scale=1000.0)
    assert from_the_side(pinhole, np.zeros(3)).scale == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_zoom_shows_exactly_the_window(toy_camera: Camera, example, kind: str) -> None:
    camera = replace(toy_camera, kind=kind, scale=1.3 if kind == "orthographic" else 1300.0)
    (window,) = common_windows([example(camera)])
    points = np.array([[3.0, 8.0, 2.0], [-10.0, 0.0, -4.0]])
    plain, near = camera.project(points), zoomed(camera, window, 200).project(points)
    ratio = 200 / (2 * window.half_height)
    np.testing.assert_allclose(near[:, 0] + 0.5, (plain[:, 0] - (window.u - window.half_width)) * ratio)
    np.testing.assert_allclose(near[:, 1] + 0.5, (plain[:, 1] - (window.v - window.half_height)) * ratio)


def test_windows_hold_each_person_at_one_scale(toy_camera: Camera, example) -> None:
    moved = replace(toy_camera, centre=(90.5, 50.5))
    standing = example(toy_camera, prediction=None, truth=None)
    first, second, third = common_windows([example(toy_camera), example(moved), standing])
    assert (first.u, first.v) == pytest.approx((63.5, 63.5), abs=0.1)
    assert (second.u, second.v) == pytest.approx((90.5, 50.5), abs=0.1)
    assert (third.u, third.v) == pytest.approx((59.5, 59.5))  # the mask's box
    assert len({(w.half_width, w.half_height) for w in (first, second, third)}) == 1
    assert first.half_height > 30
    (blank,) = common_windows([replace(standing, mask=np.zeros((128, 128), np.float32))])
    assert (blank.u, blank.v) == (63.5, 63.5)


def test_grid_has_a_row_a_condition_and_one_scale(toy_camera: Camera, example) -> None:
    rows = [
        example(toy_camera, corruption="clean", severity=0),
        example(toy_camera),
        example(toy_camera, prediction=None, note="no detection"),
        example(toy_camera, truth=None),
    ]
    pages = qualitative_grids(rows, {("fog_3d", 3): "Chamfer 2.00 cm"}, rows=3)
    assert len(pages) == 2
    axes = np.array(pages[0].axes[:-1]).reshape(2, len(COLUMNS))
    assert [ax.get_title() for ax in axes[0]] == list(COLUMNS)
    assert axes[0, 0].get_ylabel() == "Clean"
    assert axes[1, 0].get_ylabel() == "Fog 3D\nseverity 3\nChamfer 2.00 cm"
    assert [page.axes[-1].get_ylim() for page in pages] == [(0, 2), (0, 2)]
    failed, without = np.array(pages[1].axes[:-1]).reshape(2, len(COLUMNS))
    assert [ax.texts[0].get_text() for ax in failed[2:]] == ["no detection"] * 3
    assert without[4].texts[0].get_text() == "no ground truth"
    picture = axes[1, 2].images[0].get_array()
    middle = picture[picture.shape[0] // 2, picture.shape[1] // 2]
    assert (np.ptp(middle) <= 1, 60 < middle.mean() < 230) == (True, True)  # grey clay
    assert (picture[0, 0] == 255).all()


def test_nice_ceiling() -> None:
    assert [nice_ceiling(v) for v in (0.0, 0.9, 1.0, 1.2, 4.0, 51.0, 100.0)] == [1.0, 1.0, 1.0, 1.5, 5.0, 70.0, 100.0]


def test_examples_are_read_as_the_engine_writes_them(toy_run, toy_camera) -> None:
    records = find_examples(toy_run)
    assert [(r["corruption"], r["severity"]) for r in records] == [("clean", 0), ("fog_3d", 1), ("fog_3d", 3)]
    chosen = choose(records)
    assert [(r["corruption"], r["severity"]) for r in chosen] == [("clean", 0), ("fog_3d", 3)]
    clean, fog = load_examples(toy_run, chosen)
    assert clean.prediction is not None
    assert clean.truth is None  # the data set is gone
    assert (fog.prediction, fog.note) == (None, "no detection")
    assert clean.camera == replace(toy_camera, view_from_world=clean.camera.view_from_world)
    assert clean.mask.max() == 1.0
    assert choose([]) == []
    assert choose(records, "another") == []


def test_ground_truth_is_placed_in_the_view_of_the_picture(toy_run, toy_ball, monkeypatch, tmp_path) -> None:
    from robench import registry
    from robench.contracts import Sample
    from robench.io.meshes import write_mesh

    write_mesh(tmp_path / "truth.ply", toy_ball(10.0, (0.0, 0.0, 50.0)))

    class Data:
        def samples(self, root, split):
            yield Sample("other", "o", 0.0, tmp_path)
            yield Sample("s0_0", "s0", 0.0, tmp_path, mesh=tmp_path / "truth.ply")

    monkeypatch.setattr(registry, "load", lambda kind, name: Data())
    record = find_examples(toy_run)[0]
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    about = json.loads((toy_run / "examples/clean/0/s0_0.json").read_text())
    about["camera"]["view_from_world"] = turned.tolist()
    (toy_run / "examples/clean/0/s0_0.json").write_text(json.dumps(about))
    (found,) = load_examples(toy_run, [find_examples(toy_run)[0]])
    assert found.truth is not None
    np.testing.assert_allclose(found.truth.vertices.mean(axis=0), [0, 0, -50], atol=1.5)
    record = {**record, "image": "../outside.png"}
    with pytest.raises(UsageError, match="leaves its folder"):
        list(load_examples(toy_run, [record]))


def test_inputs_stand_over_their_meshes_in_even_bands(toy_camera: Camera, example) -> None:
    some = [example(toy_camera, severity=severity) for severity in range(1, 5)]
    some.append(example(toy_camera, prediction=None, note="no det$ection", corruption="low_light"))
    figure = inputs_over_meshes(some, {("fog_3d", 2): "1.23 cm"}, across=4)
    pairs = np.array(figure.axes).reshape(5, 2)
    assert [ax.get_title() for ax, _ in pairs] == ["Fog 3D\n", "Fog 3D\n1.23 cm", "Fog 3D\n", "Fog 3D\n", "Low light\n"]
    boxes = np.array([[ax.get_position().bounds for ax in pair] for pair in pairs])
    np.testing.assert_allclose(boxes[:, 0, 0], boxes[:, 1, 0], atol=1e-4)
    np.testing.assert_allclose(
        boxes[:, 0, 1], boxes[:, 1, 1] + boxes[:, 1, 3], atol=1e-4
    )  # the mesh hangs under its input
    np.testing.assert_allclose(boxes[:, 0, 0], [0, 1 / 3, 2 / 3, 0, 1 / 3], atol=1e-4)  # three and two
    assert boxes[3, 0, 1] < boxes[0, 1, 1]
    above, below = pairs[0]
    # The mesh is drawn over the window that the input shows: the ball's outline lies where it does in the picture.
    drawn = np.asarray(below.images[0].get_array())
    inside = (drawn < 250).any(axis=-1)
    (low, high), width = above.get_xlim(), drawn.shape[1]
    columns = np.nonzero(inside.any(axis=0))[0]
    edges = low + (np.array([columns[0], columns[-1] + 1]) / width) * (high - low)
    np.testing.assert_allclose(edges, [63.5 - 30, 63.5 + 30], atol=1.0)
    assert pairs[4][1].texts[0].get_text() == "no det\\$ection"
    assert not pairs[4][1].images
