"""What a model may have besides, for Table III: the counts of parameters of all systems of its paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from robench import registry
from robench.errors import EnvironmentNotReady


@runtime_checkable
class Counted(Protocol):
    """A `Reconstructor` that can count what its paper counts."""

    def parameter_table(self) -> Sequence[Mapping[str, Any]]:
        """Return a row a system.

        ``model`` (its name), ``trainable``, ``total`` (of all that its classes make), ``used`` (of what enters a
        prediction), ``published`` (the paper's trainable and total, or None), ``note`` (which figure counts what).

        Raises:
            EnvironmentNotReady: If a library is missing that a network is counted by.
        """
        ...


def counted() -> Counted:
    """Return the first registered model that can count.

    Raises:
        EnvironmentNotReady: If there is none.
    """
    for name in registry.entries("models"):
        try:
            model = registry.load("models", name)
        except EnvironmentNotReady:
            continue  # a stranger's broken plug-in counts nothing
        if isinstance(model, Counted):
            return model
    raise EnvironmentNotReady(
        "No registered model counts the parameters of the paper's systems", hint="install the baselines of robench"
    )
