"""Both levels on a lattice, asked ray by ray; see `baselines.pifu.rays`.

The coarse level runs only as far as the layer that the fine one takes over: its own answer is not asked for. Of every
layer's input, the image features are shared by a ray's nodes and multiplied once for them; what the levels share
differs from node to node, and several of the fine level's layers see it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.pifu.network import depth_scale
from baselines.pifu.rays import Precision, Rays, on_rays, padded
from baselines.pifuhd.network import Encoded, PifuHDNet


@dataclass(frozen=True)
class _Layer:
    """One layer's weights, sorted by what they multiply; all but `features` are (inputs, outputs).

    Attributes:
        bias: (outputs,).
        features: (outputs, channels) of the level's map, if the layer sees its input.
        depth: (outputs,) of the depth feature, if the level has one and the layer sees it.
        hidden: Of the layer before; of the shared one in the fine level's first layer.
        shared: Of what the levels share, where that is not the layer before.
    """

    bias: Tensor
    features: Tensor | None
    depth: Tensor | None
    hidden: Tensor | None
    shared: Tensor | None


class TwoLevelRays(Rays[Encoded]):
    """The classifiers of both levels taken apart: the coarse one's layers up to the shared one, then the fine one's.

    Args:
        net: The network, in evaluation mode, on its device.
        precision: See `baselines.pifu.rays.Rays`.
        chunk: Nodes a block; None for the device's own.
    """

    def __init__(self, net: PifuHDNet, precision: Precision = "float32", chunk: int | None = None) -> None:
        config = net.config
        coarse_weights, fine_weights = net.netG.mlp.weights()[: config.merge_layer + 1], net.mlp.weights()
        biases = [bias for _, bias in (*coarse_weights, *fine_weights)]
        super().__init__([len(b) for b in biases], torch.cat(biases), depth_scale(config.coarse), precision, chunk)
        self._merge = config.merge_layer
        coarse = self._taken_apart(coarse_weights, config.hourglass_dim, coarse=True)
        self._layers = coarse + self._taken_apart(fine_weights, config.fine_dim, coarse=False)
        self._joint = [_joint(level) for level in (coarse, self._layers[len(coarse) :])]

    def _taken_apart(self, level: list[tuple[Tensor, Tensor]], channels: int, *, coarse: bool) -> list[_Layer]:
        found: list[_Layer] = []
        for i, (weight, bias) in enumerate(level):
            before = len(found[-1].bias) if found else 0
            # The input: the map's features, then the depth (coarse) or what the levels share (fine).
            hidden, features, rest = torch.split(weight, [before, *_own(weight.shape[1] - before, channels)], dim=1)
            sees, last = features.shape[1] > 0, not coarse and i == len(level) - 1
            if not coarse and i == 0:
                hidden, rest = rest, rest[:, :0]
            found.append(
                _Layer(
                    bias,
                    features if sees else None,
                    rest[:, 0].contiguous() if sees and coarse else None,
                    # The last layer is a single column: nothing to gain, and its sum is the answer.
                    (hidden.t().contiguous() if last else self._multiplier(hidden)) if hidden.shape[1] else None,
                    self._multiplier(rest) if rest.shape[1] and not coarse else None,
                )
            )
        return found

    def parts(self, encoded: Encoded, sample: Tensor, uv: Tensor) -> list[Tensor]:
        """See `Rays.parts`; only of the layers that see image features."""
        found = []
        for maps, (weight, bias, widths) in zip((encoded.coarse, encoded.fine), self._joint, strict=True):
            features = on_rays(maps[-1], sample, uv)
            rows = padded(len(features))
            wide = torch.addmm(bias, F.pad(features, (0, 0, 0, rows - len(features))), weight)
            found += [part.contiguous() for part in torch.split(wide, widths, dim=1)]
        return found

    def query(self, parts: list[Tensor], ray_of: Tensor, depth: Tensor) -> Tensor:
        """See `Rays.query`."""
        count = len(depth)
        rows = padded(count)
        which = F.pad(ray_of, (0, rows - count))
        z = F.pad(depth, (0, rows - count))[:, None]
        blocks, along = self._room(rows), iter(parts)
        hidden = shared = blocks[self._merge]
        for i, (layer, block) in enumerate(zip(self._layers, blocks, strict=True)):
            if layer.features is None:
                block.copy_(layer.bias.expand_as(block))
            else:
                torch.index_select(next(along), 0, which, out=block)
            if layer.depth is not None:
                block.addcmul_(z, layer.depth[None])
            if layer.hidden is not None:
                self._multiply(block, hidden, layer.hidden)
            if layer.shared is not None:
                self._multiply(block, shared, layer.shared)
            if i < len(blocks) - 1:
                F.leaky_relu_(block, 0.01)
            hidden = block
        return torch.sigmoid(hidden[:count, 0])


def _own(inputs: int, channels: int) -> tuple[int, int]:
    """Return how many of a layer's own inputs are features, and how many are the rest."""
    return (channels, inputs - channels) if inputs else (0, 0)


def _joint(layers: list[_Layer]) -> tuple[Tensor, Tensor, list[int]]:
    """Return the weights (channels, sum of widths), biases and widths of a level's layers that see features."""
    seeing = [(layer.features, layer.bias) for layer in layers if layer.features is not None]
    weight = torch.cat([features for features, _ in seeing]).t().contiguous()
    return weight, torch.cat([bias for _, bias in seeing]), [len(bias) for _, bias in seeing]
