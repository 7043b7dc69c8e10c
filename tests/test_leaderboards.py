"""The project's own leaderboards say what their rows say."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from robench.leaderboard.verify import verify

ROOT = Path(__file__).parents[1]
BOARDS = ROOT / "leaderboards"


def test_our_leaderboards_are_sound() -> None:
    verdict = verify(BOARDS)
    assert verdict.sound, "\n".join(map(str, verdict.findings))


def test_the_table_of_the_readme_is_that_of_the_leaderboards() -> None:
    shown = re.findall(r"^\| (?:2d-priors|3dcc) \|.*$", (ROOT / "README.md").read_text("utf-8"), re.M)
    assert shown == results()


def results() -> list[str]:
    """Return the table's lines: recipes apart, masks found before masks given, the better model first."""
    found = []
    for path in sorted(BOARDS.glob("*/anny-humans/main.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in csv.DictReader(file) if line["metric"] == "chamfer_cm"]
        found += [line for line in lines if not line["variant"]]  # variants are those of docs/results.md
    found.sort(key=lambda line: (line["recipe"], line["track"] != "image-only", float(line["corrupted"])))
    return [_shown(line) for line in found]


def _shown(line: dict[str, str]) -> str:
    def number(name: str, digits: int = 2) -> str:
        return f"{float(line[name]):.{digits}f}"

    def spread(name: str, low: str) -> str:
        return f"{number(name)} [{number(f'{low}_lo')}, {number(f'{low}_hi')}]"

    cells = [
        line["recipe"],
        line["masker"],
        line["model"],
        spread("clean", "clean"),
        spread("corrupted", "corrupted"),
        spread("ratio_gm", "ratio"),
        f"{line['worst_corruption']}, {number('worst_ratio')}",
        f"{100 * float(line['failure_rate']):.1f} %",
    ]
    return f"| {' | '.join(cells)} |"
