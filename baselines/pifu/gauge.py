"""How a refinement looks at its renderings: through the encoder, and beside the true views.

Source: Fantini, Li and Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from robench.contracts import Encoder, Image, RefineSettings
from robench.rendering.quality import psnr, ssim


def cosine_loss(vectors: Tensor, target: Tensor, *, average: bool, unit: bool) -> Tensor:
    """Return 1 - cos between embeddings of renderings and that of the input.

    Args:
        vectors: (N, D).
        target: (D,).
        average: The cosine of their mean, else the mean of their cosines.
        unit: Bring vectors to unit length before they are averaged.
    """
    if average:
        vectors = (F.normalize(vectors, dim=1) if unit else vectors).mean(dim=0, keepdim=True)
    return 1 - F.cosine_similarity(vectors, target[None], dim=1).mean()


class Sight:
    """An encoder as the loss looks through it.

    Args:
        encoder: Open.
        settings: Of the refinement.
    """

    def __init__(self, encoder: Encoder, settings: RefineSettings) -> None:
        self._encoder, self._side = encoder, int(encoder.card.extra["input_size"])
        self._coded = settings.protocol == "as-coded"

    def __call__(self, pictures: Tensor) -> Tensor:
        """Return the (N, D) embeddings of (N, 3, S, S) pictures in [0, 1]."""
        if self._coded:
            # The library's resize of tensors did not smooth at the time.
            side = (self._side, self._side)
            pictures = F.interpolate(pictures, size=side, mode="bilinear", align_corners=False)
        return self._encoder.features(pictures).float()


class Gauge:
    """Measures renderings against the input's embedding and the true views.

    Args:
        sight: The encoder.
        target: (D,) embedding of the masked input.
        truth: (4, S, S, 3) uint8 pictures of the true mesh, or None.
        settings: Of the refinement.
        device: Of the pictures.
    """

    def __init__(
        self, sight: Sight, target: Tensor, truth: Image | None, settings: RefineSettings, device: torch.device
    ) -> None:
        self.sight, self.target, self.truth = sight, target, truth
        self._coded = settings.protocol == "as-coded"
        self._true: Tensor | None = None
        if truth is not None:
            with torch.no_grad():
                self._true = sight(as_tensor(truth, device))

    def __call__(self, rendered: Tensor, views: list[int], vectors: Tensor | None = None) -> dict[str, float]:
        """Return the mean over views of each measure; ``loss`` is the mean of 1 - cos to the input.

        Args:
            rendered: (V, 3, S, S) in [0, 1].
            views: Which cameras took them.
            vectors: Their embeddings, where they are known.
        """
        with torch.no_grad():
            vectors = self.sight(rendered) if vectors is None else vectors
        loss = float((1 - F.cosine_similarity(vectors, self.target[None], dim=1)).mean())
        found = {"loss": loss}
        if self.truth is None or self._true is None:
            return found
        own, true = as_bytes(rendered), self.truth[views]
        pairs = list(zip(own, true, strict=True))
        vectors_true = self._true[views]
        found["psnr"] = float(np.mean([psnr(a, b) for a, b in pairs]))
        found["ssim"] = float(np.mean([ssim(a, b) for a, b in pairs]))
        found["truth_distance"] = float((1 - F.cosine_similarity(vectors, vectors_true, dim=1)).mean())
        # As published: how far the true view is from the input, less how far the rendering is.
        known = float((1 - F.cosine_similarity(vectors_true, self.target[None], dim=1)).mean())
        found["comparison"] = known - loss
        if self._coded:
            # The published log compared a BGR picture with an RGB one, and gave SSIM its axes in another order.
            found["psnr_as_coded"] = float(np.mean([psnr(a, b[..., ::-1]) for a, b in pairs]))
            found["ssim_as_coded"] = float(np.mean([ssim(a, b[..., ::-1], along=(1,)) for a, b in pairs]))
        return found


def as_tensor(pictures: NDArray[Any], device: torch.device) -> Tensor:
    """Return (N, 3, H, W) in [0, 1] of (N, H, W, 3) uint8."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).to(device).permute(0, 3, 1, 2) / 255.0


def as_bytes(pictures: Tensor) -> Image:
    """Return (N, S, S, 3) uint8 of (N, 3, S, S) in [0, 1]."""
    whole = pictures.detach().clamp(0, 1).permute(0, 2, 3, 1).cpu().numpy() * 255
    return np.asarray(np.rint(whole), np.uint8)
