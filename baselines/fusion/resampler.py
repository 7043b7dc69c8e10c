"""A perceiver resampler: a fixed set of learnt latents gathers from any number of tokens by attention.

Sources: Alayrac et al., "Flamingo", 2022, section 3.1.1; Liu et al., "Prismer", 2023, section 3.2 (squared ReLU).
Names are those of the published code, since its weights are compared by name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SquaredReLU(nn.Module):
    """max(x, 0)²."""

    def forward(self, x: Tensor) -> Tensor:
        """Map any shape to itself."""
        return F.relu(x).square()


class PerceiverBlock(nn.Module):
    """One round: latents attend to themselves and the tokens, then an MLP of four times the width.

    Args:
        width: Of latents and tokens.
        heads: Of the attention.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.mlp = nn.Sequential(
            OrderedDict(c_fc=nn.Linear(width, 4 * width), relu=SquaredReLU(), c_proj=nn.Linear(4 * width, width))
        )
        self.ln_1, self.ln_2, self.ln_ff = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, latents: Tensor, tokens: Tensor) -> Tensor:
        """Map (B, L, width) latents to the same shape, given (B, T, width) tokens."""
        asking = self.ln_1(latents)
        seen = torch.cat([asking, self.ln_2(tokens)], dim=1)
        latents = latents + self.attn(asking, seen, seen, need_weights=False)[0]
        return latents + cast(Tensor, self.mlp(self.ln_ff(latents)))


class Resampler(nn.Module):
    """Latents through several `PerceiverBlock`s.

    Args:
        width: Of latents and tokens.
        layers: Blocks.
        heads: Of each attention.
        latents: How many.
    """

    def __init__(self, width: int, layers: int, heads: int, latents: int) -> None:
        super().__init__()
        self.latents = nn.Parameter(torch.empty(latents, width).normal_(0.0, width**-0.5))
        self.perceiver_blocks = nn.ModuleList(PerceiverBlock(width, heads) for _ in range(layers))

    def forward(self, tokens: Tensor) -> Tensor:
        """Map (B, T, width) tokens, in any order, to (B, latents, width)."""
        latents = self.latents.expand(len(tokens), -1, -1)
        for block in self.perceiver_blocks:
            latents = block(latents, tokens)
        return latents


class Patches(nn.Module):
    """Square patches as tokens: a convolution whose stride is its size.

    Args:
        patch: Side in pixels.
        width: Of a token.
    """

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, image: Tensor) -> Tensor:
        """Map (B, 3, H, W) to (B, H W / patch², width), row by row."""
        return cast(Tensor, self.proj(image)).flatten(2).transpose(1, 2)
