"""PIFu's image filter: stacked hourglasses of pre-activation residual blocks.

Sources: Newell et al., "Stacked Hourglass Networks", ECCV 2016; Bulat and Tzimiropoulos, "Binarized Convolutional
Landmark Localizers", ICCV 2017 (the block); Saito et al., PIFu, ICCV 2019. Module names follow the released checkpoint.
"""

from __future__ import annotations

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.pifu.config import Down, Norm, PifuConfig, Upsample


def make_norm(norm: str, channels: int) -> nn.Module:
    """Return a 2D normalisation layer; group norm has 32 groups, or as many as divide a smaller width."""
    if norm == "group":
        return nn.GroupNorm(math.gcd(32, channels), channels)
    if norm == "batch":
        return nn.BatchNorm2d(channels)
    return nn.InstanceNorm2d(channels)


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1, bias=False)


class ConvBlock(nn.Module):
    """Three 3x3 convolutions in a row whose outputs are concatenated, plus a shortcut.

    Args:
        inputs: Input channels.
        outputs: Output channels, a multiple of four: half from the first convolution, a quarter from each other.
        norm: Normalisation before each convolution.
    """

    def __init__(self, inputs: int, outputs: int, norm: Norm) -> None:
        super().__init__()
        half, quarter = outputs // 2, outputs // 4
        self.conv1 = _conv3(inputs, half)
        self.conv2 = _conv3(half, quarter)
        self.conv3 = _conv3(quarter, quarter)
        self.bn1 = make_norm(norm, inputs)
        self.bn2 = make_norm(norm, half)
        self.bn3 = make_norm(norm, quarter)
        # The released files hold bn4 in every block, used or not, and once more as downsample.0 where it is used.
        self.bn4 = make_norm(norm, inputs)
        self.downsample: nn.Sequential | None = None
        if inputs != outputs:
            self.downsample = nn.Sequential(self.bn4, nn.ReLU(), nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, outputs, H, W)."""
        a = self.conv1(F.relu(self.bn1(x)))
        b = self.conv2(F.relu(self.bn2(a)))
        c = self.conv3(F.relu(self.bn3(b)))
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.cat([a, b, c], dim=1) + shortcut


class Hourglass(nn.Module):
    """A recursive encoder-decoder with one skip a level.

    Args:
        depth: Levels; each halves the map.
        channels: Channels everywhere.
        norm: Normalisation of its blocks.
        upsample: Interpolation on the way up.
    """

    def __init__(self, depth: int, channels: int, norm: Norm, upsample: Upsample = "bicubic") -> None:
        super().__init__()
        self.depth, self.upsample = depth, upsample
        for level in range(depth, 0, -1):
            self.add_module(f"b1_{level}", ConvBlock(channels, channels, norm))
            self.add_module(f"b2_{level}", ConvBlock(channels, channels, norm))
        self.add_module("b2_plus_1", ConvBlock(channels, channels, norm))
        for level in range(1, depth + 1):
            self.add_module(f"b3_{level}", ConvBlock(channels, channels, norm))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape; H and W must be multiples of ``2 ** depth``."""
        return self._level(self.depth, x)

    def _level(self, level: int, x: Tensor) -> Tensor:
        up = self._block(f"b1_{level}", x)
        low = self._block(f"b2_{level}", F.avg_pool2d(x, 2))
        low = self._level(level - 1, low) if level > 1 else self._block("b2_plus_1", low)
        low = self._block(f"b3_{level}", low)
        # align_corners=True is what the released weights were run with; without it predictions move by up to 0.14.
        corners = None if self.upsample == "nearest" else True
        return up + F.interpolate(low, scale_factor=2, mode=self.upsample, align_corners=corners)

    def _block(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, self.get_submodule(name)(x))


class HGFilter(nn.Module):
    """The image filter: a stem to a quarter of the resolution (``no_down``: a half), then stacked hourglasses.

    Args:
        config: Widths, stacks, norms and the kind of down-sampling.
        inputs: Channels of the image.
    """

    def __init__(self, config: PifuConfig, inputs: int = 3) -> None:
        super().__init__()
        w, norm = config.width, config.norm
        full = 4 * w
        self.num_stack = config.num_stack
        self.down: Down = config.down
        self.conv1 = nn.Conv2d(inputs, w, 7, stride=2, padding=3)
        self.bn1 = make_norm(norm, w)
        if config.down == "conv64":
            self.conv2 = ConvBlock(w, w, norm)
            self.down_conv2 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        else:
            self.conv2 = ConvBlock(w, 2 * w, norm)
            if config.down == "conv128":
                self.down_conv2 = nn.Conv2d(2 * w, 2 * w, 3, stride=2, padding=1)
        self.conv3 = ConvBlock(2 * w, 2 * w, norm)
        self.conv4 = ConvBlock(2 * w, full, norm)
        for i in range(config.num_stack):
            self.add_module(f"m{i}", Hourglass(config.hourglass_depth, full, norm, config.upsample))
            self.add_module(f"top_m_{i}", ConvBlock(full, full, norm))
            self.add_module(f"conv_last{i}", nn.Conv2d(full, full, 1))
            self.add_module(f"bn_end{i}", make_norm(norm, full))
            self.add_module(f"l{i}", nn.Conv2d(full, config.hourglass_dim, 1))
            if i < config.num_stack - 1:
                self.add_module(f"bl{i}", nn.Conv2d(full, full, 1))
                self.add_module(f"al{i}", nn.Conv2d(config.hourglass_dim, full, 1))

    def forward(self, image: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Filter images.

        Args:
            image: (B, inputs, H, W), in PIFu in [-1, 1] with background 0; H and W multiples of ``config.stride``.

        Returns:
            One (B, hourglass_dim, H/4, W/4) map a stack; the stem's (B, width, H/2, W/2) features, detached;
            the (B, 2 * width, H/4, W/4) features after down-sampling. Without down-sampling, halves for quarters.
        """
        x = F.relu(self.bn1(self.conv1(image)))
        stem = x.detach()
        x = self.conv2(x)
        if self.down == "ave_pool":
            x = F.avg_pool2d(x, 2)
        elif self.down != "no_down":
            x = self.down_conv2(x)
        reduced = x
        previous = self.conv4(self.conv3(x))
        outputs = []
        for i in range(self.num_stack):
            ll = self._run(f"top_m_{i}", self._run(f"m{i}", previous))
            ll = F.relu(self._run(f"bn_end{i}", self._run(f"conv_last{i}", ll)))
            out = self._run(f"l{i}", ll)
            outputs.append(out)
            if i < self.num_stack - 1:
                previous = previous + self._run(f"bl{i}", ll) + self._run(f"al{i}", out)
        return outputs, stem, reduced

    def _run(self, name: str, x: Tensor) -> Tensor:
        return cast(Tensor, self.get_submodule(name)(x))
