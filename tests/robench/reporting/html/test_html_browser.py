"""The page in a real browser: it loads in silence, sorts, filters, opens samples, draws 3D, runs nothing foreign."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from robench.reporting.report import write_report
from tests.robench.browser import PHONE, Watched, check_names

ATTACK = "<b>a</b><a href=https://example.org>b</a><img src=x onerror=alert(1)>"
"""The name of one of the models."""


@pytest.fixture
def watched(chromium: Any, page_file: Path) -> Iterator[Watched]:
    found = Watched(chromium, page_file)
    yield found
    found.silent(page_file)  # whatever a test did, nothing was reported, fetched or run
    found.context.close()


def test_it_loads_and_shows_every_part(watched: Watched) -> None:
    page = watched.page
    assert page.locator("h2:visible").all_inner_texts() == [
        "Summary", "Heat map", "Cost of each corruption", "Samples", "Numbers", "Failures", "Protocol",
    ]  # fmt: skip
    assert page.locator("table.heatmap").count() == 2
    assert page.locator("#overview svg.main-svg").count() > 0
    page.locator("#panels").scroll_into_view_if_needed()
    page.wait_for_selector("#panels .js-plotly-plot")
    assert page.locator("#cards > li").count() == 10
    assert page.locator("img[src=x]").count() == 0, "a model's name is text"
    # Plotly's labels too: its own little HTML is not given a chance.
    assert page.locator("#overview .legendtext").all_text_contents() == [ATTACK, "toy"]
    assert page.locator("#summary .card h3").all_inner_texts() == [ATTACK, "toy"]


def test_the_browser_refuses_what_is_not_ours(chromium: Any, page_file: Path) -> None:
    watched = Watched(chromium, page_file)
    got = watched.page.evaluate(
        """async () => {
            const script = document.createElement("script");
            script.textContent = "window.foreign = true";
            document.body.append(script);
            let fetched = true;
            try { await fetch("https://example.org/"); } catch { fetched = false; }
            return [window.foreign === true, fetched];
        }"""
    )
    assert got == [False, False]
    assert any("Content Security Policy" in text for text in watched.errors)
    watched.context.close()


def column(page: Any, table: str, number: int) -> list[str]:
    rows = page.locator(f"table[data-table={table}] tbody tr:visible")
    return [rows.nth(index).locator("th,td").nth(number).inner_text().split("\n")[0] for index in range(rows.count())]


def test_tables_sort_by_number_with_missing_last_and_filter_by_words(watched: Watched) -> None:
    page, name = watched.page, "degradation_by_severity"
    head = page.locator(f"table[data-table={name}] thead th").nth(6)
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    rising = column(page, name, 6)
    numbers = [float(text.rstrip("×")) for text in rising if text != "–"]
    assert numbers == sorted(numbers)
    assert rising[-4:] == ["–"] * 4, "clean has no ratio, in both runs and metrics"
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    falling = column(page, name, 6)
    assert (falling[0], falling[-4:]) == (f"{max(numbers):.2f}×", ["–"] * 4)

    page.locator(f"[data-filter={name}]").fill("fog chamfer")
    shown = column(page, name, 1)
    assert shown == ["Fog 3D"] * 4
    assert page.locator(f"[data-count={name}]").inner_text() == f"4 of {len(rising)} rows"


def test_csv_comes_out_as_the_command_writes_it(watched: Watched, tmp_path: Path) -> None:
    for name, columns in (("summary", {"ratio_lo"}), ("degradation", {"delta"}), ("failures", {"message"})):
        with watched.page.expect_download() as waiting:
            watched.page.locator(f"[data-csv={name}]").click()
        waiting.value.save_as(tmp_path / name)
        assert waiting.value.suggested_filename == f"{name}.csv"
        table = pd.read_csv(tmp_path / name)
        assert len(table) >= 2
        assert columns <= set(table.columns)


def test_a_cell_of_the_map_shows_its_samples(watched: Watched) -> None:
    page = watched.page
    page.select_option("#measure", "ratio")
    cell = page.locator("button.heat[data-corruption=camera_roll][data-severity='3']").first
    assert cell.inner_text() == "3.00×"
    assert "Camera roll, severity 3: Chamfer distance" in cell.get_attribute("aria-label")
    cell.focus()
    page.keyboard.press("Enter")
    assert page.locator("#shown").inner_text().startswith("2 of 10 samples")
    assert page.locator("#cards b").all_inner_texts() == ["Camera roll, severity 3"] * 2
    page.locator("#reset").click()
    page.select_option("#by-status", "no_detection")
    assert page.locator("#cards b").all_inner_texts() == ["Fog 3D, severity 3"]
    page.locator("#reset").click()
    page.fill("#by-name", "s1")
    assert page.locator("#cards > li").count() == 5


def drawn(page: Any) -> int:
    """Return how many pixels of the first 3D view are not its background."""
    return int(
        page.evaluate(
            """async () => {
                const plot = document.querySelector(".solid");
                const uri = await Plotly.toImage(plot, {format: "png", width: 200, height: 200});
                const image = new Image();
                image.src = uri;
                await image.decode();
                const canvas = document.createElement("canvas");
                canvas.width = canvas.height = 200;
                const context = canvas.getContext("2d");
                context.drawImage(image, 0, 0);
                const pixels = context.getImageData(0, 0, 200, 200).data;
                let count = 0;
                for (let at = 0; at < pixels.length; at += 4)
                    if (Math.abs(pixels[at] - pixels[0]) + Math.abs(pixels[at + 1] - pixels[1]) > 24) count += 1;
                return count;
            }"""
        )
    )


def test_a_sample_opens_turns_and_closes_by_keyboard(watched: Watched) -> None:
    page = watched.page
    page.select_option("#by-corruption", "fog_3d")
    page.select_option("#by-severity", "1")
    card = page.locator("#cards button").first
    card.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector(".solid canvas")
    assert page.locator("dialog h3").count() == 2, "both runs stand side by side"
    captions = page.locator("dialog .part").first.locator("figcaption").all_inner_texts()
    assert captions == ["Input", "Mask", "Front", "Left", "Back", "Right", "Error, front", "Error, back"]
    page.wait_for_function("document.querySelectorAll('.solid.js-plotly-plot').length === 2")
    assert 4_000 < drawn(page) < 36_000, "a ball of four fifths of the height, not a blank or full canvas"

    eye = "JSON.stringify([...document.querySelectorAll('.solid')].map((plot) => plot._fullLayout.scene.camera.eye))"
    before = page.evaluate(eye)
    page.locator(".solid").first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function(f"{eye} !== {before!r}")
    one, other = page.evaluate(f"JSON.parse({eye})")
    assert one == pytest.approx(other), "the runs turn together"

    page.get_by_role("button", name="Ground truth").click()
    assert page.get_by_role("button", name="Ground truth").get_attribute("aria-pressed") == "true"
    visible = (
        "[...document.querySelectorAll('.solid')].map((plot) => plot.data.map((trace) => [trace.meta, trace.visible]))"
    )
    assert page.evaluate(visible) == [[["truth", True], ["prediction", False]]] * 2

    page.locator("#next").click()
    assert "s1_0" in page.locator("#sample-title").inner_text() + page.locator("#cards").inner_text()
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog", state="hidden")
    assert page.evaluate("document.activeElement === document.querySelector('#cards button')"), "focus comes back"


def test_a_failed_sample_says_why_and_shows_the_truth(watched: Watched) -> None:
    page = watched.page
    page.select_option("#by-status", "no_detection")
    page.locator("#cards button").first.click()
    page.wait_for_selector(".solid canvas")
    assert "no detection: <b>no</b> person" in page.locator("dialog .warning").first.inner_text()
    assert drawn(page) > 4_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone_in_both_colours(chromium: Any, page_file: Path, scheme: str) -> None:
    watched = Watched(chromium, page_file, color_scheme=scheme, **PHONE)
    page = watched.page
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    paper, ink = (page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color"))
    bright = [sum(map(int, text[4:-1].split(","))) for text in (paper, ink)]
    assert (bright[0] > bright[1]) == (scheme == "light")
    page.locator("#cards button").first.tap()
    page.wait_for_selector("dialog[open]")
    assert page.evaluate("document.querySelector('#sample-body').scrollWidth") <= 360
    watched.silent(page_file)
    watched.context.close()


def test_everything_that_can_be_operated_has_a_name(watched: Watched) -> None:
    check_names(watched.page)


@pytest.mark.parametrize("kind", ["clean alone", "no value", "no clean"])
def test_unusual_runs_load_in_silence_too(chromium: Any, toy_rows: Any, tmp_path: Path, kind: str) -> None:
    rows = toy_rows()
    if kind == "clean alone":
        rows = rows[rows["severity"] == 0]
    elif kind == "no clean":
        rows = rows[rows["severity"] != 0]
    else:
        rows = rows.assign(status="oom", value=float("nan"), failure_value=float("nan"))
    (tmp_path / "rows").mkdir()
    rows.to_parquet(tmp_path / "rows" / "part-0000.parquet")
    (file,) = write_report([tmp_path], None, ["html"]).files
    watched = Watched(chromium, file)
    watched.page.select_option("#measure", "ratio")
    watched.page.select_option("#metric", "1")
    assert watched.page.locator("button.heat").count() >= 1
    watched.page.locator("button.heat").first.click()
    watched.silent(file)
    watched.context.close()
