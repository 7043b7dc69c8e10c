"""Spatter against its published formula, computed here in another way."""

import cv2
import numpy as np
import pytest
from corruption_pictures import texture
from scipy.ndimage import gaussian_filter
from scipy.stats import norm

from corruptions import load
from corruptions.common._spatter import MUD, WATER, muddied, splashes, wetted
from corruptions.common.spatter import Spatter


def level(severity):
    return load("spatter").card.extra["severities"][severity]


@pytest.mark.parametrize("severity", range(1, 6))
def test_as_much_spatter_as_published(severity):
    """Smoothed noise is normal: what lies over the threshold is its upper tail."""
    row = level(severity)
    taps = np.exp(-0.5 * (np.arange(-20, 21) / row["smooth"]) ** 2)
    smoothed = row["sigma"] * (taps**2).sum() / taps.sum() ** 2
    share = norm.sf((row["threshold"] - row["mean"]) / smoothed)
    # As mud that is not smoothed again, without the rim, where repeated edge pixels make the noise stronger.
    layers = [splashes((360, 224), "mud", {**row, "strength": 0.01}, np.random.default_rng(s)) for s in range(8)]
    inside = np.array(layers)[:, 16:-16, 16:-16]
    # What one drop of 2 pi g² pixels more or less changes, three times.
    spread = 3 * np.sqrt(share * 4 * np.pi * row["smooth"] ** 2 / inside.size)
    assert (inside > 0).mean() == pytest.approx(share, abs=spread)


@pytest.mark.parametrize("severity", [1, 2, 3])
def test_water_looks_as_published(severity):
    """The published chain in floating point on the same noise."""
    row = level(severity)
    layer = splashes((224, 224), "water", row, np.random.default_rng(8))
    noise = np.random.default_rng(8).standard_normal((224, 224), dtype=np.float32) * row["sigma"] + row["mean"]
    liquid = gaussian_filter(noise.astype(float), row["smooth"], mode="nearest", truncate=4)
    liquid[liquid < row["threshold"]] = 0
    eight = (255 * liquid).astype(np.uint8)
    distance = cv2.distanceTransform(255 - cv2.Canny(eight, 50, 150), cv2.DIST_L2, 5)
    relief = cv2.equalizeHist(cv2.blur(np.minimum(distance, 20), (3, 3)).astype(np.uint8))
    emboss = np.array([[-2, -1, 0], [-1, 1, 1], [0, 1, 2]])
    relief = cv2.blur(cv2.filter2D(relief, cv2.CV_8U, emboss), (3, 3)).astype(float)
    expected = liquid * relief
    expected /= expected.max()
    assert np.corrcoef(expected.ravel(), layer.ravel() / 255)[0, 1] > 0.98
    assert layer.max() == 255


def test_water_adds_its_colour():
    image, layer = texture(48, 48), np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    expected = np.clip(image + 0.6 * layer[..., None] / 255 * np.array([175, 238, 238]), 0, 255)
    assert np.abs(wetted(image, layer, 0.6) - expected).max() <= 0.51
    assert WATER == (175, 238, 238)


def test_mud_covers_with_its_colour():
    image, layer = texture(48, 48), np.tile(np.arange(0, 240, 5, dtype=np.uint8), (48, 1))
    share = layer[..., None] / 255
    assert np.abs(muddied(image, layer) - (image * (1 - share) + share * np.array([63, 42, 20]))).max() <= 0.51
    assert MUD == (63, 42, 20)


@pytest.mark.parametrize("shape", [(224, 224), (400, 300)])
def test_thin_mud_runs_off(shape):
    layer = splashes(shape, "mud", level(5), np.random.default_rng(0))
    assert set(np.unique(layer)) <= {0, *range(204, 256)}
    assert 0.05 < (layer > 0).mean() < 0.6


def test_mud_against_the_published_chain():
    row = level(4)
    noise = np.random.default_rng(3).standard_normal((224, 224), dtype=np.float32) * row["sigma"] + row["mean"]
    solid = gaussian_filter(noise.astype(float), 1.0, mode="nearest", truncate=4) > row["threshold"]
    expected = gaussian_filter(solid.astype(float), 1.5, mode="nearest", truncate=4)
    expected[expected < 0.8] = 0
    ours = splashes((224, 224), "mud", row, np.random.default_rng(3)) / 255
    assert ((ours > 0) != (expected > 0)).mean() < 0.02
    both = (ours > 0) & (expected > 0)
    # Noise in steps of 1/60 puts a few pixels on the other side of the threshold.
    assert np.percentile(np.abs(ours - expected)[both], 95) < 0.03


def test_no_drops_leave_the_picture_as_it_is():
    dry = {**level(1), "threshold": 2.0}
    assert not splashes((224, 224), "water", dry, np.random.default_rng(0)).any()


def test_other_liquids_are_refused():
    image, params = texture(40, 40), Spatter().sample(1, (40, 40), np.random.default_rng(0))
    with pytest.raises(ValueError, match="'water' or 'mud', got 'oil'"):
        Spatter().apply(image, {**params, "liquid": "oil"}, None)
