"""PIFu: pixel-aligned implicit functions, one implementation for the authors' weights and a small shipped net.

Source: Saito et al., ICCV 2019, https://arxiv.org/abs/1905.05172. Everything heavy is imported when a model opens.
"""

from __future__ import annotations

from baselines.pifu.adapter import Pifu, PifuMini

__all__ = ["Pifu", "PifuMini"]
