"""DPT-hybrid with three outputs, for surface normals, by transformers; the published weights convert on load.

Sources: Ranftl et al., "Vision Transformers for Dense Prediction", ICCV 2021; Eftekhar et al., "Omnidata", ICCV 2021
(the normals). The published file has timm's names for the encoder and DPT's own for the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from robench.encoders.torch_encoder import require_transformers
from robench.errors import UsageError
from robench.io.weights import listed, load_strictly, read_tensors

PUBLISHED_KEY = "('rgb', 'normal')"
"""Under which the published file keeps its tensors."""
# The classifier of 1000 classes that timm's encoder carries and nothing asks.
UNUSED = ("pretrained.model.head.weight", "pretrained.model.head.bias")
_KINDS = ("weight", "bias")


@dataclass(frozen=True)
class DptSize:
    """Sizes of a DPT-hybrid: a ResNet of three stages, a vision transformer on top, four fusion stages.

    Attributes:
        stem: Channels of the ResNet's first convolution.
        stages: Channels of its stages.
        depths: Blocks of its stages.
        hidden: Width of the transformer.
        mlp: Inner width of its MLPs.
        layers: Its blocks.
        heads: Of its attention.
        taken: Blocks whose tokens are taken; the first two are replaced by the ResNet's maps.
        fusion: Channels of the fusion stages.
        trained_at: Side in pixels of the pictures that the positions are for.
    """

    stem: int = 64
    stages: tuple[int, int, int] = (256, 512, 1024)
    depths: tuple[int, int, int] = (3, 4, 9)
    hidden: int = 768
    mlp: int = 3072
    layers: int = 12
    heads: int = 12
    taken: tuple[int, int, int, int] = (2, 5, 8, 11)
    fusion: int = 256
    trained_at: int = 384

    def network(self) -> nn.Module:
        """Return the network on torch's meta device: no memory, no weights."""
        transformers = require_transformers("DPT")
        config = transformers.DPTConfig(
            is_hybrid=True,
            hidden_size=self.hidden,
            intermediate_size=self.mlp,
            num_hidden_layers=self.layers,
            num_attention_heads=self.heads,
            image_size=self.trained_at,
            backbone_out_indices=list(self.taken),
            backbone_featmap_shape=[1, self.stages[-1], self.trained_at // 16, self.trained_at // 16],
            neck_hidden_sizes=[*self.stages[:2], self.hidden, self.hidden],
            fusion_hidden_size=self.fusion,
            use_bias_in_fusion_residual=True,
            layer_norm_eps=1e-6,  # timm's, whose encoder this is
            backbone_config={
                "model_type": "bit",
                "global_padding": "same",
                "layer_type": "bottleneck",
                "embedding_size": self.stem,
                "hidden_sizes": list(self.stages),
                "depths": list(self.depths),
                "out_features": ["stage1", "stage2", "stage3"],
                "embedding_dynamic_padding": True,
            },
        )
        with torch.device("meta"):
            net = cast(Any, transformers.DPTForDepthEstimation(config))
            # Normals instead of depth: three channels of any sign, so no ReLU after them.
            net.head.head[4] = nn.Conv2d(net.head.head[4].in_channels, 3, 1)
        net.head.head[5] = nn.Identity()
        return cast(nn.Module, net)


DPT_HYBRID = DptSize()


def predict(net: nn.Module, pixels: Tensor) -> Tensor:
    """Return the (N, 3, S, S) outputs of a network for (N, 3, S, S) pixels; S a multiple of 32.

    Positions that were learnt for another size are interpolated, as published.
    """
    model = cast(Any, net)
    model.dpt.embeddings.image_size = tuple(pixels.shape[-2:])
    return cast(Tensor, model(pixel_values=pixels).predicted_depth)


def _pairs(theirs: str, ours: str) -> dict[str, list[str]]:
    return {f"{theirs}.{kind}": [f"{ours}.{kind}"] for kind in _KINDS}


def names(size: DptSize) -> dict[str, list[str]]:
    """Return, for each published name, ours: three where one tensor holds query, key and value."""
    model, vit = "pretrained.model", "dpt.embeddings"
    found = {f"{model}.cls_token": [f"{vit}.cls_token"], f"{model}.pos_embed": [f"{vit}.position_embeddings"]}
    found |= _pairs(f"{model}.patch_embed.proj", f"{vit}.projection") | _pairs(f"{model}.norm", "dpt.layernorm")
    found |= _resnet_names(size, f"{model}.patch_embed.backbone", f"{vit}.backbone.bit")
    block = {
        "attn.proj": "attention.output.dense",
        "mlp.fc1": "intermediate.dense",
        "mlp.fc2": "output.dense",
        "norm1": "layernorm_before",
        "norm2": "layernorm_after",
    }
    for i in range(size.layers):
        old, new = f"{model}.blocks.{i}", f"dpt.encoder.layer.{i}"
        for theirs, ours in block.items():
            found |= _pairs(f"{old}.{theirs}", f"{new}.{ours}")
        for kind in _KINDS:
            parts = ("query", "key", "value")
            found[f"{old}.attn.qkv.{kind}"] = [f"{new}.attention.attention.{part}.{kind}" for part in parts]
    return found | _neck_names()


def _resnet_names(size: DptSize, old: str, new: str) -> dict[str, list[str]]:
    found = {f"{old}.stem.conv.weight": [f"{new}.embedder.convolution.weight"]}
    found |= _pairs(f"{old}.stem.norm", f"{new}.embedder.norm")
    for i, depth in enumerate(size.depths):
        for j in range(depth):
            theirs, ours = f"{old}.stages.{i}.blocks.{j}", f"{new}.encoder.stages.{i}.layers.{j}"
            for a, b in [("conv1", "norm1"), ("conv2", "norm2"), ("conv3", "norm3")]:
                found[f"{theirs}.{a}.weight"] = [f"{ours}.{a}.weight"]
                found |= _pairs(f"{theirs}.{b}", f"{ours}.{b}")
            if j == 0:
                found[f"{theirs}.downsample.conv.weight"] = [f"{ours}.downsample.conv.weight"]
                found |= _pairs(f"{theirs}.downsample.norm", f"{ours}.downsample.norm")
    return found


def _neck_names() -> dict[str, list[str]]:
    stage = "neck.reassemble_stage"
    found: dict[str, list[str]] = {}
    for n, i in ((3, 2), (4, 3)):
        found |= _pairs(f"pretrained.act_postprocess{n}.0.project.0", f"{stage}.readout_projects.{i}.0")
        found |= _pairs(f"pretrained.act_postprocess{n}.3", f"{stage}.layers.{i}.projection")
    found |= _pairs("pretrained.act_postprocess4.4", f"{stage}.layers.3.resize")
    for n in (1, 2, 3, 4):
        found[f"scratch.layer{n}_rn.weight"] = [f"neck.convs.{n - 1}.weight"]
        # The published stages count from the finest, these from the coarsest.
        theirs, ours = f"scratch.refinenet{n}", f"neck.fusion_stage.layers.{4 - n}"
        found |= _pairs(f"{theirs}.out_conv", f"{ours}.projection")
        for unit in (1, 2):
            for conv in (1, 2):
                residual = f"{ours}.residual_layer{unit}.convolution{conv}"
                found |= _pairs(f"{theirs}.resConfUnit{unit}.conv{conv}", residual)
    for i in (0, 2, 4):
        found |= _pairs(f"scratch.output_conv.{i}", f"head.head.{i}")
    return found


def converted(tensors: Mapping[str, Any], size: DptSize, source: str) -> dict[str, Any]:
    """Return published tensors under our names.

    Raises:
        UsageError: Naming every key that is missing or unexpected.
    """
    wanted = names(size)
    missing = [k for k in wanted if k not in tensors]
    unexpected = [k for k in tensors if k not in wanted and k not in UNUSED]
    if missing or unexpected:
        kinds = (("missing", missing), ("unexpected", unexpected))
        got = "; ".join(f"{len(keys)} {kind}: {listed(keys)}" for kind, keys in kinds if keys)
        hint = "docs/models/fusion.md says which file it is"
        raise UsageError(f"{source} is not the published DPT-hybrid for normals", got=got, hint=hint)
    found: dict[str, Any] = {}
    for theirs, ours in wanted.items():
        value = tensors[theirs]
        found |= dict(zip(ours, value.chunk(3) if len(ours) == 3 else [value], strict=True))
    return found


def load(path: Path, size: DptSize = DPT_HYBRID) -> tuple[nn.Module, int]:
    """Return a network with the weights of a file, on the CPU, and how many tensors it took.

    Args:
        path: The published torch file, plain or with its tensors under `PUBLISHED_KEY` or ``state_dict``; or
            safetensors with our own names.
        size: Of the network.

    Raises:
        EnvironmentNotReady: If transformers is not installed.
        UsageError: If the file is damaged or does not fit; every key at fault is named.
    """
    net = size.network()
    found = read_tensors(path)
    for wrapper in (PUBLISHED_KEY, "state_dict"):
        if isinstance(found.get(wrapper), Mapping):
            found = {str(k).removeprefix("model."): v for k, v in found[wrapper].items()}
    if any(not isinstance(value, Tensor) for value in found.values()):
        others = [str(k) for k, v in found.items() if not isinstance(v, Tensor)]
        raise UsageError(f"{path} holds more than tensors", got=listed(others), expected=f"tensors, or {PUBLISHED_KEY}")
    if not any(key.startswith("dpt.") for key in found):
        found = converted(found, size, str(path))
    load_strictly(net, found, str(path))
    return net, len(found)
