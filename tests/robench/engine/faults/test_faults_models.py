"""A model that hangs, crashes, runs out of memory or talks nonsense: each sample gets its status, and no other pays."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pandas as pd
import pytest
from fault_harness import assert_same, assert_tidy, parent, science

from robench.analysis import read_rows
from robench.engine.evaluate import evaluate
from robench.errors import EnvironmentNotReady
from robench.io.images import read_image

# What the model does → how the sample ends, words of its message, tries of two.
ALWAYS = {
    "hang": ("timeout", "no answer within 0.3 s", 2),
    "segfault": ("failed", "signal 11 (SIGSEGV)", 2),
    "exit": ("failed", "exit code 3", 2),
    "sys_exit": ("failed", "exit code 4", 2),
    "memory": ("oom", "MemoryError", 2),
    "cuda": ("oom", "CUDA out of memory", 2),
    "raises": ("failed", "ZeroDivisionError: by hand", 1),
    "nobody": ("no_detection", "nobody there", 1),
    "fails": ("no_detection", "nobody there", 1),
    "nan": ("degenerate", "not finite", 1),
    "empty": ("degenerate", "no mesh", 1),
    "few": ("failed", "answered 0 of 1 requests", 1),
    "nothing": ("failed", "answered with NoneType", 1),
    "shapeless": ("failed", "TypeError", 1),
    "odd_kind": ("failed", "unknown kind 'tired'", 1),
    "odd_timings": ("failed", "ValueError", 1),
    "odd_text": ("failed", r"caf\udce9.png\n\x1b[31mxxx", 1),
}
PASSING = ("hang", "hang_holding_python", "killed", "exit", "memory", "cuda")


@pytest.fixture
def many(make_people) -> Path:
    """A subject a fault, and one that is well."""
    return make_people(len(ALWAYS) + 1)


def names(kinds) -> dict[str, str]:
    """Return the sample that each kind of fault is given; the first is well."""
    return {kind: f"s{number}_0" for number, kind in enumerate(kinds, start=1)}


@pytest.mark.parametrize(("batch", "retries"), [(1, 1), (8, 0)])
def test_every_fault_ends_as_a_row_of_its_sample_alone(
    toy_options, faults, many: Path, tmp_path: Path, batch: int, retries: int
) -> None:
    shared = {"data": many, "corruptions": "toy_dim", "severities": "2", "keep": "all"}
    clean = evaluate(toy_options(**shared, out=tmp_path / "clean"))
    samples = names(ALWAYS)
    kinds = ALWAYS if batch == 1 else {kind: ALWAYS[kind] for kind in ("hang", "segfault", "cuda", "raises")}
    faults(**{samples[kind]: (kind, -1) for kind in kinds})
    result = evaluate(toy_options(**shared, in_process=False, batch_size=batch, retries=retries, timeout_s=0.3))
    rows = pd.concat([pd.read_parquet(path) for path in (result.folder / "rows").iterdir()])
    height = rows[rows["metric"] == "toy_height_cm"].set_index("sample_id")
    assert len(height) == 2 * (len(ALWAYS) + 1)
    for kind, (status, words, tries) in kinds.items():
        found = height.loc[samples[kind]]
        assert set(found["status"]) == {status}, kind
        assert found["message"].str.contains(words, regex=False).all(), found["message"].iloc[0]
        assert found["message"].str.len().le(200).all()
        assert set(found["attempt"]) == {min(tries, retries + 1)}, kind
        assert found["failure_value"].gt(0).all(), kind
        assert found["value"].isna().all()
    ill = {samples[kind] for kind in kinds}
    ours, theirs = (science(folder) for folder in (result.folder, clean.folder))
    ours, theirs = (found[~found["sample_id"].isin(ill)] for found in (ours, theirs))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    assert_tidy(result.folder)
    events = [json.loads(line) for line in (result.folder / "events.jsonl").read_text().splitlines()]
    lost = [event for event in events if event["event"] == "model_lost"]
    assert {event["kind"] for event in lost} == {"timeout", "failed"}


def test_what_passes_by_itself_leaves_no_trace_in_the_rows(toy_options, faults, many: Path, tmp_path: Path) -> None:
    clean = evaluate(toy_options(data=many, corruptions="toy_dim", severities="2", out=tmp_path / "clean"))
    faults(**{sample: (kind, 1) for kind, sample in names(PASSING).items()})
    again = evaluate(
        toy_options(data=many, corruptions="toy_dim", severities="2", in_process=False, timeout_s=0.3, retries=1)
    )
    assert again.failed == 0
    assert_same(again.folder, clean.folder)


@pytest.mark.parametrize(("retries", "status"), [(0, "failed"), (1, "failed"), (2, "ok")])
def test_retries(toy_options, faults, retries: int, status: str) -> None:
    faults(s1_0=("killed", 2))
    result = evaluate(toy_options(corruptions="toy_dim", severities="2", in_process=False, retries=retries, limit=2))
    rows = pd.concat([pd.read_parquet(path) for path in (result.folder / "rows").iterdir()])
    first = rows.query("sample_id == 's1_0' and metric == 'toy_height_cm' and severity == 0").iloc[0]
    assert (first["status"], first["attempt"]) == (status, retries + 1)


@pytest.mark.parametrize("fits", [1, 3])
def test_batches_that_do_not_fit_are_made_smaller(toy_options, monkeypatch, tmp_path: Path, fits: int) -> None:
    one = evaluate(toy_options(out=tmp_path / "one"))
    monkeypatch.setenv("TOY_BATCH", str(fits))
    result = evaluate(toy_options(batch_size=8, retries=0))
    assert result.failed == 0
    assert_same(result.folder, one.folder)


def test_what_a_model_prints_is_no_part_of_the_result(commands, toy_command, faults, tmp_path: Path) -> None:
    faults(s0_0=("prints", -1))
    done = commands.run(*toy_command, "--json", "--limit", "2")
    assert done.code == 0, done.err
    assert json.loads(done.out)["statuses"] == {"ok": 10}
    assert "a model talks" in done.err
    assert "so does its C code" in done.err


@pytest.mark.parametrize("what", ["hang", "hang_holding_python"])
def test_a_hanging_model_ends_with_its_parent(commands, toy_command, toy_options, faults, what: str) -> None:
    faults(s0_0=(what, -1))
    head = commands.start(*toy_command)
    while not commands.count("s0_0"):
        assert head.poll() is None
        time.sleep(0.01)
    model = next(pid for pid, role in commands.alive().items() if role == "model")
    assert parent(model) == head.pid
    head.kill()
    assert commands.done(head).code == -9
    assert commands.leftover(2.0) == {}
    faults()
    assert_tidy(evaluate(toy_options()).folder)


def test_a_masker_that_raises_costs_its_cell_only(toy_options, faults) -> None:
    faults(masker=("raises", 3))
    result = evaluate(toy_options(masker="toy_masker"))
    assert result.failed == 3
    assert result.cells == 15


def test_a_masker_that_kills_its_process_is_done_again_by_another(toy_options, faults, tmp_path: Path) -> None:
    clean = evaluate(toy_options(masker="toy_masker", out=tmp_path / "clean"))
    faults(masker=("segfault", 2))
    result = evaluate(toy_options(masker="toy_masker", jobs=2, in_process=False))
    assert result.failed == 0
    assert_same(result.folder, clean.folder)


@pytest.mark.parametrize("what", ["segfault", "exit"])
def test_what_always_kills_its_process_is_a_row(toy_options, faults, people: Path, tmp_path: Path, what: str) -> None:
    picture = read_image(people / "images" / "s1_0.png")
    faults(**{f"picture-{int(picture.sum())}": (what, -1), "truth-154": (what, -1)})  # s2 is 154 cm tall
    result = evaluate(toy_options(masker="toy_masker", jobs=2, in_process=False))
    rows = read_rows(result.folder)
    how = {"segfault": "signal 11 (SIGSEGV)", "exit": "exit code 3"}[what]
    failed = rows[rows["status"] == "failed"]
    masked, scored = failed[failed["subject_id"] == "s1"], failed[failed["subject_id"] == "s2"]
    assert len(masked) + len(scored) == len(failed) == 3 + 15
    assert set(masked["message"]) == {f"corrupting or masking ended its process: {how}"}
    assert masked["failure_value"].notna().all()
    assert set(scored["message"]) == {f"scoring ended its process: {how}"}
    assert result.failed == 6
    assert_tidy(result.folder)


def test_a_crew_that_is_killed_again_and_again_is_no_failure_of_a_cell(toy_options, faults, people: Path) -> None:
    picture = read_image(people / "images" / "s1_0.png")
    faults(**{f"picture-{int(picture.sum())}": ("killed", -1)})
    with pytest.raises(EnvironmentNotReady, match="killed again and again"):
        evaluate(toy_options(masker="toy_masker", jobs=1, in_process=False))
    faults()
    assert evaluate(toy_options(masker="toy_masker", jobs=1, in_process=False)).failed == 0
