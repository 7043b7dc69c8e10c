"""What models are called in figures: their names, and what their checkpoints say of their making."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.errors import printable
from robench.reproduce.settings import ModelChoice

_FILE = "model.safetensors"
_MOST = 80


def method_labels(choices: Sequence[ModelChoice]) -> list[str]:
    """Return what tells models apart: ``pifu-mini, adapted on 2 batches``; where that does not, the checkpoint.

    Args:
        choices: The models.
    """
    found = [", ".join([choice.name, *making(choice.checkpoint)]) for choice in choices]
    if len(set(found)) < len(found):
        found = [choice.label if found.count(text) > 1 else text for choice, text in zip(choices, found, strict=True)]
    # The same one twice still gets two names.
    texts = [text if text not in found[:i] else f"{text} ({found[:i].count(text) + 1})" for i, text in enumerate(found)]
    return [printable(text)[:_MOST] for text in texts]


def making(checkpoint: Path | None) -> list[str]:
    """Return in words what a checkpoint says of its making; nothing where it says nothing that is understood.

    Args:
        checkpoint: A safetensors file with ``provenance`` in its metadata, or a folder with `_FILE`; None for the
            model's own weights.
    """
    said = _provenance(checkpoint)
    options = said.get("options")
    options = options if isinstance(options, Mapping) else {}
    words = []
    if options.get("protocol") == "as-coded":
        words.append("as coded")
    if said.get("corruptions") or options.get("corruptions"):
        words.append("corruption-augmented")
    if said.get("masks") or options.get("masks"):
        words.append("trained on found masks")
    history = said.get("adapted")
    counts = [one.get("batches") for one in history if isinstance(one, Mapping)] if isinstance(history, list) else []
    batches = sum(count for count in counts if isinstance(count, int) and not isinstance(count, bool))
    if counts:
        words.append(f"adapted on {batches} batch{'' if batches == 1 else 'es'}")
    return words


def _provenance(checkpoint: Path | None) -> dict[str, Any]:
    if checkpoint is None:
        return {}
    path = checkpoint / _FILE if checkpoint.is_dir() else checkpoint
    if path.suffix != ".safetensors" or not path.is_file():
        return {}
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "np") as file:
            said = json.loads((file.metadata() or {}).get("provenance", "{}"))
    except (SafetensorError, OSError, ValueError, RecursionError):
        return {}  # a label is not where a damaged checkpoint is refused: opening the model does that
    return said if isinstance(said, dict) else {}
