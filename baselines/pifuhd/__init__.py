"""PIFuHD: two levels of pixel-aligned implicit functions, with the authors' weights (bring pifuhd.pt).

Source: Saito et al., CVPR 2020, https://arxiv.org/abs/2004.00452. Everything heavy is imported when a model opens.
"""

from __future__ import annotations

from baselines.pifuhd.adapter import PifuHD

__all__ = ["PifuHD"]
