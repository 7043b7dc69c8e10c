"""``robench adapt`` with a toy model: which pictures, who is refused, what is written, what is found again."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from robench import cli
from robench.contracts import Card
from robench.data.splits import write_splits
from robench.engine.cells import Cell
from robench.errors import RobenchError, UsageError
from robench.io.files import read_json, sha256_file
from robench.io.images import write_mask
from robench.training.adapt import AdaptOptions, adapt
from robench.training.lessons import Adaptable, Adapted
from robench.training.sources import deal, open_source

runner = CliRunner()


class Pupil:
    """Writes down what it is taught; its error is least at a rate of 0.01."""

    def __init__(self) -> None:
        self.card = Card("pupil", "1", "learns")
        self.calls: list[dict] = []

    def open(self, device, weights=None):
        raise AssertionError("nothing is opened to adapt")

    def reconstruct(self, requests):
        raise AssertionError

    def close(self):
        pass

    def adapt(self, weights, job):
        batches, out, lr, held_out, facts = job.batches, job.out, job.lr, job.held_out, job.facts
        self.calls.append(
            {"names": [[lesson.name for lesson in batch] for batch in batches], "lr": lr, "out": out, "facts": facts}
        )
        self.lessons = [lesson for batch in batches for lesson in batch]
        self.held_out = list(held_out)
        out.mkdir(parents=True, exist_ok=True)
        path = out / "model.bin"
        path.write_text(f"{len(batches)} {lr}")
        error = abs(lr - 0.01) + 0.1 * (not batches) if held_out else None
        return Adapted(path, "ba5e", error)


@pytest.fixture
def pupil(plugins):
    model = Pupil()
    plugins.add("models", "pupil", lambda: model)
    return model


@pytest.fixture
def data(make_people):
    """Six people: four to train, one to validate, one to test."""
    root = make_people(6, name="six")
    write_splits(root, {"train": ["s0", "s1", "s2", "s3"], "val": ["s4"], "test": ["s5"]})
    return root


def options(data, out, **changes):
    base = {"batches": (2,), "batch_size": 4, "corruptions": "darker", "severities": "1-5"}
    return AdaptOptions("pupil", data, out, **{**base, **changes})


def test_pictures_are_corrupted_with_their_truth(pupil, data, tmp_path):
    chosen = options(data, tmp_path / "a", corruptions="side_step", severities="3", batches=(1,))
    (point,) = adapt(chosen).points
    assert point.weights.read_text() == "1 0.0007"
    assert isinstance(pupil, Adaptable)
    for lesson in pupil.lessons:
        # Three pixels to the right: nothing is left of them, and the camera looks there.
        assert not lesson.image[:, :3].any()
        assert lesson.camera.centre[0] == pytest.approx((48 - 1) / 2 + 3)
        assert lesson.mask.max() == 1
        assert lesson.mesh.is_file()
    assert {lesson.name.split("_")[0] for lesson in pupil.lessons} == {"s0", "s1", "s2", "s3"}


def test_the_record_says_where_a_checkpoint_comes_from(pupil, data, tmp_path):
    base = tmp_path / "base.bin"
    base.write_text("base")
    result = adapt(options(data, tmp_path / "a", checkpoint=base, seed=3, lr=(0.002,), epochs=2))
    record = read_json(tmp_path / "a" / "adaptation.json")
    assert record["asked"]["checkpoint"] == sha256_file(base)
    assert record["base_sha256"] == "ba5e"
    assert record["checkpoint_sha256"] == sha256_file(result.points[0].weights)
    assert (record["batches"], record["lr"], record["asked"]["epochs"], record["asked"]["seed"]) == (2, 0.002, 2, 3)
    data_facts = record["asked"]["data"]
    assert data_facts["split"] == "train"
    assert len(data_facts["dataset_revision"]) == 64
    assert data_facts["conditions"] == [["darker", "1", [1, 2, 3, 4, 5]]]
    taught = [f"{sample}|{name}:{severity}" for sample, name, severity, _ in record["pictures"]]
    assert taught == [name for batch in pupil.calls[0]["names"] for name in batch]
    assert all(len(sha256) == 64 for *_, sha256 in record["pictures"])
    assert pupil.calls[0]["facts"]["pictures"] == record["pictures"]
    assert str(tmp_path) not in json.dumps(record)


def test_the_same_command_finds_its_checkpoint(pupil, data, tmp_path):
    first = adapt(options(data, tmp_path / "a"))
    again = adapt(options(data, tmp_path / "a"))
    assert len(pupil.calls) == 1
    assert [point.made for point in first.points + again.points] == [True, False]
    first.points[0].weights.write_text("damaged")
    assert adapt(options(data, tmp_path / "a")).points[0].made
    with pytest.raises(UsageError, match="already holds another adaptation"):
        adapt(options(data, tmp_path / "a", seed=1))


def test_nothing_that_lies_there_is_lost(pupil, data, tmp_path):
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "last.pt").write_text("hours of work")
    with pytest.raises(UsageError, match="is not empty and holds no adaptation"):
        adapt(options(data, tmp_path / "training"))
    assert (tmp_path / "training" / "last.pt").read_text() == "hours of work"


def test_a_curve_is_nested_and_has_a_checkpoint_each(pupil, data, tmp_path):
    result = adapt(options(data, tmp_path / "c", batches=(3, 0, 1)))
    assert [point.batches for point in result.points] == [0, 1, 3]
    names = [call["names"] for call in pupil.calls]
    assert [len(batches) for batches in names] == [0, 1, 3]
    assert names[2][:1] == names[1]
    curve = read_json(tmp_path / "c" / "curve.json")
    assert [point["batches"] for point in curve["points"]] == [0, 1, 3]
    for point in curve["points"]:
        assert sha256_file(tmp_path / "c" / point["checkpoint"]) == point["sha256"]
    assert not (tmp_path / "c" / "work").exists()
    assert not any(point.made for point in adapt(options(data, tmp_path / "c", batches=(3, 0, 1))).points)


def test_the_rate_is_chosen_on_other_people(pupil, data, tmp_path):
    result = adapt(options(data, tmp_path / "a", lr=(0.1, 0.012, 0.001), val=data, val_pictures=3))
    assert result.lr == 0.012
    assert [rate for rate, _ in result.tried] == [0.0, 0.001, 0.012, 0.1]
    assert {lesson.name.split("_")[0] for lesson in pupil.held_out} == {"s4"}
    assert len(pupil.held_out) == 3
    assert read_json(tmp_path / "a" / "adaptation.json")["lr"] == result.lr
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["adaptation.json", "model.bin"]


def test_every_condition_is_dealt_as_often(make_people, plugins):
    root = make_people(9, name="nine")
    source = open_source(root, corruptions="darker,side_step", severities="1,2,3")
    dealt = deal(source.cells, 24, 0)
    assert len({cell.key for cell in dealt}) == 24
    assert set(Counter((cell.corruption, cell.severity) for cell in dealt).values()) == {4}
    assert [cell.key for cell in deal(source.cells, 10, 0)] == [cell.key for cell in dealt[:10]]
    assert [cell.key for cell in deal(source.cells, 24, 1)] != [cell.key for cell in dealt]
    everything = {cell.key for cell in deal(source.cells, 54, 0)}
    assert everything == {cell.key for cell in source.cells}


def test_a_corrupted_set_gives_its_own_pictures(pupil, data, tmp_path):
    done = runner.invoke(
        cli.app, ["corrupt", str(data), str(tmp_path), "-c", "darker", "-s", "2,4", "--split", "train", "-q"]
    )
    assert done.exit_code == 0, done.output
    (cset,) = (path for path in tmp_path.iterdir() if (path / "manifest.json").is_file())
    adapt(options(cset, tmp_path / "a", corruptions=None, severities=None))
    from robench.engine.cset import open_set

    opened = open_set(cset)
    samples = {sample.sample_id: sample for sample in opened.select().samples}
    record = read_json(tmp_path / "a" / "adaptation.json")
    assert len(record["pictures"]) == 8
    for sample, name, severity, sha256 in record["pictures"]:
        assert opened.picture(Cell(samples[sample], name, severity)).sha256 == sha256
    with pytest.raises(UsageError, match="already fixes the corruptions"):
        adapt(options(cset, tmp_path / "b", severities=None))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"split": "test"}, r"must not learn from the people that it is tested on; got the split test"),
        ({"data": "test-only"}, "test split of .*test-only; got 's0' and 5 more"),
        ({"val": "same"}, "show people of the validation data .*same; got 's0' and 3 more"),
        ({"test": "same"}, "that the model will be tested on; got 's0' and 3 more"),
        ({"corruptions": None, "severities": None}, "Nothing says how the pictures of .* are corrupted"),
        ({"batch_size": 40}, "80 different corrupted pictures are asked for; got 20"),
        ({"batches": (0,)}, "nothing to adapt on"),
        ({"lr": (0.0,)}, "learning rate is not possible"),
        ({"lr": (float("nan"),)}, "learning rate is not possible"),
        ({"lr": (0.1, 0.2)}, "without pictures to judge them by"),
        ({"epochs": 0}, "takes an epoch"),
        ({"checkpoint": Path("gone")}, "There is no checkpoint gone"),
        ({"split": "nosuch"}, "nosuch"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(pupil, data, make_people, tmp_path, changes, match):
    make_people(4, name="same")
    write_splits(make_people(6, name="test-only"), {"test": [f"s{i}" for i in range(6)]})
    for name in ("data", "val", "test"):
        if isinstance(changes.get(name), str):
            changes = {**changes, name: tmp_path / changes[name]}
    with pytest.raises(UsageError, match=match):
        adapt(options(**{"data": data, "out": tmp_path / "out", **changes}))
    assert not (tmp_path / "out").exists()
    assert pupil.calls == []


def test_people_of_the_test_split_are_refused_without_a_split_of_theirs(pupil, data, tmp_path):
    """All samples, or a set made of all of them, have people of the test among them."""
    done = runner.invoke(cli.app, ["corrupt", str(data), str(tmp_path), "-c", "darker", "-s", "2", "-q"])
    assert done.exit_code == 0, done.output
    (cset,) = (path for path in tmp_path.iterdir() if (path / "manifest.json").is_file())
    with pytest.raises(UsageError, match=r"show people of the test split of .*; got 's5'"):
        adapt(options(cset, tmp_path / "a", corruptions=None, severities=None, batch_size=1))


def test_the_folder_of_the_test_may_hold_who_is_learned_from(pupil, data, tmp_path):
    """Its test split is what counts."""
    assert adapt(options(data, tmp_path / "a", test=data)).points[0].made


def test_what_a_corruption_needs_must_be_there(pupil, plugins, data, tmp_path):
    class Picky:
        moves_pixels = False
        card = Card("picky", "1", "needs what nobody has", needs=frozenset({"normals"}))

        def sample(self, severity, shape, rng):
            raise AssertionError

        def apply(self, image, params, aux):
            raise AssertionError

    plugins.add("corruptions", "picky", Picky)
    with pytest.raises(UsageError, match=r"The corruptions to adapt on, of 'picky', need normals \(picky\)") as caught:
        adapt(options(data, tmp_path / "a", corruptions="picky"))
    assert "--skip-unable" not in str(caught.value)


def test_options_of_the_model_are_set_and_checked(pupil, data, tmp_path):
    pupil.card = Card("pupil", "1", "learns", extra={"options": {"manner": ["kind", "strict"]}})
    pupil.manner = "kind"
    words = ["adapt", "--model", "pupil", "--data", str(data), "-c", "darker", "--out", str(tmp_path / "a"), "-q"]
    words += ["--batch-size", "4"]
    assert runner.invoke(cli.app, [*words, "--model-option", "manner=strict"]).exit_code == 0
    assert pupil.manner == "strict"
    assert read_json(tmp_path / "a" / "adaptation.json")["asked"]["model_options"] == {"manner": "strict"}
    done = runner.invoke(cli.app, [*words, "--model-option", "manner=cruel"])
    assert "cannot have this value" in str(done.exception)


def test_truth_must_be_there(pupil, make_people, tmp_path):
    with pytest.raises(UsageError, match=r"'s0_0' cannot be learned from; got no mesh"):
        adapt(options(make_people(name="bare", mesh=False), tmp_path / "a"))


def test_a_mask_that_leaves_nobody_is_told_by_picture(pupil, data, tmp_path):
    write_mask(data / "masks" / "s2_0.png", np.zeros((48, 48), np.float32))
    with pytest.raises(UsageError, match=r"'s2_0' under darker at \d shows nobody to learn from.*data verify .*--seed"):
        adapt(options(data, tmp_path / "a", batches=(1,), batch_size=20))
    assert pupil.calls == []


def test_a_model_that_cannot_is_refused(plugins, data, tmp_path):
    with pytest.raises(UsageError, match=r"'toy' cannot be adapted; expected .*pifu-experts or pifu-mini"):
        adapt(AdaptOptions("toy", data, tmp_path / "a"))


def test_the_verb_says_what_it_made_and_what_comes_next(pupil, data, tmp_path):
    words = ["adapt", "--model", "pupil", "--data", str(data), "-c", "darker", "--out", str(tmp_path / "a")]
    words += ["--batch-size", "2", "--curve", "0,2", "--lr-search", "0.5,0.01", "--val", str(data)]
    done = runner.invoke(cli.app, words)
    assert done.exit_code == 0, done.output
    assert "learning rate 0.01, by the error on" in done.stdout
    assert f"{tmp_path / 'a' / 'batches-2' / 'model.bin'}: 2 batches of 2" in done.stdout
    assert done.stdout.count("next: robench evaluate --model pupil --checkpoint") == 2
    assert "--adaptation" in done.stdout
    told = json.loads(runner.invoke(cli.app, [*words, "--json", "-q"]).stdout)
    assert [(point["batches"], point["made"]) for point in told["points"]] == [(0, False), (2, False)]
    assert told["lr"] == 0.01


@pytest.mark.parametrize(("option", "text"), [("--curve", "0,-1"), ("--curve", "two"), ("--lr-search", "fast")])
def test_numbers_that_are_none_are_refused(pupil, data, tmp_path, option, text):
    words = ["adapt", "--model", "pupil", "--data", str(data), "-c", "darker", "--out", str(tmp_path / "a")]
    done = runner.invoke(cli.app, [*words, option, text])
    assert isinstance(done.exception, RobenchError)
    assert f"{option} is not understood; got '{text}'" in str(done.exception)
