"""The networks that guess how the body's front and back are turned, from the picture alone.

Sources: Wang et al., "High-Resolution Image Synthesis and Semantic Manipulation with Conditional GANs" (pix2pixHD),
CVPR 2018 (the global generator); Saito et al., PIFuHD, CVPR 2020, section 3.3.
"""

from __future__ import annotations

from typing import cast

from torch import Tensor, nn

from baselines.pifu.colour import ResidualBlock
from baselines.pifu.filters import make_norm


class NormalNet(nn.Module):
    """An encoder, residual blocks and a decoder, all with instance norms; module names follow the released checkpoint.

    Args:
        width: Channels of the stem; each halving doubles them.
        downs: Halvings, and doublings after the blocks.
        blocks: Residual blocks between.
    """

    def __init__(self, width: int = 64, downs: int = 4, blocks: int = 9) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, width, 7), make_norm("instance", width)]
        layers.append(nn.ReLU())
        for level in range(downs):
            c = width * 2**level
            layers += [nn.Conv2d(c, 2 * c, 3, stride=2, padding=1), make_norm("instance", 2 * c), nn.ReLU()]
        layers += [ResidualBlock(width * 2**downs, "instance", last=False) for _ in range(blocks)]
        for level in range(downs, 0, -1):
            c = width * 2**level
            layers.append(nn.ConvTranspose2d(c, c // 2, 3, stride=2, padding=1, output_padding=1))
            layers += [make_norm("instance", c // 2), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh())

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) pictures in [-1, 1] to (B, 3, H, W) normals in (-1, 1), not of unit length.

        H and W are multiples of ``2 ** downs``.
        """
        return cast(Tensor, self.model(image))
