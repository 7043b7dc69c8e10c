"""The row schema: what every column of a run's rows holds, and how rows of older versions become rows of today's.

Rows carry their version twice: in the metadata of each Parquet file (key ``schema_version``) and in ``run.json``. A
change of columns, types, units or meanings makes a new version and one pure function from a row of the version before;
`upgraded` applies them one after the other. docs/rows.md is written from here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from robench.errors import Mismatch, NotComparable

SCHEMA_VERSION = 1
"""Version of the row schema."""
KEY_OF_VERSION = "schema_version"
"""Under which Parquet metadata and ``run.json`` have it."""

Kind = Literal["string", "int64", "float64"]
Row = Mapping[str, Any]


class Column(NamedTuple):
    """A column of the rows.

    Attributes:
        kind: Arrow type.
        group: What it is part of: ``Key``, ``Value``, ``Protocol``, ``Identity`` or ``Cost``.
        meaning: What it holds: unit, values.
        null: What a missing value means; empty where every row has one.
        since: First schema version that has it.
    """

    kind: Kind
    group: str
    meaning: str
    null: str = ""
    since: int = 1


STATUSES = ("ok", "failed", "timeout", "oom", "no_detection", "degenerate", "skipped")
DIRECTIONS = ("lower", "higher")
MOST_SEVERITY = 5

SCHEMA: Mapping[str, Column] = {
    "run_id": Column("string", "Key", "name of the run's folder, `<model>@<weights8>-<cset8>-<protocol8>`"),
    "sample_id": Column("string", "Key", "the picture's name in the data set"),
    "subject_id": Column("string", "Key", "the person; the unit of inference"),
    "view_id": Column("string", "Key", "yaw of the view in degrees, as text (`0`, `30`)"),
    "corruption": Column("string", "Key", "name of the corruption, chain or mixture; `clean` at severity 0"),
    "severity": Column("int64", "Key", "0 for the clean picture, else 1 to 5"),
    "masker": Column("string", "Key", "name of the masker"),
    "metric": Column("string", "Key", "name of the metric"),
    "value": Column(
        "float64", "Value", "what the metric says, in `unit`; finite, and not negative if a length", "not `ok`"
    ),
    "unit": Column("string", "Value", "of `value` and `failure_value`: `cm`, `1` for none, or a plug-in's"),
    "direction": Column("string", "Value", "`lower` or `higher` is better"),
    "status": Column("string", "Value", "`ok`, `failed`, `timeout`, `oom`, `no_detection`, `degenerate`, `skipped`"),
    "failure_value": Column(
        "float64",
        "Value",
        "penalty of a failure in `unit`: what `mean-body` gets on this sample",
        "`ok` or `skipped`, or no penalty could be computed",
    ),
    "message": Column("string", "Value", "why it is not `ok`, at most 200 characters; empty where it is"),
    "metric_version": Column("string", "Protocol", "version of the metric"),
    "n_points": Column(
        "int64", "Protocol", "points that the metric samples on each surface; 0 for none", "its card does not say"
    ),
    "metric_seed": Column("int64", "Protocol", "seed of these points", "its card does not say"),
    "alignment": Column(
        "string",
        "Protocol",
        "what is aligned before measuring: `camera` (the truth follows what the corruption did to the camera), "
        "`similarity_icp` (then the best rotation, scale and shift), `none`",
    ),
    "frame": Column("string", "Protocol", "frame of both meshes: `view`, the camera's of the picture as corrupted"),
    "mask_source": Column(
        "string", "Protocol", "`gt` (the true mask, moved with the picture), `corrupted`, `predicted:<masker>`, `none`"
    ),
    "prior_source": Column("string", "Protocol", "where a model's body prior comes from: `none`, `predicted:<name>`"),
    "track": Column("string", "Protocol", "`image-only`; `given-mask` where the model is told where the person is"),
    "model": Column("string", "Identity", "name of the reconstructor"),
    "checkpoint_sha256": Column("string", "Identity", "SHA-256 of its weights"),
    "adapter_version": Column("string", "Identity", "version of the code that runs it"),
    "dataset": Column("string", "Identity", "name of the data set's reader"),
    "dataset_revision": Column("string", "Identity", "hash of the data"),
    "split_sha256": Column("string", "Identity", "hash of the ids of the samples that were evaluated"),
    "cset_id": Column("string", "Identity", "hash of data, samples, recipe and seed: which pictures these are"),
    "corruption_version": Column("string", "Identity", "version of the corruption", "clean, or no picture was made"),
    "image_sha256": Column("string", "Identity", "SHA-256 of the picture's pixels", "no picture was made"),
    "mask_sha256": Column("string", "Identity", "SHA-256 of the mask given to the model", "no mask was made"),
    "mesh_sha256": Column("string", "Identity", "SHA-256 of the mesh, as PLY", "the model gave none"),
    "time_s": Column("float64", "Cost", "seconds of the model on this cell", "it was not asked"),
    "gpu_mem_mb": Column("float64", "Cost", "peak memory of the GPU in MB", "no GPU, or not asked"),
    "device": Column("string", "Cost", "where the model ran"),
    "attempt": Column("int64", "Cost", "which try it was, from 1"),
    "shard": Column("int64", "Cost", "which part of the run it was worked on in"),
    "robench_version": Column("string", "Cost", "version of robench"),
}
"""Columns of `SCHEMA_VERSION`, in their order. No two rows share the columns of ``Key``; those of ``Cost`` may differ
between two runs of the same work."""

UPGRADES: dict[int, Callable[[Row], Row]] = {}
"""Version → the pure function that makes a row of it one of the next version."""


def of_group(group: str) -> tuple[str, ...]:
    """Return the columns of a group, in their order."""
    return tuple(name for name, column in SCHEMA.items() if column.group == group)


def check_version(found: Any, where: str) -> int:
    """Return a schema version that can be read.

    Args:
        found: What a file says: a whole number, or one as text.
        where: What says so, for the message.

    Raises:
        Mismatch: If it is no version.
        NotComparable: If it is newer than this robench, or so old that nothing upgrades it.
    """
    text = str(found)
    if isinstance(found, bool) or not (text.isascii() and text.isdecimal()) or len(text) > 9 or int(text) < 1:
        raise Mismatch(f"{where} is damaged", got=f"schema version {text[:40]!r}", expected="a whole number")
    version = int(text)
    if version > SCHEMA_VERSION:
        raise NotComparable(
            f"{where} has rows of schema version {version}, which this robench does not know",
            got=str(version),
            expected=f"{SCHEMA_VERSION} or older",
            hint="pip install -U robench",
        )
    missing = [number for number in range(version, SCHEMA_VERSION) if number not in UPGRADES]
    if missing:
        raise NotComparable(
            f"{where} has rows of schema version {version}, which nothing upgrades",
            got=str(version),
            expected=f"{missing[-1] + 1} to {SCHEMA_VERSION}",
            hint="the robench evaluate command that made it",
        )
    return version


def upgraded(row: Row, version: int) -> Row:
    """Return a row of an older version as one of `SCHEMA_VERSION`; the row itself is left as it is.

    Raises:
        Mismatch: If the row lacks what its version has.
    """
    for number in range(version, SCHEMA_VERSION):
        try:
            row = UPGRADES[number](row)
        except (KeyError, TypeError, ValueError) as error:
            raise Mismatch(f"A row is none of schema version {number}", got=repr(error)[:200]) from error
    return row
