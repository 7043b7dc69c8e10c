"""Training pictures: shares, draws that can be made again, what moves with them, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from robench import registry
from robench.data.discover import open_dataset
from robench.engine.inputs import Inputs
from robench.errors import UsageError
from robench.training.corrupter import Choice, Corrupter
from robench.training.mixing import Mixing

FIFTHS = [
    {"condition": "low_light", "severities": [4], "share": 0.2},
    {"condition": "iso_noise", "severities": [2, 4, 5], "share": 0.2},
    {"condition": "camera_roll", "severities": [5], "share": 0.2},
    {"condition": "color_quant:2 + low_light:3", "share": 0.2},
]


def corrupter(value=FIFTHS, seed=0):
    return Corrupter(Mixing.from_value(value), seed)


@pytest.fixture
def samples(people):
    opened = open_dataset(people)
    return list(opened.dataset.samples(people))


def test_shares_and_severities_are_as_asked_for():
    made = corrupter()
    drawn = [made.draw(f"s{i}", f"shape {t}") for i in range(50) for t in range(80)]
    names = [choice.condition for choice in drawn]
    expected = {"clean", "low_light", "iso_noise", "camera_roll", "color_quant-2--low_light-3"}
    assert set(names) == expected
    for name in expected:
        # Five standard deviations of a binomial of 4000 draws.
        assert names.count(name) / 4000 == pytest.approx(0.2, abs=0.032)
    levels = [choice.severity for choice in drawn if choice.condition == "iso_noise"]
    for level in (2, 4, 5):
        assert levels.count(level) / len(levels) == pytest.approx(1 / 3, abs=0.085)
    assert {choice.severity for choice in drawn if choice.condition.startswith("color")} == {3}
    assert {choice.severity for choice in drawn if choice.condition == "clean"} == {0}


def test_a_recipe_shares_the_rest_equally():
    made = corrupter({"recipe": "2d-priors", "clean_share": 0.4})
    identity = made.identity()
    assert identity["clean_share"] == 0.4
    assert [share for *_, share in identity["conditions"]] == pytest.approx([0.05] * 12)
    names = [made.draw("s", str(t)).condition for t in range(3000)]
    assert names.count("clean") / 3000 == pytest.approx(0.4, abs=0.045)
    assert len(set(names)) == 13


def test_a_draw_depends_on_seed_sample_and_turn_alone():
    one = corrupter().draw("s0", "shape 3")
    assert corrupter().draw("s0", "shape 3") == one
    assert json.loads(json.dumps(one)) == list(one)
    others = [corrupter(seed=1).draw("s0", "shape 3"), corrupter().draw("s1", "shape 3"), corrupter().draw("s0", "4")]
    assert all(other.seed != one.seed for other in others if other.severity and one.severity)
    assert len({one, *others}) > 1


@pytest.mark.parametrize("condition", ["low_light", "iso_noise", "camera_roll", "color_quant-2--low_light-3"])
def test_a_picture_is_made_again_from_its_choice(samples, condition):
    choice = Choice(condition, 4, 12345)
    first = corrupter(seed=0).picture(samples[0], choice)
    again = corrupter(seed=9).picture(samples[0], Choice(*json.loads(json.dumps(choice))))
    np.testing.assert_array_equal(first.image, again.image)
    clean = corrupter().picture(samples[0], Choice("clean", 0, 0)).image
    assert not np.array_equal(first.image, clean)


def test_a_picture_is_the_one_of_the_library(samples):
    """By the corruptions package alone: draws by its seed rule, applied without robench's engine."""
    import corruptions

    sample = samples[1]
    image = Inputs(sample).image
    expected = corruptions.corrupt(image, "iso_noise", severity=3, seed=77, key=sample.sample_id)
    found = corrupter().picture(sample, Choice("iso_noise", 3, 77)).image
    np.testing.assert_array_equal(found, expected)


def test_a_chain_is_its_parts_one_after_the_other(samples):
    image = Inputs(samples[0]).image
    chain = corrupter().picture(samples[0], Choice("color_quant-2--low_light-3", 3, 5)).image
    quant = registry.load("corruptions", "color_quant")
    first = quant.apply(image, quant.sample(2, image.shape[:2], np.random.default_rng(0)), None).image
    # Low light is drawn, so the chain is told by what it keeps: the order of the means, far darker.
    assert chain.mean() < 0.6 * first.mean()


def test_camera_and_mask_follow_a_roll(samples):
    """The mask's centre of mass lies where the camera projects the mesh's centre, before and after 80 degrees."""
    from robench.io.meshes import read_mesh

    sample = samples[2]
    vertices = read_mesh(sample.mesh).vertices + np.array([30.0, 10.0, 0.0], np.float32)
    clean = Inputs(sample)
    rolled = corrupter().picture(sample, Choice("camera_roll", 5, 3))
    assert rolled.affine is not None
    before = clean.camera.project(vertices)[:, :2]
    after = rolled.camera.project(vertices)[:, :2]
    np.testing.assert_allclose(after, before @ rolled.affine[:, :2].T + rolled.affine[:, 2], atol=1e-6)
    rows, columns = np.nonzero(rolled.true_mask > 0.5)
    centre = rolled.camera.project(np.zeros((1, 3)))[0, :2]
    np.testing.assert_allclose([columns.mean(), rows.mean()], centre, atol=1.0)


def test_what_a_corruption_needs_must_be_there(make_people):
    bare = make_people(name="bare", depth=False, mesh=False)
    samples = list(open_dataset(bare).dataset.samples(bare))
    made = corrupter([{"condition": "fog_3d", "share": 0.5}])
    with pytest.raises(UsageError, match=r"The corruptions of this training need depth \(fog_3d\)") as caught:
        made.refuse_unable(samples)
    assert "3 of 3 samples" in str(caught.value)
    assert "--skip-unable" not in str(caught.value)
    corrupter().refuse_unable(samples)


def test_depth_is_taken_from_the_data(samples):
    made = corrupter([{"condition": "fog_3d", "share": 0.5}])
    made.refuse_unable(samples)
    picture = made.picture(samples[0], Choice("fog_3d", 5, 0))
    clean = Inputs(samples[0]).image
    # Infinitely far is fog itself; the person, three metres away, still shows.
    far = picture.true_mask == 0
    assert picture.image[far].std(axis=0).max() < 3
    assert clean[far].std(axis=0).min() > 20


def test_unknown_names_are_refused():
    with pytest.raises(UsageError, match="low_light"):
        corrupter([{"condition": "lowlight", "share": 0.5}])
    with pytest.raises(UsageError, match="no-such-recipe"):
        corrupter({"recipe": "no-such-recipe", "clean_share": 0.5})


def test_a_file_that_is_gone_names_sample_and_condition(samples, tmp_path):
    lost = replace(samples[0], image=tmp_path / "gone.png")
    with pytest.raises(UsageError, match=r"'s0_0' under low_light at 4 cannot be made"):
        corrupter().picture(lost, Choice("low_light", 4, 0))
