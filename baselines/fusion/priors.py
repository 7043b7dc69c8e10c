"""The frozen 2D networks whose answers `FusionNet` is given: an image encoder and a network for normals."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.fusion import dpt
from baselines.fusion.config import FusionConfig
from baselines.fusion.network import Priors
from robench import registry
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.weights import find_weights, network_sha256
from robench.rng import generator

DPT = "dpt-hybrid-normals"
TINY = "tiny-random-normals"
NORMALS = (DPT, TINY)
"""Networks for normals; the second is for tests and rehearsals."""
_STANDARD_DEVIATION = 0.02
BARE = ("q_proj", "k_proj", "v_proj", "visual_projection")
"""Of CLIP, what is a bare parameter in OpenAI's classes, and so escaped the published code's new initialisation."""


_SUFFIXES = (".pth", ".pt", ".ckpt", ".safetensors")


@dataclass(frozen=True)
class Part:
    """A network that a checkpoint needs and does not hold.

    Attributes:
        name: What it is called where robench looks for it.
        sha256: Of its weights, before ``as-coded`` draws some anew.
    """

    name: str
    sha256: str


def overwritten(net: nn.Module, spared: tuple[str, ...] = ()) -> dict[str, nn.Parameter]:
    """Return the parameters that `redraw` overwrites, by name: those of convolutions and linear layers.

    Args:
        net: The network.
        spared: Last parts of the names of modules that are left as they are.
    """
    found: dict[str, nn.Parameter] = {}
    for name, module in net.named_modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)) and name.rsplit(".", 1)[-1] not in spared:
            found |= {f"{name}.{kind}": p for kind, p in module.named_parameters(recurse=False)}
    return found


def redraw(net: nn.Module, draws: torch.Generator, spared: tuple[str, ...] = ()) -> None:
    """Draw the weights of all convolutions and linear layers anew, N(0, 0.02), and zero their biases.

    The published code does this to CLIP and DPT after it loaded them, by an initialisation that was meant for PIFu.

    Args:
        net: The network; its other parameters stay.
        draws: The generator, on the CPU.
        spared: See `overwritten`.
    """
    with torch.no_grad():
        for name, parameter in overwritten(net, spared).items():
            if name.endswith(".bias"):
                parameter.zero_()
            else:
                parameter.copy_(torch.empty(parameter.shape).normal_(0.0, _STANDARD_DEVIATION, generator=draws))


def _only_file(place: Path) -> Path:
    """Return a file of weights: the place itself, or the only one in a folder.

    Raises:
        EnvironmentNotReady: If the folder has none or several.
    """
    if not place.is_dir():
        return place
    there = [path for path in sorted(place.iterdir()) if path.suffix in _SUFFIXES]
    if len(there) != 1:
        got = ", ".join(path.name for path in there) or "no file of weights"
        raise EnvironmentNotReady(
            f"The weights of '{DPT}' are not in {place}", got=got, expected="one file of weights", hint="name the file"
        )
    return there[0]


class TinyNormals(nn.Module):
    """Two convolutions with fixed random weights, between 0 and 1. For tests and rehearsals."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Map (N, 3, S, S) to the same shape."""
        return torch.sigmoid(cast(Tensor, self.second(F.gelu(self.first(pixels)))))

    @classmethod
    def drawn(cls) -> TinyNormals:
        """Return the network with its weights, without a draw from a global generator."""
        with torch.device("meta"):
            net = cls()
        net.to_empty(device="cpu")
        rng = generator(0, TINY, 1)
        with torch.no_grad():
            for parameter in net.parameters():
                scale = 1 / math.sqrt(math.prod(parameter.shape[1:]))
                parameter.copy_(torch.from_numpy(rng.standard_normal(tuple(parameter.shape)) * scale))
        return net


class PriorEncoders:
    """The frozen networks that a fusion looks at, open on a device.

    Args:
        config: Options of the fusion.
        device: Where they run.
        places: Files or folders of weights by prior (``clip``, ``normals``), where the user names them.

    Attributes:
        parts: The networks by prior.

    Raises:
        EnvironmentNotReady: If a library or weights are not there, with the command that brings them.
        UsageError: If weights do not fit, or a network does not fit the options.
    """

    def __init__(self, config: FusionConfig, device: torch.device, places: Mapping[str, Path] | None = None) -> None:
        self.config, self.device = config, device
        self.parts: dict[str, Part] = {}
        places = places or {}
        draws = torch.Generator().manual_seed(config.prior_seed)
        self._clip: Any = None
        self._normals: nn.Module | None = None
        if "clip" in config.uses:
            self._open_clip(places.get("clip"), draws)
        if "normals" in config.uses:
            self._open_normals(places.get("normals"), draws)

    def _open_clip(self, place: Path | None, draws: torch.Generator) -> None:
        config = self.config
        encoder: Any = registry.load("encoders", config.clip)
        if (dim := encoder.card.extra.get("dim")) != config.clip_dim:
            raise UsageError(
                f"The encoder '{config.clip}' does not fit this fusion",
                got=f"embeddings of {dim} numbers",
                expected=f"clip_dim {config.clip_dim}",
            )
        report = encoder.open("cpu" if config.protocol == "as-coded" else str(self.device), place)
        if config.protocol == "as-coded":
            network = getattr(encoder, "network", None)
            if not isinstance(network, nn.Module):
                what = f"The encoder '{config.clip}' cannot be used as coded: its weights cannot be drawn anew"
                raise UsageError(what, expected="an encoder with a torch network")
            redraw(network, draws, BARE)
            network.to(self.device)
        self._clip = encoder
        self.parts["clip"] = Part(config.clip, report.checkpoint_sha256)

    def _open_normals(self, place: Path | None, draws: torch.Generator) -> None:
        name = self.config.normals
        if name == TINY:
            net: nn.Module = TinyNormals.drawn()
        elif name == DPT:
            net, _ = dpt.load(_only_file(find_weights(DPT, place, _SUFFIXES)))
        else:
            raise UsageError(f"There is no network for normals '{name}'", expected="one of " + ", ".join(NORMALS))
        self.parts["normals"] = Part(name, network_sha256(net))
        if self.config.protocol == "as-coded":
            redraw(net, draws)
        self._normals = net.to(self.device).eval().requires_grad_(False)

    @property
    def parameters(self) -> int:
        """Parameters of both networks."""
        nets = [self._normals, getattr(self._clip, "network", None)]
        return sum(p.numel() for net in nets if isinstance(net, nn.Module) for p in net.parameters())

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Priors:
        """Look at pictures.

        Args:
            image: (B, 3, H, W) in [-1, 1], background 0, as PIFu sees them.

        Returns:
            The priors on the device, float32. ``described``: of the picture in [0, 1], as the networks were trained,
            its background mid grey; normals in [0, 1]. ``as-coded``: of the picture in [-1, 1] as it is, plainly
            resized; normals unbounded.
        """
        config = self.config
        coded = config.protocol == "as-coded"
        picture = image if coded else (image + 1) / 2
        clip = normals = None
        if self._clip is not None:
            seen = picture
            if coded:
                side = int(self._clip.card.extra["input_size"])
                # The library's resize of tensors did not smooth at the time.
                seen = F.interpolate(picture, size=(side, side), mode="bilinear", align_corners=False)
            clip = self._clip.features(seen).float()
        if self._normals is not None:
            size = (config.normal_size, config.normal_size)
            seen = F.interpolate(picture, size=size, mode="bilinear", align_corners=False, antialias=not coded)
            is_dpt = config.normals == DPT
            found = dpt.predict(self._normals, seen) if is_dpt else self._normals(seen)
            normals = (found if coded else found.clamp(0, 1)).float()
        return Priors(clip, normals)

    def close(self) -> None:
        """Free the networks."""
        if self._clip is not None:
            self._clip.close()
        self._clip = self._normals = None
