"""Published runs with known truth."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from synthetic_runs import EFFECTS, MEAN_BODY, SyntheticRun, write_run

from robench.analysis.provenance import rows_sha256
from robench.io.files import json_text
from robench.leaderboard.entry import Entry, tables
from robench.leaderboard.publish import Published, Wishes, publish

TODAY = "2026-11-21"
WHOLE: dict[str, Any] = {
    "subjects": 6,
    "effects": EFFECTS,
    "severities": (1, 2, 3, 4, 5),
    "metrics": ("chamfer_cm", "p2s_pred_to_gt_cm", "fscore_1cm", "mask_iou"),
}
SMALL: dict[str, Any] = {
    "subjects": 4,
    "effects": {"camera_roll": 2.0, "fog_3d": 1.25},
    "severities": (1, 5),
    "metrics": ("chamfer_cm",),
}


def wishes(**said: Any) -> Wishes:
    """What is said of runs; ``reference``, ``rows_url`` and ``rows_out`` are no fields of the submission."""
    extra = {name: said.pop(name) for name in ("reference", "rows_url", "rows_out") if name in said}
    return Wishes(said, TODAY, **extra)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def tree(folder: Path) -> dict[str, bytes]:
    """Every file of a folder with its content."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def edit_json(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a JSON file by hand."""
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json_text(data))


class Board:
    """Runs on disk, and the leaderboards that they are published on."""

    def __init__(self, parent: Path) -> None:
        self.runs, self.root = parent / "runs", parent / "leaderboards"

    def run(self, model: str = "toy", **how: Any) -> SyntheticRun:
        """Write a small run; with ``**WHOLE`` one of three corruptions, five severities and all metrics."""
        return write_run(self.runs, model, **SMALL | how)

    def publish(self, *runs: SyntheticRun, **said: Any) -> list[Published]:
        return publish([run.folder for run in runs], self.root, wishes(**said))

    @property
    def folder(self) -> Path:
        return self.root / "given-mask" / "synthetic-people"

    def entry(self, run: SyntheticRun) -> Path:
        return self.folder / "rows" / run.run_id

    def main(self) -> list[dict[str, str]]:
        return table(self.folder / "main.csv")

    def per_corruption(self) -> list[dict[str, str]]:
        return table(self.folder / "per_corruption.csv")

    def line(self, model: str, metric: str = "chamfer_cm") -> dict[str, str]:
        (found,) = [line for line in self.main() if (line["model"], line["metric"]) == (model, metric)]
        return found


@pytest.fixture(autouse=True, scope="session")
def computed_once() -> Iterator[None]:
    """Lines are a pure function of record, rows and reference: what is the same in many tests is computed once."""
    known: dict[str, dict[str, list[list[str]]]] = {}

    def once(entry: Entry, reference: Entry | None) -> dict[str, list[list[str]]]:
        both = [one for one in (entry, reference) if one is not None]
        key = json_text([[one.record.to_json(), rows_sha256(one.run.rows) if one.run else ""] for one in both])
        if key not in known:
            known[key] = tables(entry, reference)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("robench.leaderboard.board.tables", once)
        patch.setattr("robench.leaderboard.publish.tables", once)
        yield


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Board, SyntheticRun, SyntheticRun]:
    """A reference without loss and a model with known losses and two failures; read only."""
    made = Board(tmp_path_factory.mktemp("filled"))
    reference = made.run("mean-body", **WHOLE | {"effects": MEAN_BODY, "clean_cm": 4.0})
    model = made.run("toy", clean_cm=1.5, fails={("fog_3d", 5): 2}, **WHOLE)
    made.publish(reference, model)
    return made, reference, model
