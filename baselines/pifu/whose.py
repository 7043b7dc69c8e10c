"""Whose a checkpoint of ours is, for who opens it as another model's."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path

from robench.errors import UsageError
from robench.io.weights import listed


def whose(metadata: Mapping[str, str]) -> tuple[str, str]:
    """Return which model a file's metadata speak of, in words, and the options that open it; empty for no known one."""
    kind = metadata.get("format")
    if kind == "robench-pifu/1":
        return "a checkpoint of pifu", "--model pifu"
    if kind == "robench-pifuhd/1":
        return "a checkpoint of pifuhd", "--model pifuhd"
    if kind == "robench-fusion/1":
        from baselines.fusion.config import MODEL_NAMES, FusionConfig

        try:
            config = FusionConfig.from_json(metadata.get("config", ""))
        except UsageError:
            return "a damaged checkpoint of a fusion", ""
        name = MODEL_NAMES[config.variant]
        words = f"--model {name} --model-option protocol={config.protocol}"
        return f"a checkpoint of {name}, {config.protocol}", words
    return f"format {kind!r}", ""


def refuse_other(
    path: Path, metadata: Mapping[str, str], keys: Collection[str], own: Collection[str], name: str
) -> None:
    """Refuse a file of another format.

    Args:
        path: The file.
        metadata: Its metadata.
        keys: Names of its tensors.
        own: Names that it should have, were it of this model.
        name: What it should be, such as ``PIFu``.

    Raises:
        UsageError: Always, with every key at fault and the options that open the file.
    """
    got, hint = whose(metadata)
    kinds = (("missing", [k for k in own if k not in keys]), ("unexpected", [k for k in keys if k not in own]))
    faults = [f"{len(names)} {kind}: {listed(names)}" for kind, names in kinds if names]
    raise UsageError(f"{path} holds no {name}", got="; ".join([got, *faults]), hint=hint)
