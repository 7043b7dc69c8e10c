"""Muon: equal steps in every direction, and a state that survives a stop."""

from __future__ import annotations

import copy

import torch
from torch import nn

from baselines.muon import MuonAdam, orthogonalised


def _net() -> nn.Sequential:
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Conv1d(3, 16, 1), nn.Tanh(), nn.Conv1d(16, 1, 1))
    for p in net.parameters():
        p.data = torch.randn(p.shape, generator=generator) * 0.3
    return net


def _train(net: nn.Module, optimizer: MuonAdam, steps: range) -> float:
    value = torch.zeros(())
    for step in steps:
        x = torch.randn(8, 3, 32, generator=torch.Generator().manual_seed(step))
        value = (net(x)[:, 0] - x.square().sum(1)).square().mean()
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    return float(value.detach())


def test_a_step_has_singular_values_near_one_and_the_same_directions():
    torch.manual_seed(0)
    matrix = torch.randn(1, 12, 40)
    u, s, v = torch.linalg.svd(orthogonalised(matrix)[0], full_matrices=False)
    assert s.min() > 0.6
    assert s.max() < 1.3
    polar = torch.linalg.svd(matrix[0], full_matrices=False)
    assert torch.nn.functional.cosine_similarity((u @ v).flatten(), (polar.U @ polar.Vh).flatten(), dim=0) > 0.999


def test_rates_keep_their_ratio_and_every_weight_is_moved():
    net = _net()
    optimizer = MuonAdam(net, 1e-3)
    assert [g["lr_scale"] for g in optimizer.param_groups] == [10.0, 1.0]
    before = copy.deepcopy(net.state_dict())
    _train(net, optimizer, range(1))
    assert all(not torch.equal(before[k], v) for k, v in net.state_dict().items())
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    frozen = copy.deepcopy(net.state_dict())
    _train(net, optimizer, range(1, 3))
    assert all(torch.equal(frozen[k], v) for k, v in net.state_dict().items())


def test_it_learns_and_resumes_bit_for_bit():
    whole = _net()
    optimizer = MuonAdam(whole, 3e-3)
    first = _train(whole, optimizer, range(1))
    last = _train(whole, optimizer, range(1, 200))
    assert last < 0.3 * first

    part = _net()
    before = MuonAdam(part, 3e-3)
    _train(part, before, range(120))
    weights, state = copy.deepcopy(part.state_dict()), copy.deepcopy(before.state_dict())
    again = _net()
    again.load_state_dict(weights)
    after = MuonAdam(again, 3e-3)
    after.load_state_dict(state)
    _train(again, after, range(120, 200))
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values(), strict=True))
