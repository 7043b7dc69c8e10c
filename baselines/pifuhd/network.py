"""PIFuHD's two levels: a coarse one that sees the whole body with its depth, a fine one that sees detail.

Source: Saito et al., PIFuHD, CVPR 2020, sections 3.2 to 3.4.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.pifu.filters import HGFilter
from baselines.pifu.network import depth_feature, index, orthogonal
from baselines.pifuhd.classifier import MergedClassifier
from baselines.pifuhd.config import PifuHDConfig
from baselines.pifuhd.normals import NormalNet

_CHANNELS = 9  # picture, front normals, back normals


@dataclass
class Encoded:
    """Feature maps of a batch of pictures.

    Attributes:
        front: (B, 3, s, s) normals of what the picture shows, s being the coarse side.
        back: (B, 3, s, s) normals of what it hides.
        coarse: (B, hourglass_dim, s/4, s/4), one a stack.
        fine: (B, fine_dim, S/2, S/2), one a stack, S being the fine side.
    """

    front: Tensor
    back: Tensor
    coarse: list[Tensor]
    fine: list[Tensor]


class CoarseNet(nn.Module):
    """The coarse level (``netG`` of the released file), with the normal networks."""

    def __init__(self, config: PifuHDConfig) -> None:
        super().__init__()
        self.config = config
        sizes = (config.normal_width, config.normal_downs, config.normal_blocks)
        self.netF, self.netB = NormalNet(*sizes), NormalNet(*sizes)
        self.image_filter = HGFilter(config.coarse, _CHANNELS)
        self.mlp = MergedClassifier(config.mlp_dim, config.skips, config.merge_layer)

    def normals(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return front and back normals (B, 3, s, s) of (B, 3, s, s) pictures in [-1, 1]; they carry no gradient."""
        with torch.no_grad():
            return self.netF(image), self.netB(image)

    def features(self, maps: Tensor, points: Tensor, calib: Tensor) -> tuple[Tensor, Tensor]:
        """Return what the classifier sees of points, (B, hourglass_dim + 1, N), and whether they are in the cube.

        Args:
            maps: (B, hourglass_dim, h, w).
            points: (B, 3, N).
            calib: (B, 4, 4) to normalised image space.
        """
        xyz = orthogonal(points, calib)
        found = torch.cat([index(maps, xyz[:, :2]), depth_feature(xyz[:, 2:], self.config.coarse)], dim=1)
        return found, (xyz.abs() <= 1).all(dim=1, keepdim=True)

    def query(self, maps: Tensor, points: Tensor, calib: Tensor) -> Tensor:
        """Return the coarse level's own occupancies (B, 1, N), exactly 0 beyond [-1, 1] in x, y or z.

        Arguments as of `features`.
        """
        features, inside = self.features(maps, points, calib)
        found: Tensor = self.mlp(features)[0]
        return found * inside.to(points.dtype)


class PifuHDNet(nn.Module):
    """Both levels; names of parameters are those of the released ``model_state_dict``."""

    def __init__(self, config: PifuHDConfig) -> None:
        super().__init__()
        self.config = config
        self.netG = CoarseNet(config)
        self.image_filter = HGFilter(config.fine, _CHANNELS)
        self.mlp = MergedClassifier(config.fine_mlp_dim, config.fine_skips)

    def filter(self, coarse: Tensor, fine: Tensor) -> Encoded:
        """Encode pictures.

        Args:
            coarse: (B, 3, coarse_size, coarse_size) in [-1, 1].
            fine: (B, 3, fine_size, fine_size), the same pictures.
        """
        front, back = self.netG.normals(coarse)
        coarse_maps = self.netG.image_filter(torch.cat([coarse, front, back], dim=1))[0]
        size = fine.shape[-2:]
        wide = [F.interpolate(n, size=size, mode="bilinear", align_corners=True) for n in (front, back)]
        fine_maps = self.image_filter(torch.cat([fine, *wide], dim=1))[0]
        return Encoded(front, back, coarse_maps, fine_maps)

    def query(self, encoded: Encoded, points: Tensor, calib: Tensor) -> Tensor:
        """Return the occupancy of points (B, 1, N) in [0, 1]; exactly 0 where one lies outside the image in x or y.

        Args:
            encoded: What `filter` returned.
            points: (B, 3, N).
            calib: (B, 4, 4) to normalised image space.
        """
        uv = orthogonal(points, calib)[:, :2]
        inside = (uv.abs() <= 1).all(dim=1, keepdim=True)
        # The coarse level's features know no cube: only its own answer ends there.
        merged = self.netG.mlp.hidden(self.netG.features(encoded.coarse[-1], points, calib)[0])
        found: Tensor = self.mlp(torch.cat([index(encoded.fine[-1], uv), merged], dim=1))[0]
        return found * inside.to(points.dtype)


def finite_normals(query: Callable[[Tensor], Tensor], points: Tensor, delta: float) -> Tensor:
    """Return outward unit normals (B, 3, N) of a field: its negative forward differences, zero where it is flat.

    Args:
        query: Occupancies (B, 1, N) of (B, 3, N) points.
        points: (B, 3, N).
        delta: Step along each axis (published: 0.001 for the fine level, 0.01 for the coarse one).
    """
    here = query(points)
    steps = torch.eye(3, dtype=points.dtype, device=points.device)[:, None, :, None] * delta
    return F.normalize(torch.cat([here - query(points + step) for step in steps], dim=1), dim=1)
