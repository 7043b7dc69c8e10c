"""Surface distance after the best similarity: what is left of an error when place, turn and size are forgiven.

The prediction is fitted to the truth by rotation, uniform scale and shift (iterative closest points). Beside the metric
that only follows the camera, it tells a mesh that is merely turned, shifted or too large from one of the wrong shape.

* Pairs are closest points in both directions, so that a prediction cannot win by shrinking onto the truth.
* The scale is the ratio of the paired points' spreads (Horn, Closed-form solution of absolute orientation using unit
  quaternions, JOSA A 4 (1987), section 2.E), which treats both sides alike and does not shrink with noise.
* Eight starts, turned about the viewing axis in steps of 45 degrees, since closest points find only the nearest fit
  (Besl and McKay, A method for registration of 3-D shapes, PAMI 14 (1992), section VI); a turn about the vertical by
  more than some 45 degrees is not found, and stays in the error.
* Pairs weigh by the inverse of their distance, so that the sum of distances is what becomes small, as in the metric:
  with squares, an arm that is missing would pull the rest of the body out of place.
* Nothing is drawn but the surface samples, which are seeded: the same meshes give the same number.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Card, Degenerate, Mesh, Scene
from robench.metrics._shared import N_POINTS, SEED, checked, samples
from robench.metrics.distance import chamfer_cm

Array = NDArray[np.float64]
STARTS = 8
_COARSE, _FINE = 500, 3000
_COARSE_STEPS, _FINE_STEPS = 12, 60
_STILL = 1e-5  # relative change of the error at which the fit rests


def fit_similarity(source: NDArray[Any], target: NDArray[Any]) -> Array:
    """Return the similarity that fits points on one surface to points on another.

    Args:
        source: (N, 3) points on the prediction.
        target: (M, 3) points on the truth.

    Returns:
        (4, 4) map with a rotation times a positive scale and a shift; the identity where the source is a single point.
    """
    start, end = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if _spread(start) <= 0 or _spread(end) <= 0:
        return np.eye(4)
    coarse = [
        _closest_points(start[:_COARSE], end[:_COARSE], _first(start, end, 2 * np.pi * k / STARTS), _COARSE_STEPS)
        for k in range(STARTS)
    ]
    best = min(coarse, key=lambda found: found[1])[0]
    return _closest_points(start[:_FINE], end[:_FINE], best, _FINE_STEPS)[0]


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


def _closest_points(source: Array, target: Array, matrix: Array, steps: int) -> tuple[Array, float]:
    """Improve a fit by closest points in both directions; return it with its mean distance."""
    from scipy.spatial import cKDTree

    # Neighbours do not change under a similarity, so both trees are built once, each where its points lie.
    from_source, from_target = cKDTree(source), cKDTree(target)
    best, least = matrix, np.inf
    for _ in range(steps + 1):
        linear, shift = matrix[:3, :3], matrix[:3, 3]
        placed = source @ linear.T + shift
        there, to_target = from_target.query(placed)
        back = (target - shift) @ np.linalg.inv(linear).T
        near, to_source = from_source.query(back)
        scale = float(np.cbrt(np.linalg.det(linear)))
        far = np.concatenate([there, scale * near])
        error = float((there.mean() + scale * near.mean()) / 2)
        if error >= least * (1 - _STILL):
            if error < least:
                best, least = matrix, error
            break
        best, least = matrix, error
        pairs = np.concatenate([source, source[to_source]]), np.concatenate([target[to_target], target])
        # Below a tenth of the mean, distances are of samples that do not meet, not of surfaces.
        matrix = _absolute_orientation(*pairs, 1 / np.maximum(far, max(0.1 * error, 1e-9)))
    return best, least


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
        Centimetres >= 0, at most the distance without a fit (which closest points may miss); or why there is no value.
    """
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    predicted, true = pair
    as_it_is = chamfer_cm(predicted, true, n_points, seed, device)
    matrix = fit_similarity(samples(predicted, n_points, seed), samples(true, n_points, seed))
    fitted = chamfer_cm(predicted.transformed(matrix), true, n_points, seed, device)
    if isinstance(as_it_is, Degenerate) or isinstance(fitted, Degenerate):
        return as_it_is
    return min(as_it_is, fitted)


class ChamferSimilarity:
    """Symmetric surface distance after rotation, scale and shift have been forgiven."""

    card = Card(
        "chamfer_similarity_cm",
        "1",
        "Mean of both surface distances after the best similarity",
        reference="Besl and McKay, PAMI 1992; Horn, JOSA A 1987",
        extra={
            "unit": "cm",
            "direction": "lower",
            "formula": "Chamfer of s R P + t and T; s, R, t by closest points in both directions from eight rolls",
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
