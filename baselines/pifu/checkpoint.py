"""Strict reading and writing of PIFu weights; no code in a file is ever run.

Two kinds of file are read: the authors' ``net_G`` / ``net_C`` (bare state dicts, through torch's weights-only reader)
and our own safetensors, which carry the options and where the weights come from in their metadata.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from baselines.pifu.colour import ColourNet
from baselines.pifu.config import OFFICIAL, PRESETS, ColourNorm, PifuConfig
from baselines.pifu.network import ShapeNet, blank, count_parameters
from baselines.pifu.whose import refuse_other
from robench.errors import EnvironmentNotReady, UsageError
from robench.io.files import sha256_file, write_bytes_atomic
from robench.io.weights import listed, why_unreadable

N = TypeVar("N", bound=nn.Module)
C = TypeVar("C")
FORMAT = "robench-pifu/1"
CONFIG_FILE = "pifu.json"
MODEL_FILE = "model.safetensors"
"""What a training writes into its folder."""
_MOST_PARAMETERS = 500_000_000
"""The published networks have 15 million; options that ask for more are refused before memory is taken for them."""


@dataclass
class Weights:
    """Networks as a checkpoint holds them, on the CPU in evaluation mode.

    Attributes:
        config: Their options.
        shape: net_G.
        colour: net_C, or None.
        sha256: Of the file; of both files' digests, net_G first, where net_C lies in its own.
        keys: Tensors that were read.
        provenance: What the writer said about data and training (our own files).
    """

    config: PifuConfig
    shape: ShapeNet
    colour: ColourNet | None
    sha256: str
    keys: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Distinct parameters of both networks."""
        return count_parameters(self.shape) + (count_parameters(self.colour) if self.colour is not None else 0)


def alias_groups(net: nn.Module) -> list[list[str]]:
    """Return the names of each tensor of a state dict, in its order; a tensor may have several."""
    groups: dict[int, list[str]] = {}
    for key, tensor in net.state_dict(keep_vars=True).items():
        groups.setdefault(id(tensor), []).append(key)
    return list(groups.values())


def load_state(net: nn.Module, state: Mapping[str, Tensor], source: str, hint: str = "") -> None:
    """Copy a state dict into a network, strictly.

    Args:
        net: The network; its dtype is kept.
        state: Tensors by name. One name of each aliased tensor suffices; if several are given they must agree.
        source: What to call the file in a message.
        hint: The next step for a file that does not fit.

    Raises:
        UsageError: Naming every missing, unexpected and misshapen key, or values that are not finite.
    """
    check_fit(net, state, source, hint)
    own = net.state_dict()
    with torch.no_grad():
        for group in alias_groups(net):
            given = [state[k] for k in group if k in state]
            if any(not torch.equal(given[0], other) for other in given[1:]):
                raise UsageError(f"{source} gives different values to one tensor", got=" and ".join(group))
            if given[0].is_floating_point() and not bool(torch.isfinite(given[0]).all()):
                raise UsageError(f"{source} has weights that are not finite", got=group[-1])
            own[group[0]].copy_(given[0])


def check_fit(net: nn.Module, state: Mapping[str, Tensor], source: str, hint: str) -> None:
    """Compare names and shapes; errors as in `load_state`."""
    groups = alias_groups(net)
    own = net.state_dict()
    known = set(own)
    missing = [group[-1] for group in groups if not any(k in state for k in group)]
    unexpected = [k for k in state if k not in known]
    misshapen = [
        f"{k} {tuple(v.shape)} instead of {tuple(own[k].shape)}"
        for k, v in state.items()
        if k in known and v.shape != own[k].shape
    ]
    if missing or unexpected or misshapen:
        found = [
            f"{len(names)} {kind}: {listed(names)}"
            for kind, names in (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
            if names
        ]
        raise UsageError(f"{source} does not fit the network", got="; ".join(found), hint=hint)


def read_torch(path: Path, wanted: str, stand_ins: Sequence[tuple[type, str]] = ()) -> Any:
    """Read a file saved by torch (zip or the older format), without running code in it.

    Args:
        path: The file.
        wanted: What a message says is expected where there is none.
        stand_ins: Classes to put in the place of others, by their full names, for this file; see
            `torch.serialization.safe_globals`. Nothing else than tensors and plain values is read.

    Raises:
        UsageError: If there is no such file, it is damaged, or would have to run code.
    """
    if not path.is_file():
        raise UsageError("There is no such checkpoint", got=str(path), expected=wanted)
    try:
        _refuse_packed(path)
        with torch.serialization.safe_globals(list(stand_ins)):
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # A damaged pickle can raise nearly anything; each case is the same news to the user.
        raise UsageError(
            f"{path} is not a readable checkpoint",
            got=why_unreadable(error),
            expected="an undamaged torch file that holds tensors only",
            hint="this may be a checkpoint of PIFuHD: --model pifuhd"
            if "argparse.Namespace" in str(error) and not stand_ins
            else "download the file again and compare its size and SHA-256",
        ) from error


def read_official(path: Path) -> dict[str, Tensor]:
    """Read a bare state dict saved by torch; errors as in `read_torch`, and for anything but tensors by name."""
    state = read_torch(path, "the file net_G of PIFu")
    if not isinstance(state, dict) or not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        names = ", ".join(map(str, list(state)[:4])) if isinstance(state, dict) else ""
        raise UsageError(
            f"{path} is not a bare state dict",
            got=f"a {type(state).__name__}" + (f" with {names}" if names else ""),
            expected="tensors by name, as in PIFu's net_G and net_C",
        )
    return state


def _refuse_packed(path: Path) -> None:
    """Refuse a zip with compressed members, which may unpack to any size; torch stores its tensors as they are.

    Raises:
        ValueError: If there is one.
    """
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("an archive with compressed members, which torch does not write")


def _shapes(net_class: type[nn.Module], config: PifuConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        net = net_class(config)
    return {k: v.shape for k, v in net.state_dict().items()}


def guess_config(state: Mapping[str, Tensor]) -> str:
    """Return a sentence about which network a state dict belongs to, or an empty string."""
    shapes = {k: v.shape for k, v in state.items()}
    if any(k.startswith(("netG.", "netF.", "image_filter.normal")) for k in shapes) or "model_state_dict" in shapes:
        return "this is a PIFuHD checkpoint: --model pifuhd"
    if shapes and all(k.startswith("module.") for k in shapes):
        return "its names begin with 'module.'; save the network without DataParallel"
    downs, norms = ("ave_pool", "conv64", "conv128"), ("group", "batch")
    colours: tuple[ColourNorm, ...] = ("group", "batch", "instance")
    options: list[dict[str, Any]] = [
        {"norm": n, "down": d, "residual": r, "skip_hourglass": s}
        for n in norms
        for d in downs
        for r in (True, False)
        for s in (False, True)
    ]
    colour = any(k.startswith("image_filter.model.") for k in shapes)
    for preset, base in PRESETS.items():
        if colour:
            for norm in colours:
                if shapes == _shapes(ColourNet, replace(base, colour_norm=norm)):
                    return f"this is a net_C of the preset '{preset}' with {_changes({'colour_norm': norm}, base)}"
            continue
        for change in options:
            if shapes == _shapes(ShapeNet, replace(base, **change)):
                return f"this is a net_G of the preset '{preset}' with {_changes(change, base)}"
    return ""


def _changes(change: Mapping[str, Any], base: PifuConfig) -> str:
    differing = {k: v for k, v in change.items() if getattr(base, k) != v}
    if not differing:
        return "the published options"
    return f"the options {json.dumps(differing)}; write them to {CONFIG_FILE} beside the file"


def load_official(path: Path) -> Weights:
    """Load the authors' weights.

    Args:
        path: The file ``net_G``, or a folder with ``net_G`` and perhaps ``net_C``. Options that differ from the
            published ones are read from ``pifu.json`` beside them.

    Raises:
        UsageError: If a file is missing, damaged or does not fit.
    """
    folder = path if path.is_dir() else path.parent
    shape_path = path / "net_G" if path.is_dir() else path
    colour_path = path / "net_C" if path.is_dir() and (path / "net_C").exists() else None
    options = folder / CONFIG_FILE
    config = _read_options(options) if options.is_file() else OFFICIAL
    shape, keys = _load_one(ShapeNet, config, shape_path, "net_G")
    digest, colour = sha256_file(shape_path), None
    if colour_path is not None:
        colour, more = _load_one(ColourNet, config, colour_path, "net_C")
        keys += more
        digest = hashlib.sha256((digest + sha256_file(colour_path)).encode()).hexdigest()
    return Weights(config, shape, colour, digest, keys)


def _read_options(path: Path) -> PifuConfig:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The options {path} cannot be read", got=str(error)) from error
    return PifuConfig.from_json(text)


def _load_one(net_class: type[N], config: PifuConfig, path: Path, name: str) -> tuple[N, int]:
    state = read_official(path)
    fits = {k: v.shape for k, v in state.items()} == _shapes(net_class, config)
    net = filled(net_class, config, state, f"{path} as {name}", "" if fits else guess_config(state))
    return net, len(state)


def filled(net_class: Callable[[C], N], config: C, state: Mapping[str, Tensor], source: str, hint: str = "") -> N:
    """Return a network with the weights of a file, in evaluation mode; its memory is taken only once all fits."""
    with torch.device("meta"):
        outline = net_class(config)
    if (count := count_parameters(outline)) > _MOST_PARAMETERS:
        expected = f"at most {_MOST_PARAMETERS:,}"
        raise UsageError(f"The options of {source} make a network of {count:,} parameters", expected=expected)
    check_fit(outline, state, source, hint)
    net = blank(net_class, config)
    load_state(net, state, source, hint)
    net.eval()
    return net


def save_weights(
    path: Path,
    shape: ShapeNet,
    colour: ColourNet | None,
    provenance: Mapping[str, Any],
    dtype: torch.dtype = torch.float32,
) -> None:
    """Write both networks as one safetensors file, atomically.

    Args:
        path: The file.
        shape: net_G; its options are written too.
        colour: net_C or None.
        provenance: JSON-able facts about data, training and licence.
        dtype: ``float32`` or ``float16`` for the floating-point tensors on disk.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for name, net in (("net_G", shape), ("net_C", colour)):
        if net is None:
            continue
        state = net.state_dict()
        for group in alias_groups(net):
            value = state[group[-1]].detach().cpu()
            tensors[f"{name}.{group[-1]}"] = (value.to(dtype) if value.is_floating_point() else value).contiguous()
    metadata = {
        "format": FORMAT,
        "config": shape.config.to_json(),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
    }
    write_bytes_atomic(path, save(tensors, metadata=metadata))


def read_own(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read a safetensors file: its metadata and its tensors.

    Raises:
        UsageError: If it is damaged.
    """
    from safetensors import safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            return dict(file.metadata() or {}), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
    except Exception as error:
        raise UsageError(
            f"{path} is not a readable safetensors file",
            got=why_unreadable(error),
            hint="download or train it again",
        ) from error


def _told_config(metadata: Mapping[str, str]) -> PifuConfig:
    """Return the options of the PIFu inside another model, so that a message names what the two differ in."""
    try:
        return PifuConfig.from_mapping(json.loads(metadata["config"])["pifu"])
    except (KeyError, TypeError, ValueError, RecursionError, UsageError):
        return OFFICIAL


def load_own(path: Path) -> Weights:
    """Load a file that `save_weights` wrote; weights become float32.

    Raises:
        EnvironmentNotReady: If there is no such file.
        UsageError: If it is damaged, of another format or does not fit its own options.
    """
    if not path.is_file():
        raise EnvironmentNotReady(
            "The weights of pifu-mini are not there",
            got=f"no file {path}",
            hint="robench train pifu --config baselines/pifu/configs/mini.yaml --data DIR, then --checkpoint FILE",
        )
    metadata, state = read_own(path)
    if metadata.get("format") != FORMAT:
        with torch.device("meta"):
            own = [f"net_G.{group[-1]}" for group in alias_groups(ShapeNet(_told_config(metadata)))]
        refuse_other(path, metadata, state.keys(), own, "PIFu")
    try:
        config = PifuConfig.from_json(metadata["config"])
        provenance = json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, RecursionError) as error:
        raise UsageError(f"The metadata of {path} are damaged", got=f"{type(error).__name__}: {error}") from error
    parts: dict[str, dict[str, Tensor]] = {"net_G": {}, "net_C": {}}
    for key, value in state.items():
        name, _, rest = key.partition(".")
        if name not in parts:
            raise UsageError(f"{path} has a tensor of neither network", got=key, expected="net_G.… or net_C.…")
        parts[name][rest] = value
    shape = filled(ShapeNet, config, parts["net_G"], f"{path} (net_G)")
    colour = filled(ColourNet, config, parts["net_C"], f"{path} (net_C)") if parts["net_C"] else None
    return Weights(config, shape, colour, sha256_file(path), len(state), provenance)


def load_weights(path: Path) -> Weights:
    """Load official weights or our own, by the file's kind; errors as in `load_official` and `load_own`.

    Args:
        path: See `load_official`; or a safetensors file of ours, or the folder of a training.
    """
    if path.is_dir() and not (path / "net_G").is_file() and (path / MODEL_FILE).is_file():
        path = path / MODEL_FILE
    return load_own(path) if path.suffix == ".safetensors" else load_official(path)
