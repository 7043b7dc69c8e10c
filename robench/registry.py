"""One lazy registry over entry points: ours and a stranger's plug-ins come through the same door.

An entry point names a zero-argument factory (a class or a function) whose result has a ``card``. Listing names loads
nothing; a plug-in that cannot be loaded is reported as broken and stops nothing else. Recipes come through the group
``robench.recipes``, whose entry points are functions that return a folder of ``*.yaml`` files.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import traceback
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args, overload

from robench.errors import EnvironmentNotReady, UsageError

if TYPE_CHECKING:
    from robench.contracts import CardLike, Corruption, Dataset, Encoder, Masker, Metric, Reconstructor

Kind = Literal["models", "corruptions", "maskers", "encoders", "metrics", "datasets"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_PROTOCOLS: Mapping[Kind, str] = {
    "models": "Reconstructor",
    "corruptions": "Corruption",
    "maskers": "Masker",
    "encoders": "Encoder",
    "metrics": "Metric",
    "datasets": "Dataset",
}
"""Names in `robench.contracts`, which is imported only when a plug-in is loaded: it brings NumPy."""
_OURS = "robench"
_T = TypeVar("_T")


@dataclass(frozen=True)
class Entry:
    """One registered plug-in, not loaded.

    Attributes:
        name: What users type; ``distribution/name`` where two distributions register the same name.
        kind: The registry it belongs to.
        origin: ``distribution (module:attribute)``.
        point: What loads it.
    """

    name: str
    kind: Kind
    origin: str
    point: EntryPoint


@functools.cache
def entries(kind: Kind) -> Mapping[str, Entry]:
    """Return every registered plug-in of a kind by name, sorted, without importing any."""
    named = _by_name((point.name, _distribution(point), point) for point in entry_points(group=f"robench.{kind}"))
    return {name: Entry(name, kind, _origin(point), point) for name, point in named.items()}


def _by_name(found: Iterable[tuple[str, str, _T]]) -> dict[str, _T]:
    """Give each ``(name, distribution, thing)`` a name of its own.

    A name that one distribution alone registers is kept. In a clash ours keeps the plain name, and everybody else is
    reached as ``distribution/name``, so that an installed package never changes what an existing command means.
    """
    owners: dict[str, dict[str, _T]] = defaultdict(dict)
    for name, distribution, thing in found:
        owners[name].setdefault(distribution, thing)
    result = {}
    for name, things in owners.items():
        for distribution, thing in things.items():
            plain = len(things) == 1 or distribution == _OURS
            result[name if plain else f"{distribution}/{name}"] = thing
    return dict(sorted(result.items()))


def _distribution(point: EntryPoint) -> str:
    return (point.dist.name if point.dist is not None else "") or "unknown"


def _origin(point: EntryPoint) -> str:
    return f"{_distribution(point)} ({point.value})"


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean 'x'?`` for a near miss, or an empty string."""
    choices = list(known)
    close = difflib.get_close_matches(name.lower(), choices, n=1, cutoff=0.5)
    close = close or [choice for choice in choices if name and name.lower() in choice.lower()]
    return f"did you mean '{close[0]}'?" if close else ""


def is_ours(kind: Kind, name: str) -> bool:
    """True if a name is registered by robench itself, or by nobody."""
    entry = entries(kind).get(name)
    return entry is None or entry.origin.startswith(f"{_OURS} (")


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Return the error for a name of a kind (plural, as in ``robench list``) that nothing is registered under."""
    names = list(known)
    close = did_you_mean(name, names)
    expected = "one of " + ", ".join(names) if names else "an installed plug-in, and there is none"
    return UsageError(
        f"There is no {kind.removesuffix('s')} '{name}'",
        expected=f"{expected} ({close})" if close else expected,
        hint=f"robench list {kind}",
    )


@overload
def load(kind: Literal["models"], name: str) -> Reconstructor: ...
@overload
def load(kind: Literal["corruptions"], name: str) -> Corruption: ...
@overload
def load(kind: Literal["maskers"], name: str) -> Masker: ...
@overload
def load(kind: Literal["encoders"], name: str) -> Encoder: ...
@overload
def load(kind: Literal["metrics"], name: str) -> Metric: ...
@overload
def load(kind: Literal["datasets"], name: str) -> Dataset: ...
@overload
def load(kind: Kind, name: str) -> Any: ...
def load(kind: Kind, name: str) -> Any:
    """Load one plug-in by name.

    Raises:
        UsageError: If no such name is registered.
        EnvironmentNotReady: If the plug-in is registered but broken: it cannot be imported or made, or lacks a part
            of its contract.
    """
    known = entries(kind)
    if name not in known:
        raise unknown_name(kind, name, known)
    entry = known[name]
    try:
        plugin = entry.point.load()()
    except (Exception, SystemExit) as error:
        # A stranger's module may do anything on import, sys.exit() included; it must not end the command.
        _broken(entry, f"{type(error).__name__}: {error}", cause=error)
    missing = _missing(kind, plugin)
    if missing:
        _broken(entry, f"no {', '.join(missing)}", expected=f"what robench.contracts.{_PROTOCOLS[kind]} has")
    return plugin


def _broken(entry: Entry, got: str, expected: str = "", cause: BaseException | None = None) -> NoReturn:
    raise EnvironmentNotReady(
        f"The {entry.kind.removesuffix('s')} '{entry.name}' from {entry.origin} is broken",
        got=got,
        expected=expected,
        hint="robench doctor",
    ) from cause


def _missing(kind: Kind, plugin: Any) -> list[str]:
    """Return the parts of its contract that a plug-in lacks."""
    contracts = importlib.import_module("robench.contracts")
    missing = [member for member in _members(getattr(contracts, _PROTOCOLS[kind])) if not hasattr(plugin, member)]
    if kind == "metrics" and not callable(plugin):
        missing.append("__call__")
    if not missing:
        missing = [f"card.{member}" for member in _members(contracts.CardLike) if not hasattr(plugin.card, member)]
    return missing


def _members(protocol: type) -> list[str]:
    return sorted(name for name in {**vars(protocol), **protocol.__annotations__} if not name.startswith("_"))


@dataclass(frozen=True)
class Status:
    """A plug-in as `survey` found it: its `card`, or the `error` that keeps it from loading and the whole `trace`."""

    entry: Entry
    card: CardLike | None
    error: str | None = None
    trace: str | None = None


def survey(kind: Kind) -> list[Status]:
    """Load every plug-in of a kind; a broken one becomes a status, never an exception."""
    result = []
    for entry in entries(kind).values():
        try:
            result.append(Status(entry, load(kind, entry.name).card))
        except EnvironmentNotReady as error:
            trace = "".join(traceback.format_exception(error.__cause__ or error))
            result.append(Status(entry, None, error.got, trace))
    return result


@dataclass(frozen=True)
class RecipeFile:
    """A recipe file as found: a readable `path`, or the `error` of an entry point that gave no folder.

    Attributes:
        name: What users type: the file's stem; of a broken entry point, its name.
        origin: ``distribution (module:attribute)``.
        path: The YAML file, or None.
        error: Why there is no file, or None.
    """

    name: str
    origin: str
    path: Path | None
    error: str | None = None


def recipe_survey() -> list[RecipeFile]:
    """Return every recipe of every ``robench.recipes`` entry point by name; a broken entry point is one item."""
    found: list[tuple[str, str, RecipeFile]] = []
    for point in entry_points(group="robench.recipes"):
        origin, distribution = _origin(point), _distribution(point)
        try:
            folder = Path(point.load()())
            if not folder.is_dir():
                raise NotADirectoryError(f"{folder} is not a folder")
            files = sorted(folder.glob("*.yaml"))
        except (Exception, SystemExit) as error:
            broken = RecipeFile(point.name, origin, None, f"{type(error).__name__}: {error}")
            found.append((point.name, distribution, broken))
            continue
        found += [(file.stem, distribution, RecipeFile(file.stem, origin, file)) for file in files]
    named = _by_name(found)
    return [RecipeFile(name, item.origin, item.path, item.error) for name, item in named.items()]


def recipe_files() -> dict[str, Path]:
    """Return the YAML file of every installed recipe by name, sorted.

    A clash of names is settled as for plug-ins: ours keeps the plain name, others are ``distribution/name``.
    """
    return {item.name: item.path for item in recipe_survey() if item.path is not None}
