"""Which rows a number comes from: a run's id and a hash of its rows, printed beside whatever is measured against it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from robench.analysis.rows import read_rows
from robench.errors import Mismatch
from robench.io.row_files import read_about
from robench.schema import of_group

# Time, memory and place of the work: two runs of the same work differ in nothing else.
_COST = of_group("Cost")
_CHUNK = 10_000


@dataclass(frozen=True, eq=False)
class Run:
    """A run as the analysis sees it.

    Attributes:
        path: Its folder.
        rows: Its rows, as `robench.analysis.rows.read_rows` gives them.
        about: What its ``run.json`` says; empty without one.
        sha256: `rows_sha256` of the rows.
    """

    path: Path
    rows: pd.DataFrame
    about: Mapping[str, Any] = field(default_factory=dict)
    sha256: str = ""

    @property
    def run_id(self) -> str:
        """The run's id, as its rows have it."""
        return ", ".join(sorted(set(self.rows["run_id"])))

    @property
    def model(self) -> str:
        """The model's name."""
        return self._text("model") or self.run_id

    @property
    def checkpoint(self) -> str:
        """SHA-256 of the model's weights, or an empty string."""
        return self._text("checkpoint_sha256")

    def _text(self, column: str) -> str:
        known = self.rows[column].dropna() if column in self.rows else pd.Series(dtype=object)
        return ", ".join(sorted(set(known.astype(str))))

    @property
    def unfinished(self) -> bool:
        """True if ``run.json`` says that the run was stopped before its end."""
        return self.about.get("state") not in (None, "complete")

    @property
    def partial(self) -> bool:
        """True if ``run.json`` says that the run took only some of the data set's samples."""
        data = self.about.get("dataset")
        return isinstance(data, Mapping) and bool(data.get("partial"))

    def to_json(self) -> dict[str, Any]:
        """Return what names the run: id, hash of the rows, model, checkpoint."""
        return {
            "run_id": self.run_id,
            "rows_sha256": self.sha256,
            "model": self.model,
            "checkpoint_sha256": self.checkpoint,
        }


def open_run(path: Path) -> Run:
    """Read a run's rows and what is known of it.

    Raises:
        UsageError: If the folder is no run or has no row yet.
        Mismatch: If its rows or its ``run.json`` are damaged.
    """
    rows = read_rows(path)
    names = sorted(set(rows["run_id"]))
    if len(names) > 1:
        raise Mismatch(f"The rows of '{path}' are of several runs", got=", ".join(names[:4]), expected="one run_id")
    return Run(Path(path), rows, read_about(path), rows_sha256(rows))


def rows_sha256(rows: pd.DataFrame) -> str:
    """Return a hash of everything that rows say but for what they cost; their order and their files do not matter.

    A row is the JSON list of its ``[column, value]`` pairs, columns by name and without missing values. The SHA-256 of
    each row, sorted, are hashed together.
    """
    names = sorted(set(map(str, rows.columns)) - set(_COST))
    digests = []
    for start in range(0, len(rows), _CHUNK):  # a million rows as texts would be gigabytes
        part = rows[names].iloc[start : start + _CHUNK].astype(object)
        part = part.where(part.notna(), None)
        for row in part.itertuples(index=False, name=None):
            text = json.dumps([[n, v] for n, v in zip(names, row, strict=True) if v is not None], default=str)
            digests.append(hashlib.sha256(text.encode()).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()
