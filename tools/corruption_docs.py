"""Write docs/corruptions/: one page a family, from the cards, and with ``--pictures DATA`` the sheets beside them.

``python tools/corruption_docs.py [--pictures DATA [--sample ID]] [--check]``. DATA is a folder of rendered people
(``robench data synth DATA --subjects 24 --views 0``); the pictures in the repository are of its ``test-0017_000``.
``--photograph PATH|astronaut --into DIR`` draws the same sheets of a photograph instead, into a folder of the user's.
``--check`` only compares the text.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench import registry
from robench.contracts import CardLike
from robench.errors import RobenchError
from robench.io.files import write_text_atomic

if TYPE_CHECKING:
    from robench.contracts import Image, Sample
    from robench.data.depth_sources import DepthSources

DOCS = Path(__file__).resolve().parents[1] / "docs" / "corruptions"
BY_HAND = "common-19.md"
FAMILIES = {
    "noise": "Noise that is added to pixel values, after ImageNet-C.",
    "sensor": "What a sensor does: photons, electronics, few bits.",
    "blur": "Blur in the picture plane, without depth, after ImageNet-C.",
    "focus": "Depth of field: blur that depends on depth.",
    "motion": "Blur by a camera that moves during the exposure.",
    "weather": "Fog, snow, frost, and what lands on the lens with them.",
    "light": "Light that changes: flash, shadow, several lamps.",
    "digital": "What processing does to pixels.",
    "codec": "What encoders and transmission errors leave. x264 and x265 (GPL) come with PyAV, not with robench.",
    "camera": "Where the camera stands, how it is turned, how wide it sees. Mask, camera and ground truth follow.",
    "semantic": "What stands in the way, and how large the person is.",
    "phone": "What happens to a phone's picture between shutter and server.",
}


def cards() -> dict[str, list[CardLike]]:
    """Return robench's own corruptions by family, in the order of `FAMILIES`."""
    found: dict[str, list[CardLike]] = defaultdict(list)
    for name, entry in registry.entries("corruptions").items():
        if entry.origin.startswith("robench"):
            card = registry.load("corruptions", name).card
            found[str(card.extra["family"])].append(card)
    unknown = sorted(set(found) - set(FAMILIES))
    if unknown:
        raise SystemExit(f"families without a title: {', '.join(unknown)}; add them to FAMILIES")
    return {family: sorted(found[family], key=lambda c: c.name) for family in FAMILIES if found[family]}


def number(value: Any) -> str:
    """Return a value as a table cell."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(number, value))
    return str(value)


def level_table(severities: Mapping[Any, Any]) -> list[str]:
    """Return a Markdown table: a row a parameter, a column a severity."""
    levels = {s: v if isinstance(v, Mapping) else {"value": v} for s, v in severities.items()}
    rows = [f"| parameter | {' | '.join(map(str, levels))} |", "|---|" + "---:|" * len(levels)]
    for key in dict.fromkeys(k for level in levels.values() for k in level):
        rows.append(f"| `{key}` | {' | '.join(number(level.get(key, '')) for level in levels.values())} |")
    return rows


def section(card: CardLike) -> list[str]:
    """Return what a family's page says of one corruption."""
    extra = card.extra
    ours = extra.get("levels") == "ours"
    facts = {
        "formula": extra.get("formula", ""),
        "source": card.reference,
        "licence of the code": card.licence,
        "needs": ", ".join(sorted(card.needs)) or "the picture alone",
        "modes": ", ".join(map(str, extra.get("modes", ()))),
        "draws": "yes, from the seed" if extra["stochastic"] else "nothing",
        "levels": "ours" if ours else "published",
        "version": card.version,
    }
    lines = [f"## {card.name}", "", card.summary, "", "| | |", "|---|---|"]
    lines += [f"| {key} | {cell(value)} |" for key, value in facts.items() if value]
    lines += ["", *level_table(extra["severities"])]
    if extra.get("deviations"):
        lines += ["", "Differs from its source:", "", *(f"* {text}" for text in extra["deviations"])]
    return [*lines, ""]


def cell(text: str) -> str:
    """Escape what a Markdown table cell cannot hold."""
    return " ".join(str(text).split()).replace("|", "\\|")


def pages() -> dict[str, str]:
    """Return file name to text of every page."""
    found = {}
    index = [
        "# The corruptions",
        "",
        "Made by `tools/corruption_docs.py` from the cards that `robench show corruption NAME` prints; five severities",
        "each. Levels without a published table are ours and say so. Of the sources only formulas and tables are used,",
        "no code and no data.",
        "",
        "| family | corruption | what it does | needs | levels |",
        "|---|---|---|---|---|",
    ]
    for family, members in cards().items():
        for card in members:
            needs = ", ".join(sorted(card.needs)) or "—"
            levels = "ours" if card.extra.get("levels") == "ours" else "published"
            names = f"[{family}]({family}.md) | [`{card.name}`]({family}.md#{card.name})"
            index.append(f"| {names} | {cell(card.summary)} | {needs} | {levels} |")
        body = [f"# {family.capitalize()}", "", FAMILIES[family], "", f"![clean and five levels]({family}.jpg)", ""]
        for card in members:
            body += section(card)
        found[f"{family}.md"] = "\n".join(body).rstrip() + "\n"
    index += [
        "",
        "The pictures show a person whom robench rendered; no photograph is shipped, since few come with rights that",
        "allow it. `python tools/corruption_docs.py --photograph astronaut --into DIR` draws the same sheets of the",
        "public-domain portrait inside scikit-image, or of your own photograph by its path: the picture alone, and a",
        "plane for depth.",
    ]
    index += ["", f"[{BY_HAND}]({BY_HAND}) says how close the nineteen common corruptions are to the originals."]
    found["README.md"] = "\n".join(index) + "\n"
    return found


def sheets(sample: Sample, depths: DepthSources, title: str = "") -> Iterator[tuple[str, Image]]:
    """Yield family and contact sheet of every family, of one sample.

    Args:
        sample: The sample.
        depths: Where its depth comes from.
        title: Printed on each sheet, after the family's name; none if empty.
    """
    from robench.engine.cells import Cell, OnTheFly
    from robench.reporting.contact_sheet import contact_sheet

    source = OnTheFly(0, depths=depths)
    clean = source.picture(Cell(sample, "clean", 0)).image
    for family, members in cards().items():
        pictures = {("clean", 0): clean}
        for card in members:
            for severity in range(1, 6):
                pictures[card.name, severity] = source.picture(Cell(sample, card.name, severity)).image
        yield family, contact_sheet(pictures, f"{family}: {title}" if title else "")


def draw(data: Path, sample_id: str | None) -> None:
    """Draw the sheets of the pages, of one sample of a data set, the first if none is named."""
    from PIL import Image as Pillow

    from robench.data.depth_sources import choose_depth
    from robench.engine.selection import select

    samples = {sample.sample_id: sample for sample in select(data).samples}
    sample = samples[sample_id] if sample_id else next(iter(samples.values()))
    for family, sheet in sheets(sample, choose_depth(None)):
        Pillow.fromarray(sheet).save(DOCS / f"{family}.jpg", quality=82, optimize=True)


def draw_photograph(photograph: str, out: Path) -> None:
    """Draw the same sheets of a photograph, as the picture alone: no mask, no mesh, and a plane for depth.

    Args:
        photograph: A picture's path, or ``astronaut``: the one that scikit-image carries (NASA, public domain).
        out: Folder for the sheets, ``<family>.png``.
    """
    from robench.contracts import Sample
    from robench.data.depth_sources import choose_depth
    from robench.io.images import write_png

    with tempfile.TemporaryDirectory() as folder:
        path = Path(photograph)
        if photograph == "astronaut":
            from skimage.data import astronaut

            path = Path(folder) / "astronaut.png"
            write_png(path, astronaut())
        title = f"{path.name}, a photograph without mask; where depth is needed: a plane at 3 m"
        for family, sheet in sheets(Sample(path.stem, path.stem, 0.0, path), choose_depth("plane"), title):
            write_png(out / f"{family}.png", sheet)


def main() -> int:
    """Write, or with --check compare; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=Path, help="folder of rendered people; draws the sheets too")
    parser.add_argument("--sample", help="id of the sample to draw")
    parser.add_argument("--photograph", metavar="PATH|astronaut", help="draw a photograph's sheets; writes no page")
    parser.add_argument("--into", type=Path, metavar="DIR", help="folder for a photograph's sheets")
    parser.add_argument("--check", action="store_true", help="compare the text, write nothing")
    options = parser.parse_args()
    if (options.photograph is None) != (options.into is None):
        parser.error("--photograph and --into belong together")
    if options.photograph is not None:
        try:
            draw_photograph(options.photograph, options.into)
        except RobenchError as error:
            raise SystemExit(str(error)) from None
        return 0
    texts = pages()
    if options.check:
        stale = [n for n, text in texts.items() if not (DOCS / n).is_file() or (DOCS / n).read_text("utf-8") != text]
        stale += [p.name for p in DOCS.glob("*.md") if p.name not in {*texts, BY_HAND}]
        if stale:
            sys.stderr.write(f"stale: {', '.join(stale)}; run python tools/corruption_docs.py\n")
        return int(bool(stale))
    DOCS.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_text_atomic(DOCS / name, text)
    if options.pictures is not None:
        draw(options.pictures, options.sample)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
