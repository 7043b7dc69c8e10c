"""Depth of field."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from scipy.ndimage import gaussian_filter1d

from corruptions._focus import LAYERS, blur, blur_sigmas, octiles
from corruptions.far_focus import FarFocus, far_focus
from corruptions.near_focus import NearFocus, near_focus


def _planes(width=256, near=1.0, far=2.0):
    """Near strip on the left, far plane with a vertical black-white edge on the right."""
    depth = np.full((64, width), far, np.float32)
    depth[:, : width // 2] = near
    image = np.zeros((64, width, 3), np.uint8)
    image[:, : width // 4] = image[:, 3 * width // 4 :] = 255
    return image, depth


def _edge_sigma(profile):
    step = np.abs(np.diff(profile.astype(float)))
    at = np.arange(len(step))
    mean = (step * at).sum() / step.sum()
    return np.sqrt((step * (at - mean) ** 2).sum() / step.sum())


def _truth(image, depth, octile, aperture, most):
    """The published mixture, written pixel by pixel from full-size Gaussians in floating point."""
    q = np.quantile(depth.astype(np.float64), np.arange(9) / 8)
    layers = []
    for sigma in np.minimum(aperture * np.abs(q - q[octile]) / q, most):
        layer = image.astype(float)
        if sigma >= 0.1:
            for axis in (0, 1):
                layer = gaussian_filter1d(layer, sigma, axis=axis, mode="nearest", truncate=4.0)
        layers.append(layer)
    expected = np.zeros(image.shape)
    for (r, c), d in np.ndenumerate(depth.astype(np.float64)):
        j = min(max(1, int(np.searchsorted(q, d, side="left"))), 8)
        a = (d - q[j - 1]) / (q[j] - q[j - 1]) if q[j] > q[j - 1] else 0.0
        low, high = 1 - a * a, 1 - (1 - a) ** 2
        expected[r, c] = (low * layers[j - 1][r, c] + high * layers[j][r, c]) / (low + high)
    return expected


@pytest.mark.parametrize("aperture", [1.5, 5.0])
@pytest.mark.parametrize("scene", ["person", "floor", "deep"])
def test_independent_computation(scene, aperture):
    image, depth, mask = person(96, 97)
    if scene == "person":
        depth = np.where(mask, depth - 7, 6.0).astype(np.float32)
    else:
        y, x = np.indices(depth.shape)
        depth = (1 + (y / 30) ** (2 if scene == "deep" else 1) + x / 200).astype(np.float32)
    assert psnr(near_focus(image, depth, aperture), _truth(image, depth, 0, aperture, np.inf)) > 55
    assert psnr(far_focus(image, depth, aperture), _truth(image, depth, 7, aperture, 4 * aperture)) > 55


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.7, 2.8, 4.0, 6.9, 7.0, 12.0, 22.0])
def test_small_gaussians_equal_full_ones(sigma):
    image = texture(90, 131)
    full = image.astype(float)
    for axis in (0, 1):
        full = gaussian_filter1d(full, sigma, axis=axis, mode="nearest", truncate=4.0)
    assert psnr(blur(image, sigma, 4.0), full) > 55


def test_octiles_are_quantiles():
    depth = np.random.default_rng(0).gamma(2, size=(37, 41)).astype(np.float32)
    assert np.allclose(octiles(depth), np.quantile(depth, np.arange(LAYERS + 1) / LAYERS), rtol=1e-6)


def test_nearest_plane_stays_sharp():
    image = texture(64, 256)
    _, depth = _planes()
    result = near_focus(image, depth, 7.0)
    assert np.abs(result[:, :128].astype(int) - image[:, :128]).max() <= 2
    assert psnr(result[:, 128:], image[:, 128:]) < 35


@pytest.mark.parametrize(("aperture", "far"), [(3.0, 2.0), (5.0, 2.0), (7.0, 4.0), (7.0, 1e6)])
def test_sigma_follows_the_lens_and_saturates(aperture, far):
    image, depth = _planes(far=far)
    expected = aperture * (1 - 1 / far)
    measured = _edge_sigma(near_focus(image, depth, aperture)[32, 160:230, 0])
    assert measured == pytest.approx(expected, rel=0.1)
    assert measured < aperture * 1.1


def test_published_kernel_is_an_option_and_weaker():
    image, depth = _planes(far=1e6)
    assert _edge_sigma(near_focus(image, depth, 5.0, truncate=1.5)[32, 160:230, 0]) == pytest.approx(3.7, abs=0.2)
    for kind in (NearFocus, FarFocus):
        assert kind(truncate=1.5).sample(1, (64, 64), np.random.default_rng(0))["truncate"] == 1.5


def test_edges_get_softer_with_depth():
    sigmas = []
    for far in (1.2, 1.5, 2.0, 3.0, 10.0):
        image, depth = _planes(far=far)
        sigmas.append(_edge_sigma(near_focus(image, depth, 5.0)[32, 160:230, 0]))
    assert (np.diff(sigmas) > 0).all()


def test_far_plane_stays_sharp_and_the_near_one_blurs():
    image = texture(64, 256)
    _, depth = _planes()
    result = far_focus(image, depth, 5.5)
    assert np.abs(result[:, 128:].astype(int) - image[:, 128:]).max() <= 2
    assert psnr(result[:, :128], image[:, :128]) < 30


@pytest.mark.parametrize(("aperture", "far"), [(1.5, 3.0), (3.5, 2.0), (2.0, 5.0), (2.0, 1e6)])
def test_far_focus_grows_towards_the_camera_and_is_capped(aperture, far):
    image, depth = _planes(far=far)
    measured = _edge_sigma(far_focus(image[:, ::-1], depth, aperture)[32, 20:110, 0])
    assert measured == pytest.approx(min(aperture * (far - 1), 4 * aperture), rel=0.1)


def test_far_focus_is_sharp_at_seven_eighths_not_at_the_farthest():
    depth = np.broadcast_to(np.linspace(1, 9, 256, dtype=np.float32), (64, 256))
    assert blur_sigmas(octiles(depth), 8.0, 2.0, 8.0) == pytest.approx(
        [8.0, 6.0, 10 / 3, 2, 6 / 5, 2 / 3, 2 / 7, 0, 2 / 9]
    )
    image = np.zeros((64, 256, 3), np.uint8)
    image[:, ::8] = 255
    error = np.abs(far_focus(image, depth, 2.0).astype(int) - image)[32, :, 0].reshape(32, 8).max(axis=1)
    assert error.argmin() in (27, 28)


@pytest.mark.parametrize("focus", [near_focus, far_focus])
def test_only_ratios_of_depth_matter(focus):
    image, depth, mask = person(64, 64)
    depth = np.where(mask, depth, 15.0).astype(np.float32)
    assert np.array_equal(focus(image, depth, 4.0), focus(image, depth * 1024, 4.0))
    assert psnr(focus(image, depth, 4.0), focus(image, depth / 1000, 4.0)) > 55


@pytest.mark.parametrize("name", ["near_focus", "far_focus"])
def test_constant_image_and_mean_are_kept(name):
    _, depth, _ = person(96, 96)
    plain = np.full((96, 96, 3), 177, np.uint8)
    assert np.array_equal(corrupt(name, 5, plain, depth).image, plain)
    image = cv2.GaussianBlur(texture(96, 96), (0, 0), 1)
    assert corrupt(name, 3, image, depth).image.mean() == pytest.approx(image.mean(), abs=0.5)


def test_aperture_follows_the_width():
    image, depth, _ = person(64, 64)
    params = NearFocus().sample(5, (64, 64), np.random.default_rng(0))
    assert params["aperture_px"] == 7.0
    assert np.allclose(blur_sigmas(np.array([1.0, 2.0, 1e9]), 1.0, 7.0 * 64 / 512), [0, 0.4375, 0.875])
    # 64 pixels: at most 0.44 px of blur on the wall at twice the distance.
    assert psnr(corrupt("near_focus", 5, image, depth).image, image) > 30


@pytest.mark.parametrize("focus", [near_focus, far_focus])
@pytest.mark.parametrize("wrong", [np.inf, np.nan, 0.0, -1.0])
def test_depth_must_be_finite(focus, wrong):
    image, depth, _ = person(64, 64)
    with pytest.raises(ValueError, match="finite depth"):
        focus(image, np.where(np.isfinite(depth), depth, np.float32(wrong)), 3.0)
