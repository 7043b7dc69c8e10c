"""Surface distance after the best similarity: what is left of an error when place, turn and size are forgiven.

The prediction is fitted to the truth by rotation, uniform scale and shift. Beside the metric that only follows the
camera, it tells a mesh that is merely turned, shifted or too large from one of the wrong shape.

* What becomes small is the metric itself, the mean of both surface distances, so that a prediction cannot win by
  shrinking onto the truth, and an arm that is missing does not pull the rest of the body out of place, as it would with
  squares: weights are the inverse distances (iteratively reweighted least squares).
* Two stages. Closest points of a few samples (Besl and McKay, A method for registration of 3-D shapes, PAMI 14 (1992))
  from eight starts, turned about the viewing axis in steps of 45 degrees, since closest points find only the nearest
  fit; with the scale that treats both sides alike (Horn, Closed-form solution of absolute orientation using unit
  quaternions, JOSA A 4 (1987), section 2.E). Then, from the best, damped Gauss-Newton steps on exact distances to the
  surfaces (Chen and Medioni, Object modelling by registration of multiple range images, IVC 10 (1992)), which lets
  surfaces slide along each other and arrives in some ten steps.
* A turn about the vertical by more than some 45 degrees is not found, and stays in the error.
* Nothing is drawn but the surface samples, which are seeded: the same meshes give the same number.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Card, Degenerate, Mesh, Scene
from robench.geometry import Surface, surface_of
from robench.metrics._shared import N_POINTS, SEED, checked, samples
from robench.metrics.distance import chamfer_cm

Array = NDArray[np.float64]
STARTS = 8
_COARSE, _FINE = 250, 1000
_COARSE_STEPS, _FINE_STEPS = 8, 20
_STILL = 1e-3  # relative change of the error at which the fit rests
# Below these shares of the mean, a distance is of samples that do not meet (coarse), or no longer told apart (fine).
_COARSE_NEAR, _FINE_NEAR = 0.1, 0.3
_DAMPING = 1e-3, 1e-4, 1e3  # at first, at least, and given up beyond


def fit_similarity(
    prediction: Mesh, truth: Mesh, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> Array:
    """Return the similarity that fits a prediction to the truth.

    Args:
        prediction: With a face and an area, centimetres.
        truth: The same.
        n_points: Surface samples of which the first are taken.
        seed: Of the samples.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        (4, 4) map with a rotation times a positive scale and a shift; the identity where all samples of a mesh are one
        point.
    """
    source, target = (np.asarray(samples(mesh, n_points, seed), np.float64) for mesh in (prediction, truth))
    if _spread(source) <= 0 or _spread(target) <= 0:
        return np.eye(4)
    coarse = [
        _closest_points(source[:_COARSE], target[:_COARSE], _first(source, target, 2 * np.pi * k / STARTS))
        for k in range(STARTS)
    ]
    best = min(coarse, key=lambda found: found[1])[0]
    pair = _Pair(surface_of(prediction, device), surface_of(truth, device), source[:_FINE], target[:_FINE])
    return _descend(pair, best)


def _spread(points: Array) -> float:
    return float(np.sqrt(np.mean(np.sum((points - points.mean(axis=0)) ** 2, axis=1))))


def _first(source: Array, target: Array, turn: float) -> Array:
    """Return the map that matches centroids and spreads, turned about the viewing axis (z)."""
    c, s = np.cos(turn), np.sin(turn)
    rotation = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])
    return _map(rotation, _spread(target) / _spread(source), source.mean(axis=0), target.mean(axis=0))


def _map(rotation: Array, scale: float, source_centre: Array, target_centre: Array) -> Array:
    matrix = np.eye(4)
    matrix[:3, :3] = scale * rotation
    matrix[:3, 3] = target_centre - scale * rotation @ source_centre
    return matrix


def _closest_points(source: Array, target: Array, matrix: Array) -> tuple[Array, float]:
    """Improve a fit by closest points in both directions; return it with its mean distance."""
    from scipy.spatial import cKDTree

    # Neighbours do not change under a similarity, so both trees are built once, each where its points lie.
    from_source, from_target = cKDTree(source), cKDTree(target)
    best, least = matrix, np.inf
    for _ in range(_COARSE_STEPS + 1):
        there, to_target = from_target.query(_placed(matrix, source))
        near, to_source = from_source.query(_back(matrix, target))
        far = np.concatenate([there, _scale(matrix) * near])
        error = float(far.mean())
        if error >= least * (1 - _STILL):
            break
        best, least = matrix, error
        pairs = np.concatenate([source, source[to_source]]), np.concatenate([target[to_target], target])
        matrix = _absolute_orientation(*pairs, 1 / np.maximum(far, max(_COARSE_NEAR * error, 1e-9)))
    return best, least


def _placed(matrix: Array, points: Array) -> Array:
    return np.asarray(points @ matrix[:3, :3].T + matrix[:3, 3])


def _back(matrix: Array, points: Array) -> Array:
    return np.asarray((points - matrix[:3, 3]) @ np.linalg.inv(matrix[:3, :3]).T)


def _scale(matrix: Array) -> float:
    return float(np.cbrt(np.linalg.det(matrix[:3, :3])))


def _absolute_orientation(source: Array, target: Array, weights: Array) -> Array:
    """Return the similarity between weighted pairs of points, with Horn's symmetric scale."""
    weights = weights / weights.sum()
    source_centre, target_centre = weights @ source, weights @ target
    source, target = source - source_centre, target - target_centre
    u, _, v = np.linalg.svd((target * weights[:, None]).T @ source)
    # A reflection fits better than any rotation where a body is nearly flat; it is none.
    proper = np.diag([1.0, 1.0, np.sign(np.linalg.det(u) * np.linalg.det(v))])
    scale = np.sqrt(weights @ np.sum(target**2, axis=1)) / np.sqrt(weights @ np.sum(source**2, axis=1))
    return _map(u @ proper @ v, float(scale), source_centre, target_centre)


class _Pair:
    """Samples of both surfaces and the surfaces: what a fit leaves between them.

    Args:
        predicted: The surface that is moved; asked where it lies, so that its tree is kept.
        true: The surface that it is moved to.
        source: (N, 3) points on the first.
        target: (M, 3) points on the second.
    """

    def __init__(self, predicted: Surface, true: Surface, source: Array, target: Array) -> None:
        self._predicted, self._true, self._source, self._target = predicted, true, source, target

    def gaps(self, matrix: Array) -> tuple[Array, Array, Array]:
        """Return (N + M, 3) points of the moved surface, (N + M, 3) gaps from the truth to them, and their lengths."""
        placed = _placed(matrix, self._source)
        nearest = _placed(matrix, self._predicted.nearest(_back(matrix, self._target)))
        gaps = np.concatenate([placed - self._true.nearest(placed), nearest - self._target])
        return np.concatenate([placed, nearest]), gaps, np.linalg.norm(gaps, axis=1)

    def mean(self, matrix: Array) -> float:
        """Return the mean of both mean distances."""
        there = self._true.distances(_placed(matrix, self._source)).mean(dtype="f8")
        back = self._predicted.distances(_back(matrix, self._target)).mean(dtype="f8")
        return float((there + _scale(matrix) * back) / 2.0)


def _descend(pair: _Pair, matrix: Array) -> Array:
    """Improve a fit by damped Gauss-Newton steps on exact distances, to first order in turn, scale and shift."""
    points, gaps, far = pair.gaps(matrix)
    damping, left = _DAMPING[0], _FINE_STEPS
    while left:
        system = _normal_equations(points, gaps, far)
        gain = -1.0
        while gain < 0 and left and damping <= _DAMPING[2]:
            left -= 1
            tried = system.step(damping) @ matrix
            found = pair.gaps(tried)
            gain = 1 - float(found[2].mean()) / max(float(far.mean()), 1e-12)
            if gain >= 0:
                matrix, (points, gaps, far) = tried, found
                damping = max(damping / 5, _DAMPING[1])
            else:
                damping *= 8
        if gain < _STILL:
            break
    return matrix


class _Equations(NamedTuple):
    """Normal equations of turn (3), scale and shift (3) about a centre; lengths by a size."""

    square: Array
    right: Array
    centre: Array
    size: float

    def step(self, damping: float) -> Array:
        """Return the similarity that solves them, as a (4, 4) map."""
        from scipy.spatial.transform import Rotation

        weight = np.diag(self.square)
        left = self.square + damping * np.diag(weight + 1e-9 * weight.sum() + 1e-30)
        found = np.linalg.solve(left, -self.right)
        made = np.eye(4)
        made[:3, :3] = np.exp(found[3] / self.size) * Rotation.from_rotvec(found[:3] / self.size).as_matrix()
        made[:3, 3] = self.centre + found[4:] - made[:3, :3] @ self.centre
        return made


def _normal_equations(points: Array, gaps: Array, far: Array) -> _Equations:
    centre = points.mean(axis=0)
    size = max(_spread(points), 1e-9)
    arms, ways = (points - centre) / size, gaps / np.maximum(far, 1e-9)[:, None]
    # How the length of each gap grows with each of the seven.
    slopes = np.concatenate([np.cross(arms, ways), np.sum(arms * ways, axis=1)[:, None], ways], axis=1)
    weighted = slopes / np.maximum(far, max(_FINE_NEAR * float(far.mean()), 1e-9))[:, None]
    return _Equations(weighted.T @ slopes, weighted.T @ far, centre, size)


def chamfer_similarity_cm(
    prediction: Mesh | None, truth: Mesh | None, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> float | Degenerate:
    """Return the Chamfer distance after the best similarity, in centimetres of the truth.

    Args:
        prediction: Predicted mesh, centimetres.
        truth: True mesh.
        n_points: Surface samples a mesh.
        seed: Of the samples.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        Centimetres >= 0, at most the distance without a fit (which a search may miss); or why there is no value.
    """
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    predicted, true = pair
    as_it_is = chamfer_cm(predicted, true, n_points, seed, device)
    if isinstance(as_it_is, Degenerate):
        return as_it_is
    matrix = fit_similarity(predicted, true, n_points, seed, device)
    points = (np.asarray(samples(mesh, n_points, seed), np.float64) for mesh in pair)
    return min(as_it_is, _Pair(surface_of(predicted, device), surface_of(true, device), *points).mean(matrix))


class ChamferSimilarity:
    """Symmetric surface distance after rotation, scale and shift have been forgiven."""

    card = Card(
        "chamfer_similarity_cm",
        "1",
        "Mean of both surface distances after the best similarity",
        reference="Besl and McKay, PAMI 1992; Horn, JOSA A 1987; Chen and Medioni, IVC 1992",
        extra={
            "unit": "cm",
            "direction": "lower",
            "formula": "Chamfer of s R P + t and T; s, R, t make it small, from the best of eight rolls",
            "distance": "prediction to truth and truth to prediction",
            "n_points": N_POINTS,
            "seed": SEED,
            "alignment": "similarity_icp",
        },
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        return chamfer_similarity_cm(scene.prediction, scene.truth, device=self.device)
