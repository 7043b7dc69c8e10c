"""Figure 10: every method under every corruption, P2S."""

from __future__ import annotations

from typing import TYPE_CHECKING

from robench.reproduce import figure_methods
from robench.reproduce.figure_methods import missing, plan
from robench.reproduce.settings import METRICS

if TYPE_CHECKING:
    from robench.reproduce.bench import Bench
    from robench.reproduce.outputs import Made

__all__ = ["make", "missing", "plan"]


def make(bench: Bench) -> Made:
    """Make the figure."""
    return figure_methods.make(bench, "figure10", METRICS[1])
