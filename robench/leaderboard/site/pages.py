"""The pages: an index, a page a board and a page a model, as texts by the names of their files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from robench.errors import printable
from robench.io.files import sha256_bytes
from robench.leaderboard.card import dataset_card
from robench.leaderboard.columns import MAIN, MAIN_COLUMNS, PER_CORRUPTION
from robench.leaderboard.site.boards import Board
from robench.leaderboard.site.models import model_context
from robench.leaderboard.site.views import (
    Setting,
    is_reference,
    line_json,
    metric_title,
    out_of_date,
    settings_of,
    slugs,
    view_json,
)
from robench.reporting.html.names import script_json
from robench.reporting.html.shell import asset, plotly, rendered, scripts

PACKAGE = "robench.leaderboard.site"
BOARD_SCRIPTS = ("shared/core.js", "rank.js", "table.js", "board.js")
MODEL_SCRIPTS = ("shared/core.js", "shared/tables.js", "shared/curves.js", "model.js")
INDEX_SCRIPTS = ("shared/core.js", "shared/tables.js", "index.js")
TRACK_TEXTS = {
    "image-only": "models get the picture alone; who finds the person in it is part of what is measured",
    "given-mask": "models also get the true mask of the person, which moves with the picture",
}
"""What a track asks, in half a sentence."""
# Name, title, lower bound, upper bound, which way is better, digits (None: the metric's), suffix, ranked.
_COLUMNS: tuple[tuple[str, str, str, str, str, int | None, str, bool], ...] = (
    ("ratio_gm", "Ratio to clean", "ratio_lo", "ratio_hi", "metric", 2, "×", True),
    ("corrupted", "Corrupted", "corrupted_lo", "corrupted_hi", "metric", None, "", True),
    ("clean", "Clean", "clean_lo", "clean_hi", "metric", None, "", True),
    ("rce", "vs. reference", "", "", "lower", 2, "×", True),
    ("rr", "Resilience", "", "", "higher", 3, "", True),
    ("worst_ratio", "Worst corruption", "", "", "metric", 2, "×", True),
    ("s1", "Severity 1", "", "", "metric", None, "", True),
    ("s2", "Severity 2", "", "", "metric", None, "", True),
    ("s3", "Severity 3", "", "", "metric", None, "", True),
    ("s4", "Severity 4", "", "", "metric", None, "", True),
    ("s5", "Severity 5", "", "", "metric", None, "", True),
    ("failure_rate", "Failures", "", "", "lower", 1, " %", True),
    ("mask_iou", "Mask IoU", "", "", "", 3, "", False),
    ("params_m", "Parameters (M)", "", "", "", 1, "", False),
    ("gpu_seconds", "GPU time (s)", "", "", "", 0, "", False),
)
_TEXTS = (("hardware", "Hardware"), ("licence", "Licence"), ("verified", "Verified"), ("date", "Date"))
_COLUMN_KEYS = ("key", "head", "lo", "hi", "better", "digits", "suffix", "ranked")


def pages(boards: Sequence[Board]) -> Iterator[tuple[str, bytes]]:
    """Yield every file of the site, its name a POSIX path; the same boards give the same bytes.

    Args:
        boards: As `robench.leaderboard.site.boards.read_boards` gives them.
    """
    library = plotly().encode()
    names = {board: name for name, board in _board_slugs(boards)}
    models = slugs(line["model"] for board in boards for line in board.lines)
    settings = {board: settings_of(board) for board in boards}
    plots = f"assets/plotly-{sha256_bytes(library)[:8]}.js"
    yield plots, library
    yield "index.html", _index(boards, names, models, settings).encode()
    for board in boards:
        name = names[board]
        yield f"boards/{name}.html", _board(board, name, names, models, settings[board]).encode()
        for table, data in sorted(board.files.items()):
            yield f"data/{name}/{table}", data
    for model, page in models.items():
        context = model_context(model, boards, names, models, settings)
        data = context.pop("data")
        context |= _common("../", names) | {"data": script_json({**data, "plotly": f"../{plots}"})}
        texts = [scripts(MODEL_SCRIPTS, PACKAGE)]
        yield f"models/{page}.html", rendered("model.html.j2", context, texts, PACKAGE, dynamic=True).encode()


def _board_slugs(boards: Sequence[Board]) -> Iterator[tuple[str, Board]]:
    titles = {board: f"{board.track}--{board.dataset}" for board in boards}
    found = slugs(titles.values())
    for board, title in titles.items():
        yield found[title], board


def _common(root: str, names: Mapping[Board, str]) -> dict[str, Any]:
    """Return what every page needs: where the site begins, its style, and the boards of its bar."""
    return {
        "root": root,
        "style": asset("page.css") + asset("site.css", PACKAGE),
        "boards": [{"href": f"boards/{name}.html", **_title(board)} for board, name in names.items()],
    }


def _title(board: Board) -> dict[str, str]:
    return {"track": board.track, "dataset": printable(board.dataset), "title": printable(title_of(board))}


def title_of(board: Board) -> str:
    """Return what a board is called."""
    return f"{board.dataset}, {board.track}"


def _index(
    boards: Sequence[Board],
    names: Mapping[Board, str],
    models: Mapping[str, str],
    settings: Mapping[Board, Sequence[Setting]],
) -> str:
    cards = [{**_facts(board, settings[board]), "href": f"boards/{names[board]}.html"} for board in boards]
    listed = []
    for model, page in models.items():
        own = [(board, line) for board in boards for line in board.lines if line["model"] == model]
        stale = [out_of_date(line, board) for board, line in own]
        listed.append(
            {
                "name": printable(model),
                "href": f"models/{page}.html",
                "boards": "; ".join(dict.fromkeys(printable(title_of(board)) for board, _ in own)),
                "recipes": ", ".join(sorted({printable(line["recipe"]) for _, line in own})),
                "entries": len({(board.track, board.dataset, line["run_id"]) for board, line in own}),
                "licence": " / ".join(sorted({printable(line["licence"]) for _, line in own})),
                "date": max(printable(line["date"]) for _, line in own),
                "reference": any(is_reference(line, board) for board, line in own),
                "stale": all(stale),
            }
        )
    context = {
        "here": "index.html",
        "cards": cards,
        "models": listed,
        "data": script_json({"csv": {}}),
        **_common("", names),
    }
    return rendered("index.html.j2", context, [scripts(INDEX_SCRIPTS, PACKAGE)], PACKAGE)


def card_html(text: str) -> str:
    """Return a board's card as HTML, without its head and title; it has no HTML, links or pictures of its own."""
    from markdown_it import MarkdownIt
    from markupsafe import Markup

    body = text.partition("\n---\n")[2] if text.startswith("---\n") else text
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    parser.disable(["link", "image", "autolink", "reference", "html_block", "html_inline"])
    tokens = parser.parse("\n".join(map(printable, body.splitlines())))
    for token in tokens:
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{min(int(token.tag[1]) + 2, 6)}"  # it stands in a section of the page
    # What the parser makes is escaped; what else is in the text, it shows as it is written.
    return Markup(parser.renderer.render(tokens, parser.options, {}))


def _facts(board: Board, settings: Sequence[Setting]) -> dict[str, Any]:
    """Return what is said of a board in few words."""
    subjects = sorted({line["n_subjects"] for line in board.lines if line["n_subjects"] is not None})
    return {
        **_title(board),
        "summary": printable(str(dataset_card(board.dataset).get("summary", ""))).rstrip("."),
        "sentence": TRACK_TEXTS.get(board.track, ""),
        "models": len({line["model"] for line in board.lines}),
        "entries": len({line["run_id"] for line in board.lines}),
        "recipes": ", ".join(dict.fromkeys(printable(setting.recipe) for setting in settings)),
        "date": max((printable(line["date"]) for line in board.lines), default=""),
        "subjects": " or ".join(map(str, subjects)),
    }


def _board(
    board: Board,
    name: str,
    names: Mapping[Board, str],
    models: Mapping[str, str],
    settings: Sequence[Setting],
) -> str:
    meanings = {column.name: column.meaning for column in MAIN_COLUMNS}
    columns = [{**dict(zip(_COLUMN_KEYS, column, strict=True)), "meaning": meanings[column[0]]} for column in _COLUMNS]
    texts = [{"key": key, "head": head, "meaning": meanings[key]} for key, head in _TEXTS]
    data = {
        "columns": columns,
        "texts": texts,
        "lines": [line_json(line, board, models) for line in board.lines],
        "settings": [
            {
                "label": setting.label,
                "recipe": printable(setting.recipe),
                "masker": printable(setting.masker),
                "views": [view_json(view, board) for view in setting.views],
            }
            for setting in settings
        ],
    }
    context = {
        **_common("../", names),
        **_facts(board, settings),
        "here": f"boards/{name}.html",
        "columns": [*columns, *texts],
        "files": {table: f"../data/{name}/{table}" for table in (MAIN, PER_CORRUPTION)},
        "card": card_html(board.card),
        "licences": sorted({printable(line["licence"]) for line in board.lines}),
        "verified": sorted({printable(line["verified"]) for line in board.lines}),
        "plain": [
            {
                "model": printable(line["model"]),
                "href": f"../models/{models[line['model']]}.html",
                "recipe": printable(line["recipe"]),
                "metric": printable(metric_title(line)),
            }
            for line in board.lines
        ],
        "data": script_json(data),
    }
    return rendered("board.html.j2", context, [scripts(BOARD_SCRIPTS, PACKAGE)], PACKAGE)
