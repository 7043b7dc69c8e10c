"""Options of the training of a fusion, read from YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

from baselines.fusion.config import FusionConfig
from baselines.pifu.train_config import TrainConfig
from robench.errors import UsageError


@dataclass(frozen=True)
class FusionTrainConfig(TrainConfig):
    """How to train a fusion: the options of PIFu's training, and these. It trains no colours.

    Attributes:
        fusion: Options of the fusion; its ``pifu`` takes the place of ``network``.
        base: A trained PIFu whose image filter is taken: ``net_G``, a safetensors file of ours, or ``pifu-mini`` for
            the one that robench ships. Needed where the filter is frozen.
        clip_weights: Weights of the image encoder; empty for where robench looks.
        normals_weights: Weights of the network for normals; empty for where robench looks.
        draws: Augmentations of a picture, which take turns: what frozen networks say of each is computed once and
            kept. 0 draws anew each time and keeps nothing.
    """

    colour_steps: int = 0
    fusion: FusionConfig = field(default_factory=FusionConfig)
    base: str = ""
    clip_weights: str = ""
    normals_weights: str = ""
    draws: int = 4
    paths: ClassVar[tuple[str, ...]] = ("base", "clip_weights", "normals_weights")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.refuse(
            ("draws", self.draws < 0, "0 or more"),
            ("colour_steps", self.colour_steps != 0, "0: a fusion trains no colours"),
            ("start", bool(self.start), "none: 'base' names the PIFu whose image filter is taken"),
            ("network", self.network != self.fusion.pifu, "the fusion's own"),
            ("base", self.fusion.freeze_filter and not self.base, "a trained PIFu, whose image filter is frozen"),
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; see `TrainConfig.from_mapping`.

        Raises:
            UsageError: If an option is unknown, has the wrong type or an impossible value.
        """
        rest = dict(values)
        if "network" in rest:
            raise UsageError("A fusion's training has no option 'network'", expected="'pifu' under 'fusion'")
        fusion = FusionConfig.from_mapping(rest.pop("fusion", {}))
        return super().from_mapping({**rest, "network": dataclasses.asdict(fusion.pifu), "fusion": fusion})
