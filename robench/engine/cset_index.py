"""The index of a corrupted set: a row a picture, in Parquet, with a hash that does not depend on the Parquet writer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from robench.engine.cells import Cell, Picture
from robench.errors import Mismatch
from robench.io.files import atomic_path, sha256_bytes
from robench.io.images import pixels_sha256

INDEX, JOURNAL = "index.parquet", "index.wip.jsonl"
COLUMNS = {
    "sample_id": "string",
    "subject_id": "string",
    "view_id": "string",
    "corruption": "string",
    "corruption_version": "string",
    "severity": "int64",
    "path": "string",
    "params": "string",
    "affine": "string",
    "view_change": "string",
    "true_mask": "string",
    "notes": "string",
    "width": "int64",
    "height": "int64",
    "source_sha256": "string",
    "pixels_sha256": "string",
    "file_sha256": "string",
    "mask_path": "string",
    "mask_sha256": "string",
    "depth_path": "string",
    "depth_sha256": "string",
    "depth_source": "string",
    "depth_invalid": "string",
    "camera": "string",
    "camera_source": "string",
    "source": "string",
    "mesh": "string",
}
"""Columns of the index. ``params``, ``affine``, ``view_change``, ``notes`` are JSON; ``true_mask`` is the hash of the
true mask's pixels where the corruption drew one, else null; ``pixels_sha256`` outlives any PNG encoder."""
OPTIONAL = {"box": "string"}
"""Columns that the index of a set has only where a row has a value: ``box`` is JSON, the person box in the picture."""

_ALWAYS = (*list(COLUMNS)[:8], *list(COLUMNS)[11:17])  # up to ``params``, and from ``notes`` to ``file_sha256``
FILES = (("path", "file_sha256"), ("mask_path", "mask_sha256"), ("depth_path", "depth_sha256"))
"""Columns that name a file of the set, and the columns of its hash."""


def index_row(
    cell: Cell, picture: Picture, path: str, source_sha256: str, file_sha256: str, beside: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the index row of a picture; see `COLUMNS`. `beside` has those from ``mask_path`` on."""
    height, width = picture.image.shape[:2]
    drawn = picture.true_mask if picture.drawn_mask else None
    if picture.box is not None:
        beside = {**beside, "box": json.dumps(picture.box.to_json())}
    return {
        "sample_id": cell.sample.sample_id,
        "subject_id": cell.sample.subject_id,
        "view_id": f"{cell.sample.view:g}",
        "corruption": cell.corruption,
        "corruption_version": picture.corruption_version,
        "severity": cell.severity,
        "path": path,
        "params": json.dumps(picture.params, sort_keys=True, allow_nan=False),
        "affine": None if picture.affine is None else json.dumps(picture.affine.tolist()),
        "view_change": None if picture.view_change is None else json.dumps(picture.view_change.tolist()),
        "true_mask": None if drawn is None else pixels_sha256(drawn),
        "notes": json.dumps(picture.notes, sort_keys=True, default=_plain),
        "width": width,
        "height": height,
        "source_sha256": source_sha256,
        "pixels_sha256": picture.sha256,
        "file_sha256": file_sha256,
        **beside,
    }


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def write_index(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write the index atomically; returns a hash of its rows that does not depend on the Parquet writer."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema(list((COLUMNS | _optional(rows)).items()))
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema=schema), temporary, compression="zstd")
    return rows_sha256(rows)


def rows_sha256(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return a hash over the index rows in their order."""
    names, more = tuple(COLUMNS), tuple(_optional(rows))
    lines = (json.dumps([row[c] for c in names] + [row.get(c) for c in more]) for row in rows)
    return sha256_bytes("".join(f"{line}\n" for line in lines).encode())


def _optional(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {name: kind for name, kind in OPTIONAL.items() if any(row.get(name) is not None for row in rows)}


def read_index(path: Path) -> list[dict[str, Any]]:
    """Read an index.

    Raises:
        Mismatch: If the file is damaged, lacks a column or has one of another type.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        # A file, not a path: Arrow takes a folder of that name for a data set, and would read what lies in it. Arrow's
        # own file: its threads may still hold one of Python's at the end, and abort the process.
        with pa.OSFile(str(path)) as file:
            parquet = pq.ParquetFile(file)
            wanted = COLUMNS | {name: kind for name, kind in OPTIONAL.items() if name in parquet.schema_arrow.names}
            table = parquet.read(columns=list(wanted)).select(list(wanted)).cast(pa.schema(wanted.items()))
            rows: list[dict[str, Any]] = table.to_pylist()
        if any(row[name] is None for row in rows for name in _ALWAYS):
            raise ValueError("an empty field")
    except (OSError, pa.ArrowException, KeyError, ValueError) as error:
        raise Mismatch(f"The index {path} is damaged", got=str(error)[:200], hint="robench corrupt again") from error
    return rows
