"""ISO noise and low light: exact distributions."""

import numpy as np
import pytest
from corruption_pictures import corrupt, texture
from scipy import stats

from corruptions import load
from corruptions._noise import alias_table, draw, sensor_distribution
from corruptions.iso_noise import iso_noise
from corruptions.low_light import low_light, tone_curve, under_expose


def _flat(value, size=256):
    return np.full((size, size, 3), value, np.uint8)


def _simulated(mean, photons, sigma, count, seed=0):
    """The published chain, step by step."""
    rng = np.random.default_rng(seed)
    x = np.clip(rng.poisson(photons * mean, count) / photons, 0, 1)
    return np.rint(255 * np.clip(x + rng.normal(0, sigma, count), 0, 1)).astype(int)


@pytest.mark.parametrize(("photons", "sigma"), [(25, 0.056), (25, 0.266), (120, 0.018)])
@pytest.mark.parametrize("level", [0, 3, 77, 128, 250, 255])
def test_distribution_is_that_of_the_chain(photons, sigma, level):
    p = sensor_distribution(np.array([level / 255]), photons, sigma)[0]
    assert p.sum() == pytest.approx(1)
    assert p.min() >= 0
    count = np.bincount(_simulated(level / 255, photons, sigma, 200_000), minlength=256)
    expected = p * count.sum()
    often = expected > 20
    chi2 = ((count - expected)[often] ** 2 / expected[often]).sum()
    assert stats.chi2.sf(chi2, often.sum() - 1) > 1e-4


def test_draws_have_the_distribution_of_the_table():
    distribution = sensor_distribution(np.arange(256) / 255, 25, 0.126)
    table = alias_table(distribution)
    recovered = table.keep.astype(float)
    for row in range(256):
        np.add.at(recovered[row], table.alias[row], (1 << 16) - table.keep[row].astype(float))
    assert np.abs(recovered / (1 << 24) - distribution).max() < 1e-5
    assert (table.keep <= 1 << 16).all()
    drawn = np.bincount(draw(_flat(90, 400), table, np.random.default_rng(3)).ravel(), minlength=256)
    expected = distribution[90] * drawn.sum()
    often = expected > 20
    chi2 = ((drawn - expected)[often] ** 2 / expected[often]).sum()
    assert stats.chi2.sf(chi2, often.sum() - 1) > 1e-4


def test_without_electronic_noise_only_photon_counts_appear():
    values = np.unique(iso_noise(_flat(128, 64), 0.0, 25, np.random.default_rng(0)))
    assert set(values) <= set(np.rint(np.arange(26) * 255 / 25).astype(int))


@pytest.mark.parametrize(
    # At severity 2 a level of 51 already loses 6 % of its variance to clipping at black.
    ("severity", "value"),
    [(1, 51), (1, 77), (1, 102), (1, 128), (2, 77), (2, 102), (2, 128)],
)
def test_iso_variance_grows_with_the_signal(severity, value):
    sigma = load("iso_noise").card.extra["severities"][severity]["sigma"]
    noisy = corrupt("iso_noise", severity, _flat(value), None).image / 255
    x = value / 255
    assert noisy.var() == pytest.approx(x / 25 + sigma**2, rel=0.05)


@pytest.mark.parametrize("value", [77, 102, 128])
def test_iso_mean_is_unbiased(value):
    assert corrupt("iso_noise", 1, _flat(value, 300), None).image.mean() == pytest.approx(value, abs=0.5)


def test_rounding_does_not_darken():
    """Zero-mean noise that nothing clips leaves mid-grey where it is (truncation would take half a level)."""
    noisy = iso_noise(_flat(128, 400), 0.01, 2000, np.random.default_rng(0))
    assert noisy.mean() == pytest.approx(128, abs=0.05)


def test_iso_channels_and_pixels_are_independent():
    noise = corrupt("iso_noise", 3, _flat(110, 300), None).image.astype(float)
    noise -= noise.mean()
    r, g, b = (noise[..., c].ravel() for c in range(3))
    for one, two in ((r, g), (g, b), (r, b)):
        assert abs(np.corrcoef(one, two)[0, 1]) < 0.02
    power = np.abs(np.fft.fft2(noise[..., 0])) ** 2
    power[0, 0] = power[0].mean()
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(300), np.fft.fftfreq(300)))
    bands = [power[(radius >= low) & (radius < low + 0.1)].mean() for low in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert np.allclose(bands, power.mean(), rtol=0.08)


@pytest.mark.parametrize("severity", range(1, 6))
def test_low_light_mean(severity):
    image = texture(200, 200)
    gain = load("low_light").card.extra["severities"][severity]["gain"]
    u = (image.astype(float) - image.min()) / (int(image.max()) - int(image.min()))
    assert np.allclose(under_expose(image, gain), gain * u**2)
    dark = corrupt("low_light", severity, image, None).image / 255
    assert dark.mean() == pytest.approx(gain * (u**2).mean(), abs=0.003)
    assert under_expose(image, gain).max() <= gain


def test_low_light_keeps_the_order_of_local_means():
    ramp = np.repeat(np.repeat(np.arange(0, 256, 51, dtype=np.uint8)[None, :, None], 60, axis=1), 3, axis=2)
    ramp = np.repeat(ramp, 200, axis=0)
    dark = corrupt("low_light", 5, ramp, None).image
    means = dark.reshape(200, 6, 60, 3).mean(axis=(0, 2, 3))
    assert (np.diff(means) > 0).all()


@pytest.mark.parametrize("value", [160, 200, 230])
def test_low_light_variance(value):
    image = _flat(value, 300)
    image[0, 0], image[0, 1] = 0, 255
    y = 0.6 * (value / 255) ** 2
    assert 0.15 <= y <= 0.5
    patch = corrupt("low_light", 1, image, None).image[2:] / 255
    assert patch.var() == pytest.approx(y / 120 + 0.018**2, rel=0.1)


def test_low_light_gets_darker():
    image = texture(100, 100)
    means = [corrupt("low_light", s, image, None).image.mean() for s in range(1, 6)]
    assert (np.diff(means) < 0).all()


@pytest.mark.parametrize("value", [0, 128, 255])
def test_low_light_of_one_value_is_not_stretched(value):
    assert np.allclose(under_expose(_flat(value, 32), 0.6), 0.6 * (value / 255) ** 2)
    dark = corrupt("low_light", 1, _flat(value), None).image
    assert dark.mean() / 255 == pytest.approx(0.6 * (value / 255) ** 2, abs=0.01)


def test_tone_curve_is_stretched_over_the_image():
    image = texture(64, 64) // 4 + 60
    curve = tone_curve(image, 0.5)
    assert curve[image.min()] == 0
    assert curve[image.max()] == 0.5
    assert (np.diff(curve) >= 0).all()


def test_noise_follows_the_generator_alone():
    image = texture(64, 64)
    one, two, other = (low_light(image, 0.3, 120, 0.018, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
