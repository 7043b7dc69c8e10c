"""How a run was made, for people: from its ``run.json``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robench.errors import RobenchError, printable
from robench.io.files import read_json


def facts_of(run: Path) -> tuple[str, list[tuple[str, str]]]:
    """Return the name of a run and pairs of a title and a text; what its record lacks is left out.

    Paths of the machine that made the run are not among them: a report may be published.

    Args:
        run: Run folder.
    """
    try:
        about = read_json(run / "run.json")
    except (RobenchError, OSError):
        about = {}
    about = _mapping(about)
    data, device, cards = (_mapping(about.get(name)) for name in ("dataset", "device", "cards"))
    model, masker, protocol = (
        _mapping(cards.get("model")),
        _mapping(cards.get("masker")),
        _mapping(about.get("protocol")),
    )
    penalty = _mapping(protocol.get("penalty"))
    facts = [
        ("Model", _joined(about.get("model"), model.get("summary"))),
        ("Checkpoint (SHA-256)", _text(about.get("checkpoint_sha256"))),
        ("Parameters", f"{about['parameters']:,}" if isinstance(about.get("parameters"), int) else ""),
        ("Options of the model", _pairs(protocol.get("model_options"))),
        ("Reads", _list(_mapping(model.get("extra")).get("inputs_used"))),
        ("Licence of the model", _text(model.get("licence"))),
        ("Reference", _text(model.get("reference"))),
        ("Data set", _joined(data.get("name"), _amount(data))),
        ("Revision of the data", _text(data.get("revision"))),
        ("Corrupted set", _text(about.get("cset_id"))),
        ("Masks", _joined(about.get("mask_source"), masker.get("summary"))),
        ("A failure costs", f"the error of {penalty['model']} on that sample" if penalty.get("model") else ""),
        ("Device", _devices(device)),
        ("Versions", _pairs(about.get("versions"))),
        ("State", _text(about.get("state"))),
    ]
    return printable(run.name), [(title, printable(text)) for title, text in facts if text]


def _devices(device: Mapping[str, Any]) -> str:
    parts = [f"{part}: {device[part]}" for part in ("model", "masker") if device.get(part)]
    return ", ".join(parts)


def _amount(data: Mapping[str, Any]) -> str:
    parts = [f"{data[name]} {name}" for name in ("subjects", "samples") if isinstance(data.get(name), int)]
    if data.get("partial"):
        parts.append("a part of the data set")
    return ", ".join(parts)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _joined(*values: Any) -> str:
    return ": ".join(filter(None, map(_text, values)))


def _list(value: Any) -> str:
    return ", ".join(map(_text, value)) if isinstance(value, list) else ""


def _pairs(value: Any) -> str:
    return ", ".join(f"{name} {_text(text)}" for name, text in _mapping(value).items() if _text(text))
