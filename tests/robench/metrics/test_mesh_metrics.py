from __future__ import annotations

import gc
from dataclasses import replace

import numpy as np
import pytest
import trimesh

from robench import registry
from robench.contracts import Degenerate, Mesh, Scene
from robench.geometry import Surface, surface_of
from robench.metrics import _shared
from robench.metrics.distance import (
    Chamfer,
    ChamferUnaligned,
    P2SGtToPred,
    P2SPredToGt,
    P2SPredToGtUnaligned,
    chamfer_cm,
    point_to_surface_cm,
)
from robench.metrics.fscore import FScore1cm, fscore
from robench.metrics.iou import Iou3D, iou_3d, stratified
from robench.metrics.normals import NormalError, normal_error
from robench.testing import check_metric

MESH_METRICS = [
    Chamfer,
    ChamferUnaligned,
    P2SPredToGt,
    P2SPredToGtUnaligned,
    P2SGtToPred,
    FScore1cm,
    Iou3D,
    NormalError,
]
ALL = [
    "chamfer_cm",
    "chamfer_similarity_cm",
    "chamfer_unaligned_cm",
    "fscore_1cm",
    "iou_3d",
    "mask_iou",
    "normal_error",
]
ALL += ["p2s_gt_to_pred_cm", "p2s_pred_to_gt_cm", "p2s_pred_to_gt_unaligned_cm"]
NOTHING = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))


def sphere(radius, centre=(0.0, 0.0, 0.0), subdivisions=4):
    ball = trimesh.creation.icosphere(subdivisions=subdivisions, radius=radius)
    return Mesh(np.array(ball.vertices + centre, np.float32), np.array(ball.faces, np.int32))


def box(low, high):
    made = trimesh.creation.box(bounds=[low, high])
    return Mesh(np.array(made.vertices, np.float32), np.array(made.faces, np.int32))


def scene(prediction, truth, unmoved=None):
    return Scene(prediction, truth, None, None, None, truth if unmoved is None else unmoved)


def turned(mesh, degrees, axis):
    matrix = np.eye(4)
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    matrix[[i, i, j, j], [i, j, i, j]] = [c, -s, s, c]
    return mesh.transformed(matrix)


@pytest.mark.parametrize("name", ALL)
def test_conformance(name):
    metric = registry.load("metrics", name)
    assert metric.card.name == name
    assert {"n_points", "seed", "alignment"} <= set(metric.card.extra)
    check_metric(metric)


def test_concentric_spheres():
    small, big = sphere(1.0), sphere(2.0)
    assert chamfer_cm(small, big) == pytest.approx(1.0, abs=5e-3)
    assert point_to_surface_cm(small, big) == pytest.approx(1.0, abs=5e-3)
    assert point_to_surface_cm(big, small) == pytest.approx(1.0, abs=5e-3)
    assert fscore(small, big, threshold_cm=0.9) == 0.0
    assert fscore(small, big, threshold_cm=1.1) == 1.0
    assert iou_3d(small, big) == pytest.approx(1 / 8, abs=0.01)


def test_the_direction_is_in_the_name():
    body, limb = box([0, 0, 0], [10, 10, 10]), box([30, 0, 0], [40, 10, 10])
    both = Mesh(np.vstack([body.vertices, limb.vertices]), np.vstack([body.faces, limb.faces + 8]))
    missing = scene(body, both)
    assert P2SPredToGt()(missing) == pytest.approx(0.0, abs=1e-6)
    assert P2SGtToPred()(missing) == pytest.approx(25 / 2, rel=0.04)  # half of the truth is 20..30 cm away
    assert Chamfer()(missing) == pytest.approx(P2SGtToPred()(missing) / 2)
    extra = scene(both, body)
    assert P2SPredToGt()(extra) == pytest.approx(25 / 2, rel=0.04)
    assert P2SGtToPred()(extra) == pytest.approx(0.0, abs=1e-6)
    assert FScore1cm()(missing) == pytest.approx(2 / 3, abs=0.02)  # precision 1, recall one half
    assert Iou3D()(missing) == pytest.approx(0.5, abs=0.01)


def test_a_perfect_prediction():
    truth = sphere(30.0)
    exact = scene(Mesh(truth.vertices.copy(), truth.faces.copy()), truth)
    assert Chamfer()(exact) == pytest.approx(0.0, abs=1e-6)
    assert FScore1cm()(exact) == 1.0
    assert Iou3D()(exact) == 1.0
    assert NormalError()(exact) == 0.0


def test_unaligned_metrics_look_at_the_truth_that_did_not_move():
    prediction, truth, unmoved = sphere(10.0), sphere(12.0), sphere(13.0)
    moved = scene(prediction, truth, unmoved)
    assert Chamfer()(moved) == pytest.approx(2.0, abs=0.02)
    assert ChamferUnaligned()(moved) == pytest.approx(3.0, abs=0.02)
    assert P2SPredToGt()(moved) == pytest.approx(2.0, abs=0.02)
    assert P2SPredToGtUnaligned()(moved) == pytest.approx(3.0, abs=0.02)
    assert ChamferUnaligned()(replace(moved, truth_unmoved=None)) == Degenerate("no_truth")


def test_laws_of_symmetry_scale_and_motion():
    one, other = sphere(30.0, (1, 2, 3)), box([-25, -25, -25], [25, 30, 25])
    assert chamfer_cm(one, other) == pytest.approx(chamfer_cm(other, one), rel=1e-6)
    assert fscore(one, other) == pytest.approx(fscore(other, one), rel=1e-6)
    assert iou_3d(one, other) == iou_3d(other, one)
    moved = [turned(mesh, 37.0, 1) for mesh in (one, other)]
    assert chamfer_cm(*moved) == pytest.approx(chamfer_cm(one, other), rel=1e-4)
    doubled = [Mesh(mesh.vertices * 2, mesh.faces) for mesh in (one, other)]
    assert chamfer_cm(*doubled) == pytest.approx(2 * chamfer_cm(one, other), rel=1e-4)
    assert iou_3d(*doubled) == pytest.approx(iou_3d(one, other), abs=1e-3)


def test_values_do_not_depend_on_history_or_global_state():
    truth, prediction = sphere(30.0), box([-25, -25, -25], [25, 30, 25])
    first = chamfer_cm(prediction, truth)
    np.random.random(5)  # noqa: NPY002  # somebody else draws from the global generator
    chamfer_cm(sphere(3.0, (0, 0, 28)), truth)
    again = chamfer_cm(Mesh(prediction.vertices.copy(), prediction.faces), Mesh(truth.vertices.copy(), truth.faces))
    assert first == again
    assert chamfer_cm(prediction, truth, seed=1) != first
    assert chamfer_cm(prediction, truth, seed=1) == pytest.approx(first, rel=0.03)
    assert chamfer_cm(prediction, truth, n_points=100) != first


def test_work_is_shared_and_forgotten(monkeypatch):
    truth, prediction = sphere(30.0), sphere(31.0)
    calls = []
    real = _shared.sample_surface
    monkeypatch.setattr(_shared, "sample_surface", lambda *a: calls.append(1) or real(*a))
    asked = []
    for name in ("distances", "inside"):
        own = getattr(Surface, name)
        monkeypatch.setattr(Surface, name, lambda s, p, name=name, own=own: asked.append((name, id(s))) or own(s, p))
    for metric in MESH_METRICS:
        metric()(scene(prediction, truth))
    assert len(calls) == 2, "one set of samples a mesh"
    each = {(name, id(surface_of(mesh))) for name in ("distances", "inside") for mesh in (truth, prediction)}
    assert sorted(asked) == sorted(each), "each question is asked once"
    gc.collect()
    assert len(_shared._SAMPLES) == 2
    del truth, prediction, metric
    gc.collect()
    assert len(_shared._SAMPLES) == 0, "dead meshes are kept"


@pytest.mark.parametrize("metric", MESH_METRICS)
def test_degenerate_predictions_are_named(metric):
    truth = sphere(10.0, subdivisions=2)
    spoilt = truth.vertices.copy()
    spoilt[3, 1] = np.nan
    cases = {
        "no_prediction": None,
        "empty": NOTHING,
        "non_finite": Mesh(spoilt, truth.faces),
        "out_of_range": Mesh(truth.vertices * 1e30, truth.faces),
        "broken_faces": Mesh(truth.vertices, truth.faces + 1),
        "no_area": Mesh(truth.vertices * 0, truth.faces),
    }
    for kind, prediction in cases.items():
        assert metric()(scene(prediction, truth)) == Degenerate(kind)
        if prediction is not None:
            assert metric()(scene(truth, prediction)) == Degenerate(f"truth_{kind}")
    assert metric()(Scene(truth, None, None, None, None)) == Degenerate("no_truth")


def test_a_nan_never_becomes_zero():
    """The evaluator that this field copies writes 0 for a distance that is not a number."""
    truth = sphere(10.0, subdivisions=2)
    broken = Mesh(np.full_like(truth.vertices, np.nan), truth.faces)
    for metric in MESH_METRICS:
        assert isinstance(metric()(scene(broken, truth)), Degenerate)


def test_worse_is_worse():
    truth = sphere(30.0)
    moved = [scene(sphere(30.0, (d, 0, 0)), truth) for d in (0, 2, 5, 20, 200)]
    values = {metric: [metric()(each) for each in moved] for metric in MESH_METRICS}
    for metric, series in values.items():
        lower = metric.card.extra["direction"] == "lower"
        assert series == sorted(series, reverse=not lower), metric.__name__
        assert series[0] != series[2], metric.__name__


def test_iou_judges_a_mesh_with_a_small_hole():
    truth = sphere(30.0, subdivisions=4)
    assert iou_3d(Mesh(truth.vertices, truth.faces[3:]), truth) > 0.99


def test_iou_of_meshes_without_inside():
    flat = Mesh(np.array([[0, 0, 0], [9, 0, 0], [0, 9, 0]], np.float32), np.array([[0, 1, 2]], np.int32))
    assert iou_3d(flat, flat) == Degenerate("no_volume")
    solid = box([0, 0, 0], [10, 10, 10])
    assert iou_3d(flat, solid) == 0.0


def test_stratified_points_fill_the_box_evenly():
    low, high = np.array([0.0, -5.0, 1.0]), np.array([10.0, 15.0, 2.0])
    points = stratified(low, high, 10_000, np.random.default_rng(0))
    assert 8_000 < len(points) < 12_500
    assert (points >= low).all()
    assert (points <= high).all()
    assert np.abs(points.mean(axis=0) - (low + high) / 2).max() < 0.02
    assert len(stratified(low, low, 1000, np.random.default_rng(0))) <= 2000


def test_normal_error_of_a_tilt_is_the_chord():
    truth = box([-10, -10, -10], [10, 10, 10])
    thin = box([-100, -100, -0.5], [100, 100, 0.5])
    # From the front and the back a wide plate is one normal; tilting it by t moves that normal by 2 sin(t / 2).
    error = normal_error(turned(thin, 10.0, 0), thin)
    assert error == pytest.approx(2 * np.sin(np.radians(10) / 2), abs=0.1)
    assert normal_error(truth, truth) == 0.0


def test_normal_error_counts_what_only_one_sees():
    truth = box([-10, -30, -10], [10, 30, 10])
    assert normal_error(sphere(5.0, (0, 900, 0)), truth) == pytest.approx(1.0, abs=1e-5)
    beside = box([-10, 70, -10], [10, 130, 10])
    assert normal_error(beside, truth) == pytest.approx(1.0, abs=1e-5)


def test_normal_error_sees_limbs_outside_the_truths_frame():
    truth = box([-10, -30, -10], [10, 30, 10])
    limb = box([-10, 40, -10], [10, 100, 10])
    both = Mesh(np.vstack([truth.vertices, limb.vertices]), np.vstack([truth.faces, limb.faces + 8]))
    assert normal_error(both, truth) == pytest.approx(0.5, abs=0.01)
    assert normal_error(truth, both) == pytest.approx(0.5, abs=0.01)
    assert normal_error(truth, truth) == 0.0, "the truth's own maps are not spoilt by a larger frame"


def test_normal_error_of_an_inside_out_mesh_is_two():
    truth = sphere(30.0)
    assert normal_error(Mesh(truth.vertices, truth.faces[:, ::-1].copy()), truth) == pytest.approx(2.0, abs=1e-4)
