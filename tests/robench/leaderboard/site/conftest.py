"""Published boards and their site."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from robench.leaderboard import board, stale
from robench.leaderboard import entry as entries
from robench.leaderboard import publish as publishing
from robench.leaderboard.site import views
from robench.leaderboard.site.build import build_site
from tests.robench.leaderboard.site.known_boards import DATASET, publish_boards


@pytest.fixture(scope="session")
def boards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        known: dict[str, Any] = {}

        def lines_of(entry: Any, entries: Any) -> Any:
            # A board is computed anew for each run that is published; the others' lines are what they were.
            key = json.dumps(entry.record.to_json(), sort_keys=True)
            if key not in known:
                known[key] = board.lines_of(entry, entries)
            return known[key]

        patch.setattr(publishing, "lines_of", lines_of)
        patch.setattr(entries, "RESAMPLES", 300)
        return publish_boards(tmp_path_factory.mktemp("boards"))


@contextmanager
def version_0_is_old() -> Iterator[None]:
    """Whatever versions metrics and corruptions have today, on these boards 1 is new and 0 is old."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(views, "is_stale", lambda metric, version: version == "0")
        patch.setattr(stale, "installed_version", lambda kind, name: "1")
        yield


@pytest.fixture(autouse=True)
def _version_0_is_old() -> Iterator[None]:
    with version_0_is_old():
        yield


@pytest.fixture(scope="session")
def site(boards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("out") / "site"
    with version_0_is_old():
        build_site(boards, out)
    return out


@pytest.fixture(scope="session")
def board_page(site: Path) -> Path:
    return site / "boards" / f"given-mask--{DATASET}.html"
