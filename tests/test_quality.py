"""The house rules that a tool can check: lint, types, the direction of imports, sizes, nothing of one machine."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("robench", "corruptions", "baselines")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
LONGEST = 400

# Part of robench → the parts that it may import besides itself. Imports point one way.
FOUNDATION = {"contracts", "errors", "rng", "schema"}
LAYERS: dict[str, set[str]] = {
    "errors": set(),
    "rng": set(),
    "camera": set(),
    "contracts": {"errors", "camera"},
    "schema": {"errors"},
    "registry": FOUNDATION,
    "testing": FOUNDATION,
    "io": FOUNDATION,
    "geometry": FOUNDATION | {"io"},
    "rendering": FOUNDATION | {"io", "geometry"},
    "metrics": FOUNDATION | {"io", "geometry", "rendering"},
    "masking": FOUNDATION | {"io", "geometry"},
    "encoders": FOUNDATION | {"io"},
    "data": FOUNDATION | {"io", "geometry", "rendering", "registry"},
    "analysis": FOUNDATION | {"io"},
    "engine": FOUNDATION | {"io", "geometry", "rendering", "metrics", "masking", "data", "registry", "analysis"},
    "training": FOUNDATION | {"io", "masking", "data", "registry", "engine"},
    "reporting": FOUNDATION
    | {"io", "geometry", "rendering", "metrics", "masking", "data", "registry", "analysis", "engine"},
    "leaderboard": FOUNDATION | {"io", "masking", "data", "registry", "analysis", "engine", "reporting"},
    "reproduce": FOUNDATION
    | {"io", "geometry", "metrics", "masking", "data", "registry", "analysis", "engine"}
    | {"training", "reporting", "leaderboard"},
    "cli": FOUNDATION
    | {"io", "geometry", "rendering", "metrics", "masking", "data", "registry", "analysis", "engine", "reporting"}
    | {"leaderboard", "training", "reproduce"},
    "__main__": {"cli"},
    "__init__": {"analysis"},
}
BASELINES_MAY = FOUNDATION | {"io", "geometry", "rendering", "data", "registry", "encoders", "training"}


def imported(path: Path) -> Iterator[str]:
    """Yield the full name of every module that a file imports, wherever in the file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import hides where it points"
            module = node.module or ""
            yield from (f"{module}.{alias.name}" for alias in node.names)


def robench_parts(path: Path) -> set[str]:
    """Return the parts of robench (second name) that a file imports."""
    names = [name.split(".") for name in imported(path)]
    return {name[1] for name in names if name[0] == "robench" and len(name) > 1} - {"__version__"}


def part(path: Path) -> str:
    return path.relative_to(ROOT / "robench").parts[0].removesuffix(".py")


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.is_relative_to(ROOT / "robench")], ids=lambda p: str(p.relative_to(ROOT))
)
def test_robench_imports_point_one_way(path: Path) -> None:
    own = part(path)
    assert own in LAYERS, f"say in LAYERS what robench.{own} may import"
    wrong = robench_parts(path) - LAYERS[own] - {own}
    assert not wrong, f"robench.{own} may not import {sorted(wrong)}"
    outside = {name.split(".")[0] for name in imported(path)} & {"baselines", "corruptions", "tests", "benchmarks"}
    assert not outside, f"{sorted(outside)} is found through robench.registry, never imported"


def test_corruptions_import_nothing_of_ours() -> None:
    for path in (ROOT / "corruptions").rglob("*.py"):
        wrong = {name for name in imported(path) if name.split(".")[0] in ("robench", "baselines", "tests")}
        assert not wrong, f"{path}: {wrong}"


def test_baselines_import_only_the_lower_parts_of_robench() -> None:
    for path in (ROOT / "baselines").rglob("*.py"):
        wrong = robench_parts(path) - BASELINES_MAY
        assert not wrong, f"{path}: {sorted(wrong)}"
        assert not [name for name in imported(path) if name.split(".")[0] in ("corruptions", "tests")], path


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_fits_in_a_head(path: Path) -> None:
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGEST, f"{lines} lines: split it by what changes together"


def test_ruff_finds_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--no-cache", "."],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_mypy_strict_finds_nothing() -> None:
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def tracked() -> list[Path]:
    """Return the files of the project: what git tracks; without git, what lies in its folders."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode == 0 and done.stdout:
        return [path for name in done.stdout.split("\0") if name and (path := ROOT / name).is_file()]
    folders = (*PACKAGES, "tests", "benchmarks", "docs", "leaderboards", "tools")
    return [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]


TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".sh", ".txt", ".json", ".csv", ".cfg", ""}


def test_nothing_names_one_machine() -> None:
    # Absolute paths of somebody's machine, by the folder they start in.
    machine = re.compile(r"(?<![\w.~}/-])/(?:home|root|work|farm|mnt|Users)/\w")
    found = []
    for path in tracked():
        if path.suffix not in TEXT or path == Path(__file__):
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if machine.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert not found, "\n".join(found)


def test_nothing_is_left_unfinished() -> None:
    # Written in two halves, so that this file does not find itself.
    unfinished = re.compile(
        "|".join(a + b for a, b in [("TO", "DO"), ("FIX", "ME"), ("XX", "X\\b"), ("NotImplemented", "Error")])
    )
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked()
        if path.suffix in {".py", ".sh", ".md", ".toml", ".yaml"}
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if unfinished.search(line)
    ]
    assert not found, "\n".join(found)


def test_no_error_is_swallowed() -> None:
    found = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ExceptHandler):
                continue
            wide = node.type is None or (
                isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")
            )
            if node.type is None or (wide and all(isinstance(each, ast.Pass | ast.Continue) for each in node.body)):
                found.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not found, f"an error is caught and forgotten: {found}"


def test_nothing_large_is_tracked() -> None:
    large = {str(path.relative_to(ROOT)): path.stat().st_size for path in tracked() if path.stat().st_size > 16 * 2**20}
    assert not large


def test_test_files_have_names_of_their_own() -> None:
    # pytest imports them by their bare name.
    names = [path.name for path in (ROOT / "tests").rglob("test_*.py")]
    assert sorted(set(names)) == sorted(names)


def test_ci_runs_the_tests() -> None:
    script = ROOT / ".ci" / "run"
    assert script.stat().st_mode & 0o111, "it cannot be executed"
    assert "make test" in script.read_text()


def test_every_dependency_is_pinned() -> None:
    import tomllib

    def bare(requirement: str) -> str:
        return re.split(r"[\[<>=!~; ]", requirement)[0].lower().replace("_", "-")

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]  # dev has those of the executors too, by the project's own name
    wanted = [*project["dependencies"], *extras["dev"], *extras["priors"], *extras["ray"], *extras["slurm"]]
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = {bare(line) for line in lines if "==" in line}
    assert {bare(requirement) for requirement in wanted} - {project["name"]} <= pinned


def test_every_verb_is_told_in_the_readme() -> None:
    from robench.cli import VERBS

    readme = (ROOT / "README.md").read_text()
    assert not [verb for verb in VERBS if f"robench {verb}" not in readme]
