"""What `robench similarity` measures, against cosines computed from the pictures on disk; resuming; what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from robench.contracts import Card, OpenReport
from robench.engine.cset_writer import write_set
from robench.engine.likeness import LikenessOptions, cosines, front_samples, measure_likeness
from robench.engine.picture_plan import CLEAN_ONLY, PictureOptions, plan_pictures
from robench.engine.pieces import PIECES, open_pieces
from robench.engine.recipes import custom_recipe
from robench.engine.selection import select
from robench.errors import Mismatch, NotComparable, SampleFailure, UsageError
from robench.io.images import read_image


class MeanColour:
    """The mean colour of a picture, less a grey: an encoder that can be computed by hand."""

    def __init__(self, stop_at: int | None = None) -> None:
        self.card = Card("mean-colour", "1", "mean colour", extra={"dim": 3, "input_size": 8})
        self.seen, self.stop_at = 0, stop_at

    def open(self, device: str, weights: Path | None = None) -> OpenReport:
        return OpenReport("cpu", 0, "a" * 64)

    def embed(self, images):
        self.seen += len(images)
        if self.stop_at is not None and self.seen >= self.stop_at:
            raise KeyboardInterrupt
        means = np.stack([image.reshape(-1, 3).mean(0) - 90 for image in images])
        return (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32)

    def features(self, images):
        return images.mean(dim=(2, 3))

    def close(self) -> None:
        pass


@pytest.fixture
def measure(plugins, tmp_path):
    def act(encoder=None, out="out", step=0, fresh=False, **pictures):
        plugins.add("encoders", "mean-colour", lambda: encoder or MeanColour())
        asked = PictureOptions(**pictures)
        return measure_likeness(
            LikenessOptions("mean-colour", asked, tmp_path / out, step, "cpu", fresh=fresh, quiet=True)
        )

    return act


def test_cosines_do_not_depend_on_lengths_and_know_no_direction_of_nothing() -> None:
    one = np.array([3.0, 4.0], np.float32)
    others = np.array([[6, 8], [-3, -4], [4, -3], [1, 0], [0, 0]], np.float32)
    np.testing.assert_allclose(cosines(one, others)[:4], [1, -1, 0, 0.6], atol=1e-12)
    assert np.isnan(cosines(one, others)[4])


def test_a_set_and_its_data_give_the_cosines_of_the_pictures_on_disk(measure, make_people, tmp_path) -> None:
    people = make_people(2, (0.0, 30.0))
    recipe = custom_recipe(["darker", "side_step"], (2, 5))
    cset = write_set(select(people), recipe, 0, tmp_path / "csets", quiet=True).folder
    stored = measure(cset=cset, out="stored")
    fresh = measure(data=people, corruptions="darker,side_step", severities="2,5", out="fresh")
    assert stored.rows == fresh.rows
    assert len(stored.rows) == 4 * 4
    index = {(r["sample_id"], r["condition"], r["severity"]): r["similarity"] for r in stored.rows}
    for (sample, condition, severity), value in index.items():
        clean, corrupted = (
            read_image(cset / f"images/{folder}/{sample}.png").reshape(-1, 3).mean(0) - 90
            for folder in ("clean/0", f"{condition}/{severity}")
        )
        expected = clean @ corrupted / np.linalg.norm(clean) / np.linalg.norm(corrupted)
        assert value == pytest.approx(expected, abs=1e-6)
    assert len({round(value, 6) for value in index.values()}) > 8


def test_views_are_compared_with_the_front_whatever_view_the_data_have(measure, make_people) -> None:
    people = make_people(2, (0.0, 40.0))
    both = measure(data=people, corruptions="darker", severities="1", step=90)
    views = [row for row in both.rows if row["condition"] == "turn"]
    assert [(row["subject_id"], row["angle"]) for row in views] == [
        (s, a) for s in ("s0", "s1") for a in (0.0, 90.0, 180.0, 270.0)
    ]
    by_angle = [row["similarity"] for row in views[:4]]
    assert by_angle[0] == pytest.approx(1, abs=1e-6)
    # A bare ellipsoid: grey before black, its back like its front, its sides narrower.
    assert by_angle[2] == pytest.approx(1, abs=1e-6)
    assert by_angle[1] == pytest.approx(by_angle[3], abs=1e-6)
    turned = measure(data=people, views=[40.0], corruptions="darker", severities="1", step=90, out="turned")
    assert [row["similarity"] for row in turned.rows if row["condition"] == "turn"][:4] == pytest.approx(
        by_angle, abs=1e-6
    )
    assert {row["sample_id"] for row in views} == {"s0_0", "s1_0"}


def test_data_without_meshes_have_no_views(measure, make_people) -> None:
    people = make_people(1, mesh=False)
    assert front_samples(select(people).samples) == []
    found = measure(data=people, corruptions="darker", severities="1")
    assert [row["condition"] for row in found.rows] == ["darker"]


def test_a_picture_that_cannot_be_made_is_a_row_with_a_status(plugins, measure, people) -> None:
    from robench.engine.cells import OnTheFly

    real = OnTheFly.picture

    def picture(self, cell):
        if cell.sample.sample_id == "s1_0" and cell.corruption == "darker":
            raise SampleFailure("failed", "the light is\x1b gone")
        return real(self, cell)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OnTheFly, "picture", picture)
        rows = measure(data=people, corruptions="darker,side_step", severities="3").rows
    bad = [row for row in rows if row["status"] != "ok"]
    assert [(r["sample_id"], r["condition"], r["similarity"], r["message"]) for r in bad] == [
        ("s1_0", "darker", None, "the light is\\x1b gone")
    ]
    assert len(rows) == 6
    (people / "images" / "s2_0.png").write_bytes(b"no picture")
    broken = measure(data=people, corruptions="darker,side_step", severities="3", out="broken").rows
    assert [r["status"] for r in broken if r["sample_id"] == "s2_0"] == ["failed", "failed"]


def test_an_interrupted_measurement_goes_on_and_ends_the_same(measure, people, tmp_path) -> None:
    asked = {"data": people, "corruptions": "darker", "severities": "1-3"}
    whole = measure(out="whole", **asked)
    with pytest.raises(KeyboardInterrupt):
        measure(MeanColour(stop_at=7), **asked)
    encoder = MeanColour()
    rest = measure(encoder, **asked)
    assert rest.rows == whole.rows
    assert rest.made == 6
    assert encoder.seen == 8, "the first sample was kept"
    assert measure(encoder, **asked).made == 0


def test_a_folder_of_other_work_is_refused(measure, people, tmp_path) -> None:
    measure(data=people, corruptions="darker", severities="1")
    with pytest.raises(NotComparable, match="holds other work"):
        measure(data=people, corruptions="darker", severities="2")
    assert measure(data=people, corruptions="darker", severities="2", fresh=True).made == 3
    (tmp_path / "out" / PIECES).write_text('{"identity": {}}\n[1]\n')
    with pytest.raises(NotComparable):
        measure(data=people, corruptions="darker", severities="2")
    (tmp_path / "out" / PIECES).write_text("[1]\n")
    with pytest.raises(Mismatch, match="damaged"):
        measure(data=people, corruptions="darker", severities="2")


def test_pieces_are_one_line_each_and_a_half_one_is_done_again(tmp_path) -> None:
    with open_pieces(tmp_path, {"a": 1}) as pieces:
        pieces.add("one", [1])
        pieces.add("two", [2])
    path = tmp_path / PIECES
    assert [json.loads(line) for line in path.read_text().splitlines()][1] == {"piece": "one", "value": [1]}
    path.write_text(path.read_text()[:-4])
    with open_pieces(tmp_path, {"a": 1}) as pieces:
        assert pieces.done == {"one": [1]}
        with pytest.raises(UsageError, match="Another process"), open_pieces(tmp_path, {"a": 1}):
            pass


def test_plans_without_pictures_are_refused(people) -> None:
    with pytest.raises(UsageError, match="no pictures"):
        plan_pictures(PictureOptions(), CLEAN_ONLY)
    with pytest.raises(UsageError, match="Severities go with corruptions"):
        plan_pictures(PictureOptions(data=people, severities="2"), CLEAN_ONLY)
    plan = plan_pictures(PictureOptions(data=people), CLEAN_ONLY)
    assert [cell.corruption for s in plan.selection.samples for cell in plan.cells(s)] == ["clean"] * 3
