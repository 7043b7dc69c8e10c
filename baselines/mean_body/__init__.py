"""`mean-body`: anny's mean body, scaled to the mask's bounding box. Nothing else of the picture is looked at.

The model-free reference of every relative number: what one gets for knowing only where the person is and how tall.
A system that does not beat it under a corruption has lost the picture.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Camera, Card, Failure, Mask, Mesh, OpenReport, Reconstruction, Request
from robench.errors import EnvironmentNotReady, Mismatch, UsageError

ASSET = Path(__file__).with_name("mean_body.safetensors")
ASSET_SHA256 = "c79dd60040182d4620bd45b043fcf4f5ad3ce64883a25a5cdd4c8d4ecbfae30f"


def sha256_of(path: Path) -> str:
    """Return the hex sha256 of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def bounding_box(mask: Mask, threshold: float = 0.5) -> tuple[float, float, float, float] | None:
    """Return the box round the pixels above a threshold.

    Args:
        mask: (H, W) in [0, 1].
        threshold: Pixels above it are the person.

    Returns:
        Left, top, right and bottom edge in pixel coordinates (a lone pixel at column 3 spans 2.5 to 3.5),
        or None for a blank mask.
    """
    inside = np.asarray(mask) > threshold
    columns, lines = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    if len(columns) == 0:
        return None
    return columns[0] - 0.5, lines[0] - 0.5, columns[-1] + 0.5, lines[-1] + 0.5


def fit_to_box(
    vertices: NDArray[np.float32], box: tuple[float, float, float, float], camera: Camera
) -> NDArray[np.float32]:
    """Scale a body uniformly to a box's height and put it at the box's centre, upright and facing the viewer.

    Height and centre are measured in the plane z = 0 of the view frame: exact for an orthographic camera; for a
    pinhole camera the body's own depth is neglected against the camera's distance.

    Args:
        vertices: (V, 3), any unit, y up, facing +z.
        box: Left, top, right, bottom in pixels.
        camera: The picture's camera; only its scale, centre and distance are read.

    Returns:
        (V, 3) centimetres in the camera's view frame, bounding box centred at z = 0.
    """
    left, top, right, bottom = box
    scale = camera.scale if camera.kind == "orthographic" else camera.scale / camera.distance
    low, high = vertices.min(axis=0).astype(np.float64), vertices.max(axis=0).astype(np.float64)
    size = (bottom - top) / scale / (high[1] - low[1])
    centre = np.array([(left + right) / 2 - camera.centre[0], camera.centre[1] - (top + bottom) / 2, 0.0]) / scale
    fitted: NDArray[np.float32] = ((vertices - (low + high) / 2) * size + centre).astype(np.float32)
    return fitted


class MeanBody:
    """The reconstructor `mean-body`; see the module.

    Body: ``anny.Anny()`` with every phenotype at its middle, feet apart as in anny's rest pose, upper arms turned 25°
    down to a relaxed stand, outer skin only (13,348 vertices, watertight). Shipped as a small file, so that it opens in
    milliseconds and one sha256 names the reference. `baselines/mean_body/make.py` makes the file.
    """

    card = Card(
        name="mean-body",
        version="1",
        summary="anny's mean body scaled to the mask's bounding box: the model-free reference",
        licence="Apache-2.0 AND CC0-1.0",
        reference="Body: Anny (NAVER), code Apache-2.0, data CC0. Use as a reference: ours.",
        extra={
            "checkpoint_sha256": ASSET_SHA256,
            "inputs_used": ["mask", "camera"],
            "frame": "view",
            "unit": "cm",
            "gpu_mem_mb": 0,
            "parameters": 0,
            "trainable": False,
            "adaptable": False,
            "refinable": False,
            "pose": "relaxed stand facing the viewer, upper arms 25° below anny's rest pose",
            "fit": "uniform scale from the box's height, position from its centre; the box's width is not used",
        },
    )

    def __init__(self) -> None:
        self._vertices: NDArray[np.float32] | None = None
        self._faces: NDArray[np.int32] = np.zeros((0, 3), np.int32)

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Read the body; there is no network, so it runs on the CPU whatever device is asked for, and says so.

        Args:
            device: ``cpu``, ``cuda`` or ``auto``.
            weights: Must be None: the reference is one fixed body.

        Raises:
            UsageError: If weights or an unknown device are asked for.
            EnvironmentNotReady: If the asset is not installed.
            Mismatch: If the asset's bytes are not those of the card.
        """
        if weights is not None:
            raise UsageError("The model 'mean-body' takes no checkpoint", got=str(weights), hint="leave it out")
        if device.split(":")[0] not in ("cpu", "cuda", "auto"):
            raise UsageError("There is no such device", got=f"'{device}'", expected="cpu, cuda or auto")
        if not ASSET.is_file():
            raise EnvironmentNotReady("The body of 'mean-body' is missing", got=f"no {ASSET}", hint="reinstall robench")
        found = sha256_of(ASSET)
        if found != ASSET_SHA256:
            raise Mismatch("The body of 'mean-body' was changed", got=f"sha256 {found}", expected=ASSET_SHA256)
        from safetensors.numpy import load_file

        arrays = load_file(ASSET)
        self._vertices, self._faces = arrays["vertices"], arrays["faces"]
        return OpenReport(device="cpu", parameters=0, checkpoint_sha256=found, loaded_keys=len(arrays))

    def reconstruct(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Fit the body to each mask; a blank mask is the failure ``no_detection``."""
        return [self._one(request) for request in requests]

    def close(self) -> None:
        """Forget the body."""
        self._vertices = None

    def _one(self, request: Request) -> Reconstruction | Failure:
        if self._vertices is None:
            raise UsageError("The model 'mean-body' is not open", hint="call open('cpu') first")
        start = time.perf_counter()
        box = bounding_box(request.mask)
        if box is None:
            return Failure("no_detection", "the mask is blank, so there is no box to fit the mean body to")
        mesh = Mesh(fit_to_box(self._vertices, box, request.camera), self._faces)
        return Reconstruction(
            mesh, inputs_read=frozenset({"mask", "camera"}), timings={"fit": time.perf_counter() - start}
        )
