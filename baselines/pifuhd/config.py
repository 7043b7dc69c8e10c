"""Every option of PIFuHD in one frozen dataclass, with the published values as defaults.

Source: Saito et al., "PIFuHD: Multi-Level Pixel-Aligned Implicit Function for High-Resolution 3D Human Digitization",
CVPR 2020, https://arxiv.org/abs/2004.00452.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from baselines.pifu.config import Down, Norm, PifuConfig, Upsample, checked_options
from robench.errors import UsageError

# Options come from files that strangers make: none may ask for a network that no machine holds.
_MOST: Mapping[str, int] = {"normal_width": 1024, "normal_downs": 8, "normal_blocks": 64, "load_size": 8192}


@dataclass(frozen=True)
class PifuHDConfig:
    """What the two levels and the normal networks look like and how an image enters them.

    Attributes:
        coarse_size: Side in pixels of the square that the coarse level and the normal networks see (published: 512).
        fine_size: Side in pixels of the same square as the fine level sees it (published: 1024).
        load_size: The coarse level's ``loadSize``, which scales its depth feature: ``z * (load_size // 2) / z_size``.
        z_size: Depth that maps to one, in pixels of ``load_size``.
        width: Internal width of the coarse image filter.
        num_stack: Its stacked hourglasses.
        hourglass_depth: Levels of each of them.
        hourglass_dim: Channels of its feature maps.
        norm: Normalisation of both image filters.
        upsample: Interpolation inside the hourglasses.
        mlp: Widths of the coarse classifier after its input.
        skips: Numbers of its layers that see the input again.
        merge_layer: Number of its layer whose output goes on to the fine level.
        fine_width: Internal width of the fine image filter.
        fine_stack: Its stacked hourglasses.
        fine_depth: Levels of each of them.
        fine_dim: Channels of its feature maps.
        fine_down: How its stem halves the resolution the second time.
        fine_mlp: Widths of the fine classifier after its input.
        fine_skips: Numbers of its layers that see the input again.
        normal_width: Stem width of the normal networks.
        normal_downs: How often they halve the resolution.
        normal_blocks: Their residual blocks.
    """

    coarse_size: int = 512
    fine_size: int = 1024
    load_size: int = 512
    z_size: float = 200.0
    width: int = 64
    num_stack: int = 4
    hourglass_depth: int = 2
    hourglass_dim: int = 256
    norm: Norm = "group"
    upsample: Upsample = "bicubic"
    mlp: tuple[int, ...] = (1024, 512, 256, 128, 1)
    skips: tuple[int, ...] = (2, 3, 4)
    merge_layer: int = 2
    fine_width: int = 64
    fine_stack: int = 1
    fine_depth: int = 4
    fine_dim: int = 16
    fine_down: Down = "no_down"
    fine_mlp: tuple[int, ...] = (512, 256, 128, 1)
    fine_skips: tuple[int, ...] = (1, 2)
    normal_width: int = 64
    normal_downs: int = 4
    normal_blocks: int = 9

    def __post_init__(self) -> None:
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                what = f"PIFuHD's option '{name}' must be positive and at most {most}"
                raise UsageError(what, got=str(getattr(self, name)))
        if not 0 < self.z_size < math.inf:
            raise UsageError("PIFuHD's option 'z_size' must be positive and finite", got=str(self.z_size))
        for level in ("coarse", "fine"):
            try:
                getattr(self, level)  # which checks the rest
            except UsageError as error:
                raise UsageError(f"PIFuHD's {level} level cannot be like this", got=str(error)) from error
        for name, layers in (("skips", self.mlp), ("fine_skips", self.fine_mlp)):
            numbers = getattr(self, name)
            if not all(1 <= number < len(layers) for number in numbers):
                expected = f"numbers of layers, 1 to {len(layers) - 1}"
                raise UsageError(f"PIFuHD's option '{name}' names no layer", got=str(list(numbers)), expected=expected)
        if not 0 <= self.merge_layer < len(self.mlp) - 1:
            expected = f"the number of a hidden layer, 0 to {len(self.mlp) - 2}"
            raise UsageError(
                "PIFuHD's option 'merge_layer' names no hidden layer", got=str(self.merge_layer), expected=expected
            )
        if self.coarse_size % 2**self.normal_downs:
            raise UsageError(
                "PIFuHD's option 'coarse_size' does not suit the normal networks",
                got=str(self.coarse_size),
                expected=f"a multiple of {2**self.normal_downs}",
            )

    @property
    def coarse(self) -> PifuConfig:
        """The coarse level's image filter and depth feature."""
        return PifuConfig(
            image_size=self.coarse_size,
            # PIFu's depth feature counts in the published 512 pixels: half of them over z_size.
            z_size=256.0 * self.z_size / max(self.load_size // 2, 1),
            width=self.width,
            num_stack=self.num_stack,
            hourglass_depth=self.hourglass_depth,
            hourglass_dim=self.hourglass_dim,
            norm=self.norm,
            upsample=self.upsample,
            mlp=self.mlp,
        )

    @property
    def fine(self) -> PifuConfig:
        """The fine level's image filter."""
        return PifuConfig(
            image_size=self.fine_size,
            width=self.fine_width,
            num_stack=self.fine_stack,
            hourglass_depth=self.fine_depth,
            hourglass_dim=self.fine_dim,
            norm=self.norm,
            down=self.fine_down,
            upsample=self.upsample,
            mlp=self.fine_mlp,
        )

    @property
    def mlp_dim(self) -> tuple[int, ...]:
        """All widths of the coarse classifier: image features and depth first."""
        return (self.hourglass_dim + 1, *self.mlp)

    @property
    def fine_mlp_dim(self) -> tuple[int, ...]:
        """All widths of the fine classifier: image features and the coarse level's hidden ones first."""
        return (self.fine_dim + self.mlp[self.merge_layer], *self.fine_mlp)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PifuHDConfig:
        """Build from plain values; options not named keep the published value, or that of the ``preset`` named.

        Raises:
            UsageError: If an option is unknown or unfit.
        """
        options = dict(values)
        preset = options.pop("preset", "official")
        if preset not in PRESETS:
            raise UsageError("PIFuHD has no such preset", got=repr(preset), expected="one of " + ", ".join(PRESETS))
        return cls(**checked_options(cls, {**asdict(PRESETS[preset]), **options}, "PIFuHD"))


OFFICIAL = PifuHDConfig()
"""The released pifuhd.pt."""

MINI = PifuHDConfig(
    coarse_size=128,
    fine_size=256,
    z_size=25.0,
    width=32,
    num_stack=1,
    hourglass_depth=3,
    hourglass_dim=128,
    upsample="bilinear",
    mlp=(256, 192, 128, 64, 1),
    fine_width=16,
    fine_mlp=(128, 64, 32, 1),
    normal_width=16,
    normal_downs=3,
    normal_blocks=3,
)
"""A small one that a CPU can train: PIFu's small net as its coarse level."""

PRESETS: Mapping[str, PifuHDConfig] = {"official": OFFICIAL, "mini": MINI}
