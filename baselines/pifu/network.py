"""PIFu's shape network: filter an image once, then ask for the occupancy of any point.

Source: Saito et al., PIFu, ICCV 2019, section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.pifu.classifier import SurfaceClassifier
from baselines.pifu.config import PifuConfig
from baselines.pifu.filters import HGFilter

C = TypeVar("C")
N = TypeVar("N", bound=nn.Module)


def index(features: Tensor, uv: Tensor) -> Tensor:
    """Sample feature maps bilinearly, zeros outside.

    Args:
        features: (B, C, h, w).
        uv: (B, 2, N) in [-1, 1]; -1 and 1 are the *centres* of the border cells, as the released weights expect.

    Returns:
        (B, C, N).
    """
    grid = uv.transpose(1, 2).unsqueeze(2)
    return F.grid_sample(features, grid, mode="bilinear", padding_mode="zeros", align_corners=True)[..., 0]


def orthogonal(points: Tensor, calib: Tensor) -> Tensor:
    """Map (B, 3, N) points by (B, 4, 4) calibrations to normalised image space."""
    return torch.baddbmm(calib[:, :3, 3:4], calib[:, :3, :3], points)


def perspective(points: Tensor, calib: Tensor) -> Tensor:
    """Map (B, 3, N) points by (B, 4, 4) calibrations, then divide x and y by z."""
    xyz = orthogonal(points, calib)
    return torch.cat([xyz[:, :2] / xyz[:, 2:3], xyz[:, 2:3]], dim=1)


def depth_scale(config: PifuConfig) -> float:
    """Return the depth feature of normalised depth one, the published way: half of 512 pixels over ``z_size``."""
    # The published scale is kept at every image size, so that one body gives one depth feature.
    return 256.0 / config.z_size


def depth_feature(z: Tensor, config: PifuConfig) -> Tensor:
    """Scale normalised depths (B, 1, N); see `depth_scale`."""
    return z * depth_scale(config)


@dataclass
class Encoded:
    """Feature maps of a batch of images.

    Attributes:
        maps: (B * views, C, h, w), one a stack.
        stem: (B * views, width, 2h, 2w), detached.
        reduced: (B * views, 2 * width, h, w).
    """

    maps: list[Tensor]
    stem: Tensor
    reduced: Tensor


class ShapeNet(nn.Module):
    """net_G: occupancy of points from pixel-aligned features.

    Args:
        config: Options.
        extra: Channels that a subclass adds to each map of the image filter.

    Attributes:
        map_channels: Of a map that `filter` returns.
    """

    def __init__(self, config: PifuConfig, extra: int = 0) -> None:
        super().__init__()
        self.config = config
        self.map_channels = config.hourglass_dim + extra
        self.image_filter = HGFilter(config)
        inputs, *widths = config.mlp_dim
        self.surface_classifier = SurfaceClassifier(
            (inputs + extra, *widths), residual=config.residual, num_views=config.num_views
        )

    def filter(self, image: Tensor) -> Encoded:
        """Encode (B * views, 3, H, W) images in [-1, 1], background 0."""
        return Encoded(*self.image_filter(image))

    def query(self, encoded: Encoded, points: Tensor, calib: Tensor, *, every_stack: bool = False) -> list[Tensor]:
        """Return the occupancy of points.

        Args:
            encoded: What `filter` returned.
            points: (B * views, 3, N), the same points for each view of a subject.
            calib: (B * views, 4, 4) to normalised image space.
            every_stack: Ask every stack's map (training) or only the last (inference).

        Returns:
            (B, 1, N) in [0, 1] for each map asked; exactly 0 where a point lies outside an image in x or y.
        """
        xyz = orthogonal(points, calib)
        uv = xyz[:, :2]
        inside = (uv.abs() <= 1).all(dim=1, keepdim=True)
        # With several views a point must be in all of the pictures: each one's silhouette bounds the body.
        inside = inside.reshape(-1, self.config.num_views, 1, inside.shape[2]).all(dim=1)
        tail = [depth_feature(xyz[:, 2:], self.config)]
        if self.config.skip_hourglass:
            tail.append(index(encoded.stem, uv))
        maps = encoded.maps if every_stack else encoded.maps[-1:]
        return [
            self.surface_classifier(torch.cat([index(m, uv), *tail], dim=1)) * inside.to(points.dtype) for m in maps
        ]

    def forward(self, image: Tensor, points: Tensor, calib: Tensor) -> Tensor:
        """Return the last stack's occupancy (B, 1, N); arguments as in `filter` and `query`."""
        return self.query(self.filter(image), points, calib)[-1]


def stack_loss(predictions: list[Tensor], labels: Tensor) -> Tensor:
    """Return the mean over stacks of the mean squared error of (B, 1, N) occupancies."""
    return torch.stack([F.mse_loss(p, labels) for p in predictions]).mean()


def blank(kind: Callable[[C], N], config: C) -> N:
    """Return a network whose weights are not initialised, without a draw from the global generator."""
    with torch.device("meta"):
        net = kind(config)
    return net.to_empty(device="cpu")


def init_weights(net: nn.Module, generator: torch.Generator) -> None:
    """Initialise as published: weights N(0, 0.02), biases 0, batch norms N(1, 0.02); group norms stay 1 and 0."""
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, (nn.Conv1d, nn.Conv2d)):
                module.weight.normal_(0.0, 0.02, generator=generator)
                if module.bias is not None:
                    module.bias.zero_()
            elif isinstance(module, nn.BatchNorm2d):
                module.weight.normal_(1.0, 0.02, generator=generator)
                module.bias.zero_()


def count_parameters(net: nn.Module) -> int:
    """Return the number of distinct parameters (aliases count once)."""
    return sum(p.numel() for p in net.parameters())
