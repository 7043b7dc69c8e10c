"""The two reconstructors of the registry: `pifu` with the authors' weights and `pifu-mini` with ours."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from baselines.pifu.refines import RefinesColours
from robench.contracts import Card, Failure, OpenReport, Reconstruction, Request
from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from baselines.pifu.golden import ParityLine
    from baselines.pifu.predict import Predictor
    from baselines.pifu.rays import Precision
    from robench.training.lessons import Adapted, AdaptJob

MINI_WEIGHTS = Path(__file__).parents[1] / "weights" / "pifu-mini.safetensors"
OPTIONS = {
    "resolution": "a power of two from 16 to 1024",
    "crop": ["none", "auto"],
    "precision": ["float32", "tf32", "bfloat16"],
}
_REFERENCE = "Saito et al., PIFu, ICCV 2019, arXiv:1905.05172"


class PifuBase:
    """What models around PIFu's shape net share.

    Attributes:
        resolution: Grid nodes an axis, a power of two from 16 to 1024.
        crop: ``none`` shows the whole picture; ``auto`` (photographs) crops around a person who fills an
            unusual share of it.
        precision: Arithmetic of the networks. ``float32`` says so to CUDA, which would otherwise convolve in TF32;
            ``tf32`` is of CUDA alone; ``bfloat16`` moves the surface by up to a voxel.
    """

    card: Card

    def __init__(self, resolution: int, crop: Literal["auto", "none"], precision: Precision) -> None:
        self.resolution = resolution
        self.crop: Literal["auto", "none"] = crop
        self.precision: Precision = precision
        self._predictor: Predictor | None = None

    def _open(self, device: str, weights: Path) -> OpenReport:
        from baselines.pifu.checkpoint import load_weights
        from baselines.pifu.device import working_device
        from baselines.pifu.predict import Predictor

        target = working_device(device, self.resolution, self.precision, "PIFu")
        loaded = load_weights(weights)
        if loaded.config.num_views != 1:
            raise UsageError(
                f"{weights} averages over several pictures of a person, and robench gives one",
                got=f"num_views {loaded.config.num_views}",
                expected="num_views 1",
            )
        loaded.shape.to(target)
        if loaded.colour is not None:
            loaded.colour.to(target)
        self._predictor = Predictor(loaded, target, self.resolution, self.crop, self.precision)
        return OpenReport(str(target), loaded.parameters, loaded.sha256, loaded.keys)

    def reconstruct(self, requests: Sequence[Request]) -> list[Reconstruction | Failure]:
        """Reconstruct a batch, which changes no result: not a bit on a CPU, float32 rounding on CUDA.

        Args:
            requests: Pictures of any size and aspect with mask and camera.

        Returns:
            Closed, coloured meshes in centimetres in each camera's view frame; ``no_detection`` for a blank mask,
            ``degenerate`` for an empty field, ``oom`` if there was no memory even for one sample in small portions.
            `timings` has seconds for ``encode``, ``query`` and ``mesh``; what was done for several samples at once is
            divided equally.

        Raises:
            UsageError: If the model is not open.
        """
        predictor = self._predictor
        if predictor is None:
            raise UsageError(f"The model '{self.card.name}' is not open", hint="call open(device, weights) first")
        predictor.crop = self.crop
        return predictor(requests)

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
        """Train on a data set; see `baselines.pifu.training.train`. Returns the path of the weights."""
        from baselines.pifu.training import train

        return train(config_path, data, out, device=device, resume=resume, max_minutes=max_minutes)

    def parity(self, golden: Path) -> list[ParityLine]:
        """Compare the implementation with a file of golden values; see `baselines.pifu.parity.parity`."""
        from baselines.pifu.parity import parity

        return parity(golden)


def _shipped_facts(path: Path) -> dict[str, Any]:
    """Return what the card says of a safetensors file, from its bytes alone (torch would take seconds to load)."""
    if not path.is_file():
        return {"checkpoint_sha256": "not installed"}
    data = path.read_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    sizes = (math.prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    return {
        "checkpoint_sha256": hashlib.sha256(data).hexdigest(),
        "parameters": sum(sizes),
        "image_size": json.loads(header["__metadata__"]["config"])["image_size"],
    }


class AdaptsShape:
    """Gives a model `robench.training.lessons.Adaptable`: its shape net can be tuned on few pictures."""

    def adapt(self, weights: Path | None, job: AdaptJob) -> Adapted:
        """Adapt, from the weights that `open` would load; see `baselines.pifu.adaptation.adapt`."""
        from baselines.pifu.adaptation import adapt

        return adapt(self.weights_of(weights), job)

    def weights_of(self, weights: Path | None) -> Path:
        """Return the file or folder of the weights to load."""
        return weights if weights is not None else MINI_WEIGHTS


class Pifu(AdaptsShape, RefinesColours, PifuBase):
    """The authors' PIFu: bring `net_G`, and `net_C` for colours."""

    card = Card(
        name="pifu",
        version="1",
        summary="PIFu with the authors' weights (bring net_G, and net_C for colours)",
        licence="Apache-2.0 (code); the authors' weights: MIT",
        reference=_REFERENCE,
        extra={
            "checkpoint_sha256": "of the file that you bring; printed when it opens",
            "weights": "the file net_G, or a folder with net_G and net_C; other options in pifu.json beside them",
            "inputs_used": sorted(("image", "mask", "camera")),
            "frame": "view",
            "unit": "cm",
            "image_size": 512,
            "resolution": 256,
            "options": OPTIONS,
            "parameters": {"net_G": 15_604_738, "net_C": 9_139_398},
            "gpu_mem_mb": 4000,
            "trainable": True,
            "adaptable": True,
            "refinable": True,
        },
    )

    def __init__(
        self, resolution: int = 256, crop: Literal["auto", "none"] = "none", precision: Precision = "float32"
    ) -> None:
        super().__init__(resolution, crop, precision)

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            weights: ``net_G``, a folder with ``net_G`` and perhaps ``net_C``, or a ``.safetensors`` trained here.

        Raises:
            EnvironmentNotReady: If no weights are given or the device is not there.
            UsageError: If a file is damaged or does not fit; every key at fault is named.
        """
        return self._open(device, self.weights_of(weights))

    def weights_of(self, weights: Path | None) -> Path:
        """See `AdaptsShape.weights_of`; there must be one."""
        if weights is None:
            raise EnvironmentNotReady(
                "The model 'pifu' ships no weights",
                expected="the authors' net_G",
                hint="--checkpoint FOLDER, or --model pifu-mini",
            )
        return weights


class PifuMini(AdaptsShape, RefinesColours, PifuBase):
    """The small PIFu that robench trains on synthetic people and ships."""

    card = Card(
        name="pifu-mini",
        version="1",
        summary="a small PIFu trained on synthetic dressed people, shipped with robench",
        reference=_REFERENCE + " (method); weights: ours",
        extra={
            "checkpoint": "baselines/weights/pifu-mini.safetensors",
            "inputs_used": sorted(("image", "mask", "camera")),
            "frame": "view",
            "unit": "cm",
            "resolution": 128,
            "options": OPTIONS,
            "gpu_mem_mb": 1000,
            "trainable": True,
            "adaptable": True,
            "refinable": True,
            "domain": "frontal views within 30 degrees, one upright person, orthographic or distant camera",
        },
    )

    def __init__(
        self, resolution: int = 128, crop: Literal["auto", "none"] = "none", precision: Precision = "float32"
    ) -> None:
        super().__init__(resolution, crop, precision)
        self.card = replace(self.card, extra={**self.card.extra, **_shipped_facts(MINI_WEIGHTS)})

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load the shipped weights, or another file that was trained here.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            weights: A ``.safetensors`` of ``robench train pifu``; None takes the shipped one.

        Raises:
            EnvironmentNotReady: If the file or the device is not there.
            UsageError: If the file is damaged or does not fit; every key at fault is named.
        """
        return self._open(device, self.weights_of(weights))
