"""The project's own leaderboards say what their rows say."""

from __future__ import annotations

from pathlib import Path

from robench.leaderboard.verify import verify

BOARDS = Path(__file__).parents[1] / "leaderboards"


def test_our_leaderboards_are_sound() -> None:
    verdict = verify(BOARDS)
    assert verdict.sound, "\n".join(map(str, verdict.findings))
