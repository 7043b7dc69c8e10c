"""A batch of pictures in, a mesh for each out: PIFu's way, with the priors of each picture."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from baselines.fusion.network import FusionNet
from baselines.fusion.priors import PriorEncoders
from baselines.pifu.network import Encoded
from baselines.pifu.predict import Predictor


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
