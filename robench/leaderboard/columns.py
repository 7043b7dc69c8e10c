"""The columns of a leaderboard's CSV files, in order: what each means, its type and its unit.

A rank is never stored: whoever views a board computes it, within the lines that agree in `RANKED_WITHIN`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

SCHEMA_VERSION = 1
"""Version of both tables; goes up when a column changes its meaning or goes."""
MAIN, PER_CORRUPTION = "main.csv", "per_corruption.csv"
TRACKS = ("image-only", "given-mask")
"""``given-mask``: the model is told where the person is; see `robench.engine.protocol.track_of`."""
VERIFIED = ("self", "ci", "maintainer")
"""Who vouches for an entry: its submitter, a machine that ran samples of it again, a maintainer who ran it."""

Kind = Literal["string", "int64", "float64"]


class Column(NamedTuple):
    """One column.

    Attributes:
        name: As in the head of the file.
        kind: Its Arrow and pandas type; a value that is missing is an empty field, never 0 and never NaN.
        meaning: One sentence.
        unit: Of its numbers; ``unit`` for that of the line's metric.
    """

    name: str
    kind: Kind
    meaning: str
    unit: str = ""


_WHO = (
    Column("schema_version", "int64", "version of these columns"),
    Column("track", "string", "what the model was given: image-only or given-mask"),
    Column("dataset", "string", "name of the data set's reader"),
    Column("dataset_revision", "string", "hash of the data set's content"),
    Column("split_sha256", "string", "hash of the ids of its samples"),
    Column("recipe", "string", "name of the recipe"),
    Column("recipe_sha", "string", "hash of its corruptions, their versions and severities; of no name"),
    Column("cset_id", "string", "hash of the pictures: data, recipe, seed, made depth"),
    Column("protocol_sha", "string", "hash of this metric, the masks, the frame and the penalty of a failure"),
    Column("masker", "string", "where the masks came from"),
    Column("prior_source", "string", "where priors (normals, bodies) came from, or none"),
    Column("model", "string", "the model"),
    Column("variant", "string", "what its submitter calls this one of several"),
    Column("model_options", "string", "its options, as name=value with ; between"),
)
_MEASURED = (
    Column("checkpoint_sha256", "string", "hash of its weights"),
    Column("params_m", "float64", "size of the model", "million parameters"),
    Column("metric", "string", "the measure; a line each"),
    Column("metric_version", "string", "its version; goes up when values change"),
    Column("unit", "string", "unit of its values: cm, or 1 for a pure number"),
    Column("direction", "string", "lower or higher is better"),
)
_RUN = (
    Column("robench_version", "string", "what computed the rows"),
    Column("run_id", "string", "folder of the entry under rows/"),
    Column("run_sha", "string", "hash of what the rows say, without what they cost"),
)

MAIN_COLUMNS: tuple[Column, ...] = (
    *_WHO,
    Column("paper_url", "string", "its paper"),
    Column("code_url", "string", "its code"),
    Column("licence", "string", "of weights and code: an SPDX expression, or Non-commercial: NAME"),
    *_MEASURED,
    Column("n_subjects", "int64", "subjects: the unit of inference", "subjects"),
    Column("n_samples", "int64", "samples (views of subjects); each is scored under every condition", "samples"),
    Column("clean", "float64", "mean over subjects on clean pictures", "unit"),
    Column("clean_lo", "float64", "95 % interval over subjects, lower bound", "unit"),
    Column("clean_hi", "float64", "and upper bound", "unit"),
    Column("corrupted", "float64", "mean over corruptions, severities averaged within each", "unit"),
    Column("corrupted_lo", "float64", "95 % interval over subjects, lower bound", "unit"),
    Column("corrupted_hi", "float64", "and upper bound", "unit"),
    Column("ratio_gm", "float64", "corrupted by own clean, geometric mean over corruptions: the headline", "1"),
    Column("ratio_lo", "float64", "95 % interval over subjects, lower bound", "1"),
    Column("ratio_hi", "float64", "and upper bound", "1"),
    Column("rr", "float64", "resilience: corrupted by clean, of a score in [0, 1] where higher is better", "1"),
    Column("rce", "float64", "corruption error: errors by those of the reference, mean over corruptions", "1"),
    Column("rce_ref", "string", "the reference: MODEL:first 12 digits of its run_sha; an entry of the same board"),
    Column("worst_corruption", "string", "the corruption with the worst ratio"),
    Column("worst_ratio", "float64", "its ratio to clean", "1"),
    *(
        Column(f"s{level}", "float64", f"mean at severity {level} over the corruptions that have it", "unit")
        for level in range(1, 6)
    ),
    Column(
        "failure_rate", "float64", "share of pictures on which it failed; they count with the declared penalty", "1"
    ),
    Column("mask_iou", "float64", "IoU of the masks that it was given with the true ones, mean over corruptions", "1"),
    Column("gpu_seconds", "float64", "time of the model on a GPU; empty for a run on CPU", "s"),
    Column("hardware", "string", "what it ran on"),
    *_RUN,
    Column("run_url", "string", "where the run, its report or its log can be seen"),
    Column("date", "string", "of the submission, YYYY-MM-DD"),
    Column("verified", "string", "who vouches for it: self, ci or maintainer"),
)
"""`MAIN`: a line a run and metric."""

PER_CORRUPTION_COLUMNS: tuple[Column, ...] = (
    *_WHO,
    *_MEASURED,
    *_RUN,
    Column("corruption", "string", "clean first; NAME (unaligned): scored against the truth of the clean picture"),
    Column("severity", "int64", "1 to 5; 0 for clean"),
    Column("value", "float64", "mean over subjects", "unit"),
    Column("lo", "float64", "95 % interval over subjects, lower bound", "unit"),
    Column("hi", "float64", "and upper bound", "unit"),
    Column("n", "int64", "subjects", "subjects"),
    Column(
        "failure_rate", "float64", "share of pictures on which it failed; they count with the declared penalty", "1"
    ),
)
"""`PER_CORRUPTION`: a line a run, metric, corruption and severity."""

TABLES: Mapping[str, tuple[Column, ...]] = {MAIN: MAIN_COLUMNS, PER_CORRUPTION: PER_CORRUPTION_COLUMNS}
"""Columns by file name."""

RANKED_WITHIN = ("schema_version", "track", "dataset", "cset_id", "protocol_sha", "metric")
"""Lines that agree in these saw the same pictures and masks under the same measure: those alone rank together.

``cset_id`` stands for revision, split, recipe, versions of corruptions and seed; ``protocol_sha`` for the version,
points, seed and alignment of the metric, the masks and the penalty. The model's own options are in neither.
"""


def pandas_types(columns: tuple[Column, ...]) -> dict[str, Any]:
    """Return the types to read a table with: ``pandas.read_csv(path, dtype=...)``; integers may be missing."""
    kinds = {"string": "string", "int64": "Int64", "float64": "float64"}
    return {column.name: kinds[column.kind] for column in columns}


def names(columns: tuple[Column, ...]) -> list[str]:
    """Return the head of a table."""
    return [column.name for column in columns]
