"""Refinement over a data set: what is kept, resumed, handed from sample to sample, and what cannot be done."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from robench.contracts import Card, Failure, Mesh, OpenReport, Refinement, RefineSettings
from robench.engine.picture_plan import PictureOptions
from robench.engine.refine import RefineOptions, plan_refinement, refine_samples
from robench.engine.refine_sheet import sheet
from robench.errors import Mismatch, NotComparable, UsageError
from robench.io.images import read_image
from robench.io.meshes import read_mesh


class ToyRefiner:
    """Adds each sample's mean colour to one weight: what is carried shows.

    Args:
        stop_at: Samples after which Ctrl-C comes.
        room: Samples that fit into memory.
        trips: A sample at whose sight it stumbles, with all that are asked with it.
    """

    card = Card("toy-refiner", "1", "a weight", extra={"options": {"grid": "a number"}})

    def __init__(self, stop_at: int | None = None, room: int = 99, trips: str = "") -> None:
        self.grid, self.stop_at, self.room, self.trips = 8, stop_at, room, trips
        self.asked, self.batches = list[tuple[str, str, float, bool]](), list[list[str]]()

    def open(self, device, weights=None) -> OpenReport:
        return OpenReport("cpu", 1, "b" * 64)

    def reconstruct(self, requests):
        return [Failure("failed", "it only refines") for _ in requests]

    def close(self) -> None:
        pass

    def refine(self, requests, encoder, settings, tick):
        self.batches.append([asked.request.sample_id for asked in requests])
        found = [self._one(asked, settings) for asked in requests]
        for i in range(settings.iterations):
            for asked in requests:
                tick()
                if i == 1 and asked.request.sample_id == self.trips:
                    raise ZeroDivisionError("it tripped")
            if len(requests) > self.room:
                raise MemoryError
        return found

    def _one(self, asked, settings):
        request, start, truth = asked.request, asked.start, asked.truth
        if self.stop_at is not None and len(self.asked) >= self.stop_at:
            raise KeyboardInterrupt
        first = 0.0 if start is None else float(start["w"][0])
        self.asked.append((settings.embeddings, request.sample_id, first, truth is not None))
        if not request.mask.any():
            return Failure("no_detection", "the mask is\x1b blank")
        last = first + request.image.mean()
        log = [{"iteration": i, "view": i % 4, "loss": last + i, "psnr": np.inf} for i in range(settings.iterations)]
        views = np.full((4, settings.size, settings.size, 3), 9, np.uint8)
        pictures = {"input": views[:1] * 20, "before": views, "after": views * 2}
        mesh = Mesh(np.eye(3, dtype=np.float32), np.array([[0, 1, 2]], np.int32))
        state = {"w": np.array([last], np.float32)}
        return Refinement(log, {"loss": first}, {"loss": last}, pictures, mesh, state)


@pytest.fixture
def refine(plugins, tmp_path):
    def act(model=None, out="out", data=None, protocol="described", iterations=2, do=refine_samples, **kwargs):
        found = model or ToyRefiner()
        plugins.add("models", "toy-refiner", lambda: found)
        options = {"masker": "given", "device": "cpu", "quiet": True} | kwargs
        settings = RefineSettings(iterations=iterations, protocol=protocol, size=16)
        pictures = PictureOptions(data=data)
        return do(RefineOptions("toy-refiner", "tiny-random", pictures, tmp_path / out, settings=settings, **options))

    return act


def test_cells_are_by_mode_then_sample_with_truth_log_and_pictures(refine, people, tmp_path) -> None:
    model = ToyRefiner()
    found = refine(model, data=people, keep_meshes=True)
    assert [(c["mode"], c["sample_id"]) for c in found.cells] == [
        (mode, f"s{i}_0") for mode in ("sequential", "average") for i in range(3)
    ]
    assert all(has_truth for *_, has_truth in model.asked)
    assert found.made == 6
    one = found.cells[0]
    assert one["log"][1] == {"iteration": 1, "view": 1, "loss": pytest.approx(one["after"]["loss"] + 1), "psnr": None}
    assert read_image(tmp_path / "out" / one["sheet"]).shape == (2 * 16, 5 * 16, 3)
    assert len(read_mesh(tmp_path / "out/meshes/average/clean-0/s2_0.ply").faces) == 1


def test_described_begins_anew_as_coded_carries_on(refine, people) -> None:
    anew, carries = ToyRefiner(), ToyRefiner()
    refine(anew, data=people)
    assert {first for _, _, first, _ in anew.asked} == {0.0}
    found = refine(carries, out="coded", data=people, protocol="as-coded").cells
    for mode in ("sequential", "average"):
        ends = [c["after"]["loss"] for c in found if c["mode"] == mode]
        begins = [first for m, _, first, _ in carries.asked if m == mode]
        assert begins[0] == 0
        assert begins[1:] == pytest.approx(ends[:-1])


@pytest.mark.parametrize("protocol", ["described", "as-coded"])
@pytest.mark.parametrize("stop_at", [1, 4])
def test_an_interrupted_refinement_goes_on_and_ends_the_same(refine, people, tmp_path, protocol, stop_at) -> None:
    whole = refine(out="whole", data=people, protocol=protocol)
    with pytest.raises(KeyboardInterrupt):
        refine(ToyRefiner(stop_at), data=people, protocol=protocol)
    rest = refine(data=people, protocol=protocol)
    assert rest.cells == whole.cells
    assert rest.made == 6 - stop_at
    kept = sorted(path.name for path in (tmp_path / "out").glob("carried/*"))
    assert kept == ([] if protocol == "described" else ["average-3.safetensors", "sequential-3.safetensors"])


def test_a_sample_that_cannot_be_refined_is_a_cell_with_a_status(refine, people) -> None:
    from robench.io.images import write_mask

    write_mask(people / "masks" / "s1_0.png", np.zeros((48, 48), np.float32))
    (people / "images" / "s2_0.png").write_bytes(b"no picture")
    found = refine(data=people, protocol="as-coded", embeddings="average").cells
    assert [c["status"] for c in found] == ["ok", "no_detection", "failed"]
    assert found[1]["message"] == "the mask is\\x1b blank"
    assert "log" not in found[1]


def test_weights_that_were_to_be_carried_must_be_there(refine, people, tmp_path) -> None:
    with pytest.raises(KeyboardInterrupt):
        refine(ToyRefiner(2), data=people, protocol="as-coded")
    path = tmp_path / "out/carried/sequential-2.safetensors"
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(Mismatch, match=r"sequential-2\.safetensors"):
        refine(data=people, protocol="as-coded")
    path.write_bytes(data[:40])
    with pytest.raises(Mismatch, match="damaged"):
        refine(data=people, protocol="as-coded")
    assert refine(data=people, protocol="as-coded", fresh=True).made == 6


def test_a_folder_of_other_work_is_refused(refine, people) -> None:
    refine(data=people)
    with pytest.raises(NotComparable, match="holds other work"):
        refine(data=people, iterations=3)
    with pytest.raises(NotComparable):
        refine(data=people, model_options={"grid": "16"})


@pytest.mark.parametrize(
    ("kwargs", "text"),
    [
        ({"embeddings": "mean"}, "sequential, average, both"),
        ({"protocol": "coded"}, "described, as-coded"),
        ({"iterations": 0}, "There must be an iteration"),
        ({"batch_size": 0}, "A batch has a sample at least"),
        ({"batch_size": 2, "protocol": "as-coded"}, "no two can be refined together.*--batch-size 1"),
    ],
)
def test_settings_that_cannot_be_are_refused(refine, people, kwargs, text) -> None:
    with pytest.raises(UsageError, match=text):
        refine(data=people, **kwargs)


# Together


@pytest.mark.parametrize("stop_at", [None, 1, 5])
def test_batches_end_as_one_by_one_also_when_resumed(refine, people, stop_at) -> None:
    alone = refine(out="alone", data=people)
    if stop_at is not None:
        with pytest.raises(KeyboardInterrupt):
            refine(ToyRefiner(stop_at), data=people, batch_size=2)
    model = ToyRefiner()
    found = refine(model, data=people, batch_size=2)
    assert found.cells == alone.cells
    # The batches of one embedding; those that had ended before are not done again.
    whole = [["s0_0", "s1_0"], ["s2_0"]] * 2
    assert model.batches == whole[{None: 0, 1: 0, 5: 3}[stop_at] :]
    assert refine(ToyRefiner(0), data=people, batch_size=3).made == 0, "another batch size is the same work"


def test_how_many_are_done_together(refine, people) -> None:
    coded = ToyRefiner()
    refine(coded, out="coded", data=people, protocol="as-coded", batch_size=1, embeddings="average")
    assert [len(batch) for batch in coded.batches] == [1, 1, 1]
    for options, said in (
        ({}, "1"),
        ({"device": "cuda:1"}, "4"),
        ({"device": "auto"}, "1 on cpu, 4 on cuda"),
        ({"device": "cuda", "batch_size": 7}, "7"),
        ({"device": "cuda", "protocol": "as-coded"}, "1"),
    ):
        assert refine(data=people, do=plan_refinement, **options)["batch_size"] == said


def counted(monkeypatch) -> list[tuple[int, int]]:
    """Return what progress is told, as it is told."""
    told: list[tuple[int, int]] = []

    @contextmanager
    def progress(*args, **kwargs):
        yield lambda done=1, failed=0: told.append((done, failed))

    monkeypatch.setattr("robench.engine.refine_work.progress", progress)
    return told


def test_without_memory_for_a_batch_it_is_halved_for_good(refine, people, monkeypatch) -> None:
    alone = refine(out="alone", data=people, embeddings="average")
    told = counted(monkeypatch)
    model = ToyRefiner(room=1)
    found = refine(model, data=people, embeddings="both", batch_size=3)
    assert [cell for cell in found.cells if cell["mode"] == "average"] == alone.cells
    assert model.batches == [["s0_0", "s1_0", "s2_0"], ["s0_0", "s1_0"], ["s0_0"], ["s1_0"], ["s2_0"], *ONE_BY_ONE]
    assert told == [(1, 0)] * 2 * 3 * 2, "what is done again is not told again"


ONE_BY_ONE = [["s0_0"], ["s1_0"], ["s2_0"]]


def test_who_stumbles_is_one_failure_and_the_others_are_refined(refine, people, monkeypatch) -> None:
    from robench.io.images import write_mask

    write_mask(people / "masks" / "s0_0.png", np.zeros((48, 48), np.float32))
    told = counted(monkeypatch)
    model = ToyRefiner(trips="s1_0")
    found = refine(model, data=people, embeddings="average", batch_size=3).cells
    assert [(c["status"], c["message"]) for c in found] == [
        ("no_detection", "the mask is\\x1b blank"),
        ("failed", "ZeroDivisionError: it tripped"),
        ("ok", ""),
    ]
    assert model.batches == [["s0_0", "s1_0", "s2_0"], *ONE_BY_ONE]
    assert (sum(done for done, _ in told), sum(failed for _, failed in told)) == (6, 2)


def test_a_model_that_answers_too_few_is_told(refine, people, monkeypatch) -> None:
    monkeypatch.setattr(ToyRefiner, "refine", lambda self, requests, *rest: [])
    found = refine(data=people, embeddings="average", batch_size=3).cells
    assert {c["message"] for c in found} == {"RuntimeError: the model answered 0 of 1 samples"}


def test_the_sheet_has_a_row_a_stage_and_a_column_a_camera() -> None:
    shades = {"before": 50, "after": 100, "truth": 150}
    pictures = {n: np.stack([np.full((20, 20, 3), s + i, np.uint8) for i in range(4)]) for n, s in shades.items()}
    pictures["input"] = np.full((1, 20, 20, 3), 7, np.uint8)
    found = sheet(pictures, "average")
    assert found.shape == (60, 100, 3)
    assert found[10::20, 30::20, 0].tolist() == [[s + i for i in range(4)] for s in shades.values()]
    assert found[2, 2, 0] == 7
    assert found[22, 2, 0] == 0
