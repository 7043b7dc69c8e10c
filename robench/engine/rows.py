"""Rows: one per sample, corruption, severity and metric; their columns, their types, their Parquet files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from robench.engine.cset import Key
from robench.engine.protocol import SCHEMA_VERSION
from robench.errors import Mismatch
from robench.io.files import atomic_path

COLUMNS: Mapping[str, str] = {
    # Key
    "run_id": "string",
    "sample_id": "string",
    "subject_id": "string",
    "view_id": "string",
    "corruption": "string",
    "severity": "int64",
    "masker": "string",
    "metric": "string",
    # Value
    "value": "float64",
    "unit": "string",
    "direction": "string",
    "status": "string",
    "failure_value": "float64",
    "message": "string",
    # Protocol
    "metric_version": "string",
    "n_points": "int64",
    "metric_seed": "int64",
    "alignment": "string",
    "frame": "string",
    "mask_source": "string",
    "prior_source": "string",
    "track": "string",
    # Identity
    "model": "string",
    "checkpoint_sha256": "string",
    "adapter_version": "string",
    "dataset": "string",
    "dataset_revision": "string",
    "split_sha256": "string",
    "cset_id": "string",
    "corruption_version": "string",
    "image_sha256": "string",
    "mask_sha256": "string",
    "mesh_sha256": "string",
    # Cost
    "time_s": "float64",
    "gpu_mem_mb": "float64",
    "device": "string",
    "attempt": "int64",
    "shard": "int64",
    "robench_version": "string",
}
"""Columns and Arrow types of the row schema, version `robench.engine.protocol.SCHEMA_VERSION`."""
COST = ("time_s", "gpu_mem_mb", "device", "attempt", "shard", "robench_version")
"""Columns that may differ between two runs of the same work."""
FAILED = frozenset({"failed", "timeout", "oom", "no_detection", "degenerate"})
"""Statuses that count as failures and carry a penalty; ``ok`` and ``skipped`` do not."""


def key_of(row: Mapping[str, Any]) -> Key:
    """Return the cell that a row belongs to."""
    return row["sample_id"], row["corruption"], row["severity"]


def write_rows(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as Parquet, atomically.

    Raises:
        UsageError, EnvironmentNotReady: If the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [pa.field(name, kind) for name, kind in COLUMNS.items()]
    schema = pa.schema(fields, metadata={"schema_version": str(SCHEMA_VERSION)})
    table = pa.Table.from_pylist([dict(row) for row in rows], schema=schema)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def read_cells(path: Path) -> dict[Key, str]:
    """Return the cells of a Parquet file of rows with their `statuses`.

    Raises:
        Mismatch: If the file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path, columns=["sample_id", "corruption", "severity", "status"])
    except (OSError, pa.ArrowException, KeyError) as error:
        raise Mismatch(f"The rows {path} are damaged", got=str(error)[:200], hint="--fresh to start over") from error
    return statuses(table.to_pylist())


def statuses(rows: Sequence[Mapping[str, Any]]) -> dict[Key, str]:
    """Return how each cell ended: a failure if a metric has one, else ``ok`` if one is, else ``skipped``."""
    found: dict[Key, str] = {}
    for row in rows:
        key = key_of(row)
        found[key] = max(found.get(key, "skipped"), row["status"], key=_weight)
    return found


def _weight(status: str) -> int:
    return 2 if status in FAILED else int(status == "ok")
