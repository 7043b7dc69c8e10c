"""PIFu's shape network with 2D priors in its feature maps.

Source: Fantini, Li, Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023. The
priors are given as tensors: `baselines.fusion.priors` computes them, and no frozen encoder is a part of this network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from baselines.fusion.config import FusionConfig
from baselines.fusion.resampler import Patches, Resampler
from baselines.pifu.network import Encoded, ShapeNet


@dataclass(frozen=True)
class Priors:
    """What 2D networks say of a batch of pictures.

    Attributes:
        clip: (B, clip_dim) embeddings as the encoder gives them, not normalised; None if not used.
        normals: (B, 3, normal_size, normal_size) normal maps; None if not used.
    """

    clip: Tensor | None = None
    normals: Tensor | None = None


class ClipTransform(nn.Module):
    """An embedding projected to a small map: ``tf_concat``.

    Args:
        clip_dim: Length of the embedding.
        channels: Of the map.
        grid: Cells an axis.
    """

    def __init__(self, clip_dim: int, channels: int, grid: int) -> None:
        super().__init__()
        self.grid = grid
        self.fc = nn.Linear(clip_dim, channels * grid * grid)

    def forward(self, embedding: Tensor, side: int) -> Tensor:
        """Map (B, clip_dim) to (B, channels, side, side), bilinearly enlarged."""
        small = cast(Tensor, self.fc(embedding)).reshape(len(embedding), -1, self.grid, self.grid)
        return F.interpolate(small, size=(side, side), mode="bilinear", align_corners=False)


class FusionNet(ShapeNet):
    """The shape network of `FusionConfig`.

    Parameters that the protocol does not train have no gradient, and a frozen image filter stays in evaluation mode.
    """

    def __init__(self, config: FusionConfig) -> None:
        super().__init__(config.pifu, extra=config.extra)
        self.fusion = config
        if config.variant == "concat":
            self.clip_feature_transform = ClipTransform(config.clip_dim, config.pifu.hourglass_dim, config.clip_grid)
        if config.variant == "experts":
            self.expert_fusion = Resampler(config.width, config.layers, config.heads, config.latents)
            if "image" in config.experts:
                self.pifu_patchify = Patches(config.patch, config.width)
            if "normals" in config.experts:
                self.dpt_patchify = Patches(config.patch, config.width)
            if "clip" in config.experts:
                self.clip_proj = nn.Linear(config.clip_dim, config.width)
        for name, parameter in self.named_parameters():
            parameter.requires_grad_(config.trains(name))

    def train(self, mode: bool = True) -> Self:
        """Set the mode; a frozen image filter keeps its statistics."""
        super().train(mode)
        if self.fusion.freeze_filter:
            self.image_filter.eval()
        return self

    def filter(self, image: Tensor, priors: Priors | None = None) -> Encoded:
        """Encode images and fuse the priors.

        Args:
            image: (B, 3, H, W) in [-1, 1], background 0.
            priors: What `FusionConfig.uses` names.

        Returns:
            Maps of `map_channels` channels, one a stack: ``as-coded`` one for ``experts``, and for ``concat`` one more
            (the last), which holds nothing but the prior.

        Raises:
            ValueError: If a prior is missing or of another size than the options say.
        """
        priors = priors or Priors()
        self._check(priors)
        if self.fusion.freeze_filter:
            with torch.no_grad():
                encoded = super().filter(image)
        else:
            encoded = super().filter(image)
        return Encoded(self._fused(image, encoded.maps, priors), encoded.stem, encoded.reduced)

    def _check(self, priors: Priors) -> None:
        side = self.fusion.normal_size
        shapes = {"clip": (self.fusion.clip_dim,), "normals": (3, side, side)}
        for name in self.fusion.uses:
            given = getattr(priors, name)
            if given is None or tuple(given.shape[1:]) != shapes[name]:
                got = "none" if given is None else f"one of shape {tuple(given.shape[1:])}"
                raise ValueError(f"the network needs the prior '{name}' of shape {shapes[name]}, and was given {got}")

    def _fused(self, image: Tensor, maps: list[Tensor], priors: Priors) -> list[Tensor]:
        config, side = self.fusion, maps[-1].shape[-1]
        coded = config.protocol == "as-coded"
        if config.variant == "experts":
            added = self.experts_map(image, priors)
            if added.shape[-2:] != maps[-1].shape[-2:]:
                added = F.interpolate(added, size=maps[-1].shape[-2:], mode="bilinear", align_corners=False)
            return [torch.cat([m, added.to(m.dtype)], dim=1) for m in (maps[-1:] if coded else maps)]
        assert priors.clip is not None
        if config.variant == "add":
            # The embedding read as (channels, blocks): neighbouring numbers are averaged, not distant ones.
            mean = priors.clip.reshape(len(priors.clip), config.pifu.hourglass_dim, -1).mean(dim=2)
            return [m + mean[:, :, None, None].to(m.dtype) for m in maps]
        added = self.clip_feature_transform(priors.clip, side)
        return [*maps, added] if coded else [torch.cat([m, added.to(m.dtype)], dim=1) for m in maps]

    def experts_map(self, image: Tensor, priors: Priors) -> Tensor:
        """Return the (B, 1, latents, width) picture that the resampler's latents are read as.

        A row is a latent and a column a channel of it: as published, there is nothing spatial about it.
        """
        config = self.fusion
        tokens = []
        if "image" in config.experts:
            tokens.append(self.pifu_patchify(image))
        if priors.clip is not None and "clip" in config.experts:
            tokens.append(self.clip_proj(priors.clip)[:, None])
        if priors.normals is not None and "normals" in config.experts:
            tokens.append(self.dpt_patchify(priors.normals))
        return cast(Tensor, self.expert_fusion(torch.cat(tokens, dim=1)))[:, None]
