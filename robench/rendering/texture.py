"""Textures: an image and where each face corner looks into it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from robench.contracts import Image
from robench.rendering.raycast import Hits


@dataclass(frozen=True, eq=False)
class Texture:
    """A texture of a mesh.

    Attributes:
        image: (h, w, 3) uint8 sRGB, first row on top.
        uv: (F, 3, 2) float32 per face corner, in [0, 1], v up (as in OBJ); clamped at the edges.
    """

    image: Image
    uv: NDArray[np.float32]

    def sample(self, hits: Hits) -> NDArray[np.float32]:
        """Return (H, W, 3) float32 sRGB in [0, 255] at hits (bilinear), zero elsewhere."""
        out = np.zeros((*hits.mask.shape, 3), np.float32)
        at = np.einsum("nkc,nk->nc", self.uv[hits.face[hits.mask]], hits.bary[hits.mask])
        height, width = self.image.shape[:2]
        x = np.clip(at[:, 0] * width - 0.5, 0, width - 1)
        y = np.clip((1.0 - at[:, 1]) * height - 0.5, 0, height - 1)
        x0, y0 = np.floor(x).astype(int), np.floor(y).astype(int)
        x1, y1 = np.minimum(x0 + 1, width - 1), np.minimum(y0 + 1, height - 1)
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        top = self.image[y0, x0] * (1 - fx) + self.image[y0, x1] * fx
        bottom = self.image[y1, x0] * (1 - fx) + self.image[y1, x1] * fx
        out[hits.mask] = top * (1 - fy) + bottom * fy
        return out
