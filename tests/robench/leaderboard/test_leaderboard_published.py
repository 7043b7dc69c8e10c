"""Printed figures lie beside the boards: checked for what does not belong there, and otherwise passed by."""

from __future__ import annotations

import shutil
from pathlib import Path

from robench.leaderboard.board import places
from robench.leaderboard.publish import recompute
from robench.leaderboard.site.build import build_site
from robench.leaderboard.verify import verify

OURS = Path(__file__).parents[3] / "leaderboards" / "published"


def test_printed_figures_are_no_board(board, tmp_path: Path) -> None:
    board.publish(board.run("toy"))
    alone = build_site(board.root, tmp_path / "alone")
    shutil.copytree(OURS, board.root / "published")
    before = {path: path.read_bytes() for path in (board.root / "published").iterdir()}
    assert verify(board.root).findings == []
    assert len(places(board.root)) == 1
    assert recompute(board.root, places(board.root)) == []
    assert build_site(board.root, tmp_path / "site").boards == alone.boards == 1
    assert {path: path.read_bytes() for path in (board.root / "published").iterdir()} == before


def test_what_is_no_printed_figure_is_a_stray(board) -> None:
    board.publish(board.run("toy"))
    folder = shutil.copytree(OURS, board.root / "published")
    (folder / "notes.txt").write_text("x")
    (folder / "rows").mkdir()
    (folder / "link.csv").symlink_to(folder / "2d-priors.csv")
    found = {finding.path: finding.message for finding in verify(board.root).findings}
    assert set(found) == {"published/notes.txt", "published/rows", "published/link.csv"}
    assert "a link" in found["published/link.csv"]
