"""Options of a model (``--model-option crop=auto``): declared on its card, kept in attributes, part of the protocol.

A model's card says ``extra["options"]``: a name for each, with the list of its choices or a sentence about its values.
The attribute of that name holds the value; its type is the option's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from robench import registry
from robench.contracts import Reconstructor
from robench.errors import EnvironmentNotReady, UsageError
from robench.registry import did_you_mean


def declared(model: Reconstructor) -> Mapping[str, Any]:
    """Return what a model's card says of its options: name to choices or to a sentence."""
    found = model.card.extra.get("options", {})
    return found if isinstance(found, Mapping) else {}


def option_values(model: Reconstructor) -> dict[str, Any]:
    """Return the values that a model would work with now, sorted by name."""
    return {name: getattr(model, name) for name in sorted(declared(model))}


def configure(model: Reconstructor, options: Mapping[str, str]) -> None:
    """Set options of a model that is not open yet.

    Raises:
        UsageError: If the model has no such option, or the value is none of its choices or of another type.
    """
    known = declared(model)
    for name, text in options.items():
        if name not in known:
            raise UsageError(
                f"The model '{model.card.name}' has no option '{name}'",
                expected=", ".join(sorted(known)) or "no option at all",
                hint=did_you_mean(name, known) or f"robench show model {model.card.name}",
            )
        setattr(model, name, _typed(model, name, text, known[name]))


def _typed(model: Reconstructor, name: str, text: str, about: Any) -> Any:
    what = f"The option '{name}' of the model '{model.card.name}' cannot have this value"
    if not isinstance(about, str):
        choices = {str(choice): choice for choice in about}
        if text not in choices:
            raise UsageError(what, got=f"'{text}'", expected=", ".join(choices), hint=did_you_mean(text, choices))
        return choices[text]
    kind = type(getattr(model, name))
    try:
        return kind(text)
    except ValueError:
        raise UsageError(what, got=f"'{text}'", expected=about) from None


def models_with(method: str) -> str:
    """Return the models of the registry that have a method beside a `Reconstructor`'s, for a message.

    Args:
        method: Such as ``adapt`` or ``refine``.
    """
    able = [name for name in registry.entries("models") if _has(name, method)]
    return " or ".join(able) or "a model that can"


def _has(name: str, method: str) -> bool:
    try:
        return hasattr(registry.load("models", name), method)
    except EnvironmentNotReady:
        return False  # a stranger's broken plug-in is no choice
