"""Table III of the paper from the code: how many parameters each model has, and which published figure counts what."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from baselines.fusion.config import FusionConfig, Manner, Variant
from baselines.fusion.dpt import DPT_HYBRID, UNUSED
from baselines.fusion.network import FusionNet
from baselines.pifu.config import OFFICIAL
from baselines.pifu.network import ShapeNet, count_parameters
from robench.encoders.clip import VIT_L14
from robench.encoders.torch_encoder import require_transformers


@dataclass(frozen=True)
class Row:
    """One model of the table.

    Attributes:
        model: Its name, as the paper has it, and the protocol where that matters.
        trainable: Parameters that are trained.
        total: Parameters of all that its classes make, used or not.
        used: Parameters that enter a prediction.
        published: The paper's trainable and total, or None where it has no such row.
        note: Which figure counts what.
    """

    model: str
    trainable: int
    total: int
    used: int
    published: tuple[int, int] | None
    note: str


def parameter_table() -> list[Row]:
    """Count every model's parameters at the published size, on torch's meta device: no memory is taken.

    Raises:
        EnvironmentNotReady: If transformers is not installed, by which CLIP and DPT are counted.
    """
    clip, text = count_parameters(VIT_L14.network()), _text_tower()
    dpt, head = count_parameters(DPT_HYBRID.network()), _unused_head()
    baseline = count_parameters(_meta(lambda: ShapeNet(OFFICIAL)))
    return [
        Row("baseline", baseline, baseline, baseline, (15_604_738, 15_604_738), "net_G of PIFu: all is trained"),
        _fusion(
            "Experts Fusion, as coded", "experts", "as-coded", clip + dpt, text + head, (1_185_795, 567_078_959),
            "trainable is the classifier alone, with 258 inputs: the published code froze the resampler, the patch "
            "embeddings and the projection of CLIP as initialised. The total counts CLIP's text encoder and the "
            "1000-class head of DPT's encoder, which nothing asks",
        ),
        _fusion(
            "Experts Fusion, as described", "experts", "described", clip + dpt, text + head, None,
            "the resampler and its embeddings are trained as well, as the text says",
        ),
        _fusion(
            "add-based fusion", "add", "described", clip, text, (15_604_738, 443_221_251),
            "no new parameters: trainable is PIFu's own; the total adds CLIP with its text encoder", freeze=False,
        ),
        _fusion(
            "tf_concat with frozen PIFu encoder, as coded", "concat", "as-coded", clip, text, (1_185_795, 15_604_738),
            "the published figures contradict each other and the code: trainable is the classifier of Experts Fusion, "
            "with 258 inputs where this one has 257; the total is the baseline's, without CLIP and its projection, and "
            "less than the 14,420,864 frozen ones of the encoder and those 1,185,795 together",
        ),
        _fusion(
            "tf_concat, nothing frozen, as coded", "concat", "as-coded", clip, text, None,
            "what the code trains unless told to freeze: PIFu and the projection", freeze=False,
        ),
        _fusion(
            "tf_concat with frozen PIFu encoder, as described", "concat", "described", clip, text, None,
            "the map is concatenated, so the classifier has 513 inputs; it and the projection are trained",
        ),
    ]  # fmt: skip


def _fusion(
    name: str,
    variant: Variant,
    protocol: Manner,
    priors: int,
    unused: int,
    published: tuple[int, int] | None,
    note: str,
    *,
    freeze: bool = True,
) -> Row:
    config = replace(FusionConfig(), variant=variant, protocol=protocol, freeze_filter=freeze)
    net = _meta(lambda: FusionNet(config))
    trained = sum(p.numel() for p in net.parameters() if p.requires_grad)
    used = count_parameters(net) + priors
    return Row(name, trained, used + unused, used, published, note)


def _meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


def _text_tower() -> int:
    """Return the parameters of CLIP ViT-L/14 that encode text, and its temperature."""
    transformers = require_transformers("CLIP")
    text = {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12}
    config = transformers.CLIPConfig(text_config=text, vision_config=VIT_L14.options(), projection_dim=VIT_L14.dim)
    whole = _meta(lambda: transformers.CLIPModel(config))
    return count_parameters(whole) - count_parameters(VIT_L14.network())


def _unused_head() -> int:
    """Return the parameters of the classifier that `UNUSED` names: 1000 classes from the encoder's width."""
    assert len(UNUSED) == 2
    return count_parameters(_meta(lambda: nn.Linear(DPT_HYBRID.hidden, 1000)))
