"""What is measured otherwise today: entries of an older metric or corruption, which a site greys out."""

from __future__ import annotations

import functools
from collections.abc import Iterator

import pandas as pd

from robench import registry
from robench.engine.conditions import is_composed
from robench.errors import EnvironmentNotReady, UsageError
from robench.leaderboard.entry import published_metrics


@functools.cache
def installed_version(kind: registry.Kind, name: str) -> str | None:
    """Return the version of an installed metric or corruption; None where there is none, or it is broken."""
    if name not in registry.entries(kind):
        return None
    try:
        return str(registry.load(kind, name).card.version)
    except (UsageError, EnvironmentNotReady):
        return None


def is_stale(metric: str, version: str) -> bool:
    """True if the installed metric of that name has another version."""
    return installed_version("metrics", metric) not in (None, version)


def stale_parts(rows: pd.DataFrame) -> Iterator[str]:
    """Yield each metric and corruption of an entry whose installed version is another, as ``NAME 1, now 2``.

    Chains and mixtures state the versions of their parts in a hash or a text of their own, and are not looked into.
    """
    for metric in published_metrics(rows):
        found = set(rows.loc[rows["metric"] == metric, "metric_version"].dropna().astype(str))
        yield from (f"{metric} {v}, now {installed_version('metrics', metric)}" for v in found if is_stale(metric, v))
    yield from stale_corruptions(rows)


def stale_corruptions(rows: pd.DataFrame) -> Iterator[str]:
    """Yield each corruption of an entry whose installed version is another; as `stale_parts`."""
    versions = rows[["corruption", "corruption_version"]].dropna().drop_duplicates()
    for name, version in sorted(map(tuple, versions.astype(str).to_numpy())):
        now = installed_version("corruptions", name)
        if now not in (None, version) and not is_composed(version):
            yield f"{name} {version}, now {now}"
