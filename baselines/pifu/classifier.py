"""PIFu's surface classifier: a point-wise MLP that sees its input again at every layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SurfaceClassifier(nn.Module):
    """A multi-layer perceptron over points, written as 1x1 convolutions (so are the released weights).

    Args:
        widths: All widths, input first.
        residual: Whether each layer but the first takes ``concat(previous, input)``.
        num_views: Views that are averaged after the middle layer.
        last: Activation of the output.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        residual: bool = True,
        num_views: int = 1,
        last: Literal["sigmoid", "tanh"] = "sigmoid",
    ) -> None:
        super().__init__()
        self.residual, self.num_views, self.last = residual, num_views, last
        self.layers = len(widths) - 1
        for i in range(self.layers):
            extra = widths[0] if residual and i > 0 else 0
            self.add_module(f"conv{i}", nn.Conv1d(widths[i] + extra, widths[i + 1], 1))

    def forward(self, feature: Tensor) -> Tensor:
        """Classify points.

        Args:
            feature: (B * num_views, C, N), the views of one subject side by side.

        Returns:
            (B, outputs, N), in (0, 1) for a sigmoid and (-1, 1) for a tanh.
        """
        y = feature
        for i in range(self.layers):
            x = torch.cat([y, feature], dim=1) if self.residual and i > 0 else y
            y = self.get_submodule(f"conv{i}")(x)
            if i < self.layers - 1:
                y = F.leaky_relu(y, 0.01)
            if self.num_views > 1 and i == self.layers // 2:
                y, feature = self._mean(y), self._mean(feature)
        return torch.sigmoid(y) if self.last == "sigmoid" else torch.tanh(y)

    def _mean(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.num_views, *x.shape[1:]).mean(dim=1)
