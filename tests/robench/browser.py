"""Pages in a real headless browser: what they report, fetch and run, which must be nothing that is not theirs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless Chromium; skipped with the reason where there is none."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        found = next(filter(None, map(shutil.which, BROWSERS)), None) or driver.chromium.executable_path
        if not Path(found).exists():
            pytest.skip("no Chromium here (apt-get install chromium, or playwright install chromium)")
        # The sandbox refuses to run as root; WebGL is drawn by the processor.
        flags = ["--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
        browser = driver.chromium.launch(executable_path=found, args=flags + ["--no-sandbox"] * (os.geteuid() == 0))
        yield browser
        browser.close()


class Watched:
    """A page and what went wrong or out of it."""

    def __init__(self, browser: Any, file: Path, *, at: str = "", **options: Any) -> None:
        self.context = browser.new_context(**{"viewport": {"width": 1200, "height": 900}, **options})
        self.page = self.context.new_page()
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.dialogs: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("dialog", self._dialog)
        self.page.goto(file.as_uri() + at)
        self.page.wait_for_selector("html[data-ready]", timeout=30_000)

    def _dialog(self, dialog: Any) -> None:
        self.dialogs.append(dialog.message)
        dialog.dismiss()

    def silent(self, *files: Path | str) -> None:
        """Check that nothing was reported, asked or fetched, but for these files in this order."""
        outside = [url.split("#")[0] for url in self.requests if not url.startswith(("data:", "blob:"))]
        assert (self.errors, outside, self.dialogs) == ([], [as_uri(file) for file in files], [])

    @property
    def width(self) -> int:
        """How wide the page is, in pixels."""
        return int(self.page.evaluate("document.documentElement.scrollWidth"))


def as_uri(file: Path | str) -> str:
    """Return the address of a file."""
    return file.as_uri() if isinstance(file, Path) else file


def check_names(page: Any) -> None:
    """Check that a screen reader has a name for every control and picture, and headings in steps of one."""
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("button, a[href], select, input, summary")]
            .filter((item) => !item.closest(".js-plotly-plot"))
            .filter((item) => !(item.textContent.trim() || item.getAttribute("aria-label") || item.closest("label")))
            .map((item) => item.outerHTML)"""
    )
    assert nameless == []
    assert page.evaluate("[...document.querySelectorAll('img')].every((item) => item.hasAttribute('alt'))")
    levels = page.evaluate(
        "[...document.querySelectorAll('main h1, main h2, main h3, main h4')].map((h) => Number(h.tagName[1]))"
    )
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
