"""The reconstructor of the registry: `pifuhd`, with the authors' weights or those of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from robench.contracts import Card, Failure, OpenReport, Reconstruction, Request
from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from baselines.pifu.golden import ParityLine
    from baselines.pifu.rays import Precision
    from baselines.pifuhd.predict import Colours, Predictor


class PifuHD:
    """The authors' PIFuHD: bring ``pifuhd.pt``, or train one.

    Attributes:
        resolution: Grid nodes an axis, a power of two from 16 to 1024.
        crop: What of the picture is shown: ``mask``, a square around the mask; ``box``, the sample's own person box,
            without one as ``mask``; ``none``, all of it; ``X,Y,W,H``, one box in pixels for all, as it is.
        precision: Arithmetic of the networks. ``float32`` says so to CUDA, which would otherwise convolve in TF32;
            ``tf32`` is of CUDA alone; ``bfloat16`` moves the surface by up to a voxel.
        colours: ``picture``, or ``normals`` as published.
    """

    card = Card(
        name="pifuhd",
        version="1",
        summary="PIFuHD with the authors' weights (bring pifuhd.pt), or trained by you",
        licence="Apache-2.0 (code); the authors' weights: CC-BY-NC-4.0",
        reference="Saito et al., PIFuHD, CVPR 2020, arXiv:2004.00452",
        extra={
            "checkpoint_sha256": "of the file that you bring; printed when it opens",
            "official_sha256": "891637c65f122c7efe212ebba7ae4581f86d75c92fdd5894096fe32f562175e9",
            "weights": "pifuhd.pt (1.5 GB; more options in pifuhd.json beside it), or model.safetensors of a training",
            "inputs_used": sorted(("image", "mask", "camera", "box")),
            "mask_used_for": "the crop alone: the background is seen, as published",
            "frame": "view",
            "unit": "cm",
            "image_size": 1024,
            "resolution": 512,
            "options": {
                "resolution": "a power of two from 16 to 1024",
                "crop": "mask, box (the sample's own), none, or a person box X,Y,W,H in pixels",
                "precision": ["float32", "tf32", "bfloat16"],
                "colours": ["picture", "normals"],
            },
            "parameters": 387_049_625,
            "gpu_mem_mb": 8000,
            "trainable": True,
            "adaptable": False,
            "refinable": False,
        },
    )

    def __init__(
        self,
        resolution: int = 512,
        crop: str = "mask",
        precision: Precision = "float32",
        colours: Colours = "picture",
    ) -> None:
        self.resolution = resolution
        self.crop = crop
        self.precision: Precision = precision
        self.colours: Colours = colours
        self._predictor: Predictor | None = None

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            weights: ``pifuhd.pt``, ``model.safetensors`` of a training, or a folder with one of them.

        Raises:
            EnvironmentNotReady: If no weights are given or the device is not there.
            UsageError: If an option cannot be, or the file is damaged or does not fit; every key at fault is named.
        """
        if weights is None:
            raise EnvironmentNotReady(
                "The model 'pifuhd' ships no weights",
                expected="the authors' pifuhd.pt (1,548,375,177 bytes), or a file of `robench train pifuhd`",
                hint="--checkpoint pifuhd.pt",
            )
        from baselines.pifu.device import working_device
        from baselines.pifuhd.checkpoint import load_weights
        from baselines.pifuhd.inputs import parse_crop
        from baselines.pifuhd.predict import Predictor

        crop = parse_crop(self.crop)
        target = working_device(device, self.resolution, self.precision, "PIFuHD")
        loaded = load_weights(weights)
        loaded.net.to(target)
        self._predictor = Predictor(loaded, target, self.resolution, crop, self.precision, self.colours)
        return OpenReport(str(target), loaded.parameters, loaded.sha256, loaded.keys)

    def reconstruct(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Reconstruct a batch one by one: the others in it change no bit.

        Args:
            requests: Pictures of any size and aspect with mask and camera.

        Returns:
            Closed, coloured meshes in centimetres in each camera's view frame; ``no_detection`` for a blank mask or a
            person box outside the picture, ``degenerate`` for an empty field, ``oom`` if there was no memory.
            `timings` has seconds for ``encode``, ``query`` and ``mesh``.

        Raises:
            UsageError: If the model is not open.
        """
        if self._predictor is None:
            raise UsageError("The model 'pifuhd' is not open", hint="call open(device, weights) first")
        return self._predictor(requests)

    def close(self) -> None:
        """Free the networks."""
        self._predictor = None

    def train(
        self,
        config_path: Path,
        data: Path,
        out: Path,
        *,
        device: str = "auto",
        resume: bool = False,
        max_minutes: float | None = None,
    ) -> Path:
        """Train on a data set; see `baselines.pifuhd.training.train`. Returns the path of the weights."""
        from baselines.pifuhd.training import train

        return train(config_path, data, out, device=device, resume=resume, max_minutes=max_minutes)

    def parity(self, golden: Path) -> list[ParityLine]:
        """Compare the implementation with a file of golden values; see `baselines.pifuhd.parity.parity`."""
        from baselines.pifuhd.parity import parity

        return parity(golden)
