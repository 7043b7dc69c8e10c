"""Where losses come from, on the page: the bars of a real browser, what they say to those who do not see them, size."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.analysis.causes import cause_table
from robench.analysis.provenance import open_run
from robench.reporting.html.causes import cause_data, causes_sheet
from robench.reporting.html.names import Series
from robench.reporting.html.page import LIMIT
from robench.reporting.report import write_report
from tests.robench.browser import PHONE, Watched, check_names
from tests.robench.reporting.cause_runs import PARTS, cause_rows, write_pair, write_run

ATTACK = "<b>a</b><a href=https://example.org>b</a><img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def page_of_causes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with its counterpart, one of a name that is an attack without, and one whose twin is lost under fog."""
    folder = tmp_path_factory.mktemp("causes")
    found, true = write_pair(folder / "toy")
    attack = write_run(folder / "attack", cause_rows(ATTACK, scale=2.0))
    rows = cause_rows("broken", scale=0.5)
    lost = (rows["metric"] == "chamfer_similarity_cm") & (rows["corruption"] == "fog_3d")
    rows.loc[lost, ["value", "status"]] = [float("nan"), "failed"]
    broken = write_run(folder / "broken", rows)
    report = write_report([found, attack, broken], folder / "out", ["html"], true_masks=[true])
    return report.files[0]


@pytest.fixture
def watched(chromium: Any, page_of_causes: Path) -> Iterator[Watched]:
    found = Watched(chromium, page_of_causes)
    yield found
    found.silent(page_of_causes)
    found.context.close()


BARS = """() => [...document.querySelectorAll("#cause-panels .plot")].map((plot) => ({
    bars: plot.querySelectorAll(".bars .point path").length,
    names: plot.data.map((trace) => trace.name),
    values: plot.data.map((trace) => trace.x),
    patterns: plot.data.filter((trace) => trace.type === "bar").map((trace) => trace.marker.pattern.shape),
    labels: plot._fullLayout.yaxis.ticktext,
    range: plot._fullLayout.xaxis.range,
    texts: plot.data.map((trace) => trace.text),
    notes: plot._fullLayout.annotations.map((note) => note.text),
}))"""


def test_bars_are_drawn_from_the_parts(watched: Watched) -> None:
    page = watched.page
    assert "Where losses come from" in page.locator("h2:visible").all_inner_texts()
    assert page.locator("nav a[href='#causes']").count() == 1
    attack, broken, toy = page.evaluate(BARS)
    assert toy["labels"] == ["Fog 3D", "ISO noise", "Camera roll", "All corruptions"], "the worst above"
    assert (toy["names"], toy["patterns"]) == (["Mask", "Alignment", "Shape", "Loss"], ["/", ".", ""])
    # One path a piece, and one of its hatch where it has one.
    assert toy["bars"] >= 12
    by_name = dict(zip(toy["names"], toy["values"], strict=True))
    for index, name in enumerate(["camera_roll", "fog_3d", "iso_noise"], start=1):
        for part in ("mask", "alignment", "shape"):
            assert by_name[part.capitalize()][index] == pytest.approx(PARTS[name][part])
        assert by_name["Loss"][index] == pytest.approx(sum(by_name[n][index] for n in ("Mask", "Alignment", "Shape")))
    assert "Mask: −0.40 cm" in toy["texts"][0][1]
    assert re.search(r"interval −?\d\.\d\d to −?\d\.\d\d", toy["texts"][0][1])
    assert sorted(toy["notes"]) == [" +1.00", " +3.00", "truth not moved"]
    # Without a run with true masks there are two parts; a bar that lacks a part is none, and says so.
    assert attack["names"] == ["Alignment", "Shape", "Loss"]
    assert [len(values) for values in broken["values"]] == [2, 2, 4]
    assert sum("not told apart" in note for note in broken["notes"]) == 2
    assert attack["range"] == broken["range"] == toy["range"], "bars of runs can be compared"


def test_the_metric_and_the_order_are_followed(watched: Watched) -> None:
    page = watched.page
    shown = (
        "[...document.querySelectorAll('#cause-legend li')].filter((li) => !li.hidden).map((li) => li.innerText.trim())"
    )
    assert page.evaluate(shown)[:-1] == ["Mask", "Alignment (pose, place, size)", "Shape"]
    page.select_option("#metric", "1")
    assert page.evaluate(shown)[:-1] == ["Mask", "Alignment and shape"]
    (only,) = page.evaluate(BARS)
    assert only["names"] == ["Mask", "Alignment and shape", "Loss"]
    page.select_option("#metric", "0")
    page.select_option("#order", "name")
    assert page.evaluate(BARS)[0]["labels"] == ["ISO noise", "Fog 3D", "Camera roll", "All corruptions"]


def test_who_does_not_see_the_bars_is_told_the_same(watched: Watched) -> None:
    page = watched.page
    plots = page.locator("#cause-panels .plot")
    assert [plots.nth(i).get_attribute("role") for i in range(3)] == ["img"] * 3
    told = plots.nth(2).get_attribute("aria-label")
    assert told.startswith("Loss in Chamfer distance (cm), toy. All corruptions: loss +2.28 (interval ")
    assert "Camera roll: loss +2.60" in told
    assert "of it Mask −0.40, Alignment +2.00, Shape +1.00; +3.00 if the truth is not moved" in told
    assert "Fog 3D: loss +1.75" in told
    broken = plots.nth(1).get_attribute("aria-label")
    assert "not told apart" in broken
    captions = page.locator("#cause-panels figcaption").all_inner_texts()
    inside = " what the masks cost is inside: no run with true masks"
    assert captions == [f"{ATTACK}{inside}", f"broken{inside}", "toy"]
    assert page.locator("img[src=x]").count() == 0, "a model's name is text"
    # The table has the same numbers, sorts by keyboard, and comes out as CSV.
    table = page.locator("table[data-table=decomposition]")
    heads = table.locator("thead th").all_inner_texts()
    assert [head.split("\n")[0].strip() for head in heads] == [
        "Run", "Corruption", "Loss in", "Loss", "Mask", "Alignment", "Shape", "Alignment and shape", "Truth not moved",
        "Subjects",
    ]  # fmt: skip
    table.locator("thead button").nth(4).focus()
    page.keyboard.press("Enter")
    mask = [text.split()[0] for text in table.locator("tbody tr td:nth-child(5)").all_inner_texts()]
    assert mask[:2] == ["−0.40", "−0.20"]
    assert mask[-8:] == ["–"] * 8, "what is not told stands last"
    with page.expect_download() as waiting:
        page.locator("[data-csv=decomposition]").click()
    found = pd.read_csv(waiting.value.path())
    assert {"mask_lo", "given_rows_sha256"} <= set(found.columns)
    check_names(page)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colours(chromium: Any, page_of_causes: Path, scheme: str) -> None:
    watched = Watched(chromium, page_of_causes, color_scheme=scheme, **PHONE)
    assert watched.width <= 360
    box = watched.page.locator("#cause-panels .plot").last.bounding_box()
    assert box["width"] > 250
    mark = watched.page.evaluate("document.querySelectorAll('#cause-panels .plot')[2].data.at(-1).marker.color")
    # The mark of the loss has the ink of the theme.
    assert (int(mark[1:3], 16) > 128) == (scheme == "dark")
    watched.silent(page_of_causes)
    watched.context.close()


def test_the_page_is_small_and_says_nothing_where_nothing_is_told(page_of_causes: Path, tmp_path: Path) -> None:
    assert page_of_causes.stat().st_size < LIMIT / 2
    old = write_run(tmp_path / "old", cause_rows(twin=False))
    text = write_report([old], None, ["html"]).files[0].read_text(encoding="utf-8")
    assert "Where losses come from" not in re.sub(r"<script>.*?</script>", "", text, flags=re.S)
    assert 'href="#causes"' not in text


def test_data_are_json_and_a_masker_is_part_of_a_series(tmp_path: Path) -> None:
    rows = cause_rows()
    both = write_run(tmp_path / "both", pd.concat([rows, rows.assign(masker="u2net")]))
    causes = cause_table([open_run(both)], [], ["chamfer_cm"])
    series = [Series("toy", "toy-found", name) for name in ("u2net", "u2netp")]
    data = cause_data(causes, series)
    assert [group["series"] for group in data["groups"]] == [0, 1]
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [part["name"] for part in data["parts"]] == ["alignment", "shape"]
    table = causes_sheet(causes, {one: one.masker for one in series})
    assert {row[0].text for row in table.rows} == {"u2net", "u2netp"}
    assert all(len(row) == len(table.heads) for row in table.rows)
