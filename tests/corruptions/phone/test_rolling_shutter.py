"""Row-wise readout: no motion, pure pans, vibrations, and what the notes say."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import load
from corruptions.phone.rolling_shutter import displace_rows, path


def _params(**changes):
    params = load("rolling_shutter").sample(3, (96, 96), np.random.default_rng(0))
    return {**params, **changes}


def test_no_motion_is_the_picture_itself():
    image = texture(65, 49)
    still = _params(pan_widths_per_s=0.0, shake_widths=0.0)
    result = load("rolling_shutter").apply(image, still, None)
    assert np.array_equal(result.image, image)
    assert dict(result.notes) == {"mean_displacement_px": 0.0, "max_displacement_px": 0.0}


def test_no_readout_time_is_the_picture_itself():
    image = texture(65, 49)
    at_once = load("rolling_shutter").apply(image, _params(readout_ms=0.0), None)
    assert np.array_equal(at_once.image, image)


def test_steady_pan_is_a_shear():
    """A vertical line leans by velocity times readout time from the first row to the last, and stays in the middle."""
    height, width = 101, 120
    image = np.zeros((height, width, 3), np.uint8)
    image[:, 59:62] = 255
    pan = _params(pan_widths_per_s=2.0, pan_deg=0.0, readout_ms=50.0, shake_widths=0.0)
    result = load("rolling_shutter").apply(image, pan, None)
    row = result.image[..., 0].astype(float)
    centre = (row * np.arange(width)).sum(axis=1) / row.sum(axis=1)
    # 2 widths/s for 50 ms: 12 px. The camera turns right, so what is seen later lies farther left.
    assert centre == pytest.approx(60 + np.linspace(6, -6, height), abs=0.02)
    assert result.notes["max_displacement_px"] == pytest.approx(6.0)
    assert result.notes["mean_displacement_px"] == pytest.approx(6 * np.abs(np.linspace(-1, 1, height)).mean())
    sheared = cv2.warpAffine(texture(height, width), np.float64([[1, -0.12, 6], [0, 1, 0]]), (width, height))
    bent = displace_rows(texture(height, width), path(height, 50.0, (240.0, 0.0), []))
    assert psnr(sheared[:, 10:-10], bent[:, 10:-10]) > 45


def test_vertical_pan_stretches():
    """The camera sinks while it reads: rows show what lies 10 px lower at the end than at the start."""
    image = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 64, axis=1)[..., None].repeat(3, axis=2)
    result = displace_rows(image, path(100, 20.0, (0.0, 500.0), []))
    expected = np.arange(100) * 109 / 99 - 5
    assert np.abs(result[8:-8, 32, 0] - expected[8:-8]).max() <= 0.51


def test_path_is_the_formula_and_has_mean_zero():
    shakes = [
        {"x": 3.0, "y": -1.0, "hz": 20.0, "phase_deg": 35.0},
        {"x": 0.5, "y": 0.2, "hz": 66.0, "phase_deg": 200.0},
    ]
    got = path(64, 30.0, (100.0, -40.0), shakes)
    expected = np.zeros((64, 2))
    for row in range(64):
        t = 0.030 * row / 63
        for axis, key in ((0, "x"), (1, "y")):
            expected[row, axis] = (100.0, -40.0)[axis] * t + sum(
                s[key] * np.sin(2 * np.pi * s["hz"] * t + np.pi * s["phase_deg"] / 180) for s in shakes
            )
    assert np.allclose(got, expected - expected.mean(axis=0))
    assert np.allclose(got.mean(axis=0), 0)


def test_opposite_motion_undoes_it():
    image = cv2.GaussianBlur(texture(128, 128, smooth=4), (0, 0), 2)
    there = path(128, 25.0, (150.0, 0.0), [{"x": 2.0, "y": 0.0, "hz": 25.0, "phase_deg": 10.0}])
    back = displace_rows(displace_rows(image, there), -there)
    assert psnr(back[:, 12:-12], image[:, 12:-12]) > 42


def test_rows_of_one_colour_stay_under_a_sideways_pan():
    image = np.repeat(texture(90, 1, smooth=1), 70, axis=1)
    assert np.array_equal(displace_rows(image, path(90, 30.0, (200.0, 0.0), [])), image)


@pytest.mark.parametrize("severity", range(1, 6))
def test_constant_picture_is_unchanged(severity):
    image = np.full((50, 60, 3), (20, 130, 240), np.uint8)
    assert np.array_equal(corrupt("rolling_shutter", severity, image, None).image, image)


def test_displacement_grows_with_severity_for_the_same_hand():
    image = texture(128, 128)
    for seed in range(6):
        notes = [corrupt("rolling_shutter", s, image, None, seed).notes for s in range(1, 6)]
        assert (np.diff([n["max_displacement_px"] for n in notes]) > 0).all()
        assert all(n["mean_displacement_px"] <= n["max_displacement_px"] for n in notes)


def test_twice_the_resolution_is_the_same_picture():
    image = cv2.GaussianBlur(person(128, 128)[0], (0, 0), 1.5)
    big = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    small = corrupt("rolling_shutter", 4, image, None, seed=3)
    large = corrupt("rolling_shutter", 4, big, None, seed=3)
    assert psnr(small.image, cv2.resize(large.image, (128, 128), interpolation=cv2.INTER_AREA)) > 30
    assert large.notes["max_displacement_px"] == pytest.approx(2 * small.notes["max_displacement_px"], rel=0.02)


def test_wrong_field_is_told():
    with pytest.raises(ValueError, match=r"shape \(32, 2\), got \(31, 2\)"):
        displace_rows(texture(32, 32), np.zeros((31, 2)))
