"""PIFuHD's classifiers: point-wise MLPs that see their input again at chosen layers and let one hidden layer out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MlpNorm = Literal["none", "group", "batch"]


class MergedClassifier(nn.Module):
    """A multi-layer perceptron over points, written as 1x1 convolutions (so are the released weights).

    Args:
        widths: All widths, input first.
        skips: Numbers of the layers that take ``concat(previous, input)``.
        merge_layer: Number of the hidden layer that is returned too; negative ones count from the end.
        norm: Normalisation of the hidden layers; the released weights have none.
    """

    def __init__(
        self, widths: Sequence[int], skips: Sequence[int], merge_layer: int = -1, norm: MlpNorm = "none"
    ) -> None:
        super().__init__()
        self.skips = frozenset(skips)
        self.layers = len(widths) - 1
        # Counted among the hidden layers: the last one's output is the answer.
        self.merge_layer = merge_layer % (self.layers - 1)
        inputs = [width + (widths[0] if i in self.skips else 0) for i, width in enumerate(widths[:-1])]
        self.filters = nn.ModuleList(nn.Conv1d(a, b, 1) for a, b in zip(inputs, widths[1:], strict=True))
        self.norms = nn.ModuleList(
            nn.GroupNorm(32, width) if norm == "group" else nn.BatchNorm1d(width)
            for width in (widths[1:-1] if norm != "none" else ())
        )

    def forward(self, feature: Tensor) -> tuple[Tensor, Tensor]:
        """Classify points.

        Args:
            feature: (B, C, N).

        Returns:
            (B, outputs, N) in (0, 1), and the merge layer's output (B, width, N), after its activation.
        """
        merged = y = self.hidden(feature)
        for i in range(self.merge_layer + 1, self.layers):
            y = self._layer(i, y, feature)
        return torch.sigmoid(y), merged

    def hidden(self, feature: Tensor) -> Tensor:
        """Return the merge layer's output alone."""
        y = feature
        for i in range(self.merge_layer + 1):
            y = self._layer(i, y, feature)
        return y

    def weights(self) -> list[tuple[Tensor, Tensor]]:
        """Return each layer's matrix (outputs, inputs) and bias (outputs,), detached."""
        convs = [cast(nn.Conv1d, conv) for conv in self.filters]
        return [(conv.weight.detach()[..., 0], cast(Tensor, conv.bias).detach()) for conv in convs]

    def _layer(self, i: int, y: Tensor, feature: Tensor) -> Tensor:
        y = cast(Tensor, self.filters[i](torch.cat([y, feature], dim=1) if i in self.skips else y))
        if i == self.layers - 1:
            return y
        return F.leaky_relu(self.norms[i](y) if self.norms else y, 0.01)
