"""Weights that users bring: where they lie, and how they are read strictly and without running code in them.

Nothing here touches the network.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from torch import nn

WEIGHTS_VARIABLE = "ROBENCH_WEIGHTS"
_NAMED = 8  # keys of one kind that a message names before it counts the rest


def weights_folder() -> Path:
    """Return the folder where weights are looked up first and fetched to.

    It is ``$ROBENCH_WEIGHTS``, else ``robench/weights`` in ``$XDG_CACHE_HOME`` or ``~/.cache``.
    """
    chosen = os.environ.get(WEIGHTS_VARIABLE)
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "robench" / "weights"


def find_weights(name: str, given: Path | None, suffixes: Iterable[str], hub: str = "") -> Path:
    """Return a file or folder of weights: as given, else in `weights_folder`, else in the hub's cache.

    Args:
        name: What the weights are called in `weights_folder`, without suffix.
        given: The user's own choice.
        suffixes: Of files that may hold them, the best first.
        hub: Repository of the Hugging Face hub; its cache is looked into, never its server.

    Raises:
        EnvironmentNotReady: If they are nowhere, with the command that fetches or the place that awaits them.
    """
    if given is not None:
        if not given.exists():
            hint = f"hf download {hub} --local-dir {given}" if hub else "name the file or folder that they are in"
            raise EnvironmentNotReady(
                f"The weights of '{name}' are not there", got=f"no file or folder {given}", hint=hint
            )
        return given
    folder = weights_folder()
    for place in (folder / name, *(folder / f"{name}{suffix}" for suffix in suffixes)):
        if place.exists():
            return place
    cached = hub_cache(hub) if hub else None
    if cached is not None:
        return cached
    missing = f"none in {folder / name}" + (f", and {hub} is not in the hub's cache" if hub else "")
    hint = f"hf download {hub}" if hub else f"put them to {folder / name}{next(iter(suffixes), '')}"
    raise EnvironmentNotReady(f"The weights of '{name}' are not there", got=missing, hint=hint)


def hub_cache(repository: str) -> Path | None:
    """Return the folder of a repository in the Hugging Face hub's cache, or None if it is not there."""
    import importlib.util

    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(snapshot_download(repository, local_files_only=True))
    except LocalEntryNotFoundError:
        return None


def network_sha256(net: nn.Module) -> str:
    """Return the sha256 of a network's weights: of names and float32 values, whatever file they came in."""
    digest = hashlib.sha256()
    for name, value in sorted(net.state_dict().items()):
        digest.update(name.encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().data)
    return digest.hexdigest()


def read_tensors(path: Path) -> dict[str, Any]:
    """Read a file of tensors, safetensors or torch's, without running code in it.

    Returns:
        What it holds by name: tensors, or (a torch file) mappings of them.

    Raises:
        UsageError: If it is damaged, or anything but such a file.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open

            with safe_open(str(path), framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118  (not a mapping)
        import torch

        _refuse_packed(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        raise UsageError(
            f"{path} is not a readable file of weights",
            got=why_unreadable(error),
            expected="safetensors, or an undamaged torch file that holds tensors only",
        ) from error
    if not isinstance(found, dict):
        raise UsageError(f"{path} holds no weights by name", got=f"a {type(found).__name__}")
    return found


def why_unreadable(error: Exception) -> str:
    """Return in a few words why a file of weights cannot be read, without torch's advice on how to run code in it."""
    text = str(error)
    if named := re.search(r"GLOBAL ([\w.]+)", text):
        return f"{type(error).__name__}: it names {named[1]}, which is neither a tensor nor a plain value"
    told = text.partition("WeightsUnpickler error:")[2] or text
    return f"{type(error).__name__}: {(told.strip().splitlines() or ['no reason given'])[0][:160]}"


def _refuse_packed(path: Path) -> None:
    """Refuse a zip with compressed members, which may unpack to any size; torch stores its tensors as they are."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                raise ValueError("an archive with compressed members, which torch does not write")


def load_strictly(net: nn.Module, tensors: Mapping[str, Any], source: str, hint: str = "") -> None:
    """Copy tensors into a network by name; its number format is kept.

    Args:
        net: The network; may lie on torch's meta device, and is moved to the CPU then.
        tensors: By the names of its state dict.
        source: What to call them in a message.
        hint: The next step where they do not fit.

    Raises:
        UsageError: Naming every missing, unexpected and misshapen key, or the first that is not finite.
    """
    import torch

    own = net.state_dict()
    missing = [k for k in own if k not in tensors]
    unexpected = [k for k in tensors if k not in own]
    shapes = {k: tuple(getattr(tensors[k], "shape", ())) for k in own if k in tensors}
    misshapen = [f"{k} {v} instead of {tuple(own[k].shape)}" for k, v in shapes.items() if v != tuple(own[k].shape)]
    if missing or unexpected or misshapen:
        kinds = (("missing", missing), ("unexpected", unexpected), ("misshapen", misshapen))
        found = [f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds if names]
        raise UsageError(f"{source} does not fit the network", got="; ".join(found), hint=hint)
    for key, value in tensors.items():
        if value.is_floating_point() and not bool(torch.isfinite(value).all()):
            raise UsageError(f"{source} has weights that are not finite", got=key)
    if any(p.is_meta for p in net.parameters()):
        net.to_empty(device="cpu")
        own = net.state_dict()
    with torch.no_grad():
        for key, value in tensors.items():
            own[key].copy_(value)


def listed(names: list[str]) -> str:
    """Return names for a message: all, unless they are so many that the pattern is clear from the first few."""
    rest = len(names) - _NAMED
    return ", ".join(names) if rest <= 40 else ", ".join(names[:_NAMED]) + f" and {rest} more"
