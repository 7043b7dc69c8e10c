"""Recipes: which corruptions at which severities, read from YAML or put together from command-line options.

A recipe file::

    name: fog-and-roll
    version: "1"
    description: What a foggy morning and a tilted tripod do.
    reference: ours
    cells:
      - {corruption: fog_3d, severities: [1, 2, 3, 4, 5]}
      - {corruption: camera_roll, severities: [3]}

The clean picture (severity 0) belongs to every recipe and is never listed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from robench import registry
from robench.errors import UsageError
from robench.io.files import json_text, sha256_bytes

if TYPE_CHECKING:
    import yaml

CLEAN = "clean"
"""The name that severity 0 goes by."""
SEVERITIES = (1, 2, 3, 4, 5)
_KEYS = {"name": True, "version": True, "description": False, "reference": False, "cells": True}
_CELL_KEYS = {"corruption": True, "severities": True}


@dataclass(frozen=True)
class RecipeCell:
    """One corruption of a recipe and its severities, ascending."""

    corruption: str
    severities: tuple[int, ...]


@dataclass(frozen=True)
class Recipe:
    """A named list of corruptions; every corruption occurs once.

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

    def identity(self) -> list[list[Any]]:
        """Return what results depend on: ``[corruption, version, severities]`` a corruption, sorted.

        Raises:
            UsageError: If a corruption is not registered.
            EnvironmentNotReady: If a corruption is broken.
        """
        return sorted(
            [c.corruption, registry.load("corruptions", c.corruption).card.version, list(c.severities)]
            for c in self.cells
        )

    def sha256(self) -> str:
        """Return the hash of `identity`: the name and the prose of a recipe may change, its results may not."""
        return sha256_bytes(json_text(self.identity()).encode())


def parse_severities(text: str) -> tuple[int, ...]:
    """Read severities as users write them: ``3``, ``1-5``, ``2,4`` or ``1-2,5``.

    Returns:
        Severities, ascending, each once, all in 1..5.

    Raises:
        UsageError: If the text is something else, or a severity is not in 1..5.
    """
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not (first.strip().isdecimal() and (last.strip().isdecimal() if dash else True)):
            _bad_severities(text)
        span = range(int(first), int(last if dash else first) + 1)
        if len(span) == 0 or span.start < SEVERITIES[0] or span.stop - 1 > SEVERITIES[-1]:
            _bad_severities(text)
        found.update(span)
    return tuple(sorted(found))


def _bad_severities(text: str) -> NoReturn:
    raise UsageError(
        "The severities are not understood",
        got=f"'{text}'",
        expected="numbers from 1 to 5 such as 3, 1-5 or 2,4 (the clean picture is always included)",
    )


def custom_recipe(corruptions: Sequence[str] | None, severities: Sequence[int] = SEVERITIES) -> Recipe:
    """Put a recipe together from names.

    Args:
        corruptions: Registered names, each at all `severities`; None for every registered corruption.
        severities: In 1..5.

    Returns:
        A recipe called ``all``, or by the single corruption's name, or ``custom``.

    Raises:
        UsageError: If a name is not registered, or there is none at all.
    """
    known = registry.entries("corruptions")
    names = list(known) if corruptions is None else list(dict.fromkeys(corruptions))
    for name in names:
        if name not in known:
            raise registry.unknown_name("corruptions", name, known)
    if not names:
        expected = "one of " + ", ".join(known)
        raise UsageError("No corruption is named", expected=expected, hint="robench list corruptions")
    title = "all" if corruptions is None else names[0].replace("/", "_") if len(names) == 1 else "custom"
    return Recipe(title, "1", tuple(RecipeCell(n, tuple(sorted(set(severities)))) for n in names), reference="ours")


def choose_recipe(recipe: str | None, corruptions: str | None, severities: str | None) -> Recipe:
    """Return the recipe that the options ``--recipe``, ``-c`` and ``-s`` mean together.

    Args:
        recipe: Name of an installed recipe or path of a YAML file.
        corruptions: Names with commas between, or ``all``.
        severities: As `parse_severities` reads them.

    Raises:
        UsageError: If the options contradict each other or one of them is wrong.
    """
    if recipe is not None:
        if corruptions is not None or severities is not None:
            option = "-c" if corruptions is not None else "-s"
            raise UsageError(
                f"A recipe already says which corruptions and severities, but {option} is given too",
                expected="either --recipe, or -c and -s",
            )
        return load_recipe(recipe)
    names = None
    if corruptions is not None and corruptions.strip() != "all":
        names = [part.strip() for part in corruptions.split(",") if part.strip()]
    return custom_recipe(names, parse_severities(severities) if severities is not None else SEVERITIES)


def load_recipe(name_or_path: str) -> Recipe:
    """Load an installed recipe by name, or a recipe file by path.

    Raises:
        UsageError: If there is none, or the file is not a recipe; the message names the line.
    """
    installed = registry.recipe_files()
    if name_or_path in installed:
        return read_recipe(installed[name_or_path])
    path = Path(name_or_path).expanduser()
    if path.is_file():
        return read_recipe(path)
    if path.suffix in (".yaml", ".yml"):
        raise UsageError(f"There is no recipe file {path}", hint="robench list recipes")
    raise registry.unknown_name("recipes", name_or_path, installed)


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe file.

    Raises:
        UsageError: If the file cannot be read or is not a recipe; the message names the file and the line.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"The recipe {path} cannot be read", got=str(error)) from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or str(error)
        raise UsageError(f"{path}{line} is not valid YAML", got=str(problem)) from error
    return _Reader(path).recipe(root)


class _Reader:
    """Turns YAML nodes, which know their lines, into a recipe."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known = registry.entries("corruptions")

    def recipe(self, root: yaml.Node | None) -> Recipe:
        fields = self._mapping(root, _KEYS, "the recipe")
        cells: dict[str, RecipeCell] = {}
        for node in self._items(fields["cells"], "cells"):
            cell = self._cell(node)
            if cell.corruption in cells:
                self._stop(node, f"the corruption '{cell.corruption}' is listed twice", "one entry with all severities")
            cells[cell.corruption] = cell
        texts = {key: self._text(node, key) for key, node in fields.items() if key != "cells"}
        name = texts["name"]
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            self._stop(fields["name"], f"the name '{name}' cannot be part of a folder name", "letters, digits, - and _")
        return Recipe(cells=tuple(cells.values()), **texts)

    def _cell(self, node: yaml.Node) -> RecipeCell:
        fields = self._mapping(node, _CELL_KEYS, "a cell")
        name = self._text(fields["corruption"], "corruption")
        if name == CLEAN:
            self._stop(node, "'clean' is part of every recipe", "no entry for it")
        if name not in self.known:
            close = registry.did_you_mean(name, self.known)
            expected = "one of " + ", ".join(self.known)
            self._stop(node, f"there is no corruption '{name}'", f"{expected} ({close})" if close else expected)
        severities = []
        if not fields["severities"].value:
            self._stop(node, f"'{name}' has no severity", "a list such as [1, 2, 3]")
        for item in self._items(fields["severities"], "severities"):
            value = self._text(item, "severities")
            if not value.isdecimal() or int(value) not in SEVERITIES:
                self._stop(item, f"severity {value} of '{name}' is not defined", "whole numbers from 1 to 5")
            severities.append(int(value))
        return RecipeCell(name, tuple(sorted(set(severities))))

    def _mapping(self, node: yaml.Node | None, keys: dict[str, bool], what: str) -> dict[str, yaml.Node]:
        import yaml

        if not isinstance(node, yaml.MappingNode):
            self._stop(node, f"{what} is not a mapping", "the keys " + ", ".join(keys))
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            name = self._text(key, "a key")
            if name not in keys:
                close = registry.did_you_mean(name, keys)
                self._stop(key, f"{what} has an unknown key '{name}'", f"{', '.join(keys)} {close}".strip())
            found[name] = value
        missing = [key for key, required in keys.items() if required and key not in found]
        if missing:
            self._stop(node, f"{what} has no '{missing[0]}'", "the keys " + ", ".join(k for k in keys if keys[k]))
        return found

    def _items(self, node: yaml.Node, what: str) -> list[yaml.Node]:
        import yaml

        if not isinstance(node, yaml.SequenceNode):
            self._stop(node, f"'{what}' is not a list", "a list such as [1, 2, 3]")
        return list(node.value)

    def _text(self, node: yaml.Node, what: str) -> str:
        import yaml

        if not isinstance(node, yaml.ScalarNode):
            self._stop(node, f"'{what}' is not a single value", "text or a number")
        return str(node.value).strip()

    def _stop(self, node: yaml.Node | None, what: str, expected: str) -> NoReturn:
        line = node.start_mark.line + 1 if node is not None else 1
        raise UsageError(f"{self.path}:{line}: {what}", expected=expected, hint="robench list recipes")
