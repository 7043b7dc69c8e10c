"""Where the time of a run went, and what that says about the next one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from robench.engine.journal import read_lines
from robench.engine.run_folder import EVENTS, RUN, parts
from robench.errors import RobenchError
from robench.io.files import read_json

STAGES = ("corrupt", "mask", "encode", "query", "mesh", "model", "metric", "keep", "write")
"""Stages of a cell, in order. ``encode``, ``query``, ``mesh``: what the model tells of itself, as every
`robench.contracts.Reconstruction` may; ``model``: the rest of its time; ``keep``: pictures and meshes for the eye;
``write``: rows."""
BESIDE = frozenset({"corrupt", "mask", "metric", "keep", "write"})
"""Stages that are not the model's."""


@dataclass(frozen=True)
class Profile:
    """Sums over the cells that were timed.

    Attributes:
        cells: How many.
        wall_s: Time of the workers, together.
        seconds: Time of each stage; stages overlap, so that their sum may be more than `wall_s`.
        device: Where the model ran last.
    """

    cells: int = 0
    wall_s: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    device: str = ""

    @property
    def model_s(self) -> float:
        """Time of the model's calls."""
        return sum(spent for stage, spent in self.seconds.items() if stage not in BESIDE)

    @property
    def overhead(self) -> float | None:
        """Wall time over the time of the model's calls; None without such."""
        return self.wall_s / self.model_s if self.model_s > 0 else None

    def table(self) -> list[dict[str, Any]]:
        """Return a row a stage: seconds in all, milliseconds a cell, share of the sum of all stages."""
        total = sum(self.seconds.values()) or 1.0
        order = [*STAGES, *sorted(set(self.seconds) - set(STAGES))]
        return [
            {
                "stage": stage,
                "seconds": self.seconds[stage],
                "ms_per_cell": 1000 * self.seconds[stage] / max(self.cells, 1),
                "share": self.seconds[stage] / total,
            }
            for stage in order
            if stage in self.seconds
        ]


def read_profile(run: Path) -> Profile:
    """Return the profile of a run, from the shards that were finished.

    Raises:
        Mismatch: If its events are damaged.
    """
    cells, wall, device = 0, 0.0, ""
    seconds: dict[str, float] = defaultdict(float)
    for event in read_lines(run / EVENTS):
        if event.get("event") == "shard":
            cells, wall = cells + event["made"], wall + event["wall_s"]
            device = (event.get("devices") or {}).get("model") or device
            for stage, spent in event["seconds"].items():
                seconds[stage] += spent
    return Profile(cells, wall, dict(seconds), device)


@dataclass(frozen=True)
class Speed:
    """What earlier runs of a model say about one to come.

    Attributes:
        seconds_per_cell: Of one worker.
        bytes_per_cell: Of rows.
        source: The run that was measured, its device, and over how many cells.
    """

    seconds_per_cell: float
    bytes_per_cell: float
    source: str


def measured_speed(out: Path, model: str) -> Speed | None:
    """Return the speed of the run of a model in a folder of runs that had the most cells; None without any.

    Args:
        out: Parent folder of runs.
        model: Its registered name.
    """
    best: tuple[Profile, Path] | None = None
    for path in sorted(out.glob(f"*/{RUN}")):
        try:
            if read_json(path).get("model") != model:
                continue
            found = read_profile(path.parent)
        except (RobenchError, AttributeError, KeyError, TypeError):
            continue  # a folder that is no run, or a damaged one: it says nothing about speed
        if found.cells and (best is None or found.cells > best[0].cells):
            best = found, path.parent
    if best is None:
        return None
    profile, run = best
    stored = sum(path.stat().st_size for path in parts(run).values())
    return Speed(
        profile.wall_s / profile.cells,
        stored / profile.cells,
        f"{run.name}, {profile.cells} cells on {profile.device or 'an unknown device'}",
    )
