"""One lazy registry over entry points: ours and a stranger's plug-ins come through the same door.

An entry point names a zero-argument factory (a class or a function) whose result has a ``card``. Listing names loads
nothing; a plug-in that cannot be loaded is reported as broken and stops nothing else.
"""

from __future__ import annotations

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Literal, cast, overload

from robench.contracts import Corruption, Dataset, Masker, Metric, Reconstructor
from robench.errors import EnvironmentNotReady, UsageError

Kind = Literal["models", "corruptions", "maskers", "metrics", "datasets"]
KINDS: tuple[Kind, ...] = ("models", "corruptions", "maskers", "metrics", "datasets")
_PROTOCOLS: Mapping[str, type] = {
    "models": Reconstructor,
    "corruptions": Corruption,
    "maskers": Masker,
    "metrics": Metric,
    "datasets": Dataset,
}


@dataclass(frozen=True)
class Entry:
    """One registered plug-in, not loaded.

    Attributes:
        name: What users type; ``distribution/name`` where two distributions register the same name.
        kind: The registry it belongs to.
        origin: ``distribution (module:attribute)``.
    """

    name: str
    kind: Kind
    origin: str
    point: EntryPoint


@functools.cache
def entries(kind: Kind) -> Mapping[str, Entry]:
    """Return every registered plug-in of a kind by name, sorted, without importing any."""
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=f"robench.{kind}"):
        same = found.setdefault(point.name, [])
        if all(_origin(point) != _origin(other) for other in same):
            same.append(point)
    result: dict[str, Entry] = {}
    for name, points in found.items():
        for point in sorted(points, key=lambda p: _distribution(p) != "robench"):
            # Ours keeps the plain name; a stranger who takes it is reached as package/name.
            key = name if point is points[0] and len(points) == 1 or _distribution(point) == "robench" else ""
            key = key or f"{_distribution(point)}/{name}"
            result[key] = Entry(key, kind, _origin(point), point)
    return dict(sorted(result.items()))


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "?"


def _origin(point: EntryPoint) -> str:
    return f"{_distribution(point)} ({point.value})"


def did_you_mean(name: str, known: list[str]) -> str:
    """Return ``did you mean 'x'?`` for a near miss, or an empty string."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else ""


@overload
def load(kind: Literal["models"], name: str) -> Reconstructor: ...
@overload
def load(kind: Literal["corruptions"], name: str) -> Corruption: ...
@overload
def load(kind: Literal["maskers"], name: str) -> Masker: ...
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
        EnvironmentNotReady: If the plug-in is registered but broken.
    """
    known = entries(kind)
    if name not in known:
        hint = " ".join(filter(None, [did_you_mean(name, list(known)), f"robench list {kind}"]))
        raise UsageError(f"There is no {kind.rstrip('s')} '{name}'", expected="one of " + ", ".join(known), hint=hint)
    entry = known[name]
    try:
        plugin = entry.point.load()()
    except Exception as error:
        raise EnvironmentNotReady(
            f"The {kind.rstrip('s')} '{name}' from {entry.origin} is broken",
            got=f"{type(error).__name__}: {error}",
            hint="robench doctor",
        ) from error
    protocol = _PROTOCOLS[kind]
    missing = [a for a in _members(protocol) if not hasattr(plugin, a)]
    if missing:
        raise EnvironmentNotReady(
            f"The {kind.rstrip('s')} '{name}' from {entry.origin} is broken",
            got=f"no {', '.join(missing)}",
            expected=f"what robench.contracts.{protocol.__name__} has",
        )
    return plugin


def _members(protocol: type) -> list[str]:
    names = set(cast("set[str]", getattr(protocol, "__protocol_attrs__", set())))
    if not names:
        names = {n for n in [*vars(protocol), *protocol.__annotations__] if not n.startswith("_")}
    return sorted(names)


@dataclass(frozen=True)
class Status:
    """A plug-in as `survey` found it: `card` if it loads, else the `error`."""

    entry: Entry
    card: Any | None
    error: str | None


def survey(kind: Kind) -> list[Status]:
    """Load every plug-in of a kind; a broken one becomes a status, never an exception."""
    result = []
    for entry in entries(kind).values():
        try:
            result.append(Status(entry, load(kind, entry.name).card, None))
        except EnvironmentNotReady as error:
            result.append(Status(entry, None, str(error)))
    return result
