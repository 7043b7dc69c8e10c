"""What ``robench list`` and ``robench show`` can be asked about."""

from __future__ import annotations

from robench.errors import UsageError
from robench.registry import KINDS, Kind, did_you_mean

RECIPES = "recipes"
ALL_KINDS: tuple[str, ...] = (*KINDS, RECIPES)


def plural(word: str) -> str:
    """Return the kind that a user means by its singular or plural.

    Raises:
        UsageError: If there is no such kind.
    """
    for kind in ALL_KINDS:
        if word.lower() in (kind, kind.removesuffix("s")):
            return kind
    close = did_you_mean(word, ALL_KINDS)
    expected = "one of " + ", ".join(ALL_KINDS)
    raise UsageError(f"There is no kind '{word}'", expected=f"{expected} ({close})" if close else expected)


def as_kind(kind: str) -> Kind:
    """Narrow a plural that is not ``recipes`` to a registry kind."""
    assert kind in KINDS
    return kind
