"""A stranger's package, really installed, comes through the same door as ours; its mistakes stop nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[1] / "plugin_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package with pip into a folder of its own, from a copy: pip builds inside the source folder."""
    source, target = tmp_path_factory.mktemp("source") / "package", tmp_path_factory.mktemp("target")
    shutil.copytree(PACKAGE, source)
    flags = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check"]
    subprocess.run([sys.executable, "-m", "pip", "install", *flags, "--target", str(target), str(source)], check=True)
    return target


def python(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(
        [sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def robench(installed: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return python(installed, "-c", "from robench.cli import main; main()", *arguments)


def listed(installed: Path, kind: str) -> dict[str, dict[str, str]]:
    done = robench(installed, "list", kind, "--json")
    assert done.returncode == 0, done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_a_strangers_corruption_is_listed_and_shown_beside_ours(installed: Path) -> None:
    rows = listed(installed, "corruptions")
    assert rows["stripes"]["status"] == "ok"
    assert rows["stripes"]["origin"] == "rainy-day (rainy_day:Stripes)"
    assert rows["fog_3d"]["status"] == "ok"
    shown = robench(installed, "show", "corruption", "stripes")
    assert shown.returncode == 0
    assert "period_px" in shown.stdout
    assert "MIT" in shown.stdout


def test_a_name_that_is_ours_stays_ours(installed: Path) -> None:
    rows = listed(installed, "corruptions")
    assert rows["iso_noise"]["origin"].startswith("robench (")
    assert rows["rainy-day/iso_noise"]["origin"].startswith("rainy-day (")


def test_a_module_that_cannot_be_imported_is_listed_as_broken_with_its_reason(installed: Path) -> None:
    rows = listed(installed, "corruptions")
    assert rows["torn"]["status"] == "broken"
    assert "No module named 'a_library_that_nobody_has'" in rows["torn"]["error"]
    for_people = robench(installed, "list", "corruptions")
    assert for_people.returncode == 0
    assert "broken: ModuleNotFoundError: No module named 'a_library_that_nobody_has'" in for_people.stdout


def test_a_metric_that_cannot_be_called_is_broken(installed: Path) -> None:
    rows = listed(installed, "metrics")
    assert rows["half_done"]["status"] == "broken"
    assert "__call__" in rows["half_done"]["error"]
    assert rows["height_error_cm"]["status"] == "ok"


def test_a_broken_plugin_that_is_asked_for_ends_in_one_sentence(installed: Path) -> None:
    done = robench(installed, "show", "corruption", "torn")
    assert done.returncode == 7
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "rainy-day (rainy_day.torn:Torn) is broken" in done.stderr


def test_a_strangers_recipe_is_found(installed: Path) -> None:
    assert listed(installed, "recipes")["rainy-day"]["summary"].startswith("Dead lines")
    names = robench(installed, "list", "recipes", "--names").stdout.split()
    assert "rainy-day" in names
    assert "2d-priors" in names


def test_the_strangers_plugins_conform(installed: Path) -> None:
    script = """
from robench import registry, testing
testing.check_corruption(registry.load("corruptions", "stripes"))
testing.check_metric(registry.load("metrics", "height_error_cm"))
print("conform")
"""
    done = python(installed, "-c", script)
    assert done.stdout == "conform\n", done.stderr


def test_a_strangers_corruption_makes_a_corruption_set(installed: Path, tmp_path: Path) -> None:
    from PIL import Image

    from robench.testing import example_image

    (tmp_path / "in").mkdir()
    Image.fromarray(example_image((64, 48))).save(tmp_path / "in" / "a.png")
    done = robench(installed, "corrupt", str(tmp_path / "in"), str(tmp_path / "out"), "-c", "stripes", "-s", "5")
    assert done.returncode == 0, done.stderr
    (made,) = (tmp_path / "out").rglob("stripes/5/*.png")
    with Image.open(made) as picture:
        assert not picture.convert("L").crop((0, 0, 48, 1)).getbbox(), "severity 5 of stripes blacks out line 0"


def test_the_corruption_that_the_documentation_shows_works() -> None:
    import re

    from robench import testing

    page = (PACKAGE.parents[1] / "docs" / "plugins.md").read_text()
    code = next(block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Stripes" in block)
    names: dict[str, Any] = {}
    exec(code, names)
    testing.check_corruption(names["Stripes"]())
