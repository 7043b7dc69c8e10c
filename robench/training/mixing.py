"""Which training pictures are corrupted, and how: the option ``corruptions`` of a trainer.

Two ways to write it. A list has a share of the pictures for each condition, and what is left stays clean::

    corruptions:
      - {condition: low_light, severities: [4], share: 0.2}
      - {condition: "fog_3d:2 + iso_noise:3", share: 0.2}

A recipe shares all but the clean pictures equally among its conditions::

    corruptions: {recipe: 2d-priors, clean_share: 0.25}

A condition is written as behind ``-c``; its severities are equally likely.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from robench.errors import UsageError

_EXPECTED = "a list such as [{condition: low_light, severities: [4], share: 0.2}], or {recipe: NAME, clean_share: 0.25}"
_ALL = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Portion:
    """A share of the pictures.

    Attributes:
        condition: A corruption or a chain, as behind ``-c``.
        share: Of all pictures, above 0.
        severities: In 1..5, equally likely; nothing for a condition whose parts all have a level.
    """

    condition: str
    share: float
    severities: tuple[int, ...] = _ALL


@dataclass(frozen=True)
class Mixing:
    """Shares of clean and corrupted pictures.

    Attributes:
        clean_share: Share of untouched pictures, in [0, 1).
        recipe: Name or file of a recipe whose conditions share the rest; or empty.
        portions: What shares the rest instead; or none.
    """

    clean_share: float
    recipe: str = ""
    portions: tuple[Portion, ...] = ()

    def __post_init__(self) -> None:
        if not (math.isfinite(self.clean_share) and 0 <= self.clean_share < 1):
            raise _wrong("clean_share", self.clean_share, "at least 0 and less than 1")
        if bool(self.recipe) == bool(self.portions):
            raise _wrong("a value", "both a recipe and a list" if self.recipe else "nothing", _EXPECTED)
        for portion in self.portions:
            if not (math.isfinite(portion.share) and 0 < portion.share <= 1):
                raise _wrong("share", portion.share, f"a share of the pictures for '{portion.condition}', up to 1")
            if not portion.severities or not set(portion.severities) <= set(_ALL):
                raise _wrong("severities", list(portion.severities), "whole numbers from 1 to 5")
        total = self.clean_share + sum(portion.share for portion in self.portions)
        if self.portions and abs(total - 1) > 1e-6:
            raise _wrong("shares", f"{total:g} in all, clean pictures included", "1")

    def to_json(self) -> dict[str, Any]:
        """Return plain values, which `from_value` reads."""
        return asdict(self)

    @classmethod
    def from_value(cls, value: Any) -> Self:
        """Read the value of a trainer's option.

        Raises:
            UsageError: If it is not understood, or shares do not add up.
        """
        if isinstance(value, list | tuple):
            portions = tuple(_portion(entry) for entry in value)
            # Rounded, so that five fifths make a whole.
            clean = round(1 - sum(portion.share for portion in portions), 9)
            if clean < 0:
                raise _wrong("shares", f"{1 - clean:g} in all", "at most 1")
            # All corrupted is a choice; none is not.
            return cls(clean, "", portions)
        if not isinstance(value, Mapping) or not set(value) <= {"recipe", "clean_share", "portions"}:
            raise _wrong("a value", value, _EXPECTED)
        recipe, portions_ = value.get("recipe", ""), value.get("portions", ())
        if not isinstance(recipe, str) or not isinstance(portions_, list | tuple):
            raise _wrong("a value", value, _EXPECTED)
        return cls(_number(value, "clean_share"), recipe, tuple(_portion(entry) for entry in portions_))


def _portion(entry: Any) -> Portion:
    known = {"condition", "share", "severities"}
    if not isinstance(entry, Mapping) or not {"condition", "share"} <= set(entry) <= known:
        raise _wrong("an entry", entry, "such as {condition: low_light, severities: [4], share: 0.2}")
    severities = entry.get("severities", _ALL)
    if not isinstance(severities, list | tuple) or not all(type(level) is int for level in severities):
        raise _wrong("severities", severities, "a list such as [1, 2, 3]")
    if not isinstance(entry["condition"], str):
        raise _wrong("condition", entry["condition"], "a corruption, or a chain such as fog_3d:2 + iso_noise:3")
    return Portion(entry["condition"], _number(entry, "share"), tuple(sorted(set(severities))))


def _number(values: Mapping[str, Any], name: str) -> float:
    value = values.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, "a number")
    return float(value)


def _wrong(name: str, value: Any, expected: str) -> UsageError:
    got = value if isinstance(value, str) else repr(value)
    return UsageError(f"The training option 'corruptions' has {name} that cannot be", got=got[:120], expected=expected)
