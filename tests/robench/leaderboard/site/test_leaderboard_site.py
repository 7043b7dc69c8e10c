"""The site as files: what it shows is what the tables say, it is the same each time, and it obeys nobody's names."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import os
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from robench.cli import app
from robench.errors import EnvironmentNotReady, ExitCode, Mismatch, UsageError
from robench.leaderboard import stale
from robench.leaderboard.columns import MAIN, PER_CORRUPTION, RANKED_WITHIN
from robench.leaderboard.site import boards as reading
from robench.leaderboard.site import views
from robench.leaderboard.site.build import MARK, build_site
from robench.leaderboard.site.pages import card_html
from robench.leaderboard.site.reproduce import commands
from tests.robench.leaderboard.site.known_boards import ATTACK, DATASET, EVIL_LINK, PLAIN_LINK, read_lines


def data_of(page: Path) -> Any:
    """Return what a page's script gets."""
    found = re.search(r'<script type="application/json" id="report-data">(.*?)</script>', page.read_text(), re.S)
    assert found is not None
    return json.loads(found[1])


@pytest.fixture
def copied(boards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(boards, tmp_path / "leaderboards"))


def test_it_has_a_page_a_board_and_a_page_a_model(site: Path) -> None:
    assert sorted(path.name for path in (site / "boards").iterdir()) == [
        f"given-mask--{DATASET}.html",
        f"image-only--{DATASET}.html",
    ]
    models = {path.name for path in (site / "models").iterdir()}
    assert {"mean-body.html", "steady.html", "alike.html", "hermit.html", "perfect.html", "old.html"} < models
    assert len(models) == 7
    index = (site / "index.html").read_text()
    for page in [*(site / "boards").iterdir(), *(site / "models").iterdir()]:
        assert f'href="{page.relative_to(site).as_posix()}"' in index
    links = re.findall(r'href="((?!data:|https:|#)[^"]+)"', "".join(p.read_text() for p in site.rglob("*.html")))
    assert {link for link in links if not any((site / at / link).is_file() for at in (".", "boards"))} == set()


def test_the_same_folder_gives_the_same_bytes_over_an_older_site(boards: Path, site: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    build_site(boards, out)
    (out / "index.html").write_text("an older one")
    made = build_site(boards, out)
    assert made.index == out / "index.html"
    files = sorted(path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file())
    assert files == list(made.files)
    assert all((out / name).read_bytes() == (site / name).read_bytes() for name in files)
    assert [path.name for path in tmp_path.iterdir()] == ["out"], "nothing temporary is left"


def test_tables_are_there_to_download_as_they_were_published(boards: Path, site: Path) -> None:
    for name in (MAIN, PER_CORRUPTION):
        assert (site / f"data/given-mask--{DATASET}/{name}").read_bytes() == (
            boards / "given-mask" / DATASET / name
        ).read_bytes()


def test_an_empty_folder_gives_a_site_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    assert "Nothing is published yet" in build_site(tmp_path / "none", tmp_path / "out").index.read_text()


@pytest.mark.parametrize("kind", ["a stranger's file", "a forged list", "a file in the way", "a link", "the boards"])
def test_what_is_no_site_is_not_overwritten(kind: str, boards: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    if kind == "a file in the way":
        out.write_text("mine")
    elif kind == "a link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    elif kind == "the boards":
        out = boards / "given-mask"
    else:
        out.mkdir()
        (out / "thesis.tex").write_text("mine")
        if kind == "a forged list":
            (out / MARK).write_text(json.dumps({"files": ["thesis.tex"]}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match=r"no part of a site|no folder|leaderboards"):
        build_site(boards, out)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
def test_the_older_site_stays_if_the_new_one_cannot_take_its_place(
    error: BaseException, boards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_site(boards, tmp_path / "out")
    (tmp_path / "out" / "index.html").write_text("the older one")
    rename = os.rename

    def failing(source: Any, target: Any) -> None:
        if Path(target).name == "out" and not str(source).endswith("-old"):
            raise error
        rename(source, target)

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises((EnvironmentNotReady, KeyboardInterrupt)):
        build_site(boards, tmp_path / "out")
    assert (tmp_path / "out" / "index.html").read_text() == "the older one"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_site_with_a_file_of_its_owner_is_kept(boards: Path, tmp_path: Path) -> None:
    build_site(boards, tmp_path / "out")
    (tmp_path / "out" / "CNAME").write_text("example.org")
    with pytest.raises(UsageError, match="CNAME"):
        build_site(boards, tmp_path / "out")


def test_nothing_is_written_if_a_board_is_damaged(copied: Path, tmp_path: Path) -> None:
    (copied / "given-mask" / DATASET / MAIN).write_text("a,b\n1,2\n")
    with pytest.raises(Mismatch, match="other columns"):
        build_site(copied, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["leaderboards"]


def _edited(path: Path, change: Callable[[list[dict[str, str]]], None]) -> None:
    lines = [dict(line) for line in read_lines(path)]
    change(lines)
    sink = io.StringIO()
    writer = csv.DictWriter(sink, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    path.write_text(sink.getvalue())


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("ratio_gm", "nan", "expected a number"),
        ("ratio_gm", "1e999", "expected a number"),
        ("n_subjects", "ten", "expected a number"),
        ("schema_version", "2", "another schema"),
        ("run_id", "../../../../etc", "names no run"),
        ("run_id", "steady@00000000-00000000-00000000", "cannot be read"),
        ("track", "image-only", "another board or run"),
    ],
)
def test_a_table_edited_by_hand_is_refused(column: str, value: str, said: str, copied: Path) -> None:
    def change(lines: list[dict[str, str]]) -> None:
        lines[0][column] = value

    _edited(copied / "given-mask" / DATASET / MAIN, change)
    with pytest.raises(Mismatch, match=said):
        reading.read_boards(copied)


@pytest.mark.parametrize("name", [MAIN, PER_CORRUPTION, "CARD.md"])
def test_a_link_is_not_followed(name: str, copied: Path, tmp_path: Path) -> None:
    path = copied / "given-mask" / DATASET / name
    path.rename(tmp_path / "secret")
    path.symlink_to(tmp_path / "secret")
    with pytest.raises(Mismatch, match="is a link"):
        reading.read_boards(copied)


def test_a_missing_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="There is no folder"):
        build_site(tmp_path / "none", tmp_path / "out")


def test_only_lines_that_may_rank_together_share_a_view(boards: Path) -> None:
    (given, _) = reading.read_boards(boards)
    seen = []
    for setting in views.settings_of(given):
        for view in setting.views:
            current = [n for n in view.lines if not views.out_of_date(given.lines[n], given)]
            assert len({tuple(given.lines[n][key] for key in RANKED_WITHIN) for n in current}) == 1
            seen += current
    assert sorted(seen) == [n for n, line in enumerate(given.lines) if line["metric_version"] != "0"]
    assert [setting.label for setting in views.settings_of(given)] == ["everything", "one-level"]


def test_runs_on_pictures_of_an_older_corruption_are_out_of_date(boards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stale, "installed_version", lambda kind, name: "2" if name == "fog_3d" else "1")
    (given, _) = reading.read_boards(boards)
    assert given.old_pictures == {line["run_id"] for line in given.lines}
    assert all(views.out_of_date(line, given) for line in given.lines)
    data = views.line_json(given.lines[0], given, {line["model"]: "page" for line in given.lines})
    assert data["stale"] is True


def test_a_second_protocol_has_a_ranking_of_its_own_and_a_second_set_a_name(boards: Path) -> None:
    (given, _) = reading.read_boards(boards)
    lines = [dict(line) for line in given.lines if line["recipe"] == "everything" and line["metric"] == "chamfer_cm"]
    lines[0]["protocol_sha"] = "ab" * 32
    lines[1]["cset_id"] = "cd" * 32
    board = reading.Board("given-mask", DATASET, lines, given.conditions, given.records, "", given.files)
    by_label = {setting.label: setting for setting in views.settings_of(board)}
    assert set(by_label) == {"everything, pictures cdcdcdcd", f"everything, pictures {lines[2]['cset_id'][:8]}"}
    found = by_label[f"everything, pictures {lines[2]['cset_id'][:8]}"].views
    assert len(found) == 2
    assert [n for view in found for n in view.lines if n == 0] == [0], "in one ranking alone"
    assert all("protocol" in view.label for view in found)


def test_masks_by_others_are_another_setting(boards: Path) -> None:
    (_, only) = reading.read_boards(boards)
    lines = [dict(line) for line in only.lines]
    for line in lines[: len(lines) // 2]:
        line["masker"] = "rembg"
    board = reading.Board("image-only", DATASET, lines, [], only.records, "", only.files)
    assert [setting.label for setting in views.settings_of(board)] == [
        "everything, masks by rembg",
        "everything, masks by u2netp",
    ]


def test_means_over_levels_are_shown_where_every_level_has_the_same_corruptions(boards: Path) -> None:
    (given, _) = reading.read_boards(boards)
    levels = {
        (setting.label, view.metric): view.levels for setting in views.settings_of(given) for view in setting.views
    }
    assert levels[("everything", "chamfer_cm")] is True
    assert levels[("one-level", "chamfer_cm")] is False
    uneven = [row for row in given.conditions if (row["corruption"], row["severity"]) != ("fog_3d", 3)]
    board = reading.Board("given-mask", DATASET, given.lines, uneven, given.records, "", given.files)
    assert not any(view.levels for setting in views.settings_of(board) for view in setting.views)


def test_a_line_reaches_the_page_as_the_table_has_it(boards: Path, board_page: Path) -> None:
    wanted = {
        (line["model"], line["recipe"], line["metric"]): line
        for line in read_lines(boards / "given-mask" / DATASET / MAIN)
    }
    data = data_of(board_page)
    seen = 0
    for setting in data["settings"]:
        for view in setting["views"]:
            for line in (data["lines"][number] for number in view["lines"]):
                told = wanted[(line["model"], setting["recipe"], view["name"])]
                for name in views.NUMBERS:
                    assert line[name] == (float(told[name]) if told[name] else None), (line["model"], name)
                assert (line["reference"], line["stale"]) == (line["model"] == "mean-body", line["model"] == "old")
                seen += 1
    assert seen == len(wanted)


def test_failures_and_ratios_of_conditions_are_those_of_the_table(site: Path, boards: Path) -> None:
    (evil,) = [path for path in (site / "models").iterdir() if path.name.startswith("_img")]
    (place,) = data_of(evil)["places"]
    view = place["views"][0]
    assert view["series"] == [ATTACK, "mean-body (reference)"]
    rows = {(row["series"], row["corruption"], row["severity"]): row for row in view["conditions"]}
    assert (rows[0, "fog_3d", "3"]["failures"], rows[0, "fog_3d", "3"]["n_samples"]) == (3, 10)
    assert (rows[0, "fog_3d", "1"]["failures"], rows[0, "clean", "0"]["ratio"]) == (0, None)
    for row in read_lines(boards / "given-mask" / DATASET / PER_CORRUPTION):
        if (row["model"], row["metric"]) == (ATTACK, "chamfer_cm"):
            got = rows[0, row["corruption"], row["severity"]]
            assert (got["value"], got["lo"], got["hi"]) == tuple(float(row[name]) for name in ("value", "lo", "hi"))
    means = {(row["series"], row["severity"]): row["value"] for row in view["means"]}
    (own,) = [r for r in read_lines(boards / "given-mask" / DATASET / MAIN)
              if (r["model"], r["metric"]) == (ATTACK, "chamfer_cm")]  # fmt: skip
    assert means[0, "5"] == float(own["s5"])
    assert (0, "2") not in means, "a level without pictures has no point"


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://example.org/a?b=c&d=e#f", True),
        ("https://medium.com/@someone/post", True),
        ("http://example.org", False),
        ("javascript:alert(1)", False),
        ("JaVaScRiPt:alert(1)", False),
        ("data:text/html,<script>alert(1)</script>", False),
        ("//example.org", False),
        ("https:example.org", False),
        ("https://", False),
        ("https://bank.example@evil.example/", False),
        ('https://example.org/" onclick="alert(1)', False),
        ("https://example.org/\n", False),
        ("https://ex\u0430mple.org/", False),
        ("https://[::1", False),
        ("", False),
    ],
)
def test_only_plain_https_is_a_link(url: str, kept: bool) -> None:
    assert views.secure_link(url) == (url if kept else "")


def test_names_of_pages_are_safe_and_never_shared() -> None:
    names = ["PIFu", "pifu", "a/b", "../../etc/passwd", "a_b", "", "x" * 300, "ünï"]
    found = views.slugs(names)
    assert len({name.casefold() for name in found.values()}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name) for name in found.values())
    assert found["a_b"] == "a_b"
    assert found["PIFu"].startswith("PIFu-")


def test_no_name_becomes_markup(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert ATTACK not in text, page
        assert "<img" not in text, page
    index = (site / "index.html").read_text()
    assert html.escape(ATTACK) in index


def test_links_of_submissions_are_https_or_text(site: Path) -> None:
    (evil,) = [path for path in (site / "models").iterdir() if path.name.startswith("_img")]
    text = evil.read_text()
    for said in (EVIL_LINK, PLAIN_LINK):
        assert said in text, "it is shown"
        assert f'href="{said}' not in text
    every = "".join(page.read_text() for page in site.rglob("*.html"))
    outside = re.findall(r'<a href="([a-z]+:[^"]*)"([^>]*)>', every)
    assert {url for url, _ in outside} == {html.escape("https://example.org/code?a=1&b=2")}
    assert {rest.strip() for _, rest in outside} == {'rel="noopener nofollow noreferrer"'}


def test_the_policy_lets_exactly_our_scripts_run(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])  # type: ignore[index]
        (script,) = re.findall(r"<script>(.*?)</script>", text, re.S)
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        dynamic = "'strict-dynamic' " if page.parent.name == "models" else ""
        assert f"script-src {dynamic}'sha256-{digest}';" in policy
        assert policy.startswith("default-src 'none'; ")
        assert not re.search(r'(?:src|srcset|action)="', text), "nothing is brought in by the markup"


def test_a_card_is_read_as_text_that_has_structure() -> None:
    card = (
        "---\nschema_version: 1\n---\n# Title\n\nWords <script>alert(1)</script> and [a](javascript:alert(1)) "
        "![b](https://example.org/b.png) <https://example.org>\n\n| a | b |\n| --- | --- |\n| 1 | `x` |\n\n"
        "<div onclick=alert(1)>c</div>\n"
    )
    found = str(card_html(card))
    assert "schema_version" not in found
    assert "<h3>Title</h3>" in found
    assert "<td><code>x</code></td>" in found
    assert not re.search(r"<(?!/?(?:h3|p|table|thead|tbody|tr|th|td|code)\b)", found)
    assert "&lt;script&gt;" in found


def test_commands_name_verbs_and_options_that_exist(boards: Path) -> None:
    (given, _) = reading.read_boards(boards)
    record = next(iter(given.records.values()))
    odd = json.loads(json.dumps(dict(record.run)))
    odd["recipe"]["name"] = "$(touch x); rm -rf ~"
    odd["seed"], odd["depth"], odd["threads"] = 3, "mesh,plane", 4
    odd["protocol"]["model_options"] = {"resolution": 64}
    changed = type(record)(odd, record.rows, record.submission)
    told = commands(changed)
    words = [shlex.split(command) for _, command in told]
    assert words[1] == [
        *("robench", "corrupt", "DATA", "csets", "--split", "test", "--recipe", "$(touch x); rm -rf ~"),
        *("--seed", "3", "--depth", "mesh,plane"),
    ]
    assert words[2][-2:] == ["--out", "runs"]
    assert "--model-option resolution=64 --threads 4" in told[2][1]
    assert record.run["cset_id"][:8] in told[1][0]
    for one in words:
        verb = one[1:3] if one[1] == "data" else one[1:2]
        known = CliRunner().invoke(app, [*verb, "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).output
        assert {word for word in one if word.startswith("--")} <= set(re.findall(r"--[a-z-]+", known))


def test_the_command_makes_a_site_and_says_where(boards: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["leaderboard", "build", str(boards), "--out", str(tmp_path / "site")])
    assert done.exit_code == ExitCode.OK, done.output
    assert f"{tmp_path / 'site' / 'index.html'}: 2 boards, 7 models" in done.output.replace("\n", "")
