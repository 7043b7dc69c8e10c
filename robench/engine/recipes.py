"""Recipes: which corruptions at which severities, read from YAML or put together from command-line options.

A recipe file::

    name: foggy-morning
    version: "1"
    description: What a foggy morning and a tilted tripod do.
    reference: ours
    cells:
      - {corruption: fog_3d, severities: [1, 2, 3, 4, 5]}
      - {corruption: camera_roll, severities: [3]}
      - {name: foggy-call, chain: [fog_3d:2, iso_noise:3, h265_crf:4]}
      - {name: dusk, chain: [low_light, iso_noise, h265_crf:3], severities: [1, 2, 3, 4, 5]}
      - {name: mixed, mixture: {from: [fog_3d, low_light, iso_noise], parts: [1, 3]}, severities: [2, 4]}

The clean picture (severity 0) belongs to every recipe and is never listed. What chains and mixtures are, and what
their severity is, stands in `robench.engine.conditions`. A mixture may have ``order: listed`` (the order of ``from``;
``drawn`` if left out) and ``count: N`` (N independent draws, called ``mixed-1`` to ``mixed-N``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from robench import registry
from robench.engine.conditions import CLEAN, SEVERITIES, Chain, Recipe, RecipeCell, read_part
from robench.engine.recipe_file import read_recipe
from robench.errors import UsageError

__all__ = [
    "CLEAN",
    "SEVERITIES",
    "Recipe",
    "RecipeCell",
    "choose_recipe",
    "custom_recipe",
    "load_recipe",
    "parse_severities",
    "read_recipe",
]


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
    """Put a recipe together from names and chains.

    Args:
        corruptions: Registered names, each at all `severities`, or with a level (``fog_3d:2``); chains such as
            ``fog_3d:2 + iso_noise:3``, whose parts without a level take `severities`. None for every registered
            corruption.
        severities: In 1..5.

    Returns:
        A recipe called ``all``, or by its single condition's name, or ``custom``.

    Raises:
        UsageError: If a name is not registered, a level is not defined, or there is none at all.
    """
    known = registry.entries("corruptions")
    levels = tuple(sorted(set(severities)))
    cells: dict[str, RecipeCell] = {}
    for text in known if corruptions is None else corruptions:
        cell = _cell(text, levels)
        before = cells.get(cell.corruption)
        merged = cell.severities if before is None else tuple(sorted({*before.severities, *cell.severities}))
        cells[cell.corruption] = RecipeCell(cell.corruption, merged, cell.made_of)
    if not cells:
        expected = "one of " + ", ".join(known)
        raise UsageError("No corruption is named", expected=expected, hint="robench list corruptions")
    title = "all" if corruptions is None else next(iter(cells)).replace("/", "_") if len(cells) == 1 else "custom"
    return Recipe(title, "1", tuple(cells.values()), reference="ours")


def _cell(text: str, severities: tuple[int, ...]) -> RecipeCell:
    """Return the condition that one item of ``-c`` means."""
    known = registry.entries("corruptions")
    parts = [text] if text in known else text.split("+")
    chain = Chain(tuple(read_part(part, known) for part in parts))
    levels = (chain.fixed_severity,) if chain.fixed_severity is not None else severities
    if len(parts) == 1:
        return RecipeCell(chain.parts[0].corruption, levels)
    return RecipeCell(chain.default_name, levels, chain)


def choose_recipe(recipe: str | None, corruptions: str | None, severities: str | None) -> Recipe:
    """Return the recipe that the options ``--recipe``, ``-c`` and ``-s`` mean together.

    Args:
        recipe: Name of an installed recipe or path of a YAML file.
        corruptions: Names and chains with commas between, or ``all``.
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
    chosen = custom_recipe(names, parse_severities(severities) if severities is not None else SEVERITIES)
    if severities is not None and custom_recipe(names, [1]) == custom_recipe(names, [2]):
        raise UsageError(
            "Every corruption has a level of its own, but -s is given too",
            got=f"-c '{corruptions}' -s {severities}",
            expected="one without a level, or no -s",
        )
    return chosen


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
