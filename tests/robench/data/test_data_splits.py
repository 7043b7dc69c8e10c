from __future__ import annotations

import pytest

from robench.data.splits import read_split, split_names, split_sha256, verify_splits, write_splits
from robench.errors import ExitCode, Mismatch, UsageError
from robench.io.files import read_json, sha256_file

SPLITS = {"train": ["s1", "s2"], "val": ["s3"], "test": ["s10", "s4"]}


def test_splits_round_trip_in_order_with_their_hashes(tmp_path):
    hashes = write_splits(tmp_path, SPLITS)
    assert split_names(tmp_path) == ["train", "val", "test"]
    for name, subjects in SPLITS.items():
        assert read_split(tmp_path, name) == subjects
        assert hashes[name] == split_sha256(tmp_path, name) == sha256_file(tmp_path / "splits" / f"{name}.txt")
    record = read_json(tmp_path / "splits" / "splits.json")["splits"]
    assert record["train"] == {"sha256": hashes["train"], "subjects": 2}
    assert verify_splits(tmp_path, ["s1", "s2", "s3", "s4", "s10"]) == []


@pytest.mark.parametrize(
    ("splits", "word"),
    [
        ({"train": ["a"], "test": ["a"]}, "'a' is in train and in test"),
        ({"test": ["a", "a"]}, "'a' is twice in test"),
        ({"dev": ["a"]}, "no split 'dev'"),
    ],
)
def test_wrong_splits_are_not_written(tmp_path, splits, word):
    with pytest.raises(UsageError, match=word):
        write_splits(tmp_path, splits)
    assert list(tmp_path.iterdir()) == []


def test_a_changed_split_file_is_a_mismatch(tmp_path):
    write_splits(tmp_path, SPLITS)
    (tmp_path / "splits" / "test.txt").write_text("s4\n")
    with pytest.raises(Mismatch, match="has changed") as caught:
        read_split(tmp_path, "test")
    assert caught.value.exit_code == ExitCode.MISMATCH
    assert any("has changed" in p.message for p in verify_splits(tmp_path, ["s1", "s2", "s3", "s4"]))


def test_every_fault_of_the_files_is_named(tmp_path):
    (tmp_path / "splits").mkdir()
    (tmp_path / "splits" / "train.txt").write_text("a\nb\n")
    (tmp_path / "splits" / "test.txt").write_text("b\nghost\n\n")
    messages = [problem.message for problem in verify_splits(tmp_path, {"a", "b"})]
    assert messages == ["names 1 unknown subjects, the first is 'ghost'", "subject 'b' is in train and in test"]


def test_missing_and_unknown_splits(tmp_path):
    with pytest.raises(UsageError, match=r"has no split 'test'.*list subjects in"):
        read_split(tmp_path, "test")
    write_splits(tmp_path, {"train": ["a"]})
    with pytest.raises(UsageError, match="expected one of train"):
        read_split(tmp_path, "test")
    with pytest.raises(UsageError, match="no split 'tset'"):
        read_split(tmp_path, "tset")
    (tmp_path / "splits" / "splits.json").write_text("[1]")
    with pytest.raises(UsageError, match="not a record of splits"):
        read_split(tmp_path, "train")
    assert verify_splits(tmp_path, {"a"})
