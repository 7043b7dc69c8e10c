"""Options of PIFu with 2D priors, in one frozen dataclass.

Source: Fantini, Li, Liu, "Potential of 2D Priors for Improving Robustness of Ill-Posed 3D Reconstruction", 2023. What
its text says and what its code did differ; both are here, as two values of `FusionConfig.protocol`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from baselines.pifu.config import OFFICIAL, PifuConfig, network_of
from robench.errors import UsageError

Variant = Literal["add", "concat", "experts"]
Manner = Literal["described", "as-coded"]
Expert = Literal["image", "clip", "normals"]

VARIANTS: tuple[Variant, ...] = ("add", "concat", "experts")
MANNERS: tuple[Manner, ...] = ("described", "as-coded")
EXPERTS: tuple[Expert, ...] = ("image", "clip", "normals")
MODEL_NAMES: Mapping[Variant, str] = {
    "add": "pifu-clip-add",
    "concat": "pifu-clip-concat",
    "experts": "pifu-experts",
}
"""What each variant is called in the registry."""

# Options stand in checkpoints, which strangers make: none may ask for a network that no machine holds.
_MOST: Mapping[str, int] = {
    "clip_dim": 8192,
    "clip_grid": 64,
    "width": 1024,
    "layers": 32,
    "heads": 64,
    "latents": 1024,
    "patch": 256,
    "normal_size": 2048,
}


@dataclass(frozen=True)
class FusionConfig:
    """How 2D priors enter PIFu's shape network.

    Attributes:
        variant: ``add`` adds the mean of the CLIP embedding's blocks to every cell of the feature maps; ``concat``
            (the paper's tf_concat) projects it to a small map and appends that as channels; ``experts`` lets a
            resampler look at image patches, CLIP embedding and normals, and appends one channel.
        protocol: ``described``: as the paper's text has it. ``as-coded``: what its published code computed. There
            ``concat`` appends the CLIP map to the list of stacks, so that the classifier sees it *or* the image;
            ``experts`` keeps the last stack only; modules of the fusion stay as initialised while the filter is
            frozen; CLIP and DPT get the picture in [-1, 1], and most of their weights are drawn anew.
        pifu: Options of the shape network.
        clip: Encoder of the registry whose embedding is used (see ``robench list encoders``).
        clip_dim: Length of its embedding.
        clip_grid: Cells an axis of the map that ``concat`` projects to.
        normals: Network that estimates normals (see `baselines.fusion.normals`).
        experts: What ``experts`` looks at: the paper's ablations leave out ``normals``, then also ``image``.
        width: Of the resampler.
        layers: Of the resampler.
        heads: Of its attention.
        latents: Of the resampler.
        patch: Side of the square patches of picture and normals, in pixels.
        normal_size: Side of the normal map, in pixels.
        freeze_filter: Whether the image filter stays that of a trained PIFu. It is then not stored in checkpoints.
        prior_seed: Of the weights that ``as-coded`` draws anew in CLIP and DPT.
    """

    variant: Variant = "experts"
    protocol: Manner = "described"
    pifu: PifuConfig = field(default_factory=lambda: OFFICIAL)
    clip: str = "clip-vit-l14"
    clip_dim: int = 768
    clip_grid: int = 8
    normals: str = "dpt-hybrid-normals"
    experts: tuple[Expert, ...] = EXPERTS
    width: int = 128
    layers: int = 2
    heads: int = 8
    latents: int = 128
    patch: int = 16
    normal_size: int = 256
    freeze_filter: bool = True
    prior_seed: int = 0

    def __post_init__(self) -> None:
        for name, choices in (("variant", VARIANTS), ("protocol", MANNERS)):
            if getattr(self, name) not in choices:
                raise _wrong(name, getattr(self, name), "one of " + ", ".join(choices))
        for name, most in _MOST.items():
            if not 1 <= getattr(self, name) <= most:
                raise _wrong(name, getattr(self, name), f"from 1 to {most}")
        if not self.experts or [e for e in EXPERTS if e in self.experts] != list(self.experts):
            raise _wrong("experts", list(self.experts), "some of " + ", ".join(EXPERTS) + ", in this order")
        if self.width % self.heads:
            raise _wrong("heads", self.heads, f"a divisor of the width {self.width}")
        for name, side in (("pifu.image_size", self.pifu.image_size), ("normal_size", self.normal_size)):
            if side % self.patch:
                raise _wrong(name, side, f"a multiple of the patch of {self.patch}")
        if self.variant == "add" and self.clip_dim % self.pifu.hourglass_dim:
            whole = f"a multiple of the {self.pifu.hourglass_dim} channels that it is added to"
            raise _wrong("clip_dim", self.clip_dim, whole)
        if self.pifu.num_views != 1:
            raise _wrong("pifu.num_views", self.pifu.num_views, "1")

    @property
    def extra(self) -> int:
        """Channels that each feature map gains."""
        if self.variant == "experts":
            return 1
        return self.pifu.hourglass_dim if self.variant == "concat" and self.protocol == "described" else 0

    @property
    def uses(self) -> tuple[Literal["clip", "normals"], ...]:
        """Priors that are looked at."""
        if self.variant != "experts":
            return ("clip",)
        return tuple(e for e in ("clip", "normals") if e in self.experts)

    def trains(self, name: str) -> bool:
        """Return whether a parameter of that name is trained.

        The published code, once it freezes, freezes all that is not the classifier; the text freezes the encoder.
        """
        if not self.freeze_filter:
            return True
        if self.protocol == "as-coded":
            return name.startswith("surface_classifier.")
        return not name.startswith("image_filter.")

    def to_json(self) -> str:
        """Return the options as a JSON object with sorted keys."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> FusionConfig:
        """Read what `to_json` wrote.

        Raises:
            UsageError: If the text is no JSON object, or has an unknown or impossible option.
        """
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise UsageError("The options of the fusion are not JSON", got=str(error)) from error
        return cls.from_mapping(values)

    @classmethod
    def from_mapping(cls, values: Any) -> FusionConfig:
        """Build from plain values; ``pifu`` may name a ``preset`` and override its options.

        Raises:
            UsageError: If an option is unknown, has the wrong type or an impossible value.
        """
        if not isinstance(values, Mapping):
            raise UsageError("The options of the fusion are no mapping", got=type(values).__name__)
        fields = {f.name: f for f in dataclasses.fields(cls)}
        if unknown := sorted(set(map(str, values)) - set(fields)):
            names = ", ".join(map(repr, unknown))
            raise UsageError("The fusion has no such option", got=names, expected="among " + ", ".join(fields))
        clean: dict[str, Any] = {}
        for name, value in values.items():
            if name == "pifu":
                clean[name] = network_of(value, name, _wrong)
            elif name == "experts":
                if not isinstance(value, (list, tuple)) or not all(isinstance(v, str) for v in value):
                    raise _wrong(name, value, "a list of names")
                clean[name] = tuple(value)
            elif type(value) is not type(fields[name].default):
                raise _wrong(name, value, f"like {fields[name].default!r}")
            else:
                clean[name] = value
        return cls(**clean)


def _wrong(name: str, value: Any, expected: str) -> UsageError:
    return UsageError(f"The fusion's option '{name}' is not possible", got=repr(value), expected=expected)
