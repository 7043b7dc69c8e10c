"""What the rows of a run say: pure functions from a table of rows to tables of numbers with intervals."""

from __future__ import annotations

from robench.analysis.degradation import degradation_table, summary
from robench.analysis.intervals import Interval
from robench.analysis.rows import check_protocol, read_rows, scored

__all__ = ["Interval", "check_protocol", "degradation_table", "read_rows", "scored", "summary"]
