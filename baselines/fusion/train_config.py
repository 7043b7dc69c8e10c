"""Options of the training of a fusion, read from YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from baselines.fusion.config import FusionConfig
from baselines.pifu.train_config import TrainConfig, read_train_config
from robench.errors import UsageError

PATHS = ("base", "clip_weights", "normals_weights")
"""Options that name files."""
MINI = "pifu-mini"


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

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, wrong, expected in (
            ("draws", self.draws < 0, "0 or more"),
            ("colour_steps", self.colour_steps != 0, "0: a fusion trains no colours"),
            ("network", self.network != self.fusion.pifu, "the fusion's own"),
            ("base", self.fusion.freeze_filter and not self.base, "a trained PIFu, whose image filter is frozen"),
        ):
            if wrong:
                raise UsageError(
                    f"The training option '{name}' is not possible", got=repr(getattr(self, name)), expected=expected
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


def read_fusion_config(path: Path) -> FusionTrainConfig:
    """Read a YAML file of training options; paths in it may be relative to its folder.

    Raises:
        UsageError: If the file is missing, is not YAML, or has an unknown or impossible option.
    """
    config = read_train_config(path, FusionTrainConfig)
    changes: dict[str, Any] = {}
    for name in PATHS:
        said = getattr(config, name)
        beside = path.parent / said
        if said and said != MINI and beside.exists():
            changes[name] = str(beside.resolve())
    return dataclasses.replace(config, **changes)
