"""Chamfer after the best similarity: what a similarity does is forgiven, and nothing else."""

from __future__ import annotations

import time

import numpy as np
import pytest

from robench.contracts import Degenerate, Mesh, Scene
from robench.metrics.distance import chamfer_cm
from robench.metrics.similarity import ChamferSimilarity, chamfer_similarity_cm, fit_similarity


def body(seed: int = 0, arm: float = 60.0) -> Mesh:
    """Return boxes like a person: a trunk, a head and one arm held out, in centimetres."""
    import trimesh

    parts = [
        trimesh.creation.box((40, 120, 20)),
        trimesh.creation.icosphere(2, 12).apply_translation((0, 75, 0)),
        trimesh.creation.box((arm, 12, 10)).apply_translation((20 + arm / 2, 40, 5)),
        trimesh.creation.box((15, 15, 40)).apply_translation((-10, -55, 20)),
    ]
    made = trimesh.util.concatenate(parts)
    return Mesh(np.asarray(made.vertices, np.float32), np.asarray(made.faces, np.int32))


def turned(axis: str, degrees: float, scale: float = 1.0, shift: tuple[float, float, float] = (0, 0, 0)) -> np.ndarray:
    from scipy.spatial.transform import Rotation

    matrix = np.eye(4)
    matrix[:3, :3] = scale * Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    matrix[:3, 3] = shift
    return matrix


@pytest.fixture(scope="module")
def truth() -> Mesh:
    return body()


@pytest.mark.parametrize(
    "matrix",
    [
        turned("z", 25),
        turned("z", 90),
        turned("z", 180),
        turned("z", -130, 1.2, (30, -20, 10)),
        turned("x", 20, 0.8),
        turned("y", 25, 1.0, (0, 0, 50)),
    ],
    ids=["roll", "quarter", "upside down", "all", "pitch and size", "yaw and shift"],
)
def test_a_similarity_is_forgiven(truth: Mesh, matrix: np.ndarray) -> None:
    moved = truth.transformed(matrix)
    before, after = chamfer_cm(moved, truth), chamfer_similarity_cm(moved, truth)
    assert before > 2
    assert after < 0.4  # samples of 3000 points on two metres of surface lie some centimetres apart
    found = fit_similarity(truth, moved)
    np.testing.assert_allclose(found, matrix, atol=1e-3 * max(1.0, np.abs(matrix).max()))


def test_another_shape_is_not_forgiven(truth: Mesh) -> None:
    other = body(arm=20.0)
    plain, fitted = chamfer_cm(other, truth), chamfer_similarity_cm(other, truth)
    assert 0.5 * plain < fitted <= plain
    rolled = chamfer_similarity_cm(other.transformed(turned("z", 60, 1.1, (5, 5, 0))), truth)
    assert rolled == pytest.approx(fitted, rel=0.1)


def test_it_does_not_shrink_onto_the_truth(truth: Mesh) -> None:
    """A ball fits no body; if pairs went one way only, it would do best as a point on the skin."""
    import trimesh

    ball = trimesh.creation.icosphere(3, 60)
    mesh = Mesh(np.asarray(ball.vertices, np.float32), np.asarray(ball.faces, np.int32))
    scale = np.cbrt(np.linalg.det(fit_similarity(mesh, truth)[:3, :3]))
    assert 0.5 < scale < 2
    assert chamfer_similarity_cm(mesh, truth) > 5


def test_it_ends_where_the_distance_is_least(truth: Mesh) -> None:
    """From the fit, no small turn, scale or shift makes the distance smaller, on samples that the fit did not take."""
    other = body(arm=20.0).transformed(turned("z", 35, 1.15, (10, -5, 3)))
    matrix = fit_similarity(other, truth)
    least = chamfer_cm(other.transformed(matrix), truth, seed=1)
    for axis in "xyz":
        for degrees in (-6, 6):
            assert chamfer_cm(other.transformed(turned(axis, degrees) @ matrix), truth, seed=1) > least
    for scale in (0.95, 1.05):
        assert chamfer_cm(other.transformed(turned("x", 0, scale) @ matrix), truth, seed=1) > least
    for shift in ((4, 0, 0), (-4, 0, 0), (0, 4, 0), (0, -4, 0), (0, 0, 4), (0, 0, -4)):
        assert chamfer_cm(other.transformed(turned("x", 0, 1, shift) @ matrix), truth, seed=1) > least


def test_a_mirror_image_is_not_forgiven(truth: Mesh) -> None:
    mirrored = truth.transformed(np.diag([-1.0, 1, 1, 1]))
    found = fit_similarity(mirrored, truth)
    assert np.linalg.det(found[:3, :3]) > 0
    assert chamfer_similarity_cm(mirrored, truth) > 1


def test_it_is_the_same_each_time_and_never_worse_than_without(truth: Mesh) -> None:
    rng = np.random.default_rng(0)
    noisy = Mesh((truth.vertices + rng.normal(0, 2, truth.vertices.shape)).astype(np.float32), truth.faces)
    first = chamfer_similarity_cm(noisy, truth)
    again = chamfer_similarity_cm(Mesh(noisy.vertices.copy(), noisy.faces), truth)
    assert first == again
    assert first <= chamfer_cm(noisy, truth)
    assert chamfer_similarity_cm(truth, truth) < 1e-4


def test_what_cannot_be_measured(truth: Mesh) -> None:
    empty = Mesh(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    assert chamfer_similarity_cm(None, truth) == Degenerate("no_prediction")
    assert chamfer_similarity_cm(truth, None) == Degenerate("no_truth")
    assert chamfer_similarity_cm(empty, truth) == Degenerate("empty")


def test_the_metric_measures_against_the_truth_that_follows_the_camera(truth: Mesh) -> None:
    metric = ChamferSimilarity()
    scene = Scene(prediction=truth.transformed(turned("z", 40)), truth=truth, mask=None, true_mask=None, camera=None)
    started = time.process_time()
    assert metric(scene) < 0.4
    assert time.process_time() - started < 10
    assert metric.card.extra["alignment"] == "similarity_icp"
