"""U²-Net_p: the small U²-Net, a U of U-shaped blocks, 1.13 million parameters.

Topology: Qin et al., "U²-Net: Going Deeper with Nested U-Structure for Salient Object Detection", Pattern Recognition
2020, section 3.1 (the residual U-block), section 3.2 and table 1, last row (channel counts of the small network).

Six encoder stages halve the picture, five decoder stages double it back; every stage is itself a small U-Net with a
residual connection around it. Each decoder stage and the deepest encoder stage predict a map of their own (six *side
outputs*, all supervised), and a 1x1 convolution fuses the six into the answer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MID_CHANNELS = 16
OUT_CHANNELS = 64
SIDE_OUTPUTS = 6


class ConvNormAct(nn.Module):
    """3x3 convolution (dilated by choice), batch normalisation, ReLU; keeps height and width."""

    def __init__(self, inputs: int, outputs: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=dilation, dilation=dilation)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


def resized_like(x: Tensor, reference: Tensor) -> Tensor:
    """Resample a feature map bilinearly to the height and width of another one."""
    return F.interpolate(x, size=reference.shape[-2:], mode="bilinear", align_corners=False)


class ResidualUBlock(nn.Module):
    """RSU-L: a U-Net of depth `levels` inside one residual block (section 3.1, figure 2e).

    The input convolution gives the local feature; the U adds context from `levels - 2` halvings and one dilated
    convolution at the bottom.

    Args:
        levels: L of RSU-L, 4 to 7.
        inputs: Channels in.
        mid: Channels inside the U.
        outputs: Channels out.
    """

    def __init__(self, levels: int, inputs: int, mid: int, outputs: int) -> None:
        super().__init__()
        self.entry = ConvNormAct(inputs, outputs)
        self.down = nn.ModuleList([ConvNormAct(outputs if i == 0 else mid, mid) for i in range(levels - 1)])
        self.bottom = ConvNormAct(mid, mid, dilation=2)
        self.up = nn.ModuleList([ConvNormAct(2 * mid, mid if i > 0 else outputs) for i in range(levels - 1)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        local = self.entry(x)
        skips: list[Tensor] = []
        x = local
        for i, layer in enumerate(self.down):
            x = layer(x if i == 0 else halved(x))
            skips.append(x)
        x = self.bottom(x)
        for i in reversed(range(len(skips))):
            x = self.up[i](torch.cat([resized_like(x, skips[i]), skips[i]], dim=1))
        return torch.add(x, local)


class DilatedUBlock(nn.Module):
    """RSU-4F: the block of the two deepest stages, where dilation (1, 2, 4, 8) stands for pooling (section 3.1)."""

    def __init__(self, inputs: int, mid: int, outputs: int) -> None:
        super().__init__()
        self.entry = ConvNormAct(inputs, outputs)
        self.down = nn.ModuleList([ConvNormAct(outputs if i == 0 else mid, mid, 2**i) for i in range(3)])
        self.bottom = ConvNormAct(mid, mid, dilation=8)
        self.up = nn.ModuleList([ConvNormAct(2 * mid, mid if i > 0 else outputs, 2**i) for i in range(3)])

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, inputs, H, W) to (N, outputs, H, W)."""
        local = self.entry(x)
        skips: list[Tensor] = []
        x = local
        for layer in self.down:
            x = layer(x)
            skips.append(x)
        x = self.bottom(x)
        for i in reversed(range(len(skips))):
            x = self.up[i](torch.cat([x, skips[i]], dim=1))
        return torch.add(x, local)


def halved(x: Tensor) -> Tensor:
    """Max-pool a feature map by two, rounding odd sizes up."""
    return F.max_pool2d(x, 2, stride=2, ceil_mode=True)


def _stage(number: int, inputs: int) -> nn.Module:
    """Build the block of stage 1 to 6: RSU-7, 6, 5, 4, then RSU-4F twice."""
    if number >= 5:
        return DilatedUBlock(inputs, MID_CHANNELS, OUT_CHANNELS)
    return ResidualUBlock(8 - number, inputs, MID_CHANNELS, OUT_CHANNELS)


class U2NetP(nn.Module):
    """The small U²-Net. Input (N, 3, H, W) normalised by `baselines.u2netp.normalise`; output seven logit maps."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.ModuleList([_stage(n, 3 if n == 1 else OUT_CHANNELS) for n in range(1, 7)])
        self.decoder = nn.ModuleList([_stage(n, 2 * OUT_CHANNELS) for n in range(1, 6)])
        self.side = nn.ModuleList([nn.Conv2d(OUT_CHANNELS, 1, 3, padding=1) for _ in range(SIDE_OUTPUTS)])
        self.fuse = nn.Conv2d(SIDE_OUTPUTS, 1, 1)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the logits, each (N, 1, H, W): the fused map first, then the side outputs from fine to coarse."""
        picture = x
        features: list[Tensor] = []
        for i, stage in enumerate(self.encoder):
            x = stage(x if i == 0 else halved(x))
            features.append(x)
        decoded = [features[-1]]
        for i in reversed(range(len(self.decoder))):
            x = self.decoder[i](torch.cat([resized_like(x, features[i]), features[i]], dim=1))
            decoded.append(x)
        sides = [resized_like(head(f), picture) for head, f in zip(self.side, reversed(decoded), strict=True)]
        return [self.fuse(torch.cat(sides, dim=1)), *sides]


def parameter_count(network: nn.Module) -> int:
    """Count trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)
