"""Koschmieder's law."""

import numpy as np
import pytest
from corruption_pictures import aux_of, corrupt, person, texture

from corruptions import load
from corruptions.fog_3d import Fog3D, fog, visibility


def test_formula_to_one_level():
    image, _, _ = person(64, 64)
    depth = np.linspace(0, 12, 64 * 64).reshape(64, 64).astype(np.float32)
    t = np.exp(-0.512 * depth.astype(np.float64))[..., None]
    expected = t * image + (1 - t) * 0.8 * 255
    assert np.abs(fog(image, depth, 0.512, 0.8) - expected).max() <= 0.51


def test_no_distance_no_fog_and_infinite_distance_all_fog():
    image = texture(40, 40)
    assert np.array_equal(fog(image, np.zeros((40, 40), np.float32), 1.28, 0.8), image)
    assert np.array_equal(fog(image, np.full((40, 40), np.inf, np.float32), 0.0, 0.8), image)
    assert np.abs(fog(image, np.full((40, 40), np.inf, np.float32), 0.256, 0.8).astype(int) - 204).max() == 0


def test_farther_is_nearer_to_the_airlight():
    depth = np.broadcast_to(np.linspace(0, 20, 400, dtype=np.float32), (32, 400))
    for value in (0, 90, 255):
        gap = np.abs(fog(np.full((32, 400, 3), value, np.uint8), depth, 0.3, 0.8).astype(int) - 204)[0, :, 0]
        assert (np.diff(gap) <= 0).all()


def test_fog_over_fog_is_fog_of_the_summed_distance():
    image = texture(40, 40)
    near, far = np.full((40, 40), 0.7, np.float32), np.full((40, 40), 1.1, np.float32)
    twice = fog(fog(image, near, 0.5, 0.8), far, 0.5, 0.8).astype(int)
    assert np.abs(twice - fog(image, near + far, 0.5, 0.8)).max() <= 1


def test_doubled_extinction_halves_visibility():
    assert visibility(0.512) == pytest.approx(visibility(0.256) / 2)
    table = load("fog_3d").card.extra["severities"]
    assert [round(visibility(row["beta_per_m"]), 1) for row in table.values()] == [15.3, 7.6, 5.1, 3.8, 3.1]


def test_unit_of_depth_does_not_matter():
    image, depth, _ = person(48, 48)
    assert np.array_equal(fog(image, depth, 0.256, 0.8), fog(image, depth * 1000, 0.256 / 1000, 0.8))


def test_contrast_of_a_plane_falls_by_the_transmission():
    image = texture(96, 96)
    foggy = fog(image, np.full((96, 96), 2.0, np.float32), 0.256, 0.8)
    assert foggy.std() / image.std() == pytest.approx(np.exp(-0.512), rel=0.02)


def test_person_at_three_metres_and_wall_at_six():
    image = np.zeros((64, 64, 3), np.uint8)
    _, depth, mask = person(64, 64)
    result = corrupt("fog_3d", 2, image, depth)
    nearest = np.unravel_index(np.argmin(depth), depth.shape)
    assert result.image[nearest][0] == round(204 * (1 - np.exp(-0.512 * 3)))
    assert result.image[~mask].min() == result.image[~mask].max() == round(204 * (1 - np.exp(-0.512 * 6)))


def test_paper_airlight_is_the_mean_of_this_image_alone():
    image, depth, _ = person(48, 48)
    paper = Fog3D(airlight="mean")
    result = paper.apply(image, paper.sample(2, (48, 48), np.random.default_rng(0)), aux_of(depth))
    assert result.notes["airlight"] == pytest.approx(image.mean() / 255)
    assert result.notes["visibility_m"] == pytest.approx(7.64, abs=0.01)


@pytest.mark.parametrize(("beta", "airlight"), [(-0.1, 0.5), (0.1, 1.2), (0.1, -0.2)])
def test_impossible_fog_is_refused(beta, airlight):
    with pytest.raises(ValueError, match="beta >= 0"):
        fog(texture(32, 32), np.ones((32, 32), np.float32), beta, airlight)
