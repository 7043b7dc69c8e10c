"""PIFu's colour network: a residual image encoder beside the shape net's features, and its own classifier.

Sources: Saito et al., PIFu, ICCV 2019, section 3.2; Johnson et al., "Perceptual Losses", ECCV 2016 (the encoder).
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.pifu.classifier import SurfaceClassifier
from baselines.pifu.config import ColourNorm, PifuConfig
from baselines.pifu.filters import make_norm
from baselines.pifu.network import depth_feature, index, orthogonal


class ResidualBlock(nn.Module):
    """Two reflection-padded 3x3 convolutions and a shortcut; the last block of an encoder ends without a norm."""

    def __init__(self, channels: int, norm: ColourNorm, *, last: bool) -> None:
        super().__init__()
        bias = norm == "instance"
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
            make_norm(norm, channels),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3, bias=bias),
        ]
        if not last:
            layers.append(make_norm(norm, channels))
        self.conv_block = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + cast(Tensor, self.conv_block(x))


class ResnetFilter(nn.Module):
    """The colour encoder: a 7x7 stem, two halvings, residual blocks."""

    def __init__(self, config: PifuConfig) -> None:
        super().__init__()
        w, norm = config.colour_width, config.colour_norm
        # Instance norm carries no shift of its own, so there the convolution keeps its bias.
        bias = norm == "instance"
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(3, w, 7, bias=bias), make_norm(norm, w), nn.ReLU()]
        for inputs in (w, 2 * w):
            layers += [nn.Conv2d(inputs, 2 * inputs, 3, stride=2, padding=1, bias=bias)]
            layers += [make_norm(norm, 2 * inputs), nn.ReLU()]
        for i in range(config.colour_blocks):
            layers.append(ResidualBlock(4 * w, norm, last=i == config.colour_blocks - 1))
        if config.colour_tanh:
            layers.append(nn.Tanh())
        self.model = nn.Sequential(*layers)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) in [-1, 1] to (B, 4 * colour_width, H/4, W/4)."""
        return cast(Tensor, self.model(image))


class ColourNet(nn.Module):
    """net_C: colours of points from the shape net's last map, its own map and the depth."""

    def __init__(self, config: PifuConfig) -> None:
        super().__init__()
        self.config = config
        self.image_filter = ResnetFilter(config)
        self.surface_classifier = SurfaceClassifier(
            config.colour_mlp_dim, residual=config.residual, num_views=config.num_views, last="tanh"
        )

    def filter(self, image: Tensor) -> Tensor:
        """Encode (B, 3, H, W) images in [-1, 1]."""
        return cast(Tensor, self.image_filter(image))

    def query(self, shape_map: Tensor, colour_map: Tensor, points: Tensor, calib: Tensor) -> Tensor:
        """Return the colours of points.

        Args:
            shape_map: (B, C, h, w) last map of the shape net.
            colour_map: (B, 4 * colour_width, h, w) from `filter`.
            points: (B, 3, N).
            calib: (B, 4, 4) to normalised image space.

        Returns:
            (B, 3, N) in (-1, 1). Points outside the image see zeros and are *not* masked.
        """
        xyz = orthogonal(points, calib)
        features = [index(shape_map, xyz[:, :2]), index(colour_map, xyz[:, :2]), depth_feature(xyz[:, 2:], self.config)]
        return cast(Tensor, self.surface_classifier(torch.cat(features, dim=1)))

    def loss(self, prediction: Tensor, target: Tensor) -> Tensor:
        """Return the mean absolute error of two (B, 3, N) colours in [-1, 1]."""
        return F.l1_loss(prediction, target)
