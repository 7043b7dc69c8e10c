"""What a recipe is made of: single corruptions, chains of several, and mixtures drawn by chance.

Every condition has a name and severities from 1 to 5; name and severity stand in folder names, rows and tables.

* A **single** corruption goes by its own name.
* A **chain** applies its parts one after the other. A part has a level of its own (``fog_3d:2``), or takes the severity
  of the condition. A chain whose parts all have levels is one condition; its severity is the highest of its levels.
* A **mixture** is a chain that is drawn for each image: which corruptions, how many and in which order follow from
  seed, sample id and the mixture's version alone. All parts are at the severity of the condition, and an image gets the
  same corruptions at every severity, so that its five pictures can be compared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from robench import registry
from robench.data.ids import safe_id
from robench.errors import UsageError
from robench.io.files import json_text, sha256_bytes

CLEAN = "clean"
"""The name that severity 0 goes by."""
SEVERITIES = (1, 2, 3, 4, 5)
CHAIN, MIXTURE = "chain ", "mixture "
"""How the versions of composed conditions begin; a single corruption has its card's version."""


@dataclass(frozen=True)
class Part:
    """One corruption of a chain.

    Attributes:
        corruption: Its registered name.
        severity: 1..5, or None for the severity of the condition.
    """

    corruption: str
    severity: int | None = None

    def __str__(self) -> str:
        return self.corruption if self.severity is None else f"{self.corruption}:{self.severity}"


@dataclass(frozen=True)
class Chain:
    """Corruptions one after the other, at least one.

    Attributes:
        parts: The first is applied first.
    """

    parts: tuple[Part, ...]

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The names of the corruptions that it may apply, each once."""
        return tuple(dict.fromkeys(part.corruption for part in self.parts))

    @property
    def fixed_severity(self) -> int | None:
        """The severity of a chain whose parts all have a level: the highest of them. None if a part has none."""
        levels = [part.severity for part in self.parts if part.severity is not None]
        return max(levels) if len(levels) == len(self.parts) else None

    @property
    def default_name(self) -> str:
        """A name made from the parts, safe as a folder's: ``fog_3d-2--iso_noise-3``."""
        return safe_id("--".join(str(part).replace(":", "-").replace("/", "_") for part in self.parts))

    def version(self) -> str:
        """Return what its pictures depend on: ``chain fog_3d@1:2 + iso_noise@1:3``."""
        names = [
            f"{part.corruption}@{version_of(part.corruption)}" + (f":{part.severity}" if part.severity else "")
            for part in self.parts
        ]
        return CHAIN + " + ".join(names)

    def parts_of(self, severity: int, rng: np.random.Generator) -> list[tuple[str, int]]:
        """Return every part and its level at a severity of the condition; nothing is drawn."""
        return [(part.corruption, part.severity or severity) for part in self.parts]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        return {"chain": [{"corruption": part.corruption, "severity": part.severity} for part in self.parts]}


@dataclass(frozen=True)
class Mixture:
    """Chains drawn by chance, another one for every image.

    Attributes:
        corruptions: Names to draw from, without putting back.
        least: At least so many parts.
        most: At most so many; every number between is as likely.
        order: ``drawn`` applies them in the order in which they were drawn, ``listed`` in the order of `corruptions`.
        draw: Which of several independent draws this is, from 1 up.
    """

    corruptions: tuple[str, ...]
    least: int
    most: int
    order: Literal["drawn", "listed"] = "drawn"
    draw: int = 1

    def version(self) -> str:
        """Return a hash of what its pictures depend on; the order of `corruptions` counts."""
        named = [f"{name}@{version_of(name)}" for name in self.corruptions]
        content = json_text([named, self.least, self.most, self.order, self.draw])
        return MIXTURE + sha256_bytes(content.encode())[:16]

    def parts_of(self, severity: int, rng: np.random.Generator) -> list[tuple[str, int]]:
        """Draw the parts of an image, each at the severity of the condition.

        Args:
            severity: 1..5; does not change what is drawn.
            rng: Belongs to (seed, sample id, version of the mixture).
        """
        count = int(rng.integers(self.least, self.most + 1))
        chosen = [int(index) for index in rng.permutation(len(self.corruptions))[:count]]
        if self.order == "listed":
            chosen.sort()
        return [(self.corruptions[index], severity) for index in chosen]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest."""
        fields = {"from": list(self.corruptions), "parts": [self.least, self.most]}
        return {"mixture": {**fields, "order": self.order, "draw": self.draw}}


def version_of(corruption: str) -> str:
    """Return the version of an installed corruption.

    Raises:
        UsageError: If it is not registered.
        EnvironmentNotReady: If it is broken.
    """
    return str(registry.load("corruptions", corruption).card.version)


def is_composed(version: str) -> bool:
    """True for the version of a chain or a mixture, as an index row has it."""
    return version.startswith((CHAIN, MIXTURE))


@dataclass(frozen=True)
class RecipeCell:
    """One named condition of a recipe and its severities, ascending.

    Attributes:
        corruption: Its name: that of the corruption, or of the chain or mixture.
        severities: In 1..5.
        made_of: The chain or mixture, or None for a single corruption.
    """

    corruption: str
    severities: tuple[int, ...]
    made_of: Chain | Mixture | None = None

    @property
    def corruptions(self) -> tuple[str, ...]:
        """The registered corruptions that its pictures may need."""
        return self.made_of.corruptions if self.made_of is not None else (self.corruption,)

    def version(self) -> str:
        """Return the version of the corruption, or of everything that is in the chain or mixture.

        Raises:
            UsageError: If a corruption is not registered.
            EnvironmentNotReady: If a corruption is broken.
        """
        return self.made_of.version() if self.made_of is not None else version_of(self.corruption)

    def needs(self) -> frozenset[str]:
        """Return what the condition needs beside the picture: all that any of its corruptions needs.

        Raises:
            UsageError: If a corruption is not registered.
            EnvironmentNotReady: If a corruption is broken.
        """
        return frozenset().union(*(registry.load("corruptions", name).card.needs for name in self.corruptions))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for a manifest, with the version as installed now."""
        made_of = self.made_of.to_json() if self.made_of is not None else {}
        return {
            "corruption": self.corruption,
            "version": self.version(),
            "severities": list(self.severities),
            **made_of,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> RecipeCell:
        """Read what `to_json` returned."""
        made_of: Chain | Mixture | None = None
        if "chain" in stored:
            made_of = Chain(tuple(Part(part["corruption"], part["severity"]) for part in stored["chain"]))
        elif "mixture" in stored:
            found = stored["mixture"]
            least, most = found["parts"]
            made_of = Mixture(tuple(found["from"]), least, most, found["order"], found["draw"])
        return cls(stored["corruption"], tuple(stored["severities"]), made_of)


@dataclass(frozen=True)
class Recipe:
    """A named list of conditions; every name occurs once.

    Attributes:
        name: Goes into folder names.
        version: The author's version of the recipe.
        cells: In the author's order.
        description: One line or more.
        reference: Paper and section, or "ours".
    """

    name: str
    version: str
    cells: tuple[RecipeCell, ...]
    description: str = ""
    reference: str = "ours"

    def conditions(self) -> list[tuple[str, int]]:
        """Return every (corruption, severity), clean first."""
        return [(CLEAN, 0), *((c.corruption, s) for c in self.cells for s in c.severities)]

    def composed(self) -> dict[str, Chain | Mixture]:
        """Return the chains and mixtures by the names of their conditions."""
        return {cell.corruption: cell.made_of for cell in self.cells if cell.made_of is not None}

    def identity(self) -> list[list[Any]]:
        """Return what results depend on: ``[corruption, version, severities]`` a condition, sorted.

        Raises:
            UsageError: If a corruption is not registered.
            EnvironmentNotReady: If a corruption is broken.
        """
        return sorted([c.corruption, c.version(), list(c.severities)] for c in self.cells)

    def sha256(self) -> str:
        """Return the hash of `identity`: the name and the prose of a recipe may change, its results may not."""
        return sha256_bytes(json_text(self.identity()).encode())


def refuse_unknown(name: str, known: Collection[str]) -> None:
    """Check that a corruption is registered.

    Raises:
        UsageError: If it is not, with the nearest name, or all of them where none is near.
    """
    if name in known:
        return
    close = registry.did_you_mean(name, known)
    raise UsageError(
        f"There is no corruption '{name}'" + (f" ({close})" if close else ""),
        expected="" if close else "one of " + ", ".join(known),
        hint="robench list corruptions",
    )


def read_part(text: str, known: Collection[str]) -> Part:
    """Read one part of a chain: ``fog_3d:2``, or ``fog_3d`` without a level.

    Args:
        text: What the user wrote; spaces around name and level do not count.
        known: Registered names.

    Raises:
        UsageError: If the name is not registered, or the level not in 1..5.
    """
    text = text.strip()
    name, colon, level = (text, "", "") if text in known else (piece.strip() for piece in text.partition(":"))
    if not name:
        raise UsageError(f"A part of a chain has no name, '{text}'", expected="such as fog_3d:2 or fog_3d")
    refuse_unknown(name, known)
    if not colon:
        return Part(name)
    if level not in map(str, SEVERITIES):
        raise UsageError(f"The level '{level}' of '{name}' is not defined", expected="a whole number from 1 to 5")
    return Part(name, int(level))
