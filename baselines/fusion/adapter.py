"""The reconstructors with 2D priors of the registry: `pifu-clip-add`, `pifu-clip-concat`, `pifu-experts`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from baselines.pifu.adapter import OPTIONS, PifuBase
from robench.contracts import Card, OpenReport
from robench.errors import EnvironmentNotReady

if TYPE_CHECKING:
    from baselines.fusion.config import Manner, Variant
    from baselines.pifu.golden import ParityLine
    from baselines.pifu.rays import Precision
    from robench.training.lessons import Adapted, AdaptJob

_REFERENCE = "Fantini, Li, Liu, Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction, 2023"


def _card(name: str, summary: str, parameters: dict[str, int], memory: int) -> Card:
    facts: dict[str, Any] = {
        "checkpoint_sha256": "of the file that you bring; printed when it opens",
        "weights": "model.safetensors of `robench train`; CLIP, DPT and a frozen image filter lie elsewhere",
        "inputs_used": sorted(("image", "mask", "camera")),
        "frame": "view",
        "unit": "cm",
        "image_size": 512,
        "resolution": 256,
        "options": {**OPTIONS, "protocol": ["described", "as-coded"]},
        "parameters": parameters,
        "gpu_mem_mb": memory,
        "trainable": True,
        "adaptable": True,
        "refinable": False,
    }
    licence = "Apache-2.0 (code); CLIP's weights: MIT"
    return Card(name=name, version="1", summary=summary, licence=licence, reference=_REFERENCE, extra=facts)


class PifuFusion(PifuBase):
    """PIFu with 2D priors; a subclass names the variant.

    Attributes:
        protocol: ``described``: what the paper's text says. ``as-coded``: what its published code computed. A
            checkpoint is of one of them. See `baselines.fusion.config.FusionConfig`.
        variant: How the priors enter.
    """

    variant: Variant

    def __init__(
        self,
        resolution: int = 256,
        crop: Literal["auto", "none"] = "none",
        precision: Precision = "float32",
        protocol: Manner = "described",
    ) -> None:
        super().__init__(resolution, crop, precision)
        self.protocol: Manner = protocol

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly, with the frozen networks that the checkpoint names.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            weights: ``model.safetensors`` of a training, or its folder.

        Raises:
            EnvironmentNotReady: If no weights are given, frozen networks are nowhere, or the device is not there.
            UsageError: If a file is damaged or of another variant or protocol; every key at fault is named.
            Mismatch: If a frozen network found is not the one that the checkpoint was trained with.
        """
        weights = self.weights_of(weights)
        from baselines.fusion.checkpoint import load_fusion
        from baselines.fusion.predict import FusionPredictor, matching_encoders
        from baselines.pifu.checkpoint import Weights
        from baselines.pifu.device import working_device

        target = working_device(device, self.resolution, self.precision, "PIFu")
        loaded = load_fusion(weights, self.variant, self.protocol)
        priors = matching_encoders(loaded, target, weights)
        net = loaded.net.to(target)
        opened = Weights(net.config, net, None, loaded.sha256, loaded.keys, loaded.provenance)
        self._predictor = FusionPredictor(opened, target, self.resolution, self.crop, self.precision, priors=priors)
        return OpenReport(str(target), opened.parameters + priors.parameters, loaded.sha256, loaded.keys)

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
        """Train on a data set; see `baselines.fusion.training.train`. Returns the path of the weights."""
        from baselines.fusion.training import train

        limits: dict[str, Any] = {"device": device, "resume": resume, "max_minutes": max_minutes}
        return train(self.variant, config_path, data, out, **limits)

    def weights_of(self, weights: Path | None) -> Path:
        """Return the checkpoint to load; there must be one."""
        if weights is None:
            name = self.card.name
            raise EnvironmentNotReady(
                f"The model '{name}' ships no weights",
                expected="a model.safetensors",
                hint=f"robench train {name} --config baselines/fusion/configs/{name}.yaml --data DIR --out DIR, "
                "then --checkpoint FILE",
            )
        return weights

    def adapt(self, weights: Path | None, job: AdaptJob) -> Adapted:
        """Adapt a checkpoint; see `baselines.fusion.adaptation.adapt` and `robench.training.lessons.Adaptable`."""
        from baselines.fusion.adaptation import adapt

        return adapt(self.variant, self.protocol, self.weights_of(weights), job)

    def parity(self, golden: Path) -> list[ParityLine]:
        """Compare the implementation with a file of golden values; see `baselines.fusion.parity.parity`."""
        from baselines.fusion.parity import parity

        return parity(golden)

    def parameter_table(self) -> list[dict[str, Any]]:
        """Count the parameters of all systems of the paper; see `baselines.fusion.table.parameter_table`."""
        from dataclasses import asdict

        from baselines.fusion.table import parameter_table

        return [asdict(row) for row in parameter_table()]


class PifuClipAdd(PifuFusion):
    """The CLIP embedding, averaged in blocks, is added to every cell of PIFu's feature maps."""

    variant: Variant = "add"
    card = _card(
        "pifu-clip-add",
        "PIFu with the CLIP embedding added to its feature maps (train it first)",
        {"trainable": 15_604_738, "CLIP image encoder": 303_966_208},
        6000,
    )


class PifuClipConcat(PifuFusion):
    """The CLIP embedding, projected to a small map, is appended to PIFu's feature maps (the paper's tf_concat)."""

    variant: Variant = "concat"
    card = _card(
        "pifu-clip-concat",
        "PIFu with a projection of the CLIP embedding beside its feature maps (train it first)",
        {"trainable": 14_274_946, "frozen image filter": 14_420_864, "CLIP image encoder": 303_966_208},
        6000,
    )


class PifuExperts(PifuFusion):
    """A resampler gathers from image patches, CLIP embedding and DPT normals into one more channel of the maps."""

    variant: Variant = "experts"
    card = _card(
        "pifu-experts",
        "PIFu with a resampler over picture, CLIP embedding and DPT normals (train it first)",
        {
            "trainable": 1_894_531,
            "frozen image filter": 14_420_864,
            "CLIP image encoder": 303_966_208,
            "DPT-hybrid": 122_378_051,
        },
        7000,
    )
