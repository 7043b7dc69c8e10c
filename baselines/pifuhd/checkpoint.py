"""Strict reading of the authors' pifuhd.pt, and of our own files; no code in them is ever run.

The authors' file holds tensors (``model_state_dict``) and two sets of stored options (``opt``, ``opt_netG``), objects
of a class of Python's standard library, which torch's weights-only reader refuses. They are read into a stand-in that
keeps plain values and does nothing.

What the network looks like is told by the tensors' own shapes, and every one of them is then checked against it. From
the options comes what shapes cannot tell: the scale of the depth, which hidden layer the levels share, and how the fine
stem halves the resolution. Our own files, safetensors with the same names, say their options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from baselines.pifu.checkpoint import alias_groups, filled, read_own, read_torch
from baselines.pifu.network import count_parameters
from baselines.pifu.whose import refuse_other
from baselines.pifuhd.config import OFFICIAL, PifuHDConfig
from baselines.pifuhd.network import PifuHDNet
from robench.errors import UsageError
from robench.io.files import read_json, sha256_file, write_bytes_atomic

CONFIG_FILE = "pifuhd.json"
OFFICIAL_SHA256 = "891637c65f122c7efe212ebba7ae4581f86d75c92fdd5894096fe32f562175e9"
OFFICIAL_BYTES = 1_548_375_177
FORMAT = "robench-pifuhd/1"
_WANTED = "the authors' pifuhd.pt"
_STATE = "model_state_dict"
_MOST_OPTIONS = 1000


class StoredOptions:
    """Stands for an ``argparse.Namespace`` in a file: keeps its plain values, whatever else it holds.

    Attributes:
        values: Numbers, texts and flags, by name.
    """

    # The reader makes objects without calling __init__.
    values: Mapping[str, Any] = MappingProxyType({})

    def __setstate__(self, state: object) -> None:
        if not isinstance(state, dict) or len(state) > _MOST_OPTIONS:
            raise ValueError("stored options that are no mapping of names to values")
        self.values = {str(name): value for name, value in state.items() if isinstance(value, bool | int | float | str)}


@dataclass
class Weights:
    """A checkpoint's network, on the CPU in evaluation mode.

    Attributes:
        config: Its options.
        net: Both levels and the normal networks.
        sha256: Of the file.
        keys: Tensors that were read.
        provenance: What the writer said about data and training (our own files).
    """

    config: PifuHDConfig
    net: PifuHDNet
    sha256: str
    keys: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Distinct parameters."""
        return count_parameters(self.net)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], Mapping[str, Any], Mapping[str, Any]]:
    """Read the tensors by name, and the stored options of the whole and of the coarse level.

    Raises:
        UsageError: If there is no such file, it is damaged, holds something else, or would have to run code.
    """
    content = read_torch(path, _WANTED, [(StoredOptions, "argparse.Namespace")])
    if not isinstance(content, dict) or not isinstance(content.get(_STATE), dict):
        names = ", ".join(map(str, list(content)[:4])) if isinstance(content, dict) else ""
        bare = any(str(name).startswith("surface_classifier.") for name in content) if names else False
        raise UsageError(
            f"{path} is no checkpoint of PIFuHD",
            got=f"a {type(content).__name__}" + (f" with {names}" if names else ""),
            expected=f"'{_STATE}' with tensors by name, as in {_WANTED}",
            hint="this is a network of PIFu: --model pifu" if bare else "",
        )
    state = content[_STATE]
    if not all(isinstance(k, str) and isinstance(v, Tensor) for k, v in state.items()):
        raise UsageError(f"The '{_STATE}' of {path} holds more than tensors by name", expected=_WANTED)
    stored = [content.get(name) for name in ("opt", "opt_netG")]
    found = [options.values if isinstance(options, StoredOptions) else {} for options in stored]
    return dict(state), found[0], found[1]


def structure(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Return the options of `PifuHDConfig` that shapes of tensors tell; what is not there is left out."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    found: dict[str, Any] = {}
    for prefix, names in (
        ("netG.", ("width", "num_stack", "hourglass_depth", "hourglass_dim", "mlp", "skips")),
        ("", ("fine_width", "fine_stack", "fine_depth", "fine_dim", "fine_mlp", "fine_skips")),
    ):
        width, stacks, depth, dim, mlp, skips = names
        found |= _first(width, shapes.get(f"{prefix}image_filter.conv1.weight"))
        found |= _first(dim, shapes.get(f"{prefix}image_filter.l0.weight"))
        found |= _highest(stacks, shapes, rf"{prefix}image_filter\.l(\d+)\.weight", 1)
        found |= _highest(depth, shapes, rf"{prefix}image_filter\.m0\.b1_(\d+)\.conv1\.weight", 0)
        found |= _classifier(mlp, skips, shapes, f"{prefix}mlp.filters.")
    if "netG.image_filter.bn1.running_mean" in shapes:
        found["norm"] = "batch"
    return found | _normal_network(shapes)


def _first(name: str, shape: tuple[int, ...] | None) -> dict[str, Any]:
    return {name: shape[0]} if shape else {}


def _highest(name: str, shapes: Mapping[str, tuple[int, ...]], pattern: str, more: int) -> dict[str, Any]:
    numbers = [int(match[1]) for key in shapes if (match := re.fullmatch(pattern, key))]
    return {name: max(numbers) + more} if numbers else {}


def _classifier(mlp: str, skips: str, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> dict[str, Any]:
    layers: list[tuple[int, ...]] = []
    while (shape := shapes.get(f"{prefix}{len(layers)}.weight")) is not None and len(shape) == 3:
        layers.append(shape)
    if len(layers) < 2:
        return {}
    inputs = layers[0][1]
    seeing = [i for i in range(1, len(layers)) if layers[i][1] == layers[i - 1][0] + inputs]
    return {mlp: tuple(layer[0] for layer in layers), skips: tuple(seeing)}


def _normal_network(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    # Module 1 is the stem; each halving has three modules, then come the blocks.
    blocks = [
        int(match[1])
        for key in shapes
        if (match := re.fullmatch(r"netG\.netF\.model\.(\d+)\.conv_block\.1\.weight", key))
    ]
    if not blocks:
        return {}
    found = {"normal_downs": (min(blocks) - 4) // 3, "normal_blocks": len(blocks)}
    return found | _first("normal_width", shapes.get("netG.netF.model.1.weight"))


def configured(
    state: Mapping[str, Tensor], stored: Mapping[str, Any], coarse: Mapping[str, Any], given: Mapping[str, Any]
) -> PifuHDConfig:
    """Return the options of a checkpoint.

    Args:
        state: Its tensors.
        stored: Its options of the whole.
        coarse: Its options of the coarse level.
        given: Options that the user sets, which count most.

    Raises:
        UsageError: If they do not fit together.
    """
    found = structure(state)
    for name, source, text in (
        ("load_size", coarse, "loadSize"),
        ("z_size", coarse, "z_size"),
        ("fine_down", stored, "hg_down"),
    ):
        value = source.get(text)
        if name == "fine_down":
            found |= {name: value} if value in ("ave_pool", "no_down") else {}
        elif isinstance(value, int | float) and not isinstance(value, bool) and value > 0:
            found[name] = float(value) if name == "z_size" else int(value)
    found |= _merged(state, found, coarse.get("merge_layer"))
    return PifuHDConfig.from_mapping(found | dict(given))


def _merged(state: Mapping[str, Tensor], found: Mapping[str, Any], stored: object) -> dict[str, Any]:
    """Return the layer that the levels share: the stored one if its width fits, else the only one that does."""
    first = state.get("mlp.filters.0.weight")
    if first is None or first.ndim != 3 or not {"mlp", "fine_dim"} <= set(found):
        return {}
    hidden = found["mlp"][:-1]
    fitting = [i for i, width in enumerate(hidden) if width == first.shape[1] - found["fine_dim"]]
    if type(stored) is int and -len(hidden) <= stored < len(hidden) and stored % len(hidden) in fitting:
        return {"merge_layer": stored % len(hidden)}
    return {"merge_layer": fitting[0]} if len(fitting) == 1 else {}


def load_weights(path: Path) -> Weights:
    """Load the authors' weights or our own, strictly.

    Args:
        path: ``pifuhd.pt`` or a ``.safetensors`` of ours, or a folder with the one or with our ``model.safetensors``.
            Options that the authors' file does not tell are read from ``pifuhd.json`` beside it.

    Raises:
        UsageError: If it is missing, damaged or does not fit; every missing, unexpected and misshapen key is named.
    """
    file = path
    if path.is_dir():
        ours = path / "model.safetensors"
        file = ours if ours.is_file() and not (path / "pifuhd.pt").exists() else path / "pifuhd.pt"
    if file.suffix == ".safetensors":
        return load_own(file)
    state, stored, coarse = read_checkpoint(file)
    options = file.parent / CONFIG_FILE
    config = configured(state, stored, coarse, _read_options(options) if options.is_file() else {})
    net = filled(PifuHDNet, config, state, str(file), "" if config == OFFICIAL else _differences(config))
    return Weights(config, net, sha256_file(file), len(state))


def save_own(path: Path, net: PifuHDNet, provenance: Mapping[str, Any], dtype: torch.dtype = torch.float32) -> None:
    """Write a network as a safetensors file, atomically, with its options.

    Args:
        path: The file.
        net: All levels.
        provenance: JSON-able facts about data, training and licence.
        dtype: ``float32`` or ``float16`` for the floating-point tensors on disk.
    """
    from safetensors.torch import save

    state = net.state_dict()
    names = [group[-1] for group in alias_groups(net)]
    tensors = {name: state[name].detach().cpu() for name in names}
    kept = {name: (t.to(dtype) if t.is_floating_point() else t).contiguous() for name, t in tensors.items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(asdict(net.config), sort_keys=True),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
    }
    write_bytes_atomic(path, save(kept, metadata=metadata))


def load_own(path: Path) -> Weights:
    """Load a file that `save_own` wrote; weights become float32.

    Raises:
        UsageError: If it is missing, damaged, of another format or does not fit its own options.
    """
    if not path.is_file():
        raise UsageError("There is no such checkpoint", got=str(path), expected="model.safetensors of a training")
    metadata, state = read_own(path)
    if metadata.get("format") != FORMAT:
        with torch.device("meta"):
            own = [group[-1] for group in alias_groups(PifuHDNet(OFFICIAL))]
        refuse_other(path, metadata, state.keys(), own, "PIFuHD")
    try:
        options, provenance = json.loads(metadata["config"]), json.loads(metadata.get("provenance", "{}"))
    except (KeyError, ValueError, RecursionError) as error:
        raise UsageError(f"The metadata of {path} are damaged", got=f"{type(error).__name__}: {error}") from error
    if not isinstance(options, dict) or not isinstance(provenance, dict):
        raise UsageError(f"The metadata of {path} are damaged", got="no mappings")
    config = PifuHDConfig.from_mapping(options)
    net = filled(PifuHDNet, config, state, str(path))
    return Weights(config, net, sha256_file(path), len(state), provenance)


def _differences(config: PifuHDConfig) -> str:
    changed = {f.name: getattr(config, f.name) for f in fields(config)}
    changed = {name: value for name, value in changed.items() if value != getattr(OFFICIAL, name)}
    return f"read as PIFuHD with {json.dumps(changed)}; {CONFIG_FILE} beside the file can say otherwise"


def _read_options(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise UsageError(f"The options {path} are not a JSON object", got=type(values).__name__)
    return values
