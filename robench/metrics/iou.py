"""Intersection over union: of occupied space, and of masks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Card, Degenerate, Mask, Mesh, Scene
from robench.geometry import surface_of
from robench.metrics._shared import N_POINTS, SEED, checked
from robench.rng import generator


def iou_3d(
    prediction: Mesh | None, truth: Mesh | None, n_points: int = N_POINTS, seed: int = SEED, device: str = "cpu"
) -> float | Degenerate:
    """Return the IoU of the space that two meshes enclose.

    One point is drawn in each cell of a grid over the joint bounding box (stratified, so that only cells cut by a
    surface add noise). A point is inside where the winding number exceeds one half, which also judges scans with small
    holes.

    Args:
        prediction: Predicted mesh, centimetres.
        truth: True mesh, same frame.
        n_points: About how many points (the grid's cells are near cubes).
        seed: Of the points within their cells.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        A share in [0, 1]; or why there is none: as `robench.metrics._shared.checked`, or ``no_volume`` if no point is
        inside either mesh.
    """
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    surfaces = [surface_of(mesh, device) for mesh in pair]
    low = np.minimum(surfaces[0].low, surfaces[1].low)
    high = np.maximum(surfaces[0].high, surfaces[1].high)
    points = stratified(low, high, n_points, generator(seed, "occupancy samples", n_points))
    inside = []
    for surface in surfaces:
        # Points outside a mesh's own box need no query.
        near = ((points >= surface.low) & (points <= surface.high)).all(axis=1)
        occupied = np.zeros(len(points), bool)
        occupied[near] = surface.inside(points[near])
        inside.append(occupied)
    union = int((inside[0] | inside[1]).sum())
    return float((inside[0] & inside[1]).sum() / union) if union else Degenerate("no_volume")


def stratified(
    low: NDArray[np.float64], high: NDArray[np.float64], n_points: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Draw one uniform point in each near-cubic cell of a box, about `n_points` in all.

    Args:
        low: (3,) lower corner.
        high: (3,) upper corner.
        n_points: About how many; the grid is rounded to whole cells, at least one along each axis.
        rng: The generator.

    Returns:
        (N, 3) float64 points.
    """
    size = np.maximum(high - low, 1e-9)
    edge = float(np.prod(size) / n_points) ** (1.0 / 3.0)
    # A flat box would get all its cells along two axes; capping keeps the count near what was asked.
    cells = np.clip(np.rint(size / edge), 1, n_points).astype(int)
    while np.prod(cells) > 2 * n_points:
        cells = np.maximum(cells // 2, 1)
    index = np.stack(np.meshgrid(*(np.arange(c) for c in cells), indexing="ij"), axis=-1).reshape(-1, 3)
    return np.asarray(low + (index + rng.random(index.shape)) / cells * size)


def mask_iou(mask: Mask | None, true_mask: Mask | None, threshold: float = 0.5) -> float | Degenerate:
    """Return the IoU of two soft masks made binary: inside from `threshold` on.

    Args:
        mask: (H, W) in [0, 1].
        true_mask: (H, W) in [0, 1].
        threshold: In (0, 1).

    Returns:
        A share in [0, 1]: 1 if both are blank (they agree that nobody is there), 0 if one is; or ``no_mask``,
        ``no_true_mask``, ``non_finite``, ``truth_non_finite``.

    Raises:
        ValueError: If the shapes differ.
    """
    if true_mask is None:
        return Degenerate("no_true_mask")
    if mask is None:
        return Degenerate("no_mask")
    if mask.shape != true_mask.shape:
        raise ValueError(f"masks must have one shape, got {mask.shape} and {true_mask.shape}")
    if not np.isfinite(mask).all():
        return Degenerate("non_finite")
    if not np.isfinite(true_mask).all():
        return Degenerate("truth_non_finite")
    one, other = mask >= threshold, true_mask >= threshold
    union = int((one | other).sum())
    return float((one & other).sum() / union) if union else 1.0


class Iou3D:
    """IoU of enclosed space."""

    card = Card(
        "iou_3d",
        "1",
        "Overlap of enclosed space",
        reference="Mescheder et al., Occupancy Networks, CVPR 2019, section 4; winding numbers: Jacobson et al. 2013",
        extra={
            "unit": "1",
            "direction": "higher",
            "formula": "|P and T| / |P or T| over stratified points in the joint bounding box; inside: winding > 1/2",
            "n_points": N_POINTS,
            "seed": SEED,
            "alignment": "camera",
        },
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return a share in [0, 1]."""
        return iou_3d(scene.prediction, scene.truth, device=self.device)


class MaskIou:
    """IoU of the mask that the reconstructor was given with the true one: tells mask failures from model failures."""

    card = Card(
        "mask_iou",
        "1",
        "Overlap of given and true mask",
        extra={
            "unit": "1",
            "direction": "higher",
            "formula": "|M and T| / |M or T| of pixels >= 1/2; 1 if both are blank",
            "n_points": 0,
            "seed": 0,
            "alignment": "camera",
        },
    )

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return a share in [0, 1]."""
        return mask_iou(scene.mask, scene.true_mask)
