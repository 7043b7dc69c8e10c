"""Figures 4, 5, 8 and 9: made of refinements whose numbers are known by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from robench.analysis.refinement import refinement_curves
from robench.engine.refine import Refined
from robench.errors import UsageError
from robench.io.images import write_png
from robench.reporting.refinement import protocol_plot
from robench.reproduce import figure4, figure5, figure8, figure9, figure_refinement
from robench.reproduce.outputs import Missing
from robench.reproduce.settings import ModelChoice, ReproduceOptions

T_2 = 4.302653  # Student-t at 97.5 %, two degrees of freedom, from a table
FACTS = {
    "model": {"name": "toy", "version": "1", "weights_sha256": "ab" * 32},
    "encoder": {"name": "tiny-random", "version": "1", "weights_sha256": "cd" * 32},
    "masker": {"name": "given"},
    "settings": {"iterations": 6, "protocol": "described", "rate": 1e-3, "size": 64},
    "dataset": "toys",
    "dataset_revision": "ef" * 32,
}
STEPS = {"sequential": -0.01, "average": 0.02}
"""Mode → change of SSIM of the first person; the second's is twice, the third's thrice as large."""


def cell(mode: str, person: int, *, colours: bool = True, status: str = "ok") -> dict:
    about = {
        "mode": mode,
        "sample_id": f"p{person}_0",
        "subject_id": f"p{person}",
        "corruption": "clean",
        "severity": 0,
        "status": status,
        "message": "" if status == "ok" else "the mask is blank",
    }
    if status != "ok":
        return about
    step = STEPS[mode] * (person + 1)

    def at(share: float) -> dict:
        values = {"loss": 0.5 - 0.1 * share}
        if colours:
            values |= {"psnr": 20 + 10 * step * share, "ssim": 0.8 + step * share, "truth_distance": 0.3 - step * share}
        return values

    log = [{"iteration": i, "view": i % 4, **at(i / 5)} for i in range(6)]
    return about | {"log": log, "before": at(0), "after": at(1), "sheet": f"{mode}/p{person}.png"}


def cells(**kwargs) -> list[dict]:
    return [cell(mode, person, **kwargs) for mode in STEPS for person in range(3)]


class ABench:
    """What the figures ask of a bench, with refinements that are there."""

    def __init__(self, out, **kinds) -> None:
        self.options = ReproduceOptions(out=out, encoder="tiny-random", refined=3, iterations=6)
        self.baseline = ModelChoice("pifu-mini")
        self._cells = {"described": cells(), "as-coded": cells()} | kinds
        self.no_encoder: list[Missing] = []
        for protocol, some in self._cells.items():
            for one in some:
                if "sheet" in one:
                    write_png(self.refined_folder(protocol) / one["sheet"], np.full((40, 60, 3), 200, np.uint8))

    def encoder_missing(self):
        return self.no_encoder

    def model_missing(self, choice, *, essential=True):
        return []

    def count(self):
        return 20

    def refined(self, protocol):
        return Refined(self._cells[protocol], FACTS, 0)

    def refined_folder(self, protocol):
        return self.options.out / "refined" / protocol

    def path(self, name):
        return self.options.out / name


def test_the_ways_of_embedding_are_compared_subject_by_subject() -> None:
    gaps = -0.03 * np.arange(1, 4)
    half = T_2 * gaps.std(ddof=1) / np.sqrt(3)
    found = figure_refinement.between_modes(cells(), "ssim", 0.95)
    assert found == pytest.approx((gaps.mean(), gaps.mean() - half, gaps.mean() + half), rel=1e-5)
    one_way = [one for one in cells() if one["mode"] == "average"]
    assert figure_refinement.between_modes(one_way, "ssim", 0.95) is None
    apart = [cell("average", 0), cell("sequential", 1)]
    assert figure_refinement.between_modes(apart, "ssim", 0.95) is None
    assert figure_refinement.between_modes(cells(colours=False), "ssim", 0.95) is None


def test_findings_are_the_numbers_of_both_protocols(tmp_path) -> None:
    made = figure8.make(ABench(tmp_path))
    falls, sequential = made.findings
    assert falls.paper == "SSIM falls."
    # Means of three people: 2 x the first's. Their spread is the first's step, so t * step / sqrt(3).
    half = T_2 * 0.01 / np.sqrt(3)
    text = f"sequential −0.0200 [−{0.02 + half:.4f}, {half - 0.02:.4f}], average +0.0400 ["
    assert falls.here.count(text) == 2
    assert falls.here.startswith("change, as the paper describes it: sequential")
    assert "; as its code does it: sequential" in falls.here
    assert sequential.here.startswith(
        "SSIM in the end, sequential minus averaged, as the paper describes it: −0.0600 ["
    )
    (differs,) = [text for text in made.differs if "tiny-random" in text]
    assert "not the paper's CLIP" in differs


def test_each_figure_has_its_measures(tmp_path) -> None:
    bench = ABench(tmp_path)
    found = {
        name: set(pd.read_csv(tmp_path / f"{name}.csv")["measure"])
        for name, module in (("figure4", figure4), ("figure8", figure8), ("figure9", figure9))
        if module.make(bench)
    }
    assert found == {"figure4": {"loss", "psnr"}, "figure8": {"ssim"}, "figure9": {"truth_distance"}}
    for name in found:
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width == 2100  # two columns at 300 dpi: the protocols stand beside each other
    assert set(pd.read_csv(tmp_path / "figure9.csv")["protocol"]) == {"described", "as-coded"}


def test_of_two_digits_and_of_decibels_the_change_is_told(tmp_path) -> None:
    loss, psnr, *_ = figure4.make(ABench(tmp_path)).findings
    assert "sequential −0.1000 [−0.1000, −0.1000]" in loss.here
    assert "sequential −0.20 dB [" in psnr.here


def test_without_true_colours_the_loss_is_drawn_and_the_rest_is_refused(tmp_path) -> None:
    plain = cells(colours=False)
    bench = ABench(tmp_path, described=plain, **{"as-coded": plain})
    assert [one.paper for one in figure4.make(bench).findings] == ["The CLIP loss falls."]
    with pytest.raises(UsageError, match="Nothing says how ssim change"):
        figure8.make(bench)
    assert "no true colours are known" in figure5.make(bench).findings[0].here


def test_if_nothing_was_refined_the_reason_is_told(tmp_path) -> None:
    none = cells(status="no_detection")
    with pytest.raises(UsageError, match="the mask is blank"):
        figure4.make(ABench(tmp_path, described=none, **{"as-coded": none}))


def test_figure_5_shows_each_protocol_and_counts_who_came_nearer(tmp_path) -> None:
    made = figure5.make(ABench(tmp_path, described=[*cells()[:5], cell("average", 2, status="failed")]))
    assert [path.name for path in made.files] == ["figure5-described.png", "figure5-as-coded.png"]
    with Image.open(made.files[1]) as picture:
        assert picture.size == (60, 6 * 40 + 5 * 8)  # three people, two ways each, and gaps
    here = made.findings[0].here
    assert "as the paper describes it, sequential: 0 of 3; as the paper describes it, average: 2 of 2" in here
    assert "as its code does it, average: 3 of 3" in here


def test_what_is_missing_and_what_would_be_done(tmp_path) -> None:
    bench = ABench(tmp_path)
    assert not figure4.missing(bench)
    assert figure9.plan(bench).facts == {"pictures": 3, "refinements": 12, "iterations": 72}
    bench.no_encoder = [Missing("the encoder clip-vit-l14", "hf download openai/clip-vit-large-patch14")]
    bench.baseline = ModelChoice("mean-body")
    first, second = figure5.missing(bench)
    assert first.command.startswith("hf download")
    assert "mean-body has none" in second.what
    assert all(one.essential for one in (first, second))
    assert len(bench.no_encoder) == 1  # what the bench keeps stays as it is


def test_a_row_of_the_plot_has_one_scale_and_a_line_a_way() -> None:
    log = [{"mode": one["mode"], "subject_id": one["subject_id"], **row} for one in cells() for row in one["log"]]
    table = pd.DataFrame([{"sample_id": r["subject_id"], "corruption": "clean", "severity": 0, **r} for r in log])
    curves = refinement_curves(table)
    other = curves.assign(value=curves["value"] + 1, lo=curves["lo"] + 1, hi=curves["hi"] + 1)
    figure = protocol_plot({"one": curves, "oth$er": other}, ["loss", "ssim"])
    axes = figure.axes
    assert [ax.get_title() for ax in axes] == ["one", "oth\\$er", "", ""]
    assert axes[0].get_ylim() == axes[1].get_ylim() != axes[2].get_ylim() == axes[3].get_ylim()
    (sequential, average) = axes[2].lines
    # Sequential values are means over a turn of four views, and begin with the first whole one.
    assert len(sequential.get_xdata()) == 3
    np.testing.assert_allclose(sequential.get_ydata()[0], 0.8 - 0.02 * np.mean([0, 1, 2, 3]) / 5)
    np.testing.assert_allclose(average.get_ydata()[-1], 0.84)
    assert len(protocol_plot({"one": curves}, ["loss"]).axes) == 1
