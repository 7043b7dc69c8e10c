"""The paper's numbers as data: against cells typed by hand from the paper."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from robench import registry
from robench.reproduce.published import FILE, find, published, ratio_to_clean
from robench.reproduce.settings import PAPER_MASKERS

ROOT = Path(__file__).parents[3]
TABLE_1 = {
    "xy_motion_blur": 0.8801, "color_quant": 0.8733, "camera_roll": 0.8751, "fog_3d": 0.9440, "z_motion_blur": 0.8756,
    "h265_crf": 0.8793, "low_light": 0.8441, "near_focus": 0.8223, "bit_error": 0.8943, "iso_noise": 0.8580,
    "zoom_blur_2d": 0.8643, "h265_abr": 0.7952, "view_left": 0.9214, "view_right": 0.9097, "view_back": 0.8047,
}  # fmt: skip
# Rows of the paper's Table II, Chamfer and then P2S, in the order mask, isnet, silueta, u2net, u2net human, u2netp.
TABLE_2 = {
    "clean": [[405, 409, 405, 409, 402, 404], [387, 385, 387, 379, 376, 377]],
    "low_light": [[2484, 690, 2552, 1855, 2434, 2369], [1703, 689, 1868, 1585, 1786, 1963]],
    "iso_noise": [[1575, 646, 1463, 996, 1449, 1131], [1375, 602, 1268, 738, 1309, 1019]],
    "zoom_blur_2d": [[695, 721, 697, 705, 701, 700], [753, 789, 754, 761, 761, 756]],
    "camera_roll": [[2417, 2352, 2407, 2425, 2417, 2436], [2441, 2289, 2436, 2399, 2428, 2426]],
}
NOTEBOOK = {"clean": (0.0805, 0.0895), "near_focus": (0.0799, 0.0933), "iso_noise": (0.1102, 0.1419),
            "camera_roll": (0.19, 0.2219), "zoom_blur_2d": (0.0846, 0.1019)}  # fmt: skip


def value(*place: str) -> float:
    found = find(*place)
    assert found is not None, place
    return found.value


def test_there_is_one_file() -> None:
    own = resources.files("robench.reproduce").joinpath(FILE).read_bytes()
    assert own == (ROOT / "leaderboards" / "published" / FILE).read_bytes()
    assert (ROOT / "robench" / "reproduce" / FILE).resolve() == ROOT / "leaderboards" / "published" / FILE


def test_tables_one_to_three_are_as_printed() -> None:
    assert {row: value("table1", row, "cosine_similarity") for row in TABLE_1} == TABLE_1
    order = ["corrupted", "isnet-general-use", "silueta", "u2net", "u2net_human_seg", "u2netp"]
    for row, pair in TABLE_2.items():
        for metric, numbers in zip(("chamfer", "p2s"), pair, strict=True):
            assert [round(1e4 * value("table2", row, metric, masker)) for masker in order] == numbers
    assert [value("table3", model, m) for model in ("baseline", "experts") for m in ("trainable", "total")] == [
        15_604_738, 15_604_738, 1_185_795, 567_078_959,
    ]  # fmt: skip
    assert [value("table3", model, m) for model in ("add", "concat_frozen") for m in ("trainable", "total")] == [
        15_604_738, 443_221_251, 1_185_795, 15_604_738,
    ]  # fmt: skip


def test_the_notebook_is_in_units_of_meshes() -> None:
    for row, (chamfer, p2s) in NOTEBOOK.items():
        assert value("notebook", row, "chamfer", "5 batches") == chamfer
        assert value("notebook", row, "p2s", "5 batches") == p2s
    assert value("notebook", "camera_roll", "p2s", "10 batches") == 0.2961
    assert value("notebook", "bit_error", "chamfer", "24 batches") == 0.208


def test_every_number_is_what_is_printed_and_once() -> None:
    every = published()
    assert len({one[:4] for one in every}) == len(every) == 15 + 60 + 8 + 26 + 6 + 2
    for one in every:
        printed = float(one.printed_as.replace(",", ""))
        assert one.value == pytest.approx(printed / 100 if one.output == "notebook" else printed, rel=1e-12), one
        assert one.source.startswith("Fantini, Li and Liu 2023")


def test_rows_and_columns_have_names_that_robench_knows() -> None:
    known = {"clean", *registry.entries("corruptions")}
    rows = {one.row for one in published() if one.output != "table3" and not one.row.startswith("view_")}
    assert rows <= known
    maskers = {one.column for one in published() if one.output == "table2"}
    assert maskers == set(PAPER_MASKERS) <= set(registry.entries("maskers"))


def test_ratios_to_clean_have_no_unit() -> None:
    assert ratio_to_clean("table2", "low_light", "chamfer", "corrupted") == pytest.approx(2484 / 405)
    assert ratio_to_clean("table2", "low_light", "chamfer", "u2netp-anny") is None
    assert ratio_to_clean("table2", "fog_3d", "chamfer", "corrupted") is None
