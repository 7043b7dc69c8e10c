"""Recipe files: YAML that is checked node by node, so that every complaint names its line."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from robench import registry
from robench.data.ids import safe_id
from robench.engine.conditions import (
    CLEAN,
    SEVERITIES,
    Chain,
    Mixture,
    Part,
    Recipe,
    RecipeCell,
    read_part,
    refuse_unknown,
)
from robench.errors import UsageError
from robench.io.yaml_nodes import NodeReader, compose

if TYPE_CHECKING:
    import yaml

# Keys, and whether they must be there.
_RECIPE = {"name": True, "version": True, "description": False, "reference": False, "cells": True}
_SINGLE = {"corruption": True, "severities": True}
_CHAIN = {"name": False, "chain": True, "severities": False}
_MIXTURE = {"name": True, "mixture": True, "severities": True}
_MIXTURE_FIELDS = {"from": True, "parts": True, "order": False, "count": False}
_KINDS = {"chain": _CHAIN, "mixture": _MIXTURE, "corruption": _SINGLE}
_ANY = {"corruption": True, **dict.fromkeys(("severities", "chain", "mixture", "name"), False)}
_CALLED = {"chain": "a chain", "mixture": "a mixture"}
_ORDERS = ("drawn", "listed")
_MOST_DRAWS = 100
_NUMBER = re.compile("[0-9]{1,9}")


def read_recipe(path: Path) -> Recipe:
    """Read and check a recipe file.

    Raises:
        UsageError: If the file cannot be read or is not a recipe; the message names the file and the line.
    """
    return _Reader(path, "robench show recipe full").recipe(compose(path, "recipe"))


class _Reader(NodeReader):
    """Turns YAML nodes, which know their lines, into a recipe."""

    def __init__(self, path: Path, hint: str) -> None:
        super().__init__(path, hint)
        self.known = list(registry.entries("corruptions"))

    def recipe(self, root: yaml.Node | None) -> Recipe:
        fields = self.mapping(root, _RECIPE, "the recipe")
        cells: dict[str, RecipeCell] = {}
        for node in self.items(fields["cells"], "cells"):
            for cell in self._cells(node):
                # Some file systems take two names for one that differ in case only.
                if cell.corruption.casefold() in cells:
                    what = "the corruption" if cell.made_of is None else "the name"
                    self.stop(node, f"{what} '{cell.corruption}' is listed twice", "one entry with all severities")
                cells[cell.corruption.casefold()] = cell
        texts = {key: self.text(node, key) for key, node in fields.items() if key != "cells"}
        name = texts["name"]
        if not name or not name.replace("-", "").replace("_", "").isalnum():
            self.stop(fields["name"], f"the name '{name}' cannot be part of a folder name", "letters, digits, - and _")
        return Recipe(cells=tuple(cells.values()), **texts)

    def _cells(self, node: yaml.Node) -> list[RecipeCell]:
        """Read an entry; a mixture that is drawn several times is several cells."""
        keys = self._keys(node)
        kind = next((kind for kind in _KINDS if kind in keys), None)
        fields = self.mapping(node, _KINDS.get(kind or "", _ANY), _CALLED.get(kind or "", "a cell"))
        if kind == "chain":
            return [self._chain(node, fields)]
        if kind == "mixture":
            return self._mixtures(node, fields)
        return [self._single(node, fields)]

    def _single(self, node: yaml.Node, fields: Mapping[str, yaml.Node]) -> RecipeCell:
        name = self.text(fields["corruption"], "corruption")
        if name == CLEAN:
            self.stop(node, "'clean' is part of every recipe", "no entry for it")
        self._refuse_unknown(node, name)
        return RecipeCell(name, self._severities(node, fields["severities"], name))

    def _chain(self, node: yaml.Node, fields: Mapping[str, yaml.Node]) -> RecipeCell:
        items = self.items(fields["chain"], "chain", "[fog_3d:2, iso_noise:3]")
        if not items:
            self.stop(fields["chain"], "a chain has no part", "a list such as [fog_3d:2, iso_noise:3]")
        chain = Chain(tuple(self._part(item) for item in items))
        name = self._name(fields["name"]) if "name" in fields else chain.default_name
        fixed = chain.fixed_severity
        if fixed is not None and "severities" in fields:
            expected = "no severities, or a part without a level, which takes them"
            self.stop(fields["severities"], f"every part of '{name}' has a level of its own", expected)
        if fixed is None and "severities" not in fields:
            expected = "severities such as [1, 2, 3], or a level such as fog_3d:2 for every part"
            self.stop(node, f"'{name}' has a part without a level, and no severities", expected)
        severities = (fixed,) if fixed is not None else self._severities(node, fields["severities"], name)
        return RecipeCell(name, severities, chain)

    def _part(self, node: yaml.Node) -> Part:
        """Read ``fog_3d:2``, ``fog_3d``, or ``fog_3d: 2``, which YAML takes for a mapping."""
        import yaml

        if isinstance(node, yaml.MappingNode) and len(node.value) == 1:
            ((name, level),) = node.value
            text = f"{self.text(name, 'chain')}:{self.text(level, 'chain')}"
        else:
            text = self.text(node, "chain")
        with self._at(node):
            return read_part(text, self.known)

    def _mixtures(self, node: yaml.Node, fields: Mapping[str, yaml.Node]) -> list[RecipeCell]:
        name = self._name(fields["name"])
        mixture = self.mapping(fields["mixture"], _MIXTURE_FIELDS, "a mixture")
        names = self._choice(mixture["from"])
        least, most = self._numbers(mixture["parts"], len(names))
        order = self.text(mixture["order"], "order") if "order" in mixture else "drawn"
        if order not in _ORDERS:
            self.stop(mixture["order"], f"the order '{order}' is not known", "drawn or listed")
        ordered: Literal["drawn", "listed"] = "listed" if order == "listed" else "drawn"
        count = self._number(mixture["count"], "count", _MOST_DRAWS) if "count" in mixture else 1
        severities = self._severities(node, fields["severities"], name)
        return [
            RecipeCell(name if count == 1 else f"{name}-{draw}", severities, Mixture(names, least, most, ordered, draw))
            for draw in range(1, count + 1)
        ]

    def _choice(self, node: yaml.Node) -> tuple[str, ...]:
        import yaml

        if isinstance(node, yaml.ScalarNode) and node.value.strip() == "all":
            return tuple(self.known)
        names: list[str] = []
        for item in self.items(node, "from", "[fog_3d, iso_noise], or all"):
            name = self.text(item, "from")
            self._refuse_unknown(item, name)
            if name in names:
                self.stop(item, f"'{name}' is listed twice", "every corruption once: all are as likely")
            names.append(name)
        if not names:
            self.stop(node, "the mixture has nothing to draw from", "names of corruptions, or all")
        return tuple(names)

    def _numbers(self, node: yaml.Node, available: int) -> tuple[int, int]:
        import yaml

        items = [node, node] if isinstance(node, yaml.ScalarNode) else self.items(node, "parts", "[1, 3]")
        if len(items) != 2:
            self.stop(node, "'parts' is neither a number nor a pair", "such as 2, or [1, 3] for one to three")
        least, most = (self._number(item, "parts", available) for item in items)
        if least > most:
            self.stop(node, f"a mixture cannot have {least} to {most} parts", "the smaller number first")
        return least, most

    def _number(self, node: yaml.Node, what: str, most: int) -> int:
        text = self.text(node, what)
        if not (_NUMBER.fullmatch(text) and 1 <= int(text) <= most):
            self.stop(node, f"'{what}' cannot be {text}", f"a whole number from 1 to {most}")
        return int(text)

    def _severities(self, cell: yaml.Node, node: yaml.Node, name: str) -> tuple[int, ...]:
        severities = []
        if not node.value:
            self.stop(cell, f"'{name}' has no severity", "a list such as [1, 2, 3]")
        for item in self.items(node, "severities"):
            value = self.text(item, "severities")
            if not (_NUMBER.fullmatch(value) and int(value) in SEVERITIES):
                self.stop(item, f"severity {value} of '{name}' is not defined", "whole numbers from 1 to 5")
            severities.append(int(value))
        return tuple(sorted(set(severities)))

    def _name(self, node: yaml.Node) -> str:
        name = self.text(node, "name")
        if safe_id(name) != name or "." in name:
            self.stop(node, f"the name '{name}' cannot be the name of a folder", "letters, digits, - and _")
        if name == CLEAN or name in self.known:
            self.stop(node, f"the name '{name}' is taken", "another one: a corruption goes by it")
        return name

    def _refuse_unknown(self, node: yaml.Node, name: str) -> None:
        with self._at(node):
            refuse_unknown(name, self.known)

    @contextlib.contextmanager
    def _at(self, node: yaml.Node) -> Iterator[None]:
        """Tell where in the file an error of the inner block is."""
        try:
            yield
        except UsageError as error:
            self.stop(node, error.what[:1].lower() + error.what[1:], error.expected, error.hint)

    def _keys(self, node: yaml.Node) -> list[str]:
        import yaml

        return [self.text(key, "a key") for key, _ in node.value] if isinstance(node, yaml.MappingNode) else []
