"""The columns: those of the specification in its order, and what is added, each told in the docs."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from robench.leaderboard.columns import (
    MAIN_COLUMNS,
    PER_CORRUPTION_COLUMNS,
    RANKED_WITHIN,
    TABLES,
    names,
    pandas_types,
)

DOCS = Path(__file__).parents[3] / "docs" / "leaderboards.md"
WANTED = (
    "schema_version track dataset dataset_revision recipe_sha protocol_sha model variant paper_url code_url licence "
    "checkpoint_sha256 params_m metric unit direction n_subjects n_samples clean clean_lo clean_hi corrupted "
    "corrupted_lo corrupted_hi ratio_gm ratio_lo ratio_hi rr rce rce_ref worst_corruption worst_ratio s1 s2 s3 s4 s5 "
    "failure_rate mask_iou gpu_seconds hardware robench_version run_sha run_url date verified"
)
ADDED = {
    "split_sha256",
    "recipe",
    "cset_id",
    "masker",
    "prior_source",
    "model_options",
    "metric_version",
    "run_id",
}


def test_main_has_the_declared_columns_in_order_and_few_more() -> None:
    found = names(MAIN_COLUMNS)
    assert [name for name in found if name not in ADDED] == WANTED.split()
    assert set(found) >= ADDED
    assert len(set(found)) == len(found)


def test_per_corruption_has_the_keys_of_main_and_its_own() -> None:
    own = ["corruption", "severity", "value", "lo", "hi", "n", "failure_rate"]
    found = names(PER_CORRUPTION_COLUMNS)
    assert found[-len(own) :] == own
    assert set(found[: -len(own)]) < set(names(MAIN_COLUMNS))
    assert set(RANKED_WITHIN) < set(found)


def test_docs_tell_every_column_as_it_is() -> None:
    told = re.findall(r"^\| `(\w+)` \| ([^|]*) \| ([^|]*) \|$", DOCS.read_text(encoding="utf-8"), flags=re.MULTILINE)
    columns = {column.name: column for table in TABLES.values() for column in table}
    assert {name for name, _, _ in told} == set(columns)
    for name, meaning, unit in told:
        assert (meaning, unit.strip()) == (columns[name].meaning, columns[name].unit), name


def test_pandas_reads_a_table_with_the_declared_types(filled) -> None:
    board, *_ = filled
    for name, columns in TABLES.items():
        read = pd.read_csv(board.folder / name, dtype=pandas_types(columns))
        assert list(read) == names(columns)
        assert read["schema_version"].eq(1).all()
    main = pd.read_csv(board.folder / "main.csv", dtype=pandas_types(MAIN_COLUMNS))
    assert main["rr"].isna().sum() == 4
    assert main["clean"].notna().all()
