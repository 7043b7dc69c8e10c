"""Draw docs/pictures/fusion.png: pifu-experts as the paper describes it and as its code did it.

python tools/draw_fusion.py docs/pictures/fusion.png
"""

from __future__ import annotations

import sys
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch, Patch

TRAINED, FROZEN, RANDOM, DATA = "#bfe3c0", "#d5dbe3", "#f4b6a6", "#ffffff"
CODED_JOIN = "[F₄, R]\n257 × 128 × 128\nlast stack only"

# Name: (x, y, width, height, text, kind as described, kind as coded, text as coded where it differs)
BOXES: dict[str, tuple[float, float, float, float, str, str, str, str]] = {
    "picture": (0.0, 2.0, 1.5, 0.9, "picture\n3 × 512 × 512", DATA, DATA, ""),
    "filter": (2.1, 3.6, 2.2, 0.8, "image filter\n14,420,864", FROZEN, FROZEN, ""),
    "patches": (2.1, 2.4, 2.2, 0.8, "16 × 16 patches\n1024 tokens", TRAINED, RANDOM, ""),
    "clip": (2.1, 1.2, 2.2, 0.8, "CLIP ViT-L/14\n768 numbers", FROZEN, RANDOM, "CLIP, 227.2 of\n304.0 M drawn anew"),
    "dpt": (2.1, 0.0, 2.2, 0.8, "DPT\n3 × 256 × 256 normals", FROZEN, RANDOM, "DPT, 122.5 of\n123.1 M drawn anew"),
    "projection": (4.8, 1.2, 1.7, 0.8, "projection\n1 token", TRAINED, RANDOM, ""),
    "normals": (4.8, 0.0, 1.7, 0.8, "16 × 16 patches\n256 tokens", TRAINED, RANDOM, ""),
    "resampler": (7.0, 1.0, 2.0, 1.4, "resampler R\n2 layers, 8 heads\n128 latents × 128", TRAINED, RANDOM, ""),
    "join": (9.5, 2.3, 1.6, 1.1, "[Fᵢ, R]\n257 × 128 × 128\ni = 1 … 4", DATA, DATA, CODED_JOIN),
    "mlp": (11.6, 2.3, 1.7, 1.1, "MLP\n258 inputs\n1,185,795", TRAINED, TRAINED, ""),
    "out": (13.8, 2.45, 1.4, 0.8, "occupancy\nof a point", DATA, DATA, ""),
}  # fmt: skip
# From, to, and where the arrow ends on the other's side: 0 at its bottom, 1 at its top.
ARROWS = (
    ("picture", "filter", 0.5),
    ("picture", "patches", 0.5),
    ("picture", "clip", 0.5),
    ("picture", "dpt", 0.5),
    ("patches", "resampler", 0.85),
    ("clip", "projection", 0.5),
    ("projection", "resampler", 0.5),
    ("dpt", "normals", 0.5),
    ("normals", "resampler", 0.15),
    ("filter", "join", 0.7),
    ("resampler", "join", 0.3),
    ("join", "mlp", 0.5),
    ("mlp", "out", 0.5),
)


def panel(axes: Any, coded: bool) -> None:
    """Draw one of the two."""
    for x, y, width, height, text, described, as_coded, other in BOXES.values():
        colour = as_coded if coded else described
        axes.add_patch(FancyBboxPatch((x, y), width, height, "round,pad=0.05", facecolor=colour, edgecolor="#333333"))
        shown = other if coded and other else text
        axes.text(x + width / 2, y + height / 2, shown, ha="center", va="center", fontsize=8.5)
    for first, second, place in ARROWS:
        x, y, width, height = BOXES[first][:4]
        u, v, _, tall = BOXES[second][:4]
        ends = (x + width + 0.07, y + height / 2), (u - 0.07, v + place * tall)
        axes.add_patch(FancyArrowPatch(*ends, arrowstyle="-|>", mutation_scale=9, color="#333333", linewidth=0.9))
    depth = FancyArrowPatch((12.45, 4.0), (12.45, 3.5), arrowstyle="-|>", mutation_scale=9, color="#333333")
    axes.add_patch(depth)
    axes.text(12.45, 4.1, "depth z", ha="center", fontsize=8.5)
    seen = ("[0, 1]; normals are cut to [0, 1]", "[−1, 1]; normals stay as they come")[coded]
    axes.set_title("as-coded: what the published code did" if coded else "described: what the paper says", loc="left")
    axes.text(0.0, -0.5, f"CLIP and DPT see the picture in {seen}", fontsize=8.5)
    axes.set(xlim=(-0.2, 15.4), ylim=(-0.7, 4.7))
    axes.axis("off")


def main(target: str) -> None:
    """Write the picture."""
    figure, rows = plt.subplots(2, 1, figsize=(11, 8))
    for axes, coded in zip(rows, (False, True), strict=True):
        panel(axes, coded)
    kinds = ((TRAINED, "trained"), (FROZEN, "frozen, with its weights"), (RANDOM, "random (or mostly), never trained"))
    handles = [Patch(facecolor=colour, edgecolor="#333333", label=name) for colour, name in kinds]
    figure.legend(handles=handles, loc="lower right", ncols=3, frameon=False, fontsize=9)
    figure.subplots_adjust(0.01, 0.04, 0.99, 0.96, hspace=0.1)
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main(sys.argv[1])
