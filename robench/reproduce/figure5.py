"""Figure 5: renderings before and after refinement, beside the true views."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from robench.reproduce.figure_refinement import PROTOCOLS, differs, missing, plan, refined
from robench.reproduce.outputs import Finding, Made

if TYPE_CHECKING:
    from robench.reproduce.bench import Bench

__all__ = ["make", "missing", "plan"]

STAINS = "Some stains vanish, and new artefacts appear."


def make(bench: Bench) -> Made:
    """Make the figure."""
    from robench.io.images import write_png
    from robench.reporting.refinement import before_after

    found, files = refined(bench), []
    for protocol, one in found.items():
        shown = before_after(one.cells, bench.refined_folder(protocol))
        if shown is not None:
            files.append(bench.path(f"figure5-{protocol}.png"))
            write_png(files[-1], shown)
    return Made(
        tuple(files),
        notes=("Columns: four views 90° apart. Rows: before, after, the true person; the input stands at the left.",),
        differs=differs(bench),
        findings=tuple(findings({p: one.cells for p, one in found.items()})),
    )


def findings(cells: Mapping[Any, Sequence[Mapping[str, Any]]]) -> Iterator[Finding]:
    """Yield what the paper saw beside how often refinement came nearer to the true colours here.

    Args:
        cells: Of `robench.engine.refine.Refined`, by protocol.
    """
    texts = []
    for protocol, some in cells.items():
        for mode in dict.fromkeys(cell["mode"] for cell in some):
            pairs = [
                (cell["before"].get("psnr"), cell["after"].get("psnr"))
                for cell in some
                if cell["status"] == "ok" and cell["mode"] == mode
            ]
            known = [(before, after) for before, after in pairs if before is not None and after is not None]
            if known:
                nearer = sum(after > before for before, after in known)
                texts.append(f"{PROTOCOLS[protocol]}, {mode}: {nearer} of {len(known)}")
    here = f"pictures whose PSNR to the true views rises, {'; '.join(texts)}" if texts else "no true colours are known"
    yield Finding(STAINS, f"{here}. Which change is a stain's end and which an artefact, the eye has to say.")
