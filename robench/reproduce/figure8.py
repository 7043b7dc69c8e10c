"""Figure 8: refinement, iteration by iteration: SSIM."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robench.reproduce import figure_refinement
from robench.reproduce.figure_refinement import missing, plan

if TYPE_CHECKING:
    from robench.reproduce.bench import Bench
    from robench.reproduce.outputs import Made

__all__ = ["make", "missing", "plan"]


def make(bench: Bench) -> Made:
    """Make the figure."""
    return figure_refinement.make(bench, "figure8", ("ssim",))
