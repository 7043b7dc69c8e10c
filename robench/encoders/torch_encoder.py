"""What every encoder that is a torch network shares: pictures to tensors, vectors to unit length, a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from robench.contracts import CardLike, Image, OpenReport
from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

# On a CPU one by one, so that the others of a batch change no bit of a vector.
_TOGETHER = {"cpu": 1, "cuda": 32}


class TorchEncoder(ABC):
    """An encoder around a torch network.

    Attributes:
        card: Its card: ``dim``, ``input_size``, ``mean`` and ``std`` in `extra`.
        network: The network when open, in evaluation mode, its parameters without gradients; else None.
    """

    card: CardLike

    def __init__(self) -> None:
        self.network: nn.Module | None = None
        self._device = "cpu"

    @abstractmethod
    def load(self, weights: Path | None) -> tuple[nn.Module, int]:
        """Return the network on the CPU, and how many tensors were read."""

    @abstractmethod
    def vectors(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """Return the (N, D) vectors of (N, 3, S, S) normalised pixels."""

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        """Load strictly.

        Args:
            device: ``cpu``, ``cuda``, ``cuda:N`` or ``auto``.
            weights: A file or folder; None for where robench looks (see `robench.io.weights.find_weights`).

        Raises:
            EnvironmentNotReady: If the weights, their library or the device are not there.
            UsageError: If the weights do not fit; every key at fault is named.
        """
        self._device = _device(device)
        from robench.io.weights import network_sha256

        network, keys = self.load(weights)
        digest = network_sha256(network)
        self.network = network.to(self._device).eval().requires_grad_(False)
        return OpenReport(self._device, sum(p.numel() for p in network.parameters()), digest, keys)

    def close(self) -> None:
        """Free the network."""
        self.network = None

    def features(self, images: Tensor) -> Tensor:
        """Encode pictures, differentiably.

        Args:
            images: (N, 3, H, W) in [0, 1]. What is not of the encoder's size is resized so that the shorter side fits,
                and cropped to its middle, as CLIP was trained.

        Returns:
            (N, D) vectors as the network gives them; their length is not one.

        Raises:
            UsageError: If the encoder is not open.
        """
        import torch

        if self.network is None:
            raise UsageError(f"The encoder '{self.card.name}' is not open", hint="call open(device) first")
        facts = self.card.extra
        mean, std = (torch.tensor(facts[k], device=images.device)[:, None, None] for k in ("mean", "std"))
        return self.vectors(self.network, (fitted(images, int(facts["input_size"])) - mean) / std)

    def embed(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the (N, D) float32 vectors of unit length of pictures, each (H, W, 3) uint8 of any size.

        Raises:
            UsageError: If the encoder is not open.
        """
        import torch
        import torch.nn.functional as F

        found = np.zeros((len(images), int(self.card.extra["dim"])), np.float32)
        size = int(self.card.extra["input_size"])
        step = _TOGETHER[self._device.split(":")[0]]
        with torch.inference_mode():
            for start in range(0, len(images), step):
                part = images[start : start + step]
                pixels = [torch.from_numpy(np.array(i)).to(self._device).permute(2, 0, 1)[None] / 255.0 for i in part]
                batch = torch.cat([fitted(p, size) for p in pixels])
                found[start : start + step] = F.normalize(self.features(batch), dim=1).float().cpu().numpy()
        return found


def fitted(images: Tensor, size: int) -> Tensor:
    """Return (N, 3, size, size) pictures: resized (bicubic, antialiased) and cropped to the middle.

    Args:
        images: (N, 3, H, W). Those that have the size already are returned as they are.
        size: Side in pixels.
    """
    import torch.nn.functional as F

    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    scale = size / min(height, width)
    tall, wide = max(size, round(height * scale)), max(size, round(width * scale))
    resized = F.interpolate(images, size=(tall, wide), mode="bicubic", antialias=True, align_corners=False)
    top, left = (tall - size) // 2, (wide - size) // 2
    return resized[..., top : top + size, left : left + size].clamp(0, 1)


def _device(name: str) -> str:
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda") and not name.removeprefix("cuda:").isdigit():
        raise UsageError("Unknown device", got=repr(name), expected="cpu, cuda, cuda:N or auto")
    if name != "cpu" and not torch.cuda.is_available():
        raise EnvironmentNotReady(f"No CUDA device for '{name}'", got="torch sees none", hint="--device cpu")
    return name


def require_transformers(what: str) -> Any:
    """Import and return the library transformers.

    Raises:
        EnvironmentNotReady: If it is not installed.
    """
    import importlib.util

    if importlib.util.find_spec("transformers") is None:
        raise EnvironmentNotReady(f"{what} runs by the library transformers, which is not installed",
                                  hint="pip install 'robench[priors]'")  # fmt: skip
    import transformers

    return transformers
