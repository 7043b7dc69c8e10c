"""The four noises of ImageNet-C: their published levels, and their exact distributions."""

import numpy as np
import pytest
from corruption_pictures import corrupt, texture
from scipy import stats

from corruptions import load
from corruptions._noise import alias_table, draw, impulse_distribution, normal_cells, sensor_distribution
from corruptions.common.gaussian_noise import gaussian_noise
from corruptions.common.impulse_noise import impulse_noise
from corruptions.common.shot_noise import shot_noise
from corruptions.common.speckle_noise import speckle_noise

PUBLISHED = {
    "gaussian_noise": ("sigma", [0.08, 0.12, 0.18, 0.26, 0.38]),
    "shot_noise": ("photons", [60, 25, 12, 5, 3]),
    "impulse_noise": ("share", [0.03, 0.06, 0.09, 0.17, 0.27]),
    "speckle_noise": ("sigma", [0.15, 0.2, 0.35, 0.45, 0.6]),
}
NOISES = sorted(PUBLISHED)


def _flat(value, size=256):
    return np.full((size, size, 3), value, np.uint8)


def _formula(name, x, c, rng, count):
    """The published formula, step by step, with NumPy's own generators."""
    x = np.full(count, x)
    if name == "gaussian_noise":
        y = x + rng.normal(0, c, count)
    elif name == "shot_noise":
        y = rng.poisson(x * c) / c
    elif name == "speckle_noise":
        y = x + x * rng.normal(0, c, count)
    else:
        y = np.where(rng.random(count) < c, rng.random(count) < 0.5, x)
    return np.rint(255 * np.clip(y, 0, 1)).astype(int)


@pytest.mark.parametrize("name", NOISES)
def test_levels_are_the_published_ones(name):
    key, values = PUBLISHED[name]
    assert [row[key] for row in load(name).card.extra["severities"].values()] == values
    assert load(name).card.extra["levels"] == "published"


@pytest.mark.parametrize("value", [0, 2, 77, 128, 251, 255])
@pytest.mark.parametrize("severity", [1, 5])
@pytest.mark.parametrize("name", NOISES)
def test_distribution_is_that_of_the_formula(name, severity, value):
    """Two samples, ours and the formula's, at mid-tones and where clipping bites."""
    c = PUBLISHED[name][1][severity - 1]
    ours = np.bincount(corrupt(name, severity, _flat(value), None).image.ravel(), minlength=256)
    theirs = _formula(name, value / 255, c, np.random.default_rng(value), ours.sum())
    theirs = np.bincount(theirs, minlength=256)
    often = ours + theirs > 20
    assert ours[~often].sum() < ours.sum() / 500
    chi2 = ((ours - theirs)[often] ** 2 / (ours + theirs)[often]).sum()
    # A single possible value leaves nothing to compare but that it is the same one.
    assert (chi2 == 0) if often.sum() == 1 else stats.chi2.sf(chi2, often.sum() - 1) > 1e-4


@pytest.mark.parametrize(("severity", "value"), [(1, 77), (1, 128), (1, 178), (2, 128), (3, 128)])
def test_gaussian_variance(severity, value):
    sigma = PUBLISHED["gaussian_noise"][1][severity - 1]
    noisy = corrupt("gaussian_noise", severity, _flat(value, 400), None).image / 255
    # At severity 3 a mid-grey loses 0.5 % of its values, and 3 % of its variance, to clipping.
    assert noisy.var() == pytest.approx(sigma**2, rel=0.01 if severity < 3 else 0.05)


@pytest.mark.parametrize(("severity", "value"), [(1, 51), (1, 128), (1, 178), (2, 77), (2, 128)])
def test_shot_variance_is_the_signal_over_the_photons(severity, value):
    photons = PUBLISHED["shot_noise"][1][severity - 1]
    noisy = corrupt("shot_noise", severity, _flat(value, 400), None).image / 255
    assert noisy.var() == pytest.approx(value / 255 / photons, rel=0.02)


@pytest.mark.parametrize("severity", range(1, 6))
def test_shot_gives_whole_numbers_of_photons(severity):
    photons = PUBLISHED["shot_noise"][1][severity - 1]
    values = np.unique(corrupt("shot_noise", severity, _flat(100), None).image)
    assert set(values) <= set(np.rint(np.arange(photons + 1) * 255 / photons).astype(int))
    assert (corrupt("shot_noise", severity, _flat(0), None).image == 0).all()


@pytest.mark.parametrize(("severity", "value"), [(1, 40), (1, 128), (2, 77), (2, 128), (4, 60)])
def test_speckle_variance_is_that_share_of_the_signal(severity, value):
    c = PUBLISHED["speckle_noise"][1][severity - 1]
    noisy = corrupt("speckle_noise", severity, _flat(value, 400), None).image / 255
    # 0.45 of the value: 1.3 % of the draws fall below black.
    assert noisy.var() == pytest.approx(c**2 * (value / 255) ** 2, rel=0.01 if severity < 4 else 0.05)
    assert (corrupt("speckle_noise", severity, _flat(0), None).image == 0).all()


@pytest.mark.parametrize("severity", range(1, 6))
def test_impulse_hits_its_share_and_half_of_it_turns_white(severity):
    share = PUBLISHED["impulse_noise"][1][severity - 1]
    noisy = corrupt("impulse_noise", severity, _flat(128, 400), None).image
    assert set(np.unique(noisy)) == {0, 128, 255}
    extreme = noisy != 128
    assert extreme.mean() == pytest.approx(share, abs=4 * np.sqrt(share / extreme.size))
    assert (noisy[extreme] == 255).mean() == pytest.approx(0.5, abs=0.02)
    # Channels are hit independently: all three at once with the cube of the share.
    assert extreme.all(axis=2).mean() == pytest.approx(share**3, abs=0.002)


@pytest.mark.parametrize(("name", "severity"), [("gaussian_noise", 1), ("shot_noise", 1), ("speckle_noise", 1)])
def test_mean_of_mid_grey_stays(name, severity):
    """Zero-mean noise that nothing clips is rounded, not truncated (which would take half a level)."""
    assert corrupt(name, severity, _flat(128, 600), None).image.mean() == pytest.approx(128, abs=0.2)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_white_and_independent(name):
    one, other = (corrupt(name, 2, _flat(128), None, seed).image.astype(float) for seed in (1, 2))
    one, other = one - one.mean(), other - other.mean()
    r, g, b = (one[..., c].ravel() for c in range(3))
    for x, y in ((r, g), (g, b), (r, b), (one.ravel(), other.ravel())):
        assert abs(np.corrcoef(x, y)[0, 1]) < 0.02
    power = np.mean([np.abs(np.fft.fft2(one[..., c])) ** 2 for c in range(3)], axis=0)
    power[0, 0] = power.mean()
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    bands = [power[(radius >= low) & (radius < low + 0.1)].mean() for low in (0.0, 0.1, 0.2, 0.3, 0.4)]
    assert np.allclose(bands, power.mean(), rtol=0.08)


@pytest.mark.parametrize("name", NOISES)
def test_strength_does_not_follow_the_resolution(name):
    """Noise is that of single pixels, as published: twice the picture, the same variance."""
    small, large = (corrupt(name, 3, _flat(120, size), None).image / 255 for size in (128, 256))
    assert small.std() == pytest.approx(large.std(), rel=0.04)


def test_nothing_drawn_leaves_the_picture():
    image, rng = texture(64, 64), np.random.default_rng(0)
    assert np.array_equal(gaussian_noise(image, 0.0, rng), image)
    assert np.array_equal(speckle_noise(image, 0.0, rng), image)
    assert np.array_equal(impulse_noise(image, 0.0, rng), image)
    assert set(np.unique(impulse_noise(image, 1.0, rng))) == {0, 255}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i, r: gaussian_noise(i, -0.1, r), "Gaussian noise needs sigma >= 0, got -0.1"),
        (lambda i, r: speckle_noise(i, -0.1, r), "speckle noise needs sigma >= 0, got -0.1"),
        (lambda i, r: shot_noise(i, 0, r), "shot noise needs at least one photon, got 0"),
        (lambda i, r: impulse_noise(i, 1.5, r), r"impulse noise needs a share in \[0, 1\], got 1.5"),
    ],
)
def test_impossible_noise_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(texture(32, 32), np.random.default_rng(0))


@pytest.mark.parametrize(
    "distribution",
    [
        normal_cells(np.arange(256) / 255, np.full(256, 0.12)),
        normal_cells(np.arange(256) / 255, 0.35 * np.arange(256) / 255),
        sensor_distribution(np.arange(256) / 255, 5, 0.0),
        impulse_distribution(0.17),
    ],
    ids=["gaussian", "speckle", "shot", "impulse"],
)
def test_tables_hold_the_distribution(distribution):
    assert np.allclose(distribution.sum(axis=1), 1)
    assert distribution.min() >= 0
    table = alias_table(distribution)
    recovered = table.keep.astype(float)
    for row in range(256):
        np.add.at(recovered[row], table.alias[row], (1 << 16) - table.keep[row].astype(float))
    assert np.abs(recovered / (1 << 24) - distribution).max() < 2e-5


def test_draw_is_one_alias_step_per_word():
    """The blocks and the missing branch change nothing: value by value, from the words of the generator."""
    table = alias_table(impulse_distribution(0.3))
    levels = texture(131, 97).ravel()[:38_117]  # longer than a block, and odd
    words = np.random.default_rng(4).integers(0, 1 << 32, size=levels.size, dtype=np.uint32)
    expected = [
        int(w & 255) if (int(w) >> 16) < table.keep[v, w & 255] else table.alias[v, w & 255]
        for v, w in zip(levels, words, strict=True)
    ]
    assert np.array_equal(draw(levels, table, np.random.default_rng(4)), expected)
