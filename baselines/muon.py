"""Muon: steps of equal size in every direction of a weight matrix, for training in minutes on a CPU.

Method: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024 (its Newton-Schulz iteration with
the published coefficients). The momentum of a convolution, seen as a matrix (out, in * 9), is replaced by the nearest
matrix with all singular values near one. Here it needs a third of Adam's pictures for the same IoU.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)


def orthogonalised(matrices: Tensor, iterations: int = 5) -> Tensor:
    """Map every matrix to one with the same singular vectors and singular values of roughly one (0.7 to 1.2).

    Args:
        matrices: (N, rows, columns).
        iterations: Of Newton-Schulz.

    Returns:
        (N, rows, columns).
    """
    a, b, c = COEFFICIENTS
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.shape[-2] > x.shape[-1]
    if tall:
        x = x.mT
    for _ in range(iterations):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """Momentum, orthogonalised: for weights of hidden convolutions only.

    Args:
        parameters: Weights of shape (out, in, h, w).
        lr: Size of a step, as spectral norm.
        momentum: Weight of the past in the running mean of gradients (Nesterov's form).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight; weights of one shape are orthogonalised together."""
        for group in self.param_groups:
            alike: dict[tuple[int, ...], list[tuple[Tensor, Tensor]]] = {}
            for p in group["params"]:
                if p.grad is None:
                    continue
                mean = self.state[p].setdefault("mean", torch.zeros_like(p))
                mean.lerp_(p.grad, 1 - group["momentum"])
                alike.setdefault(tuple(p.shape), []).append((p, p.grad.lerp(mean, group["momentum"])))
            for shape, pairs in alike.items():
                steps = orthogonalised(torch.stack([update.reshape(shape[0], -1) for _, update in pairs]))
                scale = max(1.0, steps.shape[-2] / steps.shape[-1]) ** 0.5
                for (p, _), step in zip(pairs, steps, strict=True):
                    p.add_(step.view(shape), alpha=-group["lr"] * scale)


def optimisers(network: nn.Module, muon_rate: float, adam_rate: float) -> tuple[Muon, torch.optim.Adam]:
    """Give weights with several outputs, also of 1x1 layers over points, to Muon; the rest to Adam."""
    hidden = [p for p in network.parameters() if p.ndim >= 3 and p.shape[0] > 1]
    taken = {id(p) for p in hidden}
    rest = [p for p in network.parameters() if id(p) not in taken]
    return Muon(hidden, muon_rate), torch.optim.Adam(rest, lr=adam_rate)


class MuonAdam(torch.optim.Optimizer):
    """Both of `optimisers` as one. Each parameter group has an ``lr_scale``: its rate over Adam's.

    Args:
        network: The network to train.
        lr: Adam's rate.
        muon_scale: Muon's rate over Adam's.
    """

    def __init__(self, network: nn.Module, lr: float, muon_scale: float = 10.0) -> None:
        super().__init__(network.parameters(), {"lr": lr})
        self.parts = optimisers(network, lr * muon_scale, lr)
        for part, scale in zip(self.parts, (muon_scale, 1.0), strict=True):
            for group in part.param_groups:
                group["lr_scale"] = scale
        self._share_groups()

    def _share_groups(self) -> None:
        # The very groups of the parts: a rate set here is theirs.
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Move every weight."""
        for part in self.parts:
            part.step()

    def state_dict(self) -> dict[str, Any]:
        """Return the states of both."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take back what `state_dict` gave."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._share_groups()
