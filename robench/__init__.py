"""robench: how robust is a single-image 3D human reconstructor?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from os import PathLike

    import pandas as pd

__all__ = ["__version__", "load"]
__version__ = "0.1.0"


def load(runs: str | PathLike[str] | Iterable[str | PathLike[str]]) -> pd.DataFrame:
    """Return the rows of runs as one tidy table, see `robench.analysis.loading.load`; pandas is imported only now."""
    from robench.analysis.loading import load as loaded

    return loaded(runs)
