"""``make soak``: hundreds of kills, and ten thousand cells in flat memory; writes what it saw into docs/soak.md.

Run as a script from the root of the repository.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import os
import platform
import shutil
import sys
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numpy as np
from fault_harness import MARK, TOYS, Commands, Killings, assert_same, assert_tidy, chaos, run_folder, science

import robench
from robench.engine.evaluate import evaluate
from robench.engine.tasks import Options

ROOT = Path(__file__).parents[4]
CASES = {
    "one model": ([], {"model": 80, "worker": 20, "head": 10, "all": 10}),
    "one model, `-j 2`": (["-j", "2"], {"model": 25, "worker": 30, "head": 8, "all": 7}),
    "`--workers 2`": (["--workers", "2"], {"model": 35, "worker": 25, "head": 10, "all": 10}),
}
EVERY = 1000
"""Cells between two looks at the memory."""
GROWTH_MB = 8.0
"""What the memory may grow by after the first two looks."""


def rendered() -> ModuleType:
    """Return the module that draws the toy people."""
    spec = importlib.util.spec_from_file_location("toy_people", ROOT / "tests" / "robench" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def command(people: Path, out: Path) -> list[str]:
    """Return the words of a run over toy people, 21 cells each."""
    words = ["evaluate", "--model", "toy", "--data", str(people), "-c", "toy_dim,toy_step", "-s", "1-5"]
    words += ["--masker", "given", "--metrics", "toy_depth_cm,toy_height_cm,mask_iou", "--device", "cpu"]
    return [*words, "--out", str(out), "--keep-meshes", "none", "-q"]


def kill(folder: Path, people: Path, seed: int) -> dict[str, Killings]:
    """Kill and resume until all is done; raises AssertionError where a row is wrong or something is left behind."""
    found = {}
    undisturbed = evaluate(
        Options(
            model="toy",
            data=people,
            corruptions="toy_dim,toy_step",
            severities="1-5",
            masker="given",
            metrics=("toy_depth_cm", "toy_height_cm", "mask_iou"),
            out=folder / "undisturbed",
            device="cpu",
            quiet=True,
            in_process=True,
            keep="none",
        )
    )
    for number, (case, (options, kills)) in enumerate(CASES.items()):
        commands = Commands(folder / str(number), {"TOY_MS": "40"})
        rng = np.random.Generator(np.random.PCG64([seed, number]))
        words = [*command(people, folder / str(number) / "runs"), *options, "--retries", "99"]
        found[case] = chaos(commands, words, rng, kills, (0.01, 0.25))
        run = run_folder(folder / str(number) / "runs")
        assert_same(run, undisturbed.folder)
        assert_tidy(run)
        left = commands.leftover()
        assert left == {}, left
        sys.stdout.write(f"{case}: {found[case]}\n")
    return found


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def grow(folder: Path, people: Path, cells: int) -> list[tuple[int, float, float]]:
    """Run many cells; return cells done and the memory of parent and model in MB, now and then."""
    commands = Commands(folder / "many")
    head = commands.start(*command(people, folder / "many" / "runs"))
    looks: list[tuple[int, float, float]] = []
    while head.poll() is None:
        time.sleep(0.02)
        if commands.count("calls") >= EVERY * (len(looks) + 1):
            model = next((pid for pid, role in commands.alive().items() if role == "model"), None)
            if model is not None:
                looks.append((commands.count("calls"), resident_mb(head.pid), resident_mb(model)))
    done = commands.done(head)
    assert done.code == 0, done.err
    run = run_folder(folder / "many" / "runs")
    assert len(science(run)) == 3 * cells
    assert_tidy(run)
    for column, who in ((1, "parent"), (2, "model")):
        growth = looks[-1][column] - looks[1][column]
        assert growth < GROWTH_MB, f"the {who} grew by {growth:.1f} MB: {looks}"
    return looks


def report(found: dict[str, Killings], looks: list[tuple[int, float, float]], cells: int, minutes: float) -> str:
    """Return the page."""
    names = {"model": "model", "worker": "worker or crew", "head": "parent alone", "all": "all at once"}
    lines = [
        "# Soak test",
        "",
        "The last result of `make soak`, which kills processes of `robench evaluate` with signal 9 at random moments,",
        "runs the same command again until it completes, and compares every row with those of an undisturbed run (all",
        "columns but time, memory, device, attempt, shard and version). Afterwards no process, lock, journal or",
        "temporary file may be left. Then it runs many tiny cells and looks at the memory.",
        "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, robench {robench.__version__}, "
        f"Python {platform.python_version()}, {os.cpu_count()} cores, {minutes:.0f} minutes.",
        "",
        "| Command | " + " | ".join(names.values()) + " | kills | starts | stopped by itself, resumable | rows |",
        "| --- |" + " ---: |" * (len(names) + 3) + " --- |",
    ]
    lines += [
        f"| {case} | "
        + " | ".join(str(seen.kills.get(name, 0)) for name in names)
        + f" | {seen.total} | {seen.starts} | {seen.clean_stops} | equal |"
        for case, seen in found.items()
    ]
    lines += [
        "",
        f'{sum(seen.total for seen in found.values())} kills. "Worker or crew" of one model alone is a model that is '
        "just being opened.",
        "",
        f"Memory over {cells:,} cells ({3 * cells:,} rows), resident, in MB:",
        "",
        "| Cells | parent | model |",
        "| ---: | ---: | ---: |",
        *(f"| {done:,} | {parent:.1f} | {model:.1f} |" for done, parent, model in looks),
        "",
        f"Growth after the second line: parent {looks[-1][1] - looks[1][1]:+.1f} MB, "
        f"model {looks[-1][2] - looks[1][2]:+.1f} MB (allowed: {GROWTH_MB:g}).",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Kill, grow, report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--subjects", type=int, default=228, help="of the run that looks at the memory; 4 views, 11 cells"
    )
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "soak.md")
    options = parser.parse_args()
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="robench-soak-"))
    try:
        os.environ |= {MARK: "soak", "TOY_STATE": str(folder), "PYTHONPATH": str(TOYS), "OMP_NUM_THREADS": "1"}
        sys.path.insert(0, str(TOYS))
        draw = rendered().write_people
        few = draw(folder / "few", 6, (0.0, 90.0, 180.0, 270.0))
        found = kill(folder, few, options.seed)
        cells = options.subjects * 4 * 11
        # Their radii grow with their number, and no picture holds more than a few of them: the same four again.
        many = draw(folder / "drawn", 4, (0.0, 90.0, 180.0, 270.0))
        looks = grow(folder, copies(many, folder / "many_people", options.subjects), cells)
        options.out.write_text(report(found, looks, cells, (time.monotonic() - started) / 60))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def copies(people: Path, target: Path, subjects: int) -> Path:
    """Make many subjects of few, by other names."""
    import json

    known = json.loads((people / "cameras.json").read_text())
    few = len({entry["subject"] for entry in known.values()})
    cameras = {}
    for subject in range(subjects):
        for name, entry in known.items():
            if entry["subject"] != f"s{subject % few}":
                continue
            copy = f"t{subject}_{name}"
            cameras[copy] = entry | {"subject": f"t{subject}"}
            for part, suffix in (("images", ".png"), ("masks", ".png"), ("meshes", ".ply")):
                (target / part).mkdir(parents=True, exist_ok=True)
                os.link(people / part / f"{name}{suffix}", target / part / f"{copy}{suffix}")
    (target / "cameras.json").write_text(json.dumps(cameras))
    return target


if __name__ == "__main__":
    main()
