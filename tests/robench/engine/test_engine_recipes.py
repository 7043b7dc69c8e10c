"""Recipes: severities, YAML with line numbers, identity."""

from __future__ import annotations

from pathlib import Path

import pytest

from robench import registry
from robench.engine.recipes import (
    choose_recipe,
    custom_recipe,
    load_recipe,
    parse_severities,
    read_recipe,
)
from robench.errors import UsageError

GOOD = """\
name: foggy
version: "2"
description: two things
reference: ours
cells:
  - {corruption: iso_noise, severities: [3, 1]}
  - corruption: low_light
    severities: [5]
"""


@pytest.fixture
def write(tmp_path: Path):
    def act(text: str) -> Path:
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return act


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", (3,)), ("1-5", (1, 2, 3, 4, 5)), ("4,2", (2, 4)), ("1-2, 5", (1, 2, 5)), ("2,2", (2,)), ("5-5", (5,))],
)
def test_severities(text: str, expected: tuple[int, ...]) -> None:
    assert parse_severities(text) == expected


@pytest.mark.parametrize("text", ["6", "0", "1-6", "0-3", "5-1", "", "a", "1-", "-1", "1.5", "1,,2", "²"])
def test_severities_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="1 to 5"):
        parse_severities(text)


def test_file(write) -> None:
    recipe = read_recipe(write(GOOD))
    assert (recipe.name, recipe.version, recipe.description) == ("foggy", "2", "two things")
    assert recipe.conditions() == [("clean", 0), ("iso_noise", 1), ("iso_noise", 3), ("low_light", 5)]


@pytest.mark.parametrize(
    ("old", "new", "line", "says"),
    [
        ("iso_noise", "iso_nois", 6, "did you mean 'iso_noise'"),
        ("[3, 1]", "[3, 6]", 6, "severity 6"),
        ("[5]", "[0]", 8, "severity 0"),
        ("[5]", "[]", 7, "no severity"),
        ("[5]", "5", 8, "not a list"),
        ("severities: [5]", "severity: [5]", 8, "did you mean 'severities'"),
        ("    severities: [5]\n", "", 7, "has no 'severities'"),
        ("low_light", "iso_noise", 7, "listed twice"),
        ("low_light", "clean", 7, "part of every recipe"),
        ("name: foggy", "name: a/b", 1, "folder name"),
        ("name: foggy\n", "", 1, "has no 'name'"),
        ("cells:", "cells: 3\nmore:", 6, "unknown key 'more'"),
        ("reference: ours", "reference: [ours", 5, "not valid YAML"),
    ],
)
def test_file_errors_name_the_line(write, old: str, new: str, line: int, says: str) -> None:
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    with pytest.raises(UsageError) as caught:
        read_recipe(path)
    message = str(caught.value)
    assert f"{path}:{line}" in message
    assert says in message


def test_empty_file_and_binary_file(write, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r":1: the recipe is not a mapping"):
        read_recipe(write(""))
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="cannot be read"):
        read_recipe(tmp_path / "b.yaml")


def test_every_installed_recipe_can_be_loaded() -> None:
    names = list(registry.recipe_files())
    assert "2d-priors" in names
    for name in names:
        assert load_recipe(name).conditions()[0] == ("clean", 0)


def test_paper_recipe_has_the_papers_levels() -> None:
    conditions = load_recipe("2d-priors").conditions()
    assert len(conditions) == 13
    assert {("fog_3d", 2), ("low_light", 4), ("camera_roll", 5), ("bit_error", 5)} <= set(conditions)


def test_unknown_recipe() -> None:
    with pytest.raises(UsageError, match="did you mean '2d-priors'"):
        load_recipe("2d-prior")
    with pytest.raises(UsageError, match="no recipe file"):
        load_recipe("there/is/none.yaml")


def test_identity_ignores_prose_and_order_but_not_versions(write, plugins) -> None:
    one = read_recipe(write(GOOD))
    other = read_recipe(write(GOOD.replace("two things", "2 things").replace("[3, 1]", "[1, 3]")))
    assert one.sha256() == other.sha256()
    assert read_recipe(write(GOOD.replace("[5]", "[4]"))).sha256() != one.sha256()
    before = custom_recipe(["darker"]).sha256()

    class Newer:
        def __init__(self) -> None:
            old = registry.load("corruptions", "iso_noise")
            self.moves_pixels, self.sample, self.apply = False, old.sample, old.apply
            self.card = type(old.card)("darker", "2", "another version")

    plugins.add("corruptions", "darker", Newer)
    assert custom_recipe(["darker"]).sha256() != before


def test_choose() -> None:
    assert choose_recipe(None, "fog_3d", None).name == "fog_3d"
    assert choose_recipe(None, "fog_3d,low_light", "2").conditions()[1:] == [("fog_3d", 2), ("low_light", 2)]
    everything = choose_recipe(None, None, "1")
    assert everything.name == "all"
    assert {c.corruption for c in everything.cells} == set(registry.entries("corruptions"))
    assert choose_recipe(None, "all", "1").cells == everything.cells
    with pytest.raises(UsageError, match="-s is given too"):
        choose_recipe("2d-priors", None, "3")
    with pytest.raises(UsageError, match="did you mean 'fog_3d'"):
        choose_recipe(None, "fog3d", None)
    with pytest.raises(UsageError, match="No corruption is named"):
        choose_recipe(None, " , ", None)
