"""The registry: names without imports, clashes settled, broken plug-ins reported, recipes found."""

from __future__ import annotations

import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from robench import registry
from robench.contracts import Card
from robench.errors import EnvironmentNotReady, UsageError


def point(distribution: str, name: str, value: str, group: str = "robench.corruptions") -> EntryPoint:
    made = EntryPoint(name, value, group)
    vars(made)["dist"] = SimpleNamespace(name=distribution)
    return made


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    """A list to put entry points on: all that is installed, for one test."""
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in points if p.group == group])
    registry.entries.cache_clear()
    yield points
    registry.entries.cache_clear()


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """An importable module `a_plugin` with a sound corruption `Sound`."""
    made = ModuleType("a_plugin")
    monkeypatch.setitem(sys.modules, "a_plugin", made)
    made.Sound = lambda: SimpleNamespace(
        card=Card("sound", "1", "a sound corruption"), moves_pixels=False, sample=lambda: None, apply=lambda: None
    )
    return made


def test_every_entry_point_of_pyproject_is_registered_by_name() -> None:
    import tomllib

    text = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    groups = tomllib.loads(text)["project"]["entry-points"]
    for kind in registry.KINDS:
        ours = [name for name, entry in registry.entries(kind).items() if entry.origin.startswith("robench (")]
        assert ours == sorted(groups[f"robench.{kind}"])


def test_listing_names_imports_no_plugin(installed: list[EntryPoint]) -> None:
    installed.append(point("other", "fog", "a_module_that_does_not_exist:Fog"))
    assert list(registry.entries("corruptions")) == ["fog"]
    assert registry.entries("corruptions")["fog"].origin == "other (a_module_that_does_not_exist:Fog)"


def test_names_are_sorted_whatever_the_order_of_installation(installed: list[EntryPoint]) -> None:
    installed += [point("p", name, f"m:{name}") for name in ("b", "c", "a")]
    assert list(registry.entries("corruptions")) == ["a", "b", "c"]


def test_in_a_clash_ours_keeps_the_plain_name(installed: list[EntryPoint]) -> None:
    installed += [point("other", "fog", "o:Fog"), point("robench", "fog", "corruptions.fog:Fog")]
    found = registry.entries("corruptions")
    assert {name: entry.point.value for name, entry in found.items()} == {
        "fog": "corruptions.fog:Fog",
        "other/fog": "o:Fog",
    }


def test_in_a_clash_of_strangers_nobody_gets_the_plain_name(installed: list[EntryPoint]) -> None:
    installed += [point("one", "fog", "o:Fog"), point("two", "fog", "t:Fog")]
    assert list(registry.entries("corruptions")) == ["one/fog", "two/fog"]


def test_a_distribution_that_is_seen_twice_does_not_clash_with_itself(installed: list[EntryPoint]) -> None:
    installed += [point("robench", "fog", "corruptions.fog:Fog")] * 2
    assert list(registry.entries("corruptions")) == ["fog"]


def test_a_sound_plugin_loads(installed: list[EntryPoint], module: ModuleType) -> None:
    installed.append(point("p", "sound", "a_plugin:Sound"))
    assert registry.load("corruptions", "sound").card.name == "sound"


@pytest.mark.parametrize(("typed", "meant"), [("fog_3", "fog_3d"), ("FOG_3D", "fog_3d"), ("roll", "camera_roll")])
def test_an_unknown_name_is_answered_by_a_near_one(typed: str, meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{meant}'") as caught:
        registry.load("corruptions", typed)
    assert caught.value.exit_code == 2
    assert "robench list corruptions" in str(caught.value)


def test_a_name_like_nothing_gets_no_guess() -> None:
    with pytest.raises(UsageError) as caught:
        registry.load("metrics", "qqqq")
    assert "did you mean" not in str(caught.value)
    assert "chamfer_cm" in str(caught.value)


def test_where_nothing_is_installed_the_message_says_so(installed: list[EntryPoint]) -> None:
    with pytest.raises(UsageError, match="there is none"):
        registry.load("models", "pifu")


def _raises(error: BaseException):
    def factory():
        raise error

    return factory


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        (_raises(RuntimeError("no such gpu")), "RuntimeError: no such gpu"),
        (_raises(SystemExit(3)), "SystemExit: 3"),
        (lambda: SimpleNamespace(card=Card("x", "1", "x")), "no apply, moves_pixels, sample"),
        (
            lambda: SimpleNamespace(
                card=SimpleNamespace(name="x"), moves_pixels=False, sample=lambda: None, apply=lambda: None
            ),
            "no card.extra, card.licence, card.needs, card.reference, card.summary, card.version",
        ),
    ],
)
def test_a_broken_plugin_says_why_and_stops_nothing(
    installed: list[EntryPoint], module: ModuleType, broken: object, reason: str
) -> None:
    module.Broken = broken
    installed += [point("p", "broken", "a_plugin:Broken"), point("p", "sound", "a_plugin:Sound")]
    with pytest.raises(EnvironmentNotReady, match="is broken") as caught:
        registry.load("corruptions", "broken")
    assert reason in str(caught.value)
    bad, good = registry.survey("corruptions")
    assert (bad.card, bad.error) == (None, reason)
    assert bad.trace
    assert good.error is None
    assert good.card is not None
    assert good.card.name == "sound"


def test_a_metric_that_is_not_callable_is_broken(installed: list[EntryPoint], module: ModuleType) -> None:
    module.Metric = lambda: SimpleNamespace(card=Card("m", "1", "m"))
    installed.append(point("p", "m", "a_plugin:Metric", "robench.metrics"))
    with pytest.raises(EnvironmentNotReady, match="no __call__"):
        registry.load("metrics", "m")


def test_recipes_come_from_every_folder_and_clash_like_plugins(
    installed: list[EntryPoint], module: ModuleType, tmp_path: Path
) -> None:
    for folder, files in {"ours": ["a", "b"], "theirs": ["b", "c"]}.items():
        (tmp_path / folder).mkdir()
        for file in files:
            (tmp_path / folder / f"{file}.yaml").write_text("")
        (tmp_path / folder / "notes.txt").write_text("not a recipe")
        setattr(module, folder, lambda folder=folder: tmp_path / folder)
    module.gone = lambda: tmp_path / "gone"
    installed += [
        point("robench", "robench", "a_plugin:ours", "robench.recipes"),
        point("other", "x", "a_plugin:theirs", "robench.recipes"),
        point("third", "lost", "a_plugin:gone", "robench.recipes"),
    ]
    assert registry.recipe_files() == {
        "a": tmp_path / "ours" / "a.yaml",
        "b": tmp_path / "ours" / "b.yaml",
        "other/b": tmp_path / "theirs" / "b.yaml",
        "c": tmp_path / "theirs" / "c.yaml",
    }
    (lost,) = [item for item in registry.recipe_survey() if item.error]
    assert lost.name == "lost"
    assert "is not a folder" in str(lost.error)


def test_our_recipes_are_there() -> None:
    assert {"2d-priors", "3dcc-12"} <= set(registry.recipe_files())
