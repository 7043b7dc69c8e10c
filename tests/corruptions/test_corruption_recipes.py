"""The recipe files name what exists."""

import pytest
import yaml
from corruption_pictures import ALL, PAPER

from corruptions import load
from corruptions.recipes import folder

NAMES = ["2d-priors", "3dcc-12", "clean"]


def test_folder_holds_the_recipes():
    assert sorted(p.stem for p in folder().glob("*.yaml")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_recipe_names_known_cells(name):
    recipe = yaml.safe_load((folder() / f"{name}.yaml").read_text())
    assert recipe["name"] == name
    assert {"version", "description", "reference", "cells"} <= set(recipe)
    assert isinstance(recipe["version"], str)
    for cell in recipe["cells"]:
        assert set(cell) == {"corruption", "severities"}
        assert set(cell["severities"]) <= set(load(cell["corruption"]).card.extra["severities"])
    names = [cell["corruption"] for cell in recipe["cells"]]
    assert sorted(names) == ([] if name == "clean" else ALL)


def test_paper_recipe_has_the_paper_levels():
    cells = yaml.safe_load((folder() / "2d-priors.yaml").read_text())["cells"]
    assert {c["corruption"]: c["severities"] for c in cells} == {
        n: [load(n).card.extra["paper_severity"]] for n in PAPER
    }
    by_name = {c["corruption"]: c["severities"][0] for c in cells}
    physical = {n: load(n).card.extra["severities"][s] for n, s in by_name.items()}
    assert physical["low_light"]["gain"] == 0.3
    assert physical["iso_noise"]["sigma"] == 0.182
    assert physical["color_quant"]["bits"] == 2
    assert physical["h265_crf"]["crf"] == 39
    assert physical["h265_abr"]["divisor"] == 8
    assert physical["zoom_blur_2d"] == {"zoom_step": 0.02, "passes": 5}
    assert physical["near_focus"]["aperture_px"] == 3
    assert physical["bit_error"]["bytes_per_error"] == 10_000
    assert physical["fog_3d"]["beta_per_m"] == 0.512


def test_full_recipe_has_every_level():
    cells = yaml.safe_load((folder() / "3dcc-12.yaml").read_text())["cells"]
    assert all(c["severities"] == [1, 2, 3, 4, 5] for c in cells)
