"""The flow: plans touch nothing, work is shared and resumed, what is missing or fails is named and costs no other."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from robench.contracts import Card
from robench.data.splits import write_splits
from robench.engine import evaluate as evaluating
from robench.errors import ExitCode, NotComparable, UsageError
from robench.io.files import write_json_atomic
from robench.reproduce import protocol, table1, table2
from robench.reproduce.bench import Bench
from robench.reproduce.outputs import OUTPUTS, Made, Missing, wanted
from robench.reproduce.run import exit_code, plan_reproduction, reproduce
from robench.reproduce.settings import MEASURED, ModelChoice, ReproduceOptions
from robench.reproduce.write import Outcome, section, write_page


@pytest.fixture
def toy(plugins, monkeypatch: pytest.MonkeyPatch):
    """The toy model, evaluated in this process, with the metrics of the paper; tells what it saw."""
    plugins.keep_only("metrics", *MEASURED)
    real = evaluating.evaluate
    monkeypatch.setattr(evaluating, "evaluate", lambda options: real(dataclasses.replace(options, in_process=True)))
    return plugins.add_model()


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture
def options(people: Path, tmp_path: Path) -> ReproduceOptions:
    return ReproduceOptions(
        data=people, out=tmp_path / "out", subjects=2, models=("toy",), maskers=("corrupted",), encoder="tiny-random",
        tables=(1, 2), device="cpu", quiet=True,
    )  # fmt: skip


def test_a_plan_touches_nothing_and_counts_pictures(options: ReproduceOptions, toy, tmp_path: Path) -> None:
    before = tree(tmp_path)
    facts = plan_reproduction(dataclasses.replace(options, maskers=("u2netp-anny", "corrupted", "u2netp")))
    assert tree(tmp_path) == before
    assert not options.out.exists()
    first, second = facts["outputs"]
    assert (first["corrupted_pictures"], first["views"]) == (2 * 12, 2 * 3)
    # The bench's own masker serves figures too, and so has all twelve corruptions.
    cells = {run["masker"]: (run["conditions"], run["cells"]) for run in second["runs"]}
    assert cells == {"u2netp-anny": ("all", 2 * 13), "corrupted": ("critical", 2 * 5)}
    assert facts["cells"] == 2 * 13 + 2 * 5
    (lacking,) = second["missing"]
    assert not lacking["essential"]
    assert "robench fetch weights u2netp" in lacking["command"]
    assert toy.seen == []


def test_shared_runs_count_once(options: ReproduceOptions, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table1, "plan", table2.plan)
    facts = plan_reproduction(options)
    assert facts["cells"] == 2 * 13
    assert [run["cells_besides_other_outputs"] for about in facts["outputs"] for run in about["runs"]] == [26, 0]


def test_outputs_are_made_and_nothing_twice(options: ReproduceOptions, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes = reproduce(options)
    assert [(one.output.name, one.state) for one in outcomes] == [("table1", "made"), ("table2", "made")]
    assert exit_code(outcomes) is ExitCode.OK
    out, seen = options.out, list(toy.seen)
    assert sorted(seen) == sorted(["s0_0", "s1_0"] * 13)
    page = (out / "README.md").read_text()
    assert (
        page.index("## Table I:")
        < page.index("## Table II:")
        < page.index("## Table III:")
        < page.index("## Figure 3:")
    )
    for text in ("| Fog 3D |", "| corrupted (the paper's “mask”) |", "![Table I](<table1.png>)", "--figure 10`",
                 "only ratios to the clean", "Made with 2 people of people, seed 0; toy 1"):  # fmt: skip
        assert text in page
    assert (out / "table2.csv").read_text().count("\n") == 1 + 2 * 6  # roll is there with its truth unmoved, too

    monkeypatch.setattr(protocol, "paper_distances", None)  # whoever measures again fails
    monkeypatch.setattr("robench.engine.likeness.corrupted_rows", None)
    before = tree(out)
    again = reproduce(options)
    assert [one.state for one in again] == ["made", "made"]
    assert toy.seen == seen
    changed = {name for name, data in tree(out).items() if before.get(name) != data}
    assert {name for name in changed if not name.startswith("runs/")} == set()
    rows = {name: data for name, data in before.items() if "/rows/" in name}
    assert rows and rows == {name: data for name, data in tree(out).items() if "/rows/" in name}  # noqa: PT018

    # Another command into the same folder keeps the sections of this one.
    one = reproduce(dataclasses.replace(options, tables=(1,), level=0.9))
    assert [outcome.output.name for outcome in one] == ["table1"]
    page = (out / "README.md").read_text()
    assert "90 % interval" in page
    assert "| corrupted (the paper's “mask”) |" in page


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine without anybody's weights."""
    monkeypatch.setenv("ROBENCH_WEIGHTS", str(tmp_path / "none"))
    monkeypatch.setattr("robench.io.weights.hub_cache", lambda repository: None)


def test_what_is_missing_is_skipped_by_name(options: ReproduceOptions, toy, no_weights: None) -> None:
    bare = dataclasses.replace(options, encoder="clip-vit-l14", tables=(1,))
    (outcome,) = outcomes = reproduce(bare)
    assert outcome.state == "skipped"
    assert exit_code(outcomes) is ExitCode.ENVIRONMENT
    (one,) = outcome.missing
    assert "clip-vit-l14" in one.what
    assert "hf download openai/clip-vit-large-patch14" in one.command
    assert "--encoder clip-vit-l14:FOLDER" in one.command
    page = (options.out / "README.md").read_text()
    assert "**Skipped** for want of:" in page
    assert "hf download openai/clip-vit-large-patch14" in page
    assert not list(options.out.glob("table1*"))

    both = reproduce(dataclasses.replace(bare, tables=(1, 2)))
    assert [one.state for one in both] == ["skipped", "made"]
    assert exit_code(both) is ExitCode.OK


def test_a_baseline_without_weights_is_skipped(options: ReproduceOptions, plugins, no_weights: None) -> None:
    (outcome,) = reproduce(dataclasses.replace(options, models=("pifu",), tables=(2,)))
    assert outcome.state == "skipped"
    assert "pifu" in outcome.missing[0].what


def test_one_output_that_fails_costs_no_other(options, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(bench: Bench) -> Made:
        raise UsageError("It <b>broke</b>", got="x")

    monkeypatch.setattr(table1, "make", fail)
    outcomes = reproduce(options)
    assert [one.state for one in outcomes] == ["failed", "made"]
    assert exit_code(outcomes) is ExitCode.USAGE
    page = (options.out / "README.md").read_text()
    assert "**Failed.** It \\<b\\>broke\\</b\\>; got x." in page
    assert "| corrupted (the paper's “mask”) |" in page


def test_a_masker_that_fails_costs_its_own_lines(options, toy, plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Bench.run

    def run(bench: Bench, model: ModelChoice, masker: str, conditions="all") -> Path:
        if masker == "given":
            raise NotComparable("These masks are no masks")
        return real(bench, model, masker, conditions)

    monkeypatch.setattr(Bench, "run", run)
    (outcome,) = reproduce(dataclasses.replace(options, maskers=("corrupted", "given"), tables=(2,)))
    assert outcome.made is not None
    assert any("given is left out: These masks are no masks." in note for note in outcome.made.notes)
    (outcome,) = reproduce(dataclasses.replace(options, maskers=("given",), tables=(2,)))
    assert outcome.state == "failed"


def test_work_that_failed_is_not_tried_again(options: ReproduceOptions) -> None:
    bench, tried = Bench(options), []

    def fail() -> None:
        tried.append(1)
        raise UsageError("no")

    for _ in range(2):
        with pytest.raises(UsageError, match="no"):
            bench.once("x", fail)
    assert tried == [1]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tables": (4,)}, "There is no table 4 to reproduce; expected --table 1, 2, 3"),
        ({"figures": (1,)}, "There is no figure 1 to reproduce; expected --figure 3, 4, 5, 6, 7, 8, 9, 10"),
        ({"models": ("tyo",)}, "tyo"),
        ({"models": ("toy:",)}, "The model is not understood; got 'toy:'; expected NAME or NAME:CHECKPOINT"),
        ({"models": ("toy:nowhere.safetensors",)}, "There is no checkpoint nowhere.safetensors"),
        ({"maskers": ("u2nept",)}, "u2nept"),
        ({"encoder": "clipp"}, "clipp"),
        ({"model_options": {"resolution": "32"}}, "No model has this option; got 'resolution' for toy"),
        ({"data": Path("nowhere")}, "There is no folder nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(options, toy, change, message: str) -> None:
    for act in (reproduce, plan_reproduction):
        with pytest.raises(UsageError) as caught:
            act(dataclasses.replace(options, **change))
        assert message in str(caught.value)
    assert not options.out.exists()


def test_a_folder_of_another_paper_is_refused(options: ReproduceOptions, toy) -> None:
    write_json_atomic(options.out / "reproduce.json", {"format": 1, "paper": "another"})
    with pytest.raises(NotComparable, match="holds another reproduction"):
        reproduce(options)


def test_all_outputs_have_a_module_that_can_make_them() -> None:
    for output in OUTPUTS:
        assert all(callable(getattr(output._maker, name)) for name in ("missing", "make", "plan")), output.name
    assert [output.label for output in OUTPUTS[:4]] == ["Table I", "Table II", "Table III", "Figure 3"]
    asked = wanted(ReproduceOptions(tables=(2,), figures=(10, 3)))
    assert [output.name for output in asked] == ["table2", "figure3", "figure10"]
    assert wanted(ReproduceOptions()) == OUTPUTS


def test_people_are_made_once_where_no_data_are_named(people, options, toy, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []

    def synthesise(out: Path, subjects: int, views, size: int, seed: int, split: str, workers: int) -> str:
        import shutil

        made.append((out.name, subjects, views, size, seed, split, workers))
        shutil.copytree(people, out, dirs_exist_ok=True)
        write_splits(out, {split: [f"s{i}" for i in range(subjects)]})
        return ""

    monkeypatch.setattr("robench.data.anny_humans.synthesise", synthesise)
    bare = dataclasses.replace(options, data=None, seed=3, workers=2)
    assert plan_reproduction(bare)["people"] == 2
    assert made == []
    bench = Bench(bare)
    assert [sample.sample_id for sample in bench.samples()] == ["s0_0", "s1_0"]
    assert bench.samples()
    assert made == [("people", 2, [0.0], 512, 3, "test", 2)]
    assert bench.people.learners() == (options.out / "people-train", options.out / "people-val")
    assert [(name, split) for name, *_, split, _ in made[1:]] == [("people-train", "train"), ("people-val", "val")]


def test_own_splits_are_kept_apart(make_people, options: ReproduceOptions) -> None:
    people = make_people(4, (0.0, 90.0), name="split")
    write_splits(people, {"train": ["s0", "s1"], "test": ["s3", "s2"]})
    bench = Bench(dataclasses.replace(options, data=people, subjects=5))
    assert {sample.subject_id for sample in bench.samples()} == {"s2", "s3"}
    assert len(bench.samples()) == bench.count() == 2
    assert bench.people.learners() == (people, None)


def test_a_section_shows_what_others_named_and_obeys_none_of_it(options: ReproduceOptions, tmp_path: Path) -> None:
    missing = (Missing("weights [x](y)", "run `rm` | *all*"),)
    text = section(Outcome(OUTPUTS[0], missing=missing), "nobody", tmp_path)
    assert "* weights \\[x\\](y). Try: run \\`rm\\` \\| \\*all\\*" in text
    assert json.dumps(Outcome(OUTPUTS[0], missing=missing).to_json(tmp_path))
    assert "Not asked for yet: `robench reproduce 2d-priors --table 1`." in write_page(tmp_path).read_text()


class _CountedToy:
    """A model that counts as its paper does."""

    card = Card("counted-toy", "1", "counts")

    def parameter_table(self):
        return [{"model": "a", "trainable": 1, "total": 2, "used": 2, "published": (1, 3), "note": "n"}]


def test_table_3_finds_a_model_that_counts(options: ReproduceOptions, toy, plugins, monkeypatch) -> None:
    monkeypatch.setattr("robench.registry.load", _load_counted(plugins))
    plugins.keep_only("models", "mean-body")
    plugins.add("models", "counted-toy", _CountedToy)
    (outcome,) = reproduce(dataclasses.replace(options, tables=(3,)))
    assert outcome.made is not None
    assert (
        outcome.made.findings[0].here
        == "1 of them follow from the classes; not those of a, which contradict each other."
    )
    assert (options.out / "table3.csv").read_text().splitlines()[1].startswith("a,1,2,2,1,3,True,False")


def _load_counted(plugins):
    from robench import registry

    real = registry.load
    return lambda kind, name: _CountedToy() if name == "counted-toy" else real(kind, name)
