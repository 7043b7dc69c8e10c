"""Journal, prefetching, batches, guarded models, progress."""

from __future__ import annotations

import io
import re
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from robench.contracts import Failure, Mesh, OpenReport, Reconstruction
from robench.engine.batches import batched, prefetched
from robench.engine.cells import Cell, OnTheFly
from robench.engine.failures import is_out_of_memory
from robench.engine.guard import Guard, Patience
from robench.engine.journal import Journal, read_lines
from robench.engine.model_process import answered
from robench.engine.pipeline import Outcome, Prepared, prepare
from robench.engine.progress import progress
from robench.engine.selection import select
from robench.errors import EnvironmentNotReady, Mismatch, SampleFailure


def test_journal_forgets_only_a_half_line(tmp_path: Path) -> None:
    path = tmp_path / "a" / "j.jsonl"
    assert list(read_lines(path)) == []
    with Journal(path) as journal:
        for item in ({"a": 1}, [2, "é"], 3):
            journal.append(item)
        assert list(read_lines(path)) == [{"a": 1}, [2, "é"], 3], "what was appended is there before closing"
    path.write_bytes(path.read_bytes() + b'{"half": ')
    assert list(read_lines(path)) == [{"a": 1}, [2, "é"], 3]
    with Journal(path) as journal:
        journal.append(4)
    assert list(read_lines(path)) == [{"a": 1}, [2, "é"], 3, 4]


def test_journal_damage_in_the_middle_is_no_crash_trace(tmp_path: Path) -> None:
    path = tmp_path / "j.jsonl"
    path.write_bytes(b'{"a": 1}\nnonsense\n{"b": 2}\n')
    with pytest.raises(Mismatch, match="line 2"):
        list(read_lines(path))


def test_journal_refuses_nan(tmp_path: Path) -> None:
    with Journal(tmp_path / "j.jsonl") as journal, pytest.raises(ValueError, match="Out of range"):
        journal.append({"value": float("nan")})


def test_prefetched_keeps_order_and_stays_bounded() -> None:
    made: list[int] = []

    def source():
        for i in range(50):
            made.append(i)
            yield i

    items = prefetched(source(), 3)
    got = [next(items)]
    time.sleep(0.3)
    assert len(made) <= 1 + 3 + 2, "three wait, one is in the maker's hands"
    got += list(items)
    assert got == list(range(50))


def test_prefetched_raises_after_what_came_before() -> None:
    def source():
        yield 1
        raise EnvironmentNotReady("the disk is gone")

    items = prefetched(source(), 4)
    assert next(items) == 1
    with pytest.raises(EnvironmentNotReady, match="disk is gone"):
        next(items)


def test_prefetched_stops_its_thread_when_closed() -> None:
    items = prefetched(iter(range(10**9)), 2)
    assert next(items) == 0
    items.close()
    assert not [t for t in threading.enumerate() if t.name == "robench-prefetch"]


def test_batched() -> None:
    assert list(batched(range(5), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []


@pytest.mark.parametrize(
    ("error", "is_memory"),
    [
        (MemoryError(), True),
        (type("OutOfMemoryError", (RuntimeError,), {})("CUDA"), True),
        (RuntimeError("CUDA out of memory. Tried to allocate"), True),
        (RuntimeError("shape"), False),
    ],
)
def test_out_of_memory(error: Exception, is_memory: bool) -> None:
    assert is_out_of_memory(error) is is_memory


@pytest.fixture
def batch(people: Path, plugins):
    masker = SimpleNamespace(
        source="predicted",
        card=SimpleNamespace(name="toy"),
        mask=lambda image: np.full(image.shape[:2], 1.0, np.float32),
    )
    source = OnTheFly(0)
    cells = [Cell(sample, "clean", 0) for sample in select(people).samples]
    return [prepare(cell, source, masker, None, ignore) for cell in cells]


def ignore(*args: object, **kwargs: object) -> None:
    """An event sink."""


class Asked:
    """A model in this process that is what a test says it is."""

    def __init__(self, act) -> None:
        self.plugin = SimpleNamespace(reconstruct=act)

    def opened(self) -> OpenReport:
        return OpenReport("cpu", 0, "c0ffee")

    def send(self, requests) -> None:
        self.requests = requests

    def receive(self, timeout_s):
        return answered(self.plugin, self.requests, "cpu")


def reconstruct(act, batch: list[Prepared], event=ignore, retries: int = 0) -> list[Outcome]:
    guard = Guard(Asked(act), Patience(retries), event)
    found = list(guard.reconstructed(batch, max(1, len(batch))))
    assert [item for item, _ in found] == batch
    return [outcome for _, outcome in found]


def mesh(shift: float = 0.0) -> Reconstruction:
    vertices = np.eye(3, dtype=np.float32) + np.float32(shift)
    return Reconstruction(Mesh(vertices, np.array([[0, 1, 2]], np.int32)), frozenset())


def test_one_bad_request_fails_alone(batch) -> None:
    sizes = []

    def act(requests):
        sizes.append(len(requests))
        if any(request.sample_id == "s1_0" for request in requests):
            raise RuntimeError("CUDA out of memory")
        return [mesh() for _ in requests]

    outcomes = reconstruct(act, batch)
    assert sizes == [3, 1, 1, 1]
    assert [type(o.result) for o in outcomes] == [Reconstruction, Failure, Reconstruction]
    assert outcomes[1].result.kind == "oom"


def test_memory_that_ran_out_is_tried_again(batch) -> None:
    calls = []

    def act(requests):
        calls.append(len(requests))
        if len(calls) < 4:
            raise MemoryError
        return [mesh() for _ in requests]

    outcomes = reconstruct(act, batch, retries=2)
    assert calls == [3, 1, 1, 1, 1, 1]
    assert [outcome.attempt for outcome in outcomes] == [3, 1, 1]
    assert all(isinstance(outcome.result, Reconstruction) for outcome in outcomes)


def test_failures_keep_their_kind_and_events_their_trace(batch) -> None:
    def act(requests):
        raise SampleFailure("no_detection", "nobody there")

    events = []
    outcomes = reconstruct(act, batch[:1], lambda name, /, **facts: events.append(facts))
    assert outcomes[0].result == Failure("no_detection", "nobody there")
    assert "SampleFailure" in events[0]["trace"]


def test_wrong_number_of_answers_is_a_failure(batch) -> None:
    outcomes = reconstruct(lambda requests: [], batch)
    assert all("answered 0 of 1" in o.result.message for o in outcomes)


def test_mesh_that_is_not_finite_is_degenerate(batch) -> None:
    outcomes = reconstruct(lambda requests: [mesh(float("inf")) for _ in requests], batch)
    assert {o.result.kind for o in outcomes} == {"degenerate"}


def test_a_model_that_says_the_machine_is_not_ready_ends_the_run(batch) -> None:
    def act(requests):
        raise EnvironmentNotReady("the GPU fell off")

    with pytest.raises(EnvironmentNotReady, match="fell off"):
        reconstruct(act, batch[:1])


def test_failed_preparation_does_not_reach_the_model(people: Path, plugins) -> None:
    (people / "images" / "s0_0.png").write_bytes(b"no picture")
    sample = select(people).samples[0]
    prepared = prepare(Cell(sample, "clean", 0), OnTheFly(0), SimpleNamespace(), None, ignore)
    assert prepared.failure.kind == "failed"
    assert reconstruct(None, [prepared])[0].result is prepared.failure


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((3, 3), np.float32),
        np.full((48, 48), np.nan, np.float32),
        np.full((48, 48), 1.5, np.float32),
        np.full((48, 48), -0.1, np.float32),
    ],
)
def test_masker_that_gives_no_mask_is_a_failure(people: Path, plugins, mask) -> None:
    masker = SimpleNamespace(source="predicted", card=SimpleNamespace(name="odd"), mask=lambda image: mask)
    prepared = prepare(Cell(select(people).samples[0], "clean", 0), OnTheFly(0), masker, None, ignore)
    assert prepared.failure.kind == "failed"
    assert "odd" in prepared.failure.message
    assert prepared.picture is not None


def test_plain_lines_where_there_is_no_terminal() -> None:
    stream = io.StringIO()
    with progress("mask", 20, "images", stream=stream) as advance:
        for i in range(20):
            advance(1, i == 3)
    lines = stream.getvalue().splitlines()
    assert 5 <= len(lines) <= 12
    assert lines[-1].startswith("mask: 20/20 images, ")
    assert re.search(r", [0-9.]+ images/s,", lines[-1]), "no exponent, however fast"
    assert lines[-1].endswith("left, 1 failed")


def test_quiet_says_nothing(capsys) -> None:
    with progress("mask", 20, "images", quiet=True) as advance:
        advance(20)
    assert capsys.readouterr() == ("", "")


def test_bar_on_a_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    with progress("evaluate", 2, "samples", stream=stream) as advance:
        advance()
        advance(1, 1)
        advance(0, 0, 3072.0)
    assert "samples/s" in stream.getvalue()
    assert "1 failed" in stream.getvalue()
    assert "GPU 3.0 GiB" in stream.getvalue()
