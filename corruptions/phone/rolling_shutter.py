"""Rolling shutter: the sensor is read row by row while the hand pans and shakes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corruptions._base import Card, Corrupted, Image, Params, checked, level

CARD = Card(
    name="rolling_shutter",
    version="1",
    summary="Rows are read one after the other while the camera pans and shakes: the picture leans and wobbles.",
    reference="ours; geometry as in Meingast, Geyer and Sastry, Geometric Models of Rolling-Shutter Cameras, 2005",
    extra={
        "family": "phone",
        "stochastic": True,
        "levels": "ours",
        "formula": "y(u, v) = x(u + dx(t_v), v + dy(t_v)), t_v = T v / (H - 1); d = pan t + shake(t) - mean over rows",
        "severities": {
            1: {"readout_ms": 10.0, "pan_widths_per_s": 0.8, "shake_widths": 0.003},
            2: {"readout_ms": 16.0, "pan_widths_per_s": 1.0, "shake_widths": 0.006},
            3: {"readout_ms": 22.0, "pan_widths_per_s": 1.2, "shake_widths": 0.009},
            4: {"readout_ms": 28.0, "pan_widths_per_s": 1.5, "shake_widths": 0.013},
            5: {"readout_ms": 33.0, "pan_widths_per_s": 1.8, "shake_widths": 0.018},
        },
        "deviations": [
            "a field over rows, no affine map: mask, camera and ground truth stay where they are, and the mean "
            "displacement over the rows is zero, so that nothing is moved as a whole",
            "short exposure: rows are displaced, not blurred",
            "one depth: everything moves alike, as when a camera turns",
        ],
    },
)


def path(rows: int, readout_ms: float, pan: tuple[float, float], shakes: list[dict[str, float]]) -> NDArray[np.float64]:
    """Return where the camera looks while each row is read, its mean over the rows being zero.

    Args:
        rows: Number of rows.
        readout_ms: Time from the first row to the last, milliseconds.
        pan: Constant velocity (x, y), units a second.
        shakes: Vibrations; each has ``x`` and ``y`` (amplitudes), ``hz`` and ``phase_deg``.

    Returns:
        (rows, 2) displacements (x, y) in the units of `pan` and the amplitudes.
    """
    seconds = np.linspace(0, readout_ms / 1000, rows)
    place = seconds[:, None] * np.asarray(pan, np.float64)
    for shake in shakes:
        wave = np.sin(2 * np.pi * shake["hz"] * seconds + np.deg2rad(shake["phase_deg"]))
        place += wave[:, None] * np.array([shake["x"], shake["y"]])
    centred: NDArray[np.float64] = place - place.mean(axis=0)
    return centred


def displace_rows(image: Image, displacement: NDArray[np.float64]) -> Image:
    """Let each row show what lies displaced from it in the picture; outside, the picture is reflected.

    Args:
        image: (H, W, 3) uint8.
        displacement: (H, 2) pixels (x, y).

    Raises:
        ValueError: If there is not one displacement for each row.
    """
    import cv2

    height, width = image.shape[:2]
    if displacement.shape != (height, 2):
        raise ValueError(f"{height} rows need displacements of shape ({height}, 2), got {displacement.shape}")
    x = np.arange(width, dtype=np.float32) + displacement[:, :1].astype(np.float32)
    y = np.repeat((np.arange(height) + displacement[:, 1]).astype(np.float32)[:, None], width, axis=1)
    moved: Image = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return moved


class RollingShutter:
    """Skew and wobble of a sensor that is read row by row."""

    card = CARD
    moves_pixels = False

    def sample(self, severity: int, shape: tuple[int, int], rng: np.random.Generator) -> Params:
        """Return the parameters of a severity, the direction of the pan, and two vibrations of unit strength."""
        # Mostly sideways: people pan along the horizon.
        pan = float(rng.choice([0.0, 180.0]) + rng.uniform(-30, 30))
        shakes = [
            {
                "x": share * float(rng.uniform(0.7, 1.0)),
                "y": share * float(rng.uniform(0.2, 0.5)),
                "hz": float(rng.uniform(low, high)),
                "phase_deg": float(rng.uniform(0, 360)),
            }
            # A stride or a vehicle, and what shakes faster than a frame is read.
            for share, low, high in ((0.65, 15.0, 30.0), (0.35, 45.0, 80.0))
        ]
        return {**level(self.card, severity), "pan_deg": pan, "shakes": shakes}

    def apply(self, image: Image, params: Params, aux: Any) -> Corrupted:
        """Return the picture with displaced rows; the notes are mean and largest length of displacement, pixels.

        Raises:
            ValueError: If the image has a wrong shape or type.
        """
        image = checked(image)
        height, width = image.shape[:2]
        speed, angle = float(params["pan_widths_per_s"]) * width, np.deg2rad(float(params["pan_deg"]))
        strength = float(params["shake_widths"]) * width
        shakes = [{**shake, "x": shake["x"] * strength, "y": shake["y"] * strength} for shake in params["shakes"]]
        pan = (speed * float(np.cos(angle)), speed * float(np.sin(angle)))
        displacement = path(height, float(params["readout_ms"]), pan, shakes)
        length = np.hypot(displacement[:, 0], displacement[:, 1])
        notes = {"mean_displacement_px": float(length.mean()), "max_displacement_px": float(length.max())}
        return Corrupted(displace_rows(image, displacement), notes=notes)
