"""PIFu with 2D priors: CLIP and DPT beside its own features, as a paper describes it and as its code did it.

Source: Fantini, Li, Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
Everything heavy is imported when a model opens.
"""

from __future__ import annotations

from baselines.fusion.adapter import PifuClipAdd, PifuClipConcat, PifuExperts

__all__ = ["PifuClipAdd", "PifuClipConcat", "PifuExperts"]
