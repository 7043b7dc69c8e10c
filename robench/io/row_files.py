"""Files of rows as Arrow tables, and what ``run.json`` says: checked, and brought to today's schema."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from robench.errors import Mismatch, RobenchError, UsageError
from robench.io.files import is_special, read_json
from robench.schema import KEY_OF_VERSION, SCHEMA, SCHEMA_VERSION, check_version, upgraded

if TYPE_CHECKING:
    import pyarrow as pa

RUN = "run.json"
MOST_TEXT = 10_000
"""Characters of a text in a row: names are short and messages are cut at 200, so a longer one is no row of ours."""
_HINT = "take it from where it was made, or robench evaluate --fresh"


def damaged(path: Path, got: str) -> Mismatch:
    """Return the error of a file of rows that is not what was written."""
    return Mismatch(f"The file of rows '{path}' is damaged", got=got[:200], hint=_HINT)


def read_about(run: Path) -> dict[str, Any]:
    """Return what ``run.json`` of a folder says; empty without one.

    Raises:
        Mismatch: If the file is damaged.
        NotComparable: If its schema version is not known.
    """
    path = Path(run) / RUN
    if not path.is_file():
        return {}
    try:
        stored = read_json(path)
    except UsageError as error:
        raise Mismatch(f"'{path}' is damaged", got=error.got, hint=_HINT) from error
    if not isinstance(stored, dict):
        raise Mismatch(f"'{path}' is damaged", got=type(stored).__name__, expected="an object", hint=_HINT)
    if KEY_OF_VERSION in stored:
        check_version(stored[KEY_OF_VERSION], f"'{path}'")
    return stored


def read_table(path: Path, columns: Sequence[str] | None = None, *, stated: Any = None) -> pa.Table:
    """Read a Parquet file of rows, of any schema version that is known, as today's.

    A file that does not say its version (one that something else wrote) has the stated one, or else is of version 1 and
    may lack columns.

    Args:
        path: The file.
        columns: Of those that are wanted, None for all.
        stated: What ``run.json`` beside it says of the version, if it does.

    Returns:
        Columns with the types of `robench.schema.SCHEMA`; others, that somebody added, as they are.

    Raises:
        Mismatch: If the file is damaged, or a column is missing or of another type.
        NotComparable: If its schema version is not known.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if is_special(path):  # nobody waits for a pipe
        raise damaged(path, "no regular file")
    try:
        # A file, not a path: of a folder of that name all files would be read. Arrow's own file: its threads may still
        # hold one of Python's at the end, and abort the process.
        with pa.OSFile(str(path)) as file, pq.ParquetFile(file) as parquet:
            said = (parquet.schema_arrow.metadata or {}).get(KEY_OF_VERSION.encode())
            found = stated if said is None else said.decode("utf-8", "replace")
            version = check_version(found, f"'{path}'") if found is not None else 1
            wanted = None if columns is None or version < SCHEMA_VERSION else list(columns)
            missing = set(wanted or (SCHEMA if found is not None else ())) - set(parquet.schema_arrow.names)
            if missing and version == SCHEMA_VERSION:
                raise damaged(path, f"no column {', '.join(sorted(missing))}")
            table = parquet.read(columns=wanted)
    except RobenchError:
        raise
    except Exception as error:  # a damaged file fails in as many ways as it has bytes
        raise damaged(path, str(error)) from error
    if version < SCHEMA_VERSION:
        table = pa.Table.from_pylist([dict(upgraded(row, version)) for row in table.to_pylist()])
        table = table if columns is None else table.select(list(columns))
    return _typed(table, path)


def _typed(table: pa.Table, path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.compute as pc

    for index, name in enumerate(table.column_names):
        if name not in SCHEMA:
            continue
        column, kind = table.column(index), SCHEMA[name].kind
        if not _may_be(column.type, kind):
            raise damaged(path, f"the column '{name}' of type {column.type}, expected {kind}")
        try:
            column = column.cast(pa.type_for_alias(kind))
        except pa.ArrowException as error:
            raise damaged(path, f"the column '{name}': {error}") from error
        if kind == "string" and (pc.max(pc.utf8_length(column)).as_py() or 0) > MOST_TEXT:
            raise damaged(path, f"a text of more than {MOST_TEXT} characters in the column '{name}'")
        table = table.set_column(index, name, column)
    return table


def _may_be(found: pa.DataType, kind: str) -> bool:
    """True if a type can hold a column: other programs write wider texts, and integers with gaps as floats."""
    import pyarrow.types as types

    if types.is_dictionary(found):
        found = found.value_type
    if types.is_null(found):
        return True
    if kind == "string":
        return bool(types.is_string(found) or types.is_large_string(found) or types.is_string_view(found))
    return bool(types.is_integer(found) or types.is_floating(found))
