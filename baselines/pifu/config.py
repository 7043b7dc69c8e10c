"""Every option of PIFu in one frozen dataclass, with the published values as defaults.

Source: Saito et al., "PIFu: Pixel-Aligned Implicit Function for High-Resolution Clothed Human Digitization",
ICCV 2019, and the flags that its authors ship with their checkpoint.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from robench.errors import UsageError

Norm = Literal["group", "batch"]
ColourNorm = Literal["group", "batch", "instance"]
Down = Literal["ave_pool", "conv64", "conv128", "no_down"]
Upsample = Literal["bicubic", "bilinear", "nearest"]

# Options stand in checkpoints, which strangers make: none may ask for a network that no machine holds.
_MOST_CHANNELS, _MOST_LAYERS = 4096, 32
_MOST: Mapping[str, int] = {
    "image_size": 8192,
    "width": 1024,
    "num_stack": 16,
    "hourglass_depth": 8,
    "hourglass_dim": _MOST_CHANNELS,
    "num_views": 256,
    "colour_width": 1024,
    "colour_blocks": 64,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "norm": ("group", "batch"),
    "colour_norm": ("group", "batch", "instance"),
    "down": ("ave_pool", "conv64", "conv128", "no_down"),
    "upsample": ("bicubic", "bilinear", "nearest"),
}


@dataclass(frozen=True)
class PifuConfig:
    """What the two networks look like and how an image enters them.

    Attributes:
        image_size: Side of the square input in pixels (published: 512).
        z_size: Depth that maps to one, in the published 512-pixel units: the depth feature is ``z * 256 / z_size``.
        width: Internal width of the image filter: stem ``width``, trunk ``2 * width``, hourglasses ``4 * width``.
        num_stack: Stacked hourglasses.
        hourglass_depth: Levels of each hourglass.
        hourglass_dim: Channels of each stack's feature map.
        norm: Normalisation of the image filter.
        down: How the stem halves the resolution the second time; ``no_down`` does not (PIFuHD's fine level).
        upsample: Interpolation inside the hourglasses (align_corners where that exists).
        mlp: Widths of the surface classifier after its input.
        residual: Whether each layer of a classifier but the first sees the input again.
        skip_hourglass: Whether the stem's features join the last ones.
        num_views: Images per subject; hidden features are averaged over them.
        colour_width: Stem width of the colour encoder (its maps have four times as many channels).
        colour_blocks: Residual blocks of the colour encoder.
        colour_norm: Normalisation of the colour encoder.
        colour_mlp: Widths of the colour classifier after its input.
        colour_tanh: Whether the colour encoder ends in tanh.
    """

    image_size: int = 512
    z_size: float = 200.0
    width: int = 64
    num_stack: int = 4
    hourglass_depth: int = 2
    hourglass_dim: int = 256
    norm: Norm = "group"
    down: Down = "ave_pool"
    upsample: Upsample = "bicubic"
    mlp: tuple[int, ...] = (1024, 512, 256, 128, 1)
    residual: bool = True
    skip_hourglass: bool = False
    num_views: int = 1
    colour_width: int = 64
    colour_blocks: int = 6
    colour_norm: ColourNorm = "group"
    colour_mlp: tuple[int, ...] = (1024, 512, 256, 128, 3)
    colour_tanh: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise UsageError(
                    f"PIFu's option '{name}' has no such value",
                    got=repr(getattr(self, name)),
                    expected=", ".join(choices),
                )
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                what = f"PIFu's option '{name}' must be positive and at most {most}"
                raise UsageError(what, got=str(getattr(self, name)))
        for name in ("mlp", "colour_mlp"):
            layers = getattr(self, name)
            if len(layers) > _MOST_LAYERS or max(layers, default=0) > _MOST_CHANNELS:
                expected = f"at most {_MOST_LAYERS} layers of at most {_MOST_CHANNELS}"
                raise UsageError(f"PIFu's option '{name}' is too large", got=str(layers), expected=expected)
        if self.width % 2:
            raise UsageError("PIFu's option 'width' must be even", got=str(self.width))
        if self.image_size % self.stride or self.image_size < self.stride:
            # Every hourglass level halves the map; an odd one could not be added to its upsampled half.
            raise UsageError(
                "PIFu's option 'image_size' does not suit the hourglass depth",
                got=str(self.image_size),
                expected=f"a multiple of {self.stride}",
            )
        if self.mlp[-1:] != (1,) or self.colour_mlp[-1:] != (3,):
            raise UsageError(
                "PIFu's classifiers must end in one occupancy and three colour channels",
                got=f"mlp {list(self.mlp)}, colour_mlp {list(self.colour_mlp)}",
            )

    @property
    def stride(self) -> int:
        """Pixels per cell of the coarsest hourglass level."""
        return int((2 if self.down == "no_down" else 4) * 2**self.hourglass_depth)

    @property
    def mlp_dim(self) -> tuple[int, ...]:
        """All widths of the surface classifier: image features and depth first."""
        return (self.hourglass_dim + (self.width if self.skip_hourglass else 0) + 1, *self.mlp)

    @property
    def colour_mlp_dim(self) -> tuple[int, ...]:
        """All widths of the colour classifier: both encoders' features and depth first."""
        return (self.hourglass_dim + 4 * self.colour_width + 1, *self.colour_mlp)

    def to_json(self) -> str:
        """Return the options as a JSON object with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> PifuConfig:
        """Read what `to_json` wrote.

        Raises:
            UsageError: If the text is no JSON object, or has an unknown or unfit option.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError("PIFu's options are not JSON", got=str(error)) from error
        if not isinstance(values, dict):
            raise UsageError("PIFu's options are not a JSON object", got=type(values).__name__)
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> PifuConfig:
        """Build from plain values, e.g. a YAML section; options not named keep the published value.

        Raises:
            UsageError: If an option is unknown or has the wrong type.
        """
        return cls(**checked_options(cls, values, "PIFu"))


def checked_options(kind: Any, values: Mapping[str, Any], system: str) -> dict[str, Any]:
    """Return plain values as the fields of a dataclass of options, whose defaults say what types they have.

    Args:
        kind: The dataclass.
        values: By name.
        system: What to call it in a message.

    Raises:
        UsageError: If an option is unknown or has the wrong type.
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = sorted(set(values) - set(fields))
    if unknown:
        raise UsageError(
            f"{system} has no such option", got=", ".join(map(repr, unknown)), expected="among " + ", ".join(fields)
        )
    clean: dict[str, Any] = {}
    for name, value in values.items():
        default = fields[name].default
        if isinstance(default, tuple):
            fits = isinstance(value, (list, tuple)) and all(type(v) is int and v > 0 for v in value)
            value = tuple(value) if fits else value
        elif isinstance(default, float):
            fits = type(value) in (int, float)
            value = float(value) if fits else value
        else:
            fits = type(value) is type(default)
        if not fits:
            raise UsageError(
                f"{system}'s option '{name}' has the wrong type", got=repr(value), expected=f"like {default!r}"
            )
        clean[name] = value
    return clean


OFFICIAL = PifuConfig()
"""The released net_G and net_C."""

MINI = PifuConfig(
    image_size=128,
    z_size=25.0,
    width=32,
    num_stack=1,
    hourglass_depth=3,
    hourglass_dim=128,
    upsample="bilinear",
    mlp=(256, 192, 128, 64, 1),
    colour_width=16,
    colour_blocks=3,
    colour_mlp=(192, 128, 64, 3),
)
"""Small enough to train and to ship: one stack, half the width, a quarter of the image size."""

PRESETS: Mapping[str, PifuConfig] = {"official": OFFICIAL, "mini": MINI}


def network_of(value: Any, name: str, wrong: Callable[[str, Any, str], UsageError]) -> PifuConfig:
    """Return the network that an option names: a preset (``official`` if left out) and what differs from it.

    Args:
        value: A mapping with ``preset`` and options of `PifuConfig`.
        name: Of the option.
        wrong: Makes the error of an option's name, its value and what was expected.

    Raises:
        UsageError: If it is something else.
    """
    if not isinstance(value, Mapping):
        raise wrong(name, value, "a mapping with 'preset' and options")
    options = dict(value)
    preset = options.pop("preset", "official")
    if preset not in PRESETS:
        raise wrong(f"{name}.preset", preset, "one of " + ", ".join(PRESETS))
    return PifuConfig.from_mapping({**dataclasses.asdict(PRESETS[preset]), **options})
