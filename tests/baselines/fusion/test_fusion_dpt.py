"""DPT-hybrid: a network written from the papers, with the published names of weights, gives what ours gives."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.fusion import dpt
from robench.errors import UsageError

pytest.importorskip("transformers", reason="the extra 'priors' is not installed")

TINY = dpt.DptSize(
    stem=32, stages=(128, 128, 256), depths=(2, 1, 1), hidden=32, mlp=64, layers=4, heads=2, taken=(0, 1, 2, 3),
    fusion=16, trained_at=64,
)  # fmt: skip
Weights = dict[str, Tensor]


@pytest.fixture(scope="module")
def published() -> Weights:
    """Random weights under the published names, as a checkpoint would hold them."""
    shapes = {name: p.shape for name, p in TINY.network().state_dict().items()}
    draws = torch.Generator().manual_seed(0)
    found: Weights = {}
    for theirs, ours in dpt.names(TINY).items():
        shape = list(shapes[ours[0]])
        shape[0] *= len(ours)
        scale = 1 / math.sqrt(math.prod(shape[1:])) if len(shape) > 1 else 0.3
        found[theirs] = torch.randn(shape, generator=draws) * scale
        if "norm" in theirs and theirs.endswith("weight"):
            found[theirs] += 1
    return found


def same(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad as TensorFlow's SAME: the output has ceil(size / stride) cells, the odd pixel at the end."""
    pads = []
    for size in (x.shape[-1], x.shape[-2]):
        total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)


def standardised(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    """A convolution whose filters have mean 0 and variance 1 (Qiao et al., 2019)."""
    weight = w[f"{name}.weight"]
    flat = weight.flatten(1)
    flat = (flat - flat.mean(1, keepdim=True)) / torch.sqrt(flat.var(1, unbiased=False, keepdim=True) + 1e-8)
    return F.conv2d(same(x, weight.shape[-1], stride), flat.reshape(weight.shape), stride=stride)


def group_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.group_norm(x, 32, w[f"{name}.weight"], w[f"{name}.bias"])


def bottleneck(w: Weights, name: str, x: Tensor, stride: int) -> Tensor:
    """He et al., 2016, with the stride in the middle convolution."""
    short = x
    if f"{name}.downsample.conv.weight" in w:
        short = group_norm(w, f"{name}.downsample.norm", standardised(w, f"{name}.downsample.conv", x, stride))
    y = F.relu(group_norm(w, f"{name}.norm1", standardised(w, f"{name}.conv1", x)))
    y = F.relu(group_norm(w, f"{name}.norm2", standardised(w, f"{name}.conv2", y, stride)))
    return F.relu(group_norm(w, f"{name}.norm3", standardised(w, f"{name}.conv3", y)) + short)


def linear(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])


def layer_norm(w: Weights, name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], w[f"{name}.weight"], w[f"{name}.bias"], eps=1e-6)


def vit_block(w: Weights, name: str, x: Tensor, heads: int) -> Tensor:
    """Dosovitskiy et al., 2021."""
    b, n, c = x.shape
    qkv = linear(w, f"{name}.attn.qkv", layer_norm(w, f"{name}.norm1", x)).reshape(b, n, 3, heads, c // heads)
    q, k, v = qkv.permute(2, 0, 3, 1, 4)
    weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(c // heads), dim=-1)
    x = x + linear(w, f"{name}.attn.proj", (weights @ v).transpose(1, 2).reshape(b, n, c))
    hidden = F.gelu(linear(w, f"{name}.mlp.fc1", layer_norm(w, f"{name}.norm2", x)))
    return x + linear(w, f"{name}.mlp.fc2", hidden)


def conv(w: Weights, name: str, x: Tensor, stride: int = 1) -> Tensor:
    weight = w[f"{name}.weight"]
    return F.conv2d(x, weight, w.get(f"{name}.bias"), stride=stride, padding=weight.shape[-1] // 2)


def residual_unit(w: Weights, name: str, x: Tensor) -> Tensor:
    return x + conv(w, f"{name}.conv2", F.relu(conv(w, f"{name}.conv1", F.relu(x))))


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def by_the_papers(w: Weights, pixels: Tensor, size: dpt.DptSize) -> Tensor:
    """DPT-hybrid (Ranftl et al., 2021, section 3), from published names of weights."""
    model = "pretrained.model"
    stem = f"{model}.patch_embed.backbone.stem"
    x = F.relu(group_norm(w, f"{stem}.norm", standardised(w, f"{stem}.conv", pixels, 2)))
    x = F.max_pool2d(same(x, 3, 2, -math.inf), 3, 2)
    taken = []
    for stage, depth in enumerate(size.depths):
        for block in range(depth):
            stride = 2 if stage > 0 and block == 0 else 1
            x = bottleneck(w, f"{model}.patch_embed.backbone.stages.{stage}.blocks.{block}", x, stride)
        taken.append(x)
    x = conv(w, f"{model}.patch_embed.proj", x)
    h, wide = x.shape[-2:]
    tokens = torch.cat([w[f"{model}.cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    tokens = tokens + w[f"{model}.pos_embed"]
    layers = taken[:2]
    for i in range(size.layers):
        tokens = vit_block(w, f"{model}.blocks.{i}", tokens, size.heads)
        if i in size.taken[2:]:
            n = len(layers) + 1
            pair = torch.cat([tokens[:, 1:], tokens[:, :1].expand(-1, h * wide, -1)], dim=-1)
            read = F.gelu(linear(w, f"pretrained.act_postprocess{n}.0.project.0", pair))
            y = conv(w, f"pretrained.act_postprocess{n}.3", read.transpose(1, 2).unflatten(2, (h, wide)))
            layers.append(conv(w, "pretrained.act_postprocess4.4", y, 2) if n == 4 else y)
    path: Tensor | None = None
    for n in (4, 3, 2, 1):
        x = conv(w, f"scratch.layer{n}_rn", layers[n - 1])
        fused = x if path is None else path + residual_unit(w, f"scratch.refinenet{n}.resConfUnit1", x)
        fused = doubled(residual_unit(w, f"scratch.refinenet{n}.resConfUnit2", fused))
        path = conv(w, f"scratch.refinenet{n}.out_conv", fused)
    assert path is not None
    x = F.relu(conv(w, "scratch.output_conv.2", doubled(conv(w, "scratch.output_conv.0", path))))
    return conv(w, "scratch.output_conv.4", x)


def saved(path: Path, found: Any) -> Path:
    torch.save(found, path)
    return path


@pytest.mark.parametrize("wrapped", ["published", "state_dict", "bare"])
def test_converted_weights_compute_what_the_papers_say(tmp_path: Path, published: Weights, wrapped: str) -> None:
    head = {name: torch.zeros(1000, 32) if name.endswith("weight") else torch.zeros(1000) for name in dpt.UNUSED}
    forms: dict[str, Any] = {
        "published": {dpt.PUBLISHED_KEY: {**published, **head}},
        "state_dict": {"state_dict": {f"model.{k}": v for k, v in published.items()}},
        "bare": published,
    }
    net, keys = dpt.load(saved(tmp_path / "weights.pth", forms[wrapped]), TINY)
    assert keys == len(net.state_dict())
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        found = dpt.predict(net.eval(), pixels)
        expected = by_the_papers(published, pixels, TINY)
    assert found.shape == expected.shape == (2, 3, 64, 64)
    assert expected.std() > 0.01
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()
    assert found.min() < 0, "normals may have any sign"


def test_other_sizes_get_interpolated_positions(tmp_path: Path, published: Weights) -> None:
    net, _ = dpt.load(saved(tmp_path / "weights.pth", published), TINY)
    positions = published["pretrained.model.pos_embed"]
    grid = positions[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    grown = F.interpolate(grid, size=(6, 6), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
    moved = {**published, "pretrained.model.pos_embed": torch.cat([positions[:, :1], grown], dim=1)}
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        found, expected = dpt.predict(net.eval(), pixels), by_the_papers(moved, pixels, TINY)
    assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_what_does_not_fit_is_named(tmp_path: Path, published: Weights) -> None:
    lacking = {k: v for k, v in published.items() if k != "scratch.layer2_rn.weight"} | {"scratch.more": torch.ones(1)}
    with pytest.raises(
        UsageError, match=r"1 missing: scratch\.layer2_rn\.weight; 1 unexpected: scratch\.more.*fusion\.md"
    ):
        dpt.load(saved(tmp_path / "a.pth", lacking), TINY)
    wrong = published | {"scratch.output_conv.4.weight": torch.zeros(1, 32, 1, 1)}
    with pytest.raises(
        UsageError, match=r"misshapen: head\.head\.4\.weight \(1, 32, 1, 1\) instead of \(3, 32, 1, 1\)"
    ):
        dpt.load(saved(tmp_path / "b.pth", wrong), TINY)
    with pytest.raises(UsageError, match="more than tensors; got epoch"):
        dpt.load(saved(tmp_path / "c.pth", {**published, "epoch": 3}), TINY)
