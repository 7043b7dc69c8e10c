"""The recipe files name what exists, and are what they are called after."""

import pytest
import yaml
from corruption_pictures import PAPER

from corruptions import NAMES, load
from corruptions.recipes import folder

FILES = sorted(path.stem for path in folder().glob("*.yaml"))
COMMON_15 = [
    *("gaussian_noise", "shot_noise", "impulse_noise"),
    *("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    *("snow", "frost", "fog", "brightness"),
    *("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
]
SHARED_3DCC = {
    *("near_focus", "fog_3d", "low_light", "iso_noise", "color_quant"),
    *("xy_motion_blur", "z_motion_blur", "bit_error", "h265_abr", "h265_crf"),
}
"""In 3DCC, in its ImageNet version and in the 2D-priors paper."""
MEMBERS = {
    "clean": [],
    "2d-priors": PAPER,
    "2d-priors-critical": {"low_light", "iso_noise", "zoom_blur_2d", "camera_roll"},
    "3dcc-12": {*SHARED_3DCC, "camera_roll", "zoom_blur_2d"},
    "3dcc": {
        *SHARED_3DCC,
        *("far_focus", "flash", "shadow", "multi_illumination", "occlusion", "scale"),
        *("camera_roll", "camera_pitch", "field_of_view", "view_jitter"),
    },
    "imagenet-3dcc": {*SHARED_3DCC, "far_focus", "flash"},
    "common-15": COMMON_15,
    "common-19": [*COMMON_15, "speckle_noise", "gaussian_blur", "spatter", "saturate"],
}
"""Recipes of single corruptions only, and what they hold; a list where the order is the published one."""


def read(name):
    return yaml.safe_load((folder() / f"{name}.yaml").read_text())


def parts_of(cell):
    """Return every (corruption, level) of a cell; the level is None where the severities give it."""
    if "mixture" in cell:
        names = cell["mixture"]["from"]
        return [(name, None) for name in (NAMES if names == "all" else names)]
    if "chain" in cell:
        pairs = [part.partition(":") for part in cell["chain"]]
        return [(name, int(level) if level else None) for name, _, level in pairs]
    return [(cell["corruption"], None)]


@pytest.mark.parametrize("name", FILES)
def test_recipe_names_known_cells(name):
    recipe = read(name)
    assert recipe["name"] == name
    assert set(recipe) == {"name", "version", "description", "reference", "cells"}
    assert isinstance(recipe["version"], str)
    for cell in recipe["cells"]:
        for corruption, level in parts_of(cell):
            levels = set(load(corruption).card.extra["severities"])
            assert {level} <= levels or set(cell["severities"]) <= levels


@pytest.mark.parametrize("name", MEMBERS)
def test_recipe_holds_its_corruptions(name):
    names = [cell["corruption"] for cell in read(name)["cells"]]
    assert len(set(names)) == len(names)
    wanted = MEMBERS[name]
    assert sorted(names) == sorted(wanted)
    if name.startswith("common"):
        assert names == wanted


@pytest.mark.parametrize("name", sorted(set(FILES) - {"2d-priors", "2d-priors-critical", "clean", "phone", "full"}))
def test_recipe_has_every_level(name):
    assert all(cell["severities"] == [1, 2, 3, 4, 5] for cell in read(name)["cells"])


def test_there_is_no_other_recipe():
    assert {*MEMBERS, "phone", "full"} == set(FILES)


def test_the_page_of_recipes_lists_each_and_says_which_need_depth():
    page = (folder().parents[1] / "docs" / "recipes.md").read_text()
    for name in FILES:
        needs = any("depth" in load(part).card.needs for cell in read(name)["cells"] for part, _ in parts_of(cell))
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.endswith(f"| {'yes' if needs else 'no'} |")


def test_full_recipe_has_every_corruption_at_every_level_and_compositions():
    cells = read("full")["cells"]
    single = {cell["corruption"]: cell["severities"] for cell in cells if "corruption" in cell}
    assert single == {name: [1, 2, 3, 4, 5] for name in NAMES}
    assert sum("chain" in cell for cell in cells) >= 3
    assert sum("mixture" in cell for cell in cells) == 1


def test_phone_recipe_needs_no_depth_and_goes_from_shutter_to_server():
    cells = read("phone")["cells"]
    assert {name for cell in cells for name, _ in parts_of(cell) if "depth" in load(name).card.needs} == set()
    order = [cell["corruption"] for cell in cells if "corruption" in cell]
    composed = [parts_of(cell) for cell in cells if "corruption" not in cell]
    assert len(composed) >= 4
    for parts in composed:
        places = [order.index(name) for name, _ in parts]
        assert len(places) >= 3
        assert places == sorted(places)


def test_chains_and_mixtures_have_a_name_of_their_own():
    for file in FILES:
        names = [cell.get("name", cell.get("corruption")) for cell in read(file)["cells"]]
        assert len(set(names)) == len(names)
        assert not {cell["name"] for cell in read(file)["cells"] if "name" in cell} & set(NAMES)


def test_paper_recipe_has_the_paper_levels():
    cells = read("2d-priors")["cells"]
    assert {c["corruption"]: c["severities"] for c in cells} == {
        n: [load(n).card.extra["paper_severity"]] for n in PAPER
    }
    assert all(cell in cells for cell in read("2d-priors-critical")["cells"])
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
