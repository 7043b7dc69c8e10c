"""F-score at a distance: harmonic mean of the share of the prediction that is right and of the truth that is found."""

from __future__ import annotations

from robench.contracts import Card, Degenerate, Mesh, Scene
from robench.metrics._shared import N_POINTS, SEED, checked, distances


def fscore(
    prediction: Mesh | None,
    truth: Mesh | None,
    threshold_cm: float = 1.0,
    n_points: int = N_POINTS,
    seed: int = SEED,
    device: str = "cpu",
) -> float | Degenerate:
    """Return the surface F-score in [0, 1] (Knapitsch et al. 2017, Tanks and Temples, section 4).

    Args:
        prediction: Predicted mesh, centimetres.
        truth: True mesh, same frame.
        threshold_cm: A point counts if it is at most this far from the other surface.
        n_points: Surface samples a mesh.
        seed: Of the samples.
        device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.

    Returns:
        2PR / (P + R) with precision P over the prediction's samples and recall R over the truth's, 0 if both are 0; or
        why there is no value.
    """
    pair = checked(prediction, truth)
    if isinstance(pair, Degenerate):
        return pair
    precision = float((distances(pair[0], pair[1], n_points, seed, device) <= threshold_cm).mean())
    recall = float((distances(pair[1], pair[0], n_points, seed, device) <= threshold_cm).mean())
    return 2.0 * precision * recall / (precision + recall) if precision + recall > 0 else 0.0


class FScore1cm:
    """F-score at one centimetre."""

    card = Card(
        "fscore_1cm",
        "1",
        "Share of surface right within 1 cm",
        reference="Knapitsch et al., Tanks and Temples, TOG 2017, section 4",
        extra={
            "unit": "1",
            "direction": "higher",
            "formula": "2PR/(P+R); P, R the shares of samples of prediction, truth within 1 cm of the other surface",
            "distance": "prediction to truth and truth to prediction",
            "n_points": N_POINTS,
            "seed": SEED,
            "alignment": "camera",
        },
    )

    def __init__(self, device: str = "cpu") -> None:
        self.device = device

    def __call__(self, scene: Scene) -> float | Degenerate:
        """Return a share in [0, 1]."""
        return fscore(scene.prediction, scene.truth, device=self.device)
