"""The manifest of a corrupted set, which a stranger may have written: what must be in it before it is used."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from robench.data.depth_sources import SOURCES, DepthSources
from robench.engine.conditions import RecipeCell
from robench.errors import Mismatch
from robench.io.files import json_text, read_json, sha256_bytes

MANIFEST: Final = "manifest.json"
REPAIR: Final = "run the robench corrupt command of the set again: it makes anew what is damaged"
_ID = re.compile("[0-9a-f]{64}")


def manifest_sha256(manifest: Mapping[str, Any]) -> str:
    """Return the hash of a manifest's content, which its ``manifest_sha256`` states."""
    return sha256_bytes(json_text({k: v for k, v in manifest.items() if k != "manifest_sha256"}).encode())


def is_set(folder: Path) -> bool:
    """True if the folder is a corrupted set, finished or not (data sets have a manifest, too)."""
    manifest = read_json(folder / MANIFEST) if (folder / MANIFEST).is_file() else None
    return isinstance(manifest, dict) and "cset_id" in manifest


def resume_command(manifest: Mapping[str, Any]) -> str:
    """Return the command that finishes an unfinished set, safe to paste into a shell whoever wrote the manifest."""
    try:
        words = shlex.split(str(manifest.get("command")))
    except ValueError:
        words = []
    return shlex.join(words) if words[:2] == ["robench", "corrupt"] else "robench corrupt"


def checked(manifest: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """Return a manifest whose every field that is read later is there and of its type.

    The id and the names become parts of folder names, so they are looked at closely.

    Raises:
        Mismatch: If one is not.
    """
    try:
        data, recipe, depth = manifest["dataset"], manifest["recipe"], manifest["depth"]
        texts = [data[key] for key in ("name", "root", "revision")]
        texts += [recipe[key] for key in ("name", "version", "description", "reference")]
        texts += [value for failed in manifest["failed"] for value in (failed["sample_id"], failed["message"])]
        sound = (
            _ID.fullmatch(manifest["cset_id"]) is not None
            and all(isinstance(text, str) for text in texts)
            and isinstance(data["split"], str | None)
            and isinstance(data["partial"], bool)
            and isinstance(manifest["seed"], int)
            and (depth is None or set(DepthSources.from_facts(depth).order) <= set(SOURCES))
            and all(isinstance(RecipeCell.from_json(cell).corruption, str) for cell in recipe["cells"])
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Mismatch(
            f"The manifest of {folder} is damaged", got=f"{type(error).__name__}: {error}", hint=REPAIR
        ) from error
    if not sound:
        raise Mismatch(f"The manifest of {folder} is damaged", got="a field of another type", hint=REPAIR)
    return manifest
