"""The site in a real browser: ranks and ties, sorting, filters, another recipe, models' pages, nothing foreign."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from robench.leaderboard.columns import MAIN
from robench.rng import generator
from tests.robench.browser import PHONE, Watched, check_names
from tests.robench.leaderboard.site.known_boards import ATTACK, DATASET, EVIL_LINK, read_lines


@pytest.fixture
def watched(chromium: Any, board_page: Path) -> Iterator[Watched]:
    found = Watched(chromium, board_page)
    yield found
    found.silent(board_page)  # whatever a test did, nothing was reported, fetched or run
    found.context.close()


@pytest.fixture(scope="session")
def lines(boards: Path) -> dict[str, Any]:
    """Lines of the first recipe and metric by model."""
    found = read_lines(boards / "given-mask" / DATASET / MAIN)
    return {line["model"]: line for line in found if (line["recipe"], line["metric"]) == ("everything", "chamfer_cm")}


def column(page: Any, head: str) -> list[str]:
    """Return the first line of each visible cell of a column."""
    heads = [text.split("\n")[0] for text in page.locator("#board thead th").all_inner_texts()]
    rows = page.locator("#board tbody tr:visible")
    at = heads.index(head)
    return [rows.nth(i).locator("> *").nth(at).inner_text().split("\n")[0].strip() for i in range(rows.count())]


def order(page: Any) -> list[tuple[str, str]]:
    return list(zip(column(page, "Model"), column(page, "Rank"), strict=True))


def by_hand(lines: dict[str, Any], name: str) -> list[tuple[str, str]]:
    """Rank as the page says: lower is better, intervals decide, the reference and old lines do not rank."""
    lo, hi = {"ratio_gm": ("ratio_lo", "ratio_hi")}.get(name, (f"{name}_lo", f"{name}_hi"))
    spans = {
        model: (float(line[lo]), float(line[hi]))
        for model, line in lines.items()
        if line[name] and model not in ("mean-body", "old")
    }
    ranks = {}
    for model, span in spans.items():
        first = 1 + sum(other[1] < span[0] for other in spans.values())
        last = sum(not other[0] > span[1] for other in spans.values())
        ranks[model] = str(first) if first == last else f"{first}–{last}"
    known = sorted((model for model in lines if lines[model][name] and model != "old"),
                   key=lambda model: float(lines[model][name]))  # fmt: skip
    unknown = [model for model in lines if not lines[model][name]]
    told = [(model, ranks.get(model, "reference")) for model in known]
    return [*told, *((model, "–") for model in unknown), ("old", "out of date")]


def test_it_ranks_by_the_ratio_and_shows_ties(watched: Watched, lines: dict[str, Any]) -> None:
    assert order(watched.page) == by_hand(lines, "ratio_gm")
    ranks = dict(order(watched.page))
    assert (ranks["steady"], ranks["alike"], ranks[ATTACK]) == ("1–2", "1–2", "3")
    caption = watched.page.locator("#board caption").inner_text()
    assert caption == "Chamfer distance (cm), lower is better; recipe everything; masks: given; 10 subjects, 10 samples"
    assert (
        watched.page.locator("#said").inner_text().startswith("7 entries. 4 ranked by ratio to clean, lower is better")
    )
    classes = {row.get_attribute("class") for row in watched.page.locator("#board tbody tr").all()}
    assert classes == {None, "reference", "stale"}
    failed = dict(zip(column(watched.page, "Model"), column(watched.page, "Failures"), strict=True))
    assert (failed[ATTACK], failed["steady"]) == ("3.0 %", "0"), "3 of 100 pictures"


def test_it_ranks_by_whatever_its_reader_chooses(watched: Watched, lines: dict[str, Any]) -> None:
    page = watched.page
    for name in ("corrupted", "clean"):
        page.select_option("#by", name)
        assert order(page) == by_hand(lines, name)
    page.select_option("#by", "s5")
    assert "no intervals" in page.locator("#said").inner_text()
    values = {m: float(line["s5"]) for m, line in lines.items() if m not in ("mean-body", "old")}
    ranked = [(model, rank) for model, rank in order(page) if model in values]
    assert ranked == [(m, str(i)) for i, m in enumerate(sorted(values, key=lambda m: values[m]), 1)]
    page.select_option("#view", label="F-score at 1 cm")
    page.select_option("#by", "clean")
    assert "higher is better" in page.locator("#board caption").inner_text()
    scores = [float(text) for text in column(page, "Clean")[:-1]]
    assert scores == sorted(scores, reverse=True)


def test_a_head_sorts_by_keyboard_and_missing_values_stand_last(watched: Watched, lines: dict[str, Any]) -> None:
    page = watched.page
    head = page.locator("#board thead th:has([data-key=rce])")
    head.locator("button").focus()
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "ascending"
    rising = column(page, "vs. reference")
    page.keyboard.press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    falling = column(page, "vs. reference")
    known = sorted(float(line["rce"]) for line in lines.values() if line["rce"])
    assert rising == [f"{value:.2f}×" for value in known] + ["–", "–"]
    assert falling == [f"{value:.2f}×" for value in reversed(known)] + ["–", "–"]
    assert order(page)[-2:] == [("hermit", "–"), ("old", "out of date")]
    page.locator("#board thead button", has_text="Model").click()
    assert column(page, "Model")[:-1] == sorted((m for m in lines if m != "old"), key=str.casefold)
    assert page.locator("#board thead [aria-sort]").count() == 1


def test_filters_hide_rows_and_change_no_rank(watched: Watched) -> None:
    page = watched.page
    before = dict(order(page))
    page.fill("#words", "STEADY gpu")
    assert order(page) == [("steady", before["steady"])]
    assert page.locator("#said").inner_text().startswith("1 of 7 entries. 4 ranked")
    page.click("#reset")
    page.select_option("#licence", "CC-BY-NC-4.0")
    assert order(page) == [("alike", before["alike"])]
    page.click("#reset")
    page.select_option("#verified", "ci")
    assert order(page) == [("steady", before["steady"])]
    page.click("#reset")
    assert dict(order(page)) == before


def test_another_recipe_is_another_ranking_and_has_an_address(chromium: Any, watched: Watched) -> None:
    page = watched.page
    assert "Severity 5" in page.locator("#board thead").inner_text()
    page.select_option("#setting", label="one-level")
    assert order(page) == [("mean-body", "reference"), ("steady", "1")]
    assert "Severity 3" not in page.locator("#board thead").inner_text(), "one level is no curve"
    assert "different corruptions" in page.locator("#columns-left-out").inner_text()
    page.select_option("#by", "clean")
    sent = page.url
    assert sent.endswith("#recipe=one-level&metric=Chamfer+distance+%28cm%29&by=clean")
    file = Path(watched.page.evaluate("decodeURIComponent(location.pathname)"))
    other = Watched(chromium, file, at="#" + sent.split("#")[1])
    assert order(other.page) == [("steady", "1"), ("mean-body", "reference")]
    other.context.close()
    odd = Watched(chromium, file, at="#recipe=%3Cb%3E&metric=none&by=__proto__")
    assert odd.page.locator("#board tbody tr").count() == 7, "an address that says nothing known changes nothing"
    odd.silent(file)
    odd.context.close()


def test_ranks_are_counts_of_who_is_wholly_better(watched: Watched) -> None:
    draw = generator(0, "ranks")
    for lower in (True, False):
        lines = []
        for _ in range(40):
            value, half = float(draw.uniform(1, 3)), float(draw.choice([0.0, 0.05, 0.3]))
            lines.append({"v": value, "lo": value - half, "hi": value + half, "stale": False, "reference": False})
        lines[3] |= {"lo": None, "hi": None}  # unknown: tied with all
        lines[4] |= {"v": None, "lo": None, "hi": None}
        lines[5]["stale"] = lines[6]["reference"] = True
        got = watched.page.evaluate(
            "([lines, lower]) => ranksOf(lines, {key: 'v', lo: 'lo', hi: 'hi'}, lower)", [lines, lower]
        )
        part = [line for i, line in enumerate(lines) if i not in (3, 4, 5, 6)]
        for i, line in enumerate(lines):
            if i in (4, 5, 6):
                assert got[i] is None
                continue
            if i == 3:
                assert got[i] == [1, len(part) + 1]
                continue
            if lower:
                better, worse = sum(o["hi"] < line["lo"] for o in part), sum(o["lo"] > line["hi"] for o in part)
            else:
                better, worse = sum(o["lo"] > line["hi"] for o in part), sum(o["hi"] < line["lo"] for o in part)
            assert got[i] == [1 + better, len(part) + 1 - worse]


def test_a_model_opens_and_its_curves_follow_what_is_chosen(chromium: Any, site: Path, board_page: Path) -> None:
    watched = Watched(chromium, board_page)
    page = watched.page
    page.click("#board a:has-text('steady')")
    page.wait_for_selector("html[data-ready] #overview svg.main-svg")
    shown = "document.querySelector('#overview').data.map((trace) => [trace.name, trace.x.length])"
    assert page.evaluate(shown) == [["steady", 3], ["mean-body (reference)", 3]]
    hardest = page.evaluate("document.querySelector('#overview').data[0].x")
    page.select_option("#level", "1")
    assert max(page.evaluate("document.querySelector('#overview').data[0].x")) < min(hardest)
    assert "severity 1" in page.get_attribute("#overview", "aria-label")
    page.locator("#panels").scroll_into_view_if_needed()
    page.wait_for_selector("#panels .js-plotly-plot")
    assert page.locator("#panels figure").count() == 3
    assert page.evaluate("document.querySelector('#mean .plot').data.at(-1).x") == [0, 1, 3, 5]
    assert page.locator("#legend li").all_inner_texts() == ["steady", "mean-body (reference)"]
    page.select_option("#place", label=f"{DATASET}, given-mask: one-level")
    assert page.locator("#over-severity").is_hidden()
    page.select_option("#place", label=f"{DATASET}, image-only: everything")
    assert page.evaluate("report.conditions.filter((row) => row.severity === '5').length") == 2 * 3
    with page.expect_download() as waiting:
        page.click("[data-csv=entries]")
    waiting.value.save_as(site.parent / "entries.csv")
    assert {line["model"] for line in read_lines(site.parent / "entries.csv")} == {"steady"}
    page.locator("table[data-table=entries] thead button", has_text="Corrupted").click()
    (plots,) = (site / "assets").iterdir()
    watched.silent(board_page, site / "models" / "steady.html", plots)
    watched.context.close()


def test_hostile_names_and_links_are_text(chromium: Any, site: Path) -> None:
    (file,) = [path for path in (site / "models").iterdir() if path.name.startswith("_img")]
    watched = Watched(chromium, file)
    page = watched.page
    assert page.locator("h1").inner_text() == ATTACK
    assert page.locator("#overview .legendtext").all_text_contents() == [ATTACK, "mean-body (reference)"]
    assert EVIL_LINK in page.locator("#runs").inner_text()
    hrefs = page.evaluate("[...document.querySelectorAll('a')].map((link) => link.protocol)")
    assert set(hrefs) == {"file:"}
    assert page.locator("main img").count() == 0
    (plots,) = (site / "assets").iterdir()
    watched.silent(file, plots)
    watched.context.close()


def test_a_page_taken_from_its_site_says_what_it_lacks(chromium: Any, site: Path, tmp_path: Path) -> None:
    lonely = Path(shutil.copy(site / "models" / "steady.html", tmp_path))
    watched = Watched(chromium, lonely)
    assert "assets" in watched.page.locator("#no-plots").inner_text()
    assert watched.page.locator("table[data-table=entries] tbody tr").count() == 6
    watched.context.close()


def test_the_browser_refuses_what_is_not_ours(chromium: Any, site: Path) -> None:
    watched = Watched(chromium, site / "models" / "steady.html")
    got = watched.page.evaluate(
        """async () => {
            const frame = "<iframe srcdoc='<script>parent.foreign = 1</script>'></iframe>";
            document.body.insertAdjacentHTML("beforeend", frame);
            const link = document.createElement("a");
            link.setAttribute("onclick", "window.foreign = true");
            document.body.append(link);
            link.click();
            let fetched = true;
            try { await fetch("https://example.org/"); } catch { fetched = false; }
            return [Boolean(window.foreign), fetched];
        }"""
    )
    assert got == [False, False]
    watched.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_fits_a_phone_and_has_names(chromium: Any, site: Path, board_page: Path, scheme: str) -> None:
    (evil,) = [path for path in (site / "models").iterdir() if path.name.startswith("_img")]
    others = (site / "index.html", evil) if scheme == "light" else ()
    for file in (board_page, site / "models" / "steady.html", *others):
        watched = Watched(chromium, file, color_scheme=scheme, **PHONE)
        assert watched.width <= 360, file
        paper, ink = (
            watched.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("backgroundColor", "color")
        )
        bright = [sum(map(int, text[4:-1].split(","))) for text in (paper, ink)]
        assert (bright[0] > bright[1]) == (scheme == "light")
        check_names(watched.page)
        assert watched.errors == []
        watched.context.close()


def test_the_index_sorts_filters_and_leads_on(chromium: Any, site: Path, board_page: Path) -> None:
    watched = Watched(chromium, site / "index.html")
    page = watched.page
    page.fill("[data-filter=models]", "image-only")
    assert page.locator("table[data-table=models] tbody tr:visible th a").all_inner_texts() == ["mean-body", "steady"]
    page.locator("table[data-table=models] thead button", has_text="Entries").click()
    page.locator("table[data-table=models] thead button", has_text="Entries").click()
    assert page.locator("table[data-table=models] tbody tr:visible .number").first.inner_text() == "3"
    page.click(".boards a >> nth=0")
    page.wait_for_selector("#board tbody tr")
    watched.silent(site / "index.html", board_page)
    watched.context.close()
