"""A frame of a video call: rate, history, repeatability."""

import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import _video
from corruptions.phone.video_call import DRIFT_PX, HISTORY, approach, video_call


def test_last_frame_is_the_picture_and_the_others_lead_to_it():
    image = texture(96, 96, smooth=4)
    frames = approach(image, 90.0, 3.0, 4)
    assert len(frames) == 4
    assert np.array_equal(frames[-1], image)
    # It drifts downwards by three pixels a frame: three frames before, everything is nine higher.
    assert np.array_equal(frames[0][:80], image[9:89])
    assert np.array_equal(frames[2][:80], image[3:83])


@pytest.mark.parametrize("seed", range(2))
def test_more_bits_are_better(seed):
    image = person(160, 160, seed)[0]
    quality = [psnr(image, video_call(image, rate, 1.0, 40.0)[0]) for rate in (2400, 600, 150)]
    assert (np.diff(quality) < -1.0).all(), quality


def test_rate_is_kept():
    image = person(256, 256)[0]
    _, notes = video_call(image, 600, 1.0, 10.0)
    assert notes["frames"] == HISTORY + 1
    assert notes["kbit_per_s"] == round(600 * 0.25**0.75)
    assert 0.6 < notes["bytes"] * 8 * 15 / notes["frames"] / 1000 / notes["kbit_per_s"] < 1.3


def test_history_costs_quality():
    """At the same rate a picture that moved is worse than one that stood still."""
    image = person(160, 160)[0]
    kilobits = 60
    moving = approach(image, 20.0, 2 * DRIFT_PX, 8)
    still, _ = _video.h264_call([image] * 8, kilobits, 15)
    moved, _ = _video.h264_call(moving, kilobits, 15)
    assert psnr(image, moved) < psnr(image, still) - 0.5


def test_same_bytes_every_time():
    image = person(96, 128)[0]
    assert len({video_call(image, 120, 0.65, 77.0)[0].tobytes() for _ in range(4)}) == 1


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_frame_is_aligned_with_the_picture(scale):
    image = texture(128, 128, smooth=6)
    result, _ = video_call(image, 2000, scale, 130.0)
    inside = np.s_[8:-8, 8:-8]
    errors = {
        (dy, dx): np.mean((np.roll(result, (dy, dx), (0, 1))[inside].astype(float) - image[inside]) ** 2)
        for dy in (-1, 0, 1)
        for dx in (-1, 0, 1)
    }
    assert min(errors, key=errors.get) == (0, 0)


@pytest.mark.parametrize("value", [0, 60, 128, 255])
def test_constant_picture_within_two_levels(value):
    plain = np.full((64, 64, 3), value, np.uint8)
    assert np.abs(corrupt("video_call", 5, plain, None).image.astype(int) - value).max() <= 2


def test_impossible_settings_are_refused():
    for rate, scale in ((0, 1.0), (100, 0.0), (100, 1.5)):
        with pytest.raises(ValueError, match="rate > 0 and a scale"):
            video_call(texture(32, 32), rate, scale, 0.0)
