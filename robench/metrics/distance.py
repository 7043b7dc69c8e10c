"""Chamfer and point-to-surface distance, in centimetres, exact point-to-triangle from seeded surface samples.

"P2S" has two opposite meanings in the literature, so the direction is in every name.
"""

from __future__ import annotations

from typing import Any

from robench.contracts import Card, Degenerate, Mesh, Scene
from robench.metrics._shared import N_POINTS, SEED, checked, distances


def point_to_surface_cm(
    source: Mesh | None, target: Mesh | None, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> float | Degenerate:
    """Return the mean distance from the surface of one mesh to another, in centimetres.

    Args:
        source: Where points are sampled (by area).
        target: What they are measured to.
        n_points: How many.
        seed: Of the samples.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        Centimetres >= 0, or why there is no value (`robench.metrics._shared.checked`, `source` as the prediction).
    """
    pair = checked(source, target)
    if isinstance(pair, Degenerate):
        return pair
    return float(distances(*pair, n_points, seed, device).mean(dtype="f8"))


def chamfer_cm(
    prediction: Mesh | None, truth: Mesh | None, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> float | Degenerate:
    """Return half the sum of both mean surface distances, in centimetres; arguments as `point_to_surface_cm`."""
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    there = distances(pair[0], pair[1], n_points, seed, device).mean(dtype="f8")
    back = distances(pair[1], pair[0], n_points, seed, device).mean(dtype="f8")
    return float((there + back) / 2.0)


def _card(name: str, summary: str, formula: str, distance: str, alignment: str) -> Card:
    extra: dict[str, Any] = {
        "unit": "cm",
        "direction": "lower",
        "formula": formula,
        "distance": distance,
        "n_points": N_POINTS,
        "seed": SEED,
        "alignment": alignment,
    }
    return Card(name, "1", summary, reference="Saito et al., PIFu, ICCV 2019, section 4", extra=extra)


_CHAMFER = "(mean_p d(p, T) + mean_t d(t, P)) / 2; p, t sampled on P, T"
_BOTH = "prediction to truth and truth to prediction"


class Chamfer:
    """Symmetric surface distance; the truth follows what the corruption did to the camera."""

    card = _card("chamfer_cm", "Mean of both surface distances", _CHAMFER, _BOTH, "camera")

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        return chamfer_cm(scene.prediction, scene.truth, device=self.device)


class ChamferUnaligned:
    """Symmetric surface distance to the truth where the clean picture had it, as the paper scores camera roll."""

    card = _card("chamfer_unaligned_cm", "Mean of both surface distances, truth not moved", _CHAMFER, _BOTH, "none")

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        return chamfer_cm(scene.prediction, scene.truth_unmoved, device=self.device)


_PRED_TO_GT = ("mean_p d(p, T); p sampled on the prediction P, T the true surface", "prediction to truth")


class P2SPredToGt:
    """Predicted surface to true surface: what is there, but wrong (PIFu's and PIFuHD's P2S)."""

    card = _card("p2s_pred_to_gt_cm", "Distance from prediction to truth", *_PRED_TO_GT, "camera")

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        return point_to_surface_cm(scene.prediction, scene.truth, device=self.device)


class P2SPredToGtUnaligned:
    """Predicted surface to the truth where the clean picture had it, as the paper scores camera roll."""

    card = _card(
        "p2s_pred_to_gt_unaligned_cm", "Distance from prediction to truth, truth not moved", *_PRED_TO_GT, "none"
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        return point_to_surface_cm(scene.prediction, scene.truth_unmoved, device=self.device)


class P2SGtToPred:
    """True surface to predicted surface: what is missing (the P2S of ICON's family)."""

    card = _card(
        "p2s_gt_to_pred_cm",
        "Distance from truth to prediction",
        "mean_t d(t, P); t sampled on the truth T, P the predicted surface",
        "truth to prediction",
        "camera",
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return centimetres."""
        pair = checked(scene.prediction, scene.truth)
        if isinstance(pair, Degenerate):
            return pair
        return point_to_surface_cm(pair[1], pair[0], device=self.device)
