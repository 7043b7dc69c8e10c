"""Checkpoints of a fusion: what was trained, the options, and which frozen networks it belongs to.

A frozen image filter, CLIP and DPT are not in the file. It names each and the sha256 of its weights, and opening it
with other weights is refused. Where they lie is looked up: in ``priors.json`` beside the file (a path each, absolute or
relative to that folder), beside the file by name, and where robench looks for weights anyway.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from baselines.fusion.config import MODEL_NAMES, FusionConfig, Manner, Variant
from baselines.fusion.network import FusionNet
from baselines.fusion.priors import Part
from baselines.pifu.adapter import MINI_WEIGHTS
from baselines.pifu.checkpoint import (
    FORMAT as PIFU_FORMAT,
)
from baselines.pifu.checkpoint import (
    alias_groups,
    check_fit,
    load_state,
    load_weights,
    read_official,
    read_own,
)
from baselines.pifu.config import PifuConfig
from baselines.pifu.network import blank, count_parameters
from baselines.pifu.whose import whose
from robench.errors import EnvironmentNotReady, Mismatch, UsageError
from robench.io.files import read_json, sha256_file, write_bytes_atomic, write_text_atomic
from robench.io.weights import find_weights, network_sha256

FORMAT = "robench-fusion/1"
PLACES_FILE = "priors.json"
FILTER = "image_filter"
PRIORS = ("clip", "normals")
_MOST_PARAMETERS = 500_000_000
# Options of a PIFu that its image filter depends on.
_FILTER_OPTIONS = (
    "image_size", "z_size", "width", "num_stack", "hourglass_depth", "hourglass_dim", "norm", "down", "upsample",
)  # fmt: skip


@dataclass
class FusionWeights:
    """A fusion as a checkpoint holds it, on the CPU in evaluation mode, its image filter in place.

    Attributes:
        net: The network.
        parts: Networks that it needs besides: ``clip`` and ``normals``, as it was trained with.
        places: Where the user says that they lie, and where its image filter was found.
        sha256: Of the file.
        keys: Tensors that were read from it.
        provenance: What the writer said about data and training.
    """

    net: FusionNet
    parts: Mapping[str, Part]
    places: Mapping[str, Path]
    sha256: str
    keys: int
    provenance: Mapping[str, Any] = field(default_factory=dict)


def stored(net: FusionNet) -> dict[str, Tensor]:
    """Return the tensors of a network that a checkpoint holds, one name each: not those of a frozen image filter."""
    frozen = f"{FILTER}." if net.fusion.freeze_filter else "\0"
    state = net.state_dict()
    return {group[-1]: state[group[-1]] for group in alias_groups(net) if not group[-1].startswith(frozen)}


def restore(net: FusionNet, state: Mapping[str, Tensor], source: str, hint: str = "") -> None:
    """Copy what `stored` gave into a network, strictly; a frozen image filter stays as it is."""
    image_filter = net.image_filter
    if net.fusion.freeze_filter:
        net.image_filter = nn.Identity()  # type: ignore[assignment]
    try:
        load_state(net, state, source, hint)
    finally:
        net.image_filter = image_filter


def load_filter(net: FusionNet, path: Path) -> Part:
    """Give a network the image filter of a trained PIFu.

    Args:
        net: The network.
        path: ``net_G``, a folder with it, or a safetensors file of ours.

    Returns:
        What the filter is, for a checkpoint.

    Raises:
        UsageError: If the file does not fit itself, or is of a PIFu with another filter.
    """
    shape = load_weights(path).shape
    differing = differences(shape.config, net.config)
    if differing:
        raise UsageError(f"The image filter of {path} does not fit this fusion", got=differing)
    load_state(net.image_filter, shape.image_filter.state_dict(), str(path))
    return Part("pifu-mini" if path == MINI_WEIGHTS else "net_G", network_sha256(net.image_filter))


def differences(found: PifuConfig, wanted: PifuConfig) -> str:
    """Return in which options of the image filter a PIFu differs from what is wanted; empty for none."""
    pairs = {name: (getattr(found, name), getattr(wanted, name)) for name in _FILTER_OPTIONS}
    return ", ".join(f"{name} {a} instead of {b}" for name, (a, b) in pairs.items() if a != b)


def save_fusion(
    path: Path,
    net: FusionNet,
    parts: Mapping[str, Part],
    provenance: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write a network as safetensors, atomically.

    Args:
        path: The file.
        net: The network; its options are written too.
        parts: What it needs besides, see `FusionWeights`; with the image filter if that is frozen.
        provenance: JSON-able facts about data, training and licence.
        dtype: ``float32`` or ``float16`` for the floating-point tensors on disk.
    """
    from safetensors.torch import save

    tensors = {
        f"net_G.{name}": (t.to(dtype) if t.is_floating_point() else t).detach().cpu().contiguous()
        for name, t in stored(net).items()
    }
    metadata = {
        "format": FORMAT,
        "config": net.fusion.to_json(),
        "parts": json.dumps({k: {"name": p.name, "sha256": p.sha256} for k, p in parts.items()}, sort_keys=True),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
    }
    write_bytes_atomic(path, save(tensors, metadata=metadata))


def write_places(folder: Path, places: Mapping[str, Path]) -> None:
    """Write where the frozen networks lie, beside a checkpoint."""
    text = json.dumps({name: str(path.resolve()) for name, path in places.items()}, indent=2, sort_keys=True)
    write_text_atomic(folder / PLACES_FILE, text + "\n")


def read_places(folder: Path) -> dict[str, Path]:
    """Return what `write_places` wrote, or nothing if there is no such file.

    Raises:
        UsageError: If the file is damaged or names something else.
    """
    path = folder / PLACES_FILE
    if not path.is_file():
        return {}
    said = read_json(path)
    known = (FILTER, *PRIORS)
    if not isinstance(said, dict) or any(k not in known or not isinstance(v, str) for k, v in said.items()):
        raise UsageError(f"{path} is not understood", expected="a path for each of " + ", ".join(known))
    return {name: folder / value for name, value in said.items()}


def load_fusion(path: Path, variant: Variant, protocol: Manner) -> FusionWeights:
    """Load a checkpoint strictly, with the image filter that it was trained on.

    Args:
        path: A ``model.safetensors`` of ``robench train``, or its folder.
        variant: What it must be.
        protocol: What it must be.

    Raises:
        EnvironmentNotReady: If there is no such file, or its image filter is nowhere.
        UsageError: If it is damaged, or of another variant or protocol; every key at fault is named.
        Mismatch: If the image filter found is another one.
    """
    file = path / "model.safetensors" if path.is_dir() else path
    if not file.is_file():
        raise EnvironmentNotReady(f"The weights of '{MODEL_NAMES[variant]}' are not there", got=f"no file {file}")
    config, state, metadata = _read(file, variant, protocol)
    try:
        said = json.loads(metadata["parts"])
        parts = {str(name): Part(str(part["name"]), str(part["sha256"])) for name, part in said.items()}
        provenance = json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"The metadata of {file} are damaged", got=f"{type(error).__name__}: {error}") from error
    lacking = [name for name in (*([FILTER] if config.freeze_filter else []), *config.uses) if name not in parts]
    if lacking:
        raise UsageError(f"The metadata of {file} are damaged", got=f"no word about {', '.join(lacking)}")
    outline = _outline(config)
    if (count := count_parameters(outline)) > _MOST_PARAMETERS:
        expected = f"at most {_MOST_PARAMETERS:,}"
        raise UsageError(f"The options of {file} make a network of {count:,} parameters", expected=expected)
    check_fit(outline, state, str(file), "")
    net, places = blank(FusionNet, config), read_places(file.parent)
    if config.freeze_filter:
        place = _filter_place(places.get(FILTER), file.parent, parts[FILTER])
        found = load_filter(net, place)
        if found.sha256 != parts[FILTER].sha256:
            what = f"{file} was trained on another image filter than that of {place}"
            raise Mismatch(what, got=f"sha256 {found.sha256}", expected=parts[FILTER].sha256)
        if place != MINI_WEIGHTS:  # which is found without being named
            places[FILTER] = place
    restore(net, state, str(file))
    return FusionWeights(net.eval(), parts, places, sha256_file(file), len(state), provenance)


def _outline(config: FusionConfig) -> FusionNet:
    """Return a network without memory that has what a checkpoint holds."""
    with torch.device("meta"):
        net = FusionNet(config)
    if config.freeze_filter:
        net.image_filter = nn.Identity()  # type: ignore[assignment]
    return net


def _read(file: Path, variant: Variant, protocol: Manner) -> tuple[FusionConfig, dict[str, Tensor], dict[str, str]]:
    """Return options, tensors and metadata of a checkpoint of this variant; errors as of `load_fusion`."""
    own = file.suffix == ".safetensors"
    metadata, tensors = read_own(file) if own else ({}, read_official(file))
    wanted = FusionConfig(variant=variant, protocol=protocol)
    state = {key.removeprefix("net_G."): value for key, value in tensors.items()}
    kind = metadata.get("format")
    if kind == FORMAT:
        config = FusionConfig.from_json(metadata.get("config", ""))
        if config.variant == variant and config.protocol == protocol:
            return config, state, metadata
        if config.variant == variant:
            raise UsageError(
                f"{file} was trained by another protocol",
                got=config.protocol,
                expected=protocol,
                hint=f"--model-option protocol={config.protocol}",
            )
        if variant != "add" or config.clip_dim % config.pifu.hourglass_dim == 0:
            # Sizes may be the same, so that the message names what the variants differ in.
            wanted = replace(config, variant=variant, protocol=protocol)
    got, hint = whose(metadata)
    if kind == PIFU_FORMAT or (not kind and any(k.startswith(f"{FILTER}.") for k in state)):
        got, hint = "a checkpoint of pifu", "name it as the 'base' of a training"
    check_fit(_outline(wanted), state, str(file), hint)
    raise UsageError(f"{file} is no {MODEL_NAMES[variant]}", got=got, hint=hint)


def _filter_place(said: Path | None, folder: Path, part: Part) -> Path:
    if said is not None:
        return said
    if part.name == "pifu-mini":
        return MINI_WEIGHTS
    beside = folder / part.name
    return beside if beside.is_file() else find_weights(part.name, None, ())
