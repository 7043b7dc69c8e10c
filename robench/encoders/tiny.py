"""`tiny-random`: a small network with fixed random weights. For tests and rehearsals; it knows nothing."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, cast

from robench.contracts import Card
from robench.encoders.torch_encoder import TorchEncoder
from robench.errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor, nn

_CHANNELS = (3, 16, 32, 64)


class TinyRandom(TorchEncoder):
    """Three convolutions, a mean over the picture and a projection, all drawn once and for all.

    Its vectors have CLIP's length, so that it can stand wherever CLIP does.
    """

    card = Card(
        name="tiny-random",
        version="1",
        summary="a small network with fixed random weights: for tests and rehearsals, it knows nothing",
        extra={
            "dim": 768,
            "input_size": 64,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "parameters": 73_504,
            "weights": "none: drawn from a fixed seed",
        },
    )

    def load(self, weights: Path | None) -> tuple[nn.Module, int]:
        """Draw the weights; see `TorchEncoder.load`.

        Raises:
            UsageError: If weights are given.
        """
        import torch
        from torch import nn

        from robench.rng import generator

        if weights is not None:
            raise UsageError("The encoder 'tiny-random' takes no weights", got=str(weights), hint="leave them out")
        with torch.device("meta"):  # nothing is drawn from the global generator
            layers: list[nn.Module] = []
            for inputs, outputs in pairwise(_CHANNELS):
                layers += [nn.Conv2d(inputs, outputs, 3, stride=2, padding=1), nn.GELU()]
            projection = nn.Linear(_CHANNELS[-1], int(self.card.extra["dim"]))
            network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), projection)
        network.to_empty(device="cpu")
        rng = generator(0, "tiny-random", 1)
        state = network.state_dict()
        with torch.no_grad():
            for key in sorted(state):
                shape = tuple(state[key].shape)
                # Biases too, else all pictures of one colour would point the same way.
                scale = math.sqrt(2 / math.prod(shape[1:])) if len(shape) > 1 else 0.1
                state[key].copy_(torch.from_numpy(rng.standard_normal(shape) * scale))
        return network, len(state)

    def vectors(self, network: nn.Module, pixels: Tensor) -> Tensor:
        """See `TorchEncoder.vectors`."""
        return cast("Tensor", network(pixels))
