"""Rows: one per sample, corruption, severity and metric; their columns, their types, their Parquet files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.engine.batches import batched
from robench.engine.cset import Key
from robench.engine.ledger import ORDER
from robench.errors import Mismatch
from robench.io.files import atomic_path
from robench.io.row_files import damaged, read_table
from robench.schema import KEY_OF_VERSION, SCHEMA, SCHEMA_VERSION, of_group

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS: Mapping[str, str] = {name: column.kind for name, column in SCHEMA.items()}
"""Columns and Arrow types of the row schema; `robench.schema` says what they hold."""
COST = of_group("Cost")
"""Columns that may differ between two runs of the same work."""
FAILED = frozenset({"failed", "timeout", "oom", "no_detection", "degenerate"})
"""Statuses that count as failures and carry a penalty; ``ok`` and ``skipped`` do not."""
_CHUNK = 4096
"""Rows that are held at once while a part is written."""


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the cell that a row belongs to."""
    return row["sample_id"], row["corruption"], row["severity"]


def write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as Parquet, atomically; however many there are, a few are held at once.

    Raises:
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field(name, kind) for name, kind in COLUMNS.items()]
    schema = pa.schema(fields, metadata={KEY_OF_VERSION: str(SCHEMA_VERSION)})
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        for chunk in batched(rows, _CHUNK):
            writer.write_table(pa.Table.from_pylist([dict(row) for row in chunk], schema=schema))


def read_part(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a Parquet file of rows, or some columns of it; errors as of `robench.io.row_files.read_table`."""
    return read_table(path, columns)


def read_cells(path: Path) -> dict[Key, str]:
    """Return the cells of a Parquet file of rows with their `statuses`.

    Raises:
        Mismatch: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    table = read_part(path, ["sample_id", "corruption", "severity", "status"])
    try:
        rank = pc.index_in(table["status"], pa.array(ORDER))
        if table["severity"].type != pa.int64() or any(column.null_count for column in (*table.columns, rank)):
            raise ValueError("a cell without a name, or a status that is none")
        worst = table.append_column("rank", rank).group_by(["sample_id", "corruption", "severity"])
        cells = worst.aggregate([("rank", "min")]).to_pydict()
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise damaged(path, str(error)) from error
    keys = zip(cells["sample_id"], cells["corruption"], cells["severity"], strict=True)
    return {key: ORDER[rank] for key, rank in zip(keys, cells["rank_min"], strict=True)}


def without_cells(path: Path, statuses: AbstractSet[str]) -> set[Key]:
    """Take the cells that ended in one of some statuses out of a Parquet file of rows, and return them.

    Raises:
        Mismatch: If the file is damaged.
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    gone = {key for key, status in read_cells(path).items() if status in statuses}
    if gone:
        write_rows(path, [row for row in read_part(path).to_pylist() if key_of(row) not in gone])
    return gone


def statuses(rows: Iterable[Mapping[str, Any]]) -> dict[Key, str]:
    """Return how each cell ended: the first of `robench.engine.ledger.ORDER` that one of its rows has.

    Raises:
        Mismatch: If they are no rows.
    """
    found: dict[Key, str] = {}
    try:
        for row in rows:
            key = key_of(row)
            found[key] = min(found.get(key, ORDER[-1]), row["status"], key=ORDER.index)
    except (TypeError, KeyError, ValueError) as error:
        raise Mismatch("A line of rows is damaged", got=repr(error)[:200], hint="--fresh to start over") from error
    return found
