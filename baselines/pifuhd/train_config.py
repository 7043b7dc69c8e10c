"""Options of the training of a PIFuHD, read from YAML."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from baselines.pifu.train_config import TrainConfig
from baselines.pifuhd.config import MINI, PifuHDConfig
from robench.errors import UsageError


@dataclass(frozen=True)
class PifuHDTrainConfig(TrainConfig):
    """How to train a PIFuHD: the options of PIFu's training, which are the coarse level's, and these.

    It trains no colours, and on clean pictures alone: normals are rendered before the camera of the data.

    Attributes:
        hd: Options of all networks; its coarse level takes the place of ``network``.
        normals: What the two levels see in training: ``predicted`` maps, as they will, or ``true`` ones, as published.
        normal_steps: Optimiser steps of the normal networks.
        normal_lr: Their learning rate.
        fine_steps: Optimiser steps of the fine level.
        fine_lr: Its learning rate.
        window: Side in pixels of the part of the fine picture that a step sees (published: 512 of 1024).
    """

    colour_steps: int = 0
    hd: PifuHDConfig = field(default_factory=lambda: MINI)
    normals: Literal["predicted", "true"] = "predicted"
    normal_steps: int = 2000
    normal_lr: float = 1e-3
    fine_steps: int = 3000
    fine_lr: float = 1e-3
    window: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        stride = self.hd.fine.stride
        fits = self.window % stride == 0 and stride <= self.window <= self.hd.fine_size
        self.refuse(
            ("normals", self.normals not in ("predicted", "true"), "predicted or true"),
            ("normal_steps", self.normal_steps < 1, "at least 1"),
            ("fine_steps", self.fine_steps < 1, "at least 1"),
            ("window", not fits, f"a multiple of {stride}, at most the fine side {self.hd.fine_size}"),
            ("colour_steps", self.colour_steps != 0, "0: PIFuHD has no colour network"),
            ("corruptions", self.corruptions is not None, "none: PIFuHD is trained on clean pictures"),
            ("masks", self.masks is not None, "none: PIFuHD sees the background, and masks make its crop alone"),
            ("start", bool(self.start), "none: its levels begin from drawn weights"),
            ("network", self.network != self.hd.coarse, "the coarse level of 'hd'"),
        )

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        """Build from plain values; ``hd`` may name a ``preset`` and override its options.

        Raises:
            UsageError: If an option is unknown, has the wrong type or an impossible value.
        """
        rest = dict(values)
        if "network" in rest:
            raise UsageError("PIFuHD's training has no option 'network'", expected="options under 'hd'")
        options = rest.pop("hd", {"preset": "mini"})
        if not isinstance(options, Mapping):
            raise UsageError("The training option 'hd' is not possible", got=repr(options), expected="a mapping")
        hd = PifuHDConfig.from_mapping(options)
        return super().from_mapping({**rest, "network": dataclasses.asdict(hd.coarse), "hd": hd})
