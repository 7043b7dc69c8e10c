"""A batch of pictures in, a mesh for each out: PIFu's way, with the priors of each picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from baselines.fusion.checkpoint import FusionWeights
from baselines.fusion.network import FusionNet
from baselines.fusion.priors import PriorEncoders
from baselines.pifu.network import Encoded
from baselines.pifu.predict import Predictor
from robench.errors import Mismatch


def matching_encoders(loaded: FusionWeights, device: torch.device, source: Path) -> PriorEncoders:
    """Return the frozen networks that a checkpoint was trained with.

    Args:
        loaded: The checkpoint.
        device: Where they shall work.
        source: What to call the checkpoint in a message.

    Raises:
        EnvironmentNotReady: If one is nowhere.
        Mismatch: If one that is found has other weights.
    """
    priors = PriorEncoders(loaded.net.fusion, device, loaded.places)
    for prior, part in priors.parts.items():
        expected = loaded.parts[prior]
        if part.sha256 != expected.sha256:
            what = f"{source} was trained with other weights of '{expected.name}' than those found"
            raise Mismatch(what, got=f"sha256 {part.sha256}", expected=expected.sha256)
    return priors


@dataclass
class FusionPredictor(Predictor):
    """Opened networks on a device; `weights.shape` is a `FusionNet`.

    Attributes:
        priors: The frozen networks that it looks at.
    """

    priors: PriorEncoders | None = None

    def encode(self, image: Tensor) -> Encoded:
        """See `Predictor.encode`."""
        net = self.weights.shape
        assert isinstance(net, FusionNet)
        assert self.priors is not None
        return net.filter(image, self.priors(image))
