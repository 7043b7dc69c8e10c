"""An entry's rows as one compact Parquet file: equal rows give equal bytes, and reading a stranger's is bounded."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from robench.analysis.rows import KEY, read_rows
from robench.engine.rows import COLUMNS
from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.files import open_regular
from robench.leaderboard.machine_paths import without_paths
from robench.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import pyarrow as pa

MOST_BYTES = 64 * 2**20
"""Of a file."""
MOST_ROWS = 2_000_000
"""Of an entry: a thousand samples, a hundred conditions, twenty metrics."""
LONGEST_TEXT = 1000
"""Characters of a cell."""
_LEVEL = 9


def publishable(rows: pd.DataFrame, roots: tuple[str, ...] = ()) -> pd.DataFrame:
    """Return rows as they are published: columns of the schema, sorted, no path of a machine in a message.

    Args:
        rows: As `robench.analysis.rows.read_rows` gives them.
        roots: Folders that messages may name.
    """
    kept = rows.reindex(columns=list(COLUMNS)).sort_values(list(KEY), kind="stable").reset_index(drop=True)
    told = kept["message"].notna()
    kept.loc[told, "message"] = [without_paths(str(text), roots) for text in kept.loc[told, "message"]]
    return kept


def encode(rows: pd.DataFrame) -> bytes:
    """Return the Parquet file of `publishable` rows: compressed by zstd, the same bytes for the same rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrays = [pa.array(_values(rows[name], kind), type=getattr(pa, kind)()) for name, kind in COLUMNS.items()]
    fields = [pa.field(name, kind) for name, kind in COLUMNS.items()]
    schema = pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})
    sink = io.BytesIO()
    pq.write_table(
        pa.Table.from_arrays(arrays, schema=schema),
        sink,
        compression="zstd",
        compression_level=_LEVEL,
        row_group_size=MOST_ROWS,
        write_statistics=False,
    )
    return sink.getvalue()


def _values(column: pd.Series[Any], kind: str) -> list[Any]:
    """Return plain values; what is missing is None."""
    make = {"string": str, "int64": int, "float64": float}[kind]
    return [None if value is None or value != value else make(value) for value in column.tolist()]


def read(path: Path) -> pd.DataFrame:
    """Read a file of rows that a stranger may have made.

    Raises:
        Mismatch: If it is damaged, of another schema, or larger than an entry may be.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with open_regular(path) as handle:
            size = os.fstat(handle.fileno()).st_size
        if size > MOST_BYTES:
            raise Mismatch(f"{path} is too large", got=f"{size} bytes", expected=f"at most {MOST_BYTES // 2**20} MiB")
        with pa.OSFile(str(path)) as file, pq.ParquetFile(file) as parquet:
            _check_head(parquet, path)
        texts = [name for name, kind in COLUMNS.items() if kind == "string"]
        # Texts stay numbers of a dictionary until their lengths are known: a small file may hold large ones.
        with pa.OSFile(str(path)) as file, pq.ParquetFile(file, read_dictionary=texts) as parquet:
            _check_texts(parquet.read(columns=texts), path)
    except Mismatch:
        raise
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        raise Mismatch(f"{path} is damaged", got=str(error)[:200]) from error
    try:
        return read_rows(path)
    except (UsageError, NotComparable) as error:
        raise Mismatch(error.what, got=error.got, expected=error.expected) from error


def _check_head(file: Any, path: Path) -> None:
    """Check names and types of columns, and how large the rows would be, before any is read."""
    schema, about = file.schema_arrow, file.metadata
    kinds = {field.name: _kind(field.type) for field in schema}
    if kinds != dict(COLUMNS) or len(schema) != len(COLUMNS):
        wrong = sorted(set(kinds.items()) ^ set(COLUMNS.items()))
        raise Mismatch(f"{path} does not have the columns of the row schema", got=str(wrong[:3])[:160])
    version = (schema.metadata or {}).get(b"schema_version", b"none").decode("utf-8", "replace")
    if version != str(SCHEMA_VERSION):
        raise Mismatch(f"{path} is of another row schema", got=version[:20], expected=str(SCHEMA_VERSION))
    if not 0 < about.num_rows <= MOST_ROWS:
        raise Mismatch(f"{path} has too many rows, or none", got=str(about.num_rows), expected=f"1 to {MOST_ROWS}")
    size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    if size > 16 * MOST_BYTES:
        raise Mismatch(f"{path} would unfold to too much", got=f"{size} bytes", expected=f"at most {16 * MOST_BYTES}")


def _kind(of: pa.DataType) -> str:
    import pyarrow as pa

    inner = of.value_type if pa.types.is_dictionary(of) else of
    return "string" if pa.types.is_string(inner) else {pa.int64(): "int64", pa.float64(): "float64"}.get(inner, str(of))


def _check_texts(table: pa.Table, path: Path) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    for name, column in zip(table.column_names, table.columns, strict=True):
        for chunk in column.chunks:
            if pa.types.is_dictionary(chunk.type) and len(chunk.dictionary):
                longest = pc.max(pc.binary_length(chunk.dictionary)).as_py()
                if longest is not None and longest > 4 * LONGEST_TEXT:
                    raise Mismatch(f"{path} has a text that is too long", got=f"{longest} bytes in '{name}'")
