"""Figures 6, 7 and 10: names from checkpoints, paired changes by hand, findings made of numbers alone."""

from __future__ import annotations

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import synthetic_runs
from safetensors.numpy import save_file

from robench.analysis.methods import paired_table
from robench.analysis.provenance import open_run
from robench.errors import NotComparable, UsageError
from robench.reporting.methods import change_sentence, change_text, methods_blocks, methods_notes, methods_plot
from robench.reproduce import figure3, figure7, figure10, figure_methods
from robench.reproduce.adaptation import Adaptation
from robench.reproduce.figure_methods import Method
from robench.reproduce.method_labels import making, method_labels
from robench.reproduce.settings import METRICS, ModelChoice, ReproduceOptions

T_7 = 2.364624  # Student-t at 97.5 %, seven degrees of freedom, from a table


def write(path, provenance):
    save_file({"w": np.zeros(2, np.float32)}, path, {"provenance": provenance})
    return path


@pytest.fixture(scope="module")
def write_run(tmp_path_factory):
    """Write runs of eight people under three corruptions at one level."""

    def act(name: str, factor: float = 1.0, **kwargs):
        parent = tmp_path_factory.mktemp("runs")
        run = synthetic_runs.write_run(parent, name, clean_cm=factor, severities=(3,), subjects=8, **kwargs)
        return open_run(run.folder)

    return act


def errors(run, corruption: str, metric: str = "chamfer_cm") -> np.ndarray:
    rows = run.rows[(run.rows["metric"] == metric) & (run.rows["corruption"] == corruption)]
    return rows.sort_values("subject_id")["value"].to_numpy(float)


# Names


def test_labels_say_what_the_checkpoint_says_of_its_making(tmp_path) -> None:
    adapted = json.dumps({"options": {"corruptions": []}, "adapted": [{"batches": 2}, {"batches": 1}]})
    augmented = json.dumps({"options": {"corruptions": [{"condition": "low_light"}], "protocol": "as-coded"}})
    masked = json.dumps({"masks": {"share": 0.5}, "adapted": [{"batches": 1}]})
    (tmp_path / "trained").mkdir()
    write(tmp_path / "trained" / "model.safetensors", augmented)
    choices = [
        ModelChoice("pifu-mini"),
        ModelChoice("pifu-mini", write(tmp_path / "a.safetensors", adapted)),
        ModelChoice("pifu-experts", tmp_path / "trained"),
        ModelChoice("pifu-mini", write(tmp_path / "m.safetensors", masked)),
    ]
    assert method_labels(choices) == [
        "pifu-mini",
        "pifu-mini, adapted on 3 batches",
        "pifu-experts, as coded, corruption-augmented",
        "pifu-mini, trained on found masks, adapted on 1 batch",
    ]


def test_labels_tell_alike_checkpoints_apart_by_their_path_and_twins_by_a_number(tmp_path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "model.safetensors", "{}")
    paths = [tmp_path / name / "model.safetensors" for name in ("one", "two")]
    found = method_labels([ModelChoice("p", paths[0]), ModelChoice("q"), ModelChoice("p", paths[1])])
    assert found == ["p (one/model.safetensors)", "q", "p (two/model.safetensors)"]
    assert method_labels([ModelChoice("p")] * 2) == ["p", "p (2)"]


@pytest.mark.parametrize("said", ["not json", "[1]", json.dumps({"adapted": "x", "options": 3}), "[" * 3000])
def test_what_a_checkpoint_says_amiss_makes_no_label(tmp_path, said) -> None:
    assert making(write(tmp_path / "a.safetensors", said)) == []


def test_what_is_no_checkpoint_makes_no_label(tmp_path) -> None:
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 64)
    for path in (tmp_path / "bad.safetensors", tmp_path / "gone.safetensors", tmp_path, tmp_path / "net_G"):
        assert making(path) == []


# The table and its sentences


def test_changes_are_paired_by_subject_and_in_the_order_of_the_methods(write_run) -> None:
    base, other = write_run("toy"), write_run("zeta", 1.25, noise=0.02)
    table = paired_table([("toy", base), ("alpha", other)])
    assert list(table["method"].iloc[:2]) == ["toy", "alpha"]
    assert table["corruption"].iloc[0] == "clean"
    row = table.set_index(["metric", "corruption", "method"]).loc[("chamfer_cm", "fog_3d", "alpha")]
    change = errors(other, "fog_3d") - errors(base, "fog_3d")
    half = T_7 * change.std(ddof=1) / np.sqrt(8)
    assert row["change"] == pytest.approx(change.mean())
    assert (row["change_lo"], row["change_hi"]) == pytest.approx((change.mean() - half, change.mean() + half), rel=1e-5)
    assert (row["n_subjects"], row["n_samples"], row["failures"]) == (8, 8, 0)


def test_other_data_and_other_masks_are_refused(write_run) -> None:
    base = write_run("toy")
    with pytest.raises(NotComparable, match="dataset"):
        paired_table([("a", base), ("b", write_run("toy", dataset="others"))])
    with pytest.raises(UsageError, match="one masker"):
        paired_table([("a", base), ("b", write_run("toy", masker="u2net"))])
    with pytest.raises(UsageError, match="no run"):
        paired_table([])


def test_a_difference_is_called_one_only_where_its_interval_excludes_0(write_run) -> None:
    base = write_run("toy")
    effects = {**synthetic_runs.EFFECTS, "fog_3d": 1.0, "iso_noise": 1.9}
    other = write_run("zeta", effects=effects)
    table = paired_table([("toy", base), ("zeta", other)], metrics=["chamfer_cm"])
    rows = table[table["method"] == "zeta"]
    clean, fog, noise = (
        errors(base, c) * f for c, f in (("clean", 1.0), ("fog_3d", 1 / 1.25), ("iso_noise", 1.9 / 1.6))
    )
    fog, noise = fog - errors(base, "fog_3d"), noise - errors(base, "iso_noise")
    assert np.ptp(clean) > 0  # people differ, changes on clean pictures are exactly none
    text = change_sentence(rows, "zeta", "toy")
    assert text.startswith(f"zeta against toy: better under Fog 3D (−{-fog.mean():.2f} cm [")
    assert f"; worse under ISO noise (+{noise.mean():.2f} cm [" in text
    assert text.endswith("; no difference is shown under the other 2.")
    notes = methods_notes(table, "chamfer_cm")
    assert text in notes
    assert "about 0.2 of these 4 would exclude 0 by chance" in notes[-1]
    assert change_sentence(rows[rows["corruption"] == "clean"], "zeta", "toy").endswith("under any of 1 conditions.")


def test_a_bound_beside_0_gets_the_digits_that_tell_its_side() -> None:
    row = {"change": 0.0786, "change_lo": 0.0042, "change_hi": 0.1511}
    assert change_text(row, "cm") == "+0.079 cm [0.004, 0.151]"
    assert change_text(row | {"change_lo": -0.2, "change_hi": 0.36}, "") == "+0.08 [−0.20, 0.36]"
    assert change_text(row | {"change_lo": float("nan"), "change_hi": float("nan")}, "cm") == "+0.08 cm"


def test_the_plot_has_a_dot_a_method_and_condition_and_the_change_beside(write_run) -> None:
    base, other = write_run("toy"), write_run("zeta", 1.25, noise=0.02, fails={("fog_3d", 3): 2})
    table = paired_table([("toy", base), ("ze$ta", other)], metrics=["chamfer_cm"])
    left, right = methods_plot(table, "chamfer_cm").axes
    names = [text.get_text() for text in left.get_yticklabels()]
    assert names == ["Clean", "Camera roll", "ISO noise", "Fog 3D"]  # clean, then the worst of the first model
    dots = [line for line in left.lines if line.get_marker() in ("o", "s") and len(line.get_xdata()) == 4]
    np.testing.assert_allclose(dots[0].get_xdata()[0], errors(base, "clean").mean())
    assert [len(line.get_xdata()) for line in right.lines if line.get_marker() == "s"] == [4]
    ((_, _, columns),) = methods_blocks(table, "chamfer_cm")
    assert [(c.group, c.title) for c in columns] == [
        ("", "Severity"),
        ("toy", "value"),
        ("ze$ta", "value"),
        ("ze$ta", "change"),
        ("ze$ta", "failures"),
    ]
    assert [cell.text for cell in columns[-1].cells] == ["0", "0", "2/8 (25.0 %)", "0"]
    assert len(methods_plot(table[table["method"] == "toy"], "chamfer_cm").axes) == 1


def test_errors_far_apart_stand_on_a_logarithmic_scale(write_run) -> None:
    near, far = write_run("toy"), write_run("far", 9.0)
    ax = methods_plot(paired_table([("a", near), ("b", far)], metrics=["chamfer_cm"]), "chamfer_cm").axes[0]
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel().endswith("logarithmic")
    assert methods_plot(paired_table([("a", near)]), "chamfer_cm").axes[0].get_xlim()[0] == 0


# Findings


@pytest.fixture
def some(write_run):
    """The baseline, an add-based fusion that helps under fog and costs under clean, and Experts Fusion."""
    names = {"pifu-mini": 1.0, "pifu-clip-add": 1.1, "pifu-experts": 1.05}
    effects = {"color_quant": 1.3, "low_light": 1.5, "camera_roll": 2.0, "iso_noise": 1.6}
    own = {**effects, "low_light": 1.2}
    return [
        Method(name, ModelChoice(name), write_run(name, factor, effects=own if "add" in name else effects))
        for name, factor in names.items()
    ]


def paired(some):
    return paired_table([(m.label, m.run) for m in some], metrics=["chamfer_cm"])


def test_findings_of_methods_are_the_numbers(some) -> None:
    clean, adds, experts = figure_methods.findings(some, "chamfer_cm", paired)
    base = some[0].run
    for factor, name in ((0.1, "pifu-clip-add"), (0.05, "pifu-experts")):
        assert f"{name}: +{factor * errors(base, 'clean').mean():.2f} cm [" in clean.here
    assert clean.here.count("(worse)") == 2
    low = (1.1 * 1.2 / 1.5 - 1) * errors(base, "low_light").mean()
    assert f"Low light −{-low:.2f} cm [" in adds.here
    assert [adds.here.count(word) for word in ("(better)", "(worse)")] == [1, 2]
    noise = (1.05 / 1.1 - 1) * errors(some[1].run, "iso_noise").mean()
    assert experts.here.startswith("pifu-experts against pifu-clip-add: Clean −")
    assert f"ISO noise −{-noise:.2f} cm [" in experts.here
    assert len(figure_methods.findings(some, METRICS[1], paired)) == 2  # of Experts, the paper speaks of Chamfer alone


def test_of_fusion_nothing_is_claimed_where_there_is_none(some) -> None:
    adapted = dataclasses.replace(some[1], label="adapted", choice=ModelChoice("pifu-mini"))
    found = figure_methods.findings([some[0], adapted], "chamfer_cm", paired)
    assert [one.here for one in found] == [
        "no fusion method is among the models.",
        "pifu-clip-add is not among the models.",
        "pifu-clip-add and pifu-experts are not both among the models.",
    ]


class ABench:
    """What figures ask of a bench, with runs that are there."""

    masker = "given"

    def __init__(self, out, runs, figures=(10,), adapted=None) -> None:
        self.options = ReproduceOptions(out=out, models=tuple(runs), figures=figures)
        self.models = tuple(ModelChoice(name) for name in runs)
        self.baseline, self._runs, self._adapted = self.models[0], runs, adapted
        self.absent: set[str] = set()

    def model_missing(self, choice, *, essential=True):
        gone = choice.name in self.absent
        return [figure_methods.Missing(f"the model {choice.name}", "fetch", essential)] if gone else []

    def need(self, model, masker):
        return (model, masker)

    def cells(self, need):
        return 130

    def run(self, choice, masker):
        return self._runs[choice.name if choice.checkpoint is None else choice.checkpoint.name].path

    def adapted(self):
        return self._adapted

    def path(self, name):
        return self.options.out / name


def test_figure_10_leaves_out_what_is_not_there_and_says_how_to_get_it(tmp_path, some) -> None:
    bench = ABench(tmp_path, {method.label: method.run for method in some[:2]})
    bench.absent.add("pifu-clip-add")
    missing = figure10.missing(bench)
    assert [one.what.split(" (")[0] for one in missing] == [
        "the model pifu-clip-add",
        "the paper's tf_concat",
        "the paper's Experts Fusion",
    ]
    assert not any(one.essential for one in missing)
    assert "robench train pifu-experts --config baselines/fusion/configs/pifu-experts.yaml" in missing[-1].command
    assert len(figure10.plan(bench).runs) == 2
    made = figure10.make(bench)
    assert [path.name for path in made.files] == ["figure10.png", "figure10.svg", "figure10.csv"]
    assert made.files[0].read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "figure10.csv").read_text()
    assert "p2s_pred_to_gt_cm" in text
    assert "pifu-clip-add" not in text


def test_what_figure_7_adapts_stands_in_figure_10_where_both_are_made(tmp_path, write_run) -> None:
    runs = {"pifu-mini": write_run("toy"), "b2.safetensors": write_run("toy", 1.1, checkpoint="b2")}
    point = write(tmp_path / "b2.safetensors", json.dumps({"adapted": [{"batches": 2}]}))
    adapted = Adaptation(tmp_path, {0: ModelChoice("pifu-mini"), 2: ModelChoice("pifu-mini", point)}, 7e-4, tmp_path)
    both = ABench(tmp_path, runs, (7, 10), adapted)
    both.models = both.models[:1]
    assert [m.label for m in figure_methods.methods(both)] == ["pifu-mini", "pifu-mini, adapted on 2 batches"]
    alone = ABench(tmp_path, runs, (10,), adapted)
    alone.models = alone.models[:1]
    assert [m.label for m in figure_methods.methods(alone)] == ["pifu-mini"]
    assert figure10.plan(both).facts["methods"] == ["pifu-mini", "what figure 7 adapts"]


# Figure 7


def test_findings_of_adaptation_are_the_numbers(write_run) -> None:
    runs = [(n, write_run("toy", f, checkpoint=f"c{n}")) for n, f in ((0, 1.0), (2, 1.3), (3, 1.2))]
    table = paired_table(runs, "batches", METRICS)
    (found,) = figure7.findings(runs, table, 0.95)
    clean = errors(runs[0][1], "clean").mean()
    assert f"Chamfer on clean pictures +{0.3 * clean:.2f} cm [" in found.here
    assert f", +{0.2 * clean:.2f} cm [" in found.here
    assert f"with 3 batches, −{0.1 * clean:.2f} cm [" in found.here
    assert "from 2 to 3 batches; P2S" in found.here


def test_ratios_stand_beside_those_of_the_published_code(write_run) -> None:
    effects = {"fog_3d": 1.25, "iso_noise": 1.6}
    runs = [(n, write_run("toy", f, checkpoint=f"r{n}", effects=effects)) for n, f in ((0, 1.0), (2, 1.3))]
    title, names, columns = figure7.ratios(runs, "chamfer_cm", 0.95)
    assert title == "Chamfer, ratio to clean"
    assert names == ["fog_3d", "iso_noise"]
    # 8.44 / 8.05, 11.02 / 8.05 and 20.05 / 10.32 of the notebook.
    assert [[cell.text for cell in column.cells] for column in columns] == [
        ["1.25", "1.60"],
        ["1.25", "1.60"],
        ["1.05", "1.37"],
        ["", "1.94"],
    ]


def test_a_turned_person_is_set_beside_the_number_whose_truth_does_not_turn(write_run) -> None:
    run = write_run("toy", checkpoint="roll", effects={"camera_roll": 2.0})
    rows = run.rows[run.rows["metric"] == "chamfer_cm"]
    far = rows.assign(metric="chamfer_unaligned_cm")
    far.loc[far["corruption"] == "camera_roll", "value"] *= 3
    both = SimpleNamespace(rows=pd.concat([run.rows, far], ignore_index=True))
    _, names, columns = figure7.ratios([(0, both)], "chamfer_cm", 0.95)
    assert names == ["camera_roll", "camera_roll (unaligned)"]
    assert [cell.text for cell in columns[0].cells] == ["2.00", "6.00"]
    assert [cell.text for cell in columns[1].cells] == ["", "2.36"]  # 19.00 / 8.05


def test_the_rate_is_told_and_whether_it_helped() -> None:
    assert figure7.rate_sentence(7e-4, ()).endswith("by Adam at 0.0007, as nobody is there to choose a rate by.")
    found = figure7.rate_sentence(7e-5, [(0.0, 0.1272), (7e-5, 0.1279), (2e-4, 0.13)])
    assert found.endswith("chosen by: 0.1272 without, 0.1279 at 7e-05, 0.1300 at 0.0002; no rate made it smaller.")
    assert figure7.rate_sentence(2e-4, [(0.0, 0.2), (2e-4, 0.1)]).endswith("0.1000 at 0.0002.")


def test_who_cannot_adapt_is_told(tmp_path, write_run) -> None:
    bench = ABench(tmp_path, {"mean-body": write_run("toy")}, (7,))
    (missing,) = figure7.missing(bench)
    assert missing.essential
    assert "mean-body cannot" in missing.what
    assert not figure7.missing(ABench(tmp_path, {"pifu-mini": None}, (7,)))
    assert figure7.plan(bench).facts == {"adaptations": [2, 3], "batch_size": 16, "reconstructions_with_adapted": 260}


# Figure 3


def test_findings_of_the_baseline_are_the_numbers(write_run) -> None:
    from robench.analysis.degradation import degradation_table

    effects = {"camera_roll": 2.0, "fog_3d": 1.0, "iso_noise": 1.6, "near_focus": 0.9}
    table = degradation_table(write_run("toy", effects=effects).rows, METRICS)
    hurts, roll, mask = figure3.findings(table)
    assert hurts.here.startswith("Chamfer, worse than clean: ")
    worse, better, open_ = hurts.here.split("; ")
    assert worse == "Chamfer, worse than clean: Camera roll × 2.00 [2.00, 2.00], ISO noise × 1.60 [1.60, 1.60]"
    assert better.startswith("better: Near focus × 0.90")
    assert open_.startswith("no difference shown: Fog 3D × 1.00")
    iou = 0.97 / 2
    assert roll.here == (
        f"the worst is Camera roll × 2.00 [2.00, 2.00], with a mask IoU of {iou:.3f} (0.970 on clean pictures)."
    )
    assert mask.here == (
        f"the masks are worst under Camera roll, with an IoU of {iou:.3f}; reconstructions that failed: 0."
    )
    failed = degradation_table(write_run("toy", fails={("iso_noise", 3): 2}).rows, METRICS)
    assert figure3.findings(failed)[-1].here.endswith("reconstructions that failed: 2/32 (6.2 %).")


def test_a_score_of_a_person_is_told_only_if_there_is_one(write_run) -> None:
    run = write_run("toy", fails={("fog_3d", 3): 1})
    sample = sorted(set(run.rows["sample_id"]))[0]
    assert figure3.score_of(run.rows, sample, "clean") == f"Chamfer {errors(run, 'clean')[0]:.2f} cm"
    assert figure3.score_of(run.rows, sample, "fog_3d") == ""
    assert figure3.score_of(run.rows, "nobody", "clean") == ""
