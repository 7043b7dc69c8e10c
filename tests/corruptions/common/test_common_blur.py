"""The five blurs of ImageNet-C against computations of their own formulas, and what a blur must keep."""

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from scipy import ndimage, signal

from corruptions import load
from corruptions.common._filters import convolve
from corruptions.common.defocus_blur import DefocusBlur, defocus_blur, disc
from corruptions.common.gaussian_blur import GaussianBlur, gaussian_blur
from corruptions.common.glass_blur import GlassBlur, glass_blur
from corruptions.common.motion_blur import MotionBlur, line, motion_blur
from corruptions.common.zoom_blur import zoom_blur

PUBLISHED = {
    "defocus_blur": (("radius_px", "softness_px"), [(3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)]),
    "gaussian_blur": (("sigma_px",), [(1,), (2,), (3,), (4,), (6,)]),
    "glass_blur": (
        ("sigma_px", "delta_px", "passes"),
        [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)],
    ),
    "motion_blur": (("radius_px", "sigma_px"), [(10, 3), (15, 5), (15, 8), (15, 12), (20, 15)]),
    "zoom_blur": (("zoom_step", "zooms"), [(0.01, 12), (0.01, 16), (0.02, 11), (0.02, 13), (0.03, 11)]),
}
BLURS = sorted(PUBLISHED)
LEVELS = range(1, 6)


def _level(name, severity):
    return PUBLISHED[name][1][severity - 1]


def _run(blur, severity, image, seed=0):
    return blur.apply(image, blur.sample(severity, image.shape[:2], np.random.default_rng(seed)), None).image


def _centroid(weights):
    y, x = np.indices(weights.shape)
    return np.array([(y * weights).sum(), (x * weights).sum()]) / weights.sum()


@pytest.mark.parametrize("name", BLURS)
def test_levels_are_the_published_ones(name):
    keys, values = PUBLISHED[name]
    assert [tuple(row[k] for k in keys) for row in load(name).card.extra["severities"].values()] == values
    assert load(name).card.extra["levels"] == "published"


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (40, 200)])
@pytest.mark.parametrize("name", BLURS)
def test_constant_picture_stays(name, shape):
    image = np.full((*shape, 3), (200, 3, 255), np.uint8)
    for severity in LEVELS:
        assert np.array_equal(corrupt(name, severity, image, None).image, image)


@pytest.mark.parametrize("name", BLURS)
def test_mean_intensity_stays(name):
    """On a plain frame, so that nothing comes in or goes out over the border."""
    image = np.full((160, 160, 3), 90, np.uint8)
    image[60:100, 60:100] = texture(40, 40)
    tolerance = 4 if name == "zoom_blur" else 0.5  # a zoom enlarges what is in the middle
    for severity in (1, 5):
        assert corrupt(name, severity, image, None).image.mean() == pytest.approx(image.mean(), abs=tolerance)


@pytest.mark.parametrize("name", BLURS)
def test_fine_structure_fades(name):
    """Energy at high frequencies falls with severity.

    Only from 1 to 5 for glass, whose levels mix widths and passes, and zoom, whose levels have more or fewer ghosts.
    """
    image = texture(224, 224, smooth=0)
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(224), np.fft.fftfreq(224)))
    energy = []
    for severity in LEVELS:
        grey = corrupt(name, severity, image, None, seed=4).image.mean(axis=2)
        energy.append((np.abs(np.fft.fft2(grey - grey.mean())) ** 2)[radius > 0.1].sum())
    if name in ("glass_blur", "zoom_blur"):
        assert energy[4] < 0.8 * energy[0]
    else:
        assert (np.diff(energy) < 0).all(), energy


@pytest.mark.parametrize("name", ["defocus_blur", "gaussian_blur", "glass_blur", "motion_blur", "zoom_blur"])
@pytest.mark.parametrize("severity", [1, 5])
def test_twice_the_resolution_is_the_same_picture(name, severity):
    """Also for glass: its grains grow with the picture."""
    image = cv2.GaussianBlur(person(224, 224)[0], (0, 0), 1.5)
    big = cv2.resize(image, (448, 448), interpolation=cv2.INTER_CUBIC)
    small = corrupt(name, severity, image, None, seed=3).image
    shrunk = cv2.resize(corrupt(name, severity, big, None, seed=3).image, (224, 224), interpolation=cv2.INTER_AREA)
    assert psnr(small, shrunk) > 30


@pytest.mark.parametrize("kind", [DefocusBlur, GaussianBlur, GlassBlur, MotionBlur])
def test_published_pixels_belong_to_224(kind):
    image = texture(60, 224)
    assert np.array_equal(_run(kind(scaled=True), 3, image), _run(kind(scaled=False), 3, image))
    large = texture(96, 448)
    assert psnr(_run(kind(scaled=True), 3, large), _run(kind(scaled=False), 3, large)) < 40


@pytest.mark.parametrize("kind", [DefocusBlur, GaussianBlur, MotionBlur])
def test_unscaled_pixels_are_the_same_at_any_size(kind):
    image = texture(200, 300)
    whole = _run(kind(scaled=False), 2, image)
    part = _run(kind(scaled=False), 2, image[50:170, 60:200].copy())
    assert np.abs(whole[50:170, 60:200].astype(int) - part)[40:-40, 40:-40].max() <= 1


# --- Gaussian ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize(("scaled", "width"), [(False, 97), (True, 160), (True, 320)])
def test_gaussian_formula(severity, scaled, width):
    image = texture(90, width, smooth=1)
    sigma = _level("gaussian_blur", severity)[0] * (width / 224 if scaled else 1)
    expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
    result = _run(GaussianBlur(scaled=scaled), severity, image)
    assert psnr(result, expected) > 55
    assert np.abs(result - expected).max() <= (0.51 if sigma < 4 else 0.75)


@pytest.mark.parametrize("sigma", [3.99, 4.0, 7.99, 8.0, 31.0])
@pytest.mark.parametrize("shape", [(70, 91), (33, 32)])
def test_gaussian_at_a_lower_resolution_is_the_same(sigma, shape):
    """White noise, all of which is above what the coarse grids can hold, but for what the Gaussian leaves."""
    image = np.random.default_rng(2).integers(0, 256, (*shape, 3)).astype(np.uint8)
    expected = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest", truncate=4)
    result = gaussian_blur(image, sigma)
    assert np.abs(result - expected).max() <= 0.75
    assert np.mean(result - expected) == pytest.approx(0, abs=0.06)


# --- defocus ----------------------------------------------------------------------------------------------------------


def _published_disc(severity):
    """The spec's kernel: pixels within the radius, blurred by a Gaussian of 3 or 5 taps; here on a grid wide enough."""
    radius, softness = _level("defocus_blur", severity)
    y, x = np.mgrid[-12:13, -12:13]
    tap = np.exp(-0.5 * (np.arange(-1, 2) if radius <= 8 else np.arange(-2, 3)) ** 2 / softness**2)
    hard = (x**2 + y**2 <= radius**2) / (x**2 + y**2 <= radius**2).sum()
    return signal.convolve2d(hard, np.outer(tap, tap) / tap.sum() ** 2, mode="same")


@pytest.mark.parametrize("severity", LEVELS)
def test_defocus_formula(severity):
    image = texture(70, 90, smooth=1)
    kernel = _published_disc(severity)
    expected = np.stack(
        [ndimage.convolve(image[..., c].astype(float), kernel, mode="mirror") for c in range(3)], axis=2
    )
    result = _run(DefocusBlur(scaled=False), severity, image)
    assert psnr(result, expected) > 55
    assert np.abs(result - expected).max() <= 0.51


@pytest.mark.parametrize(("radius", "softness", "reach"), [(0.4, 0.07, 1), (3, 0.1, 1), (7.3, 1.1, 2), (22.9, 1.14, 5)])
def test_disc_is_isotropic_and_sums_to_one(radius, softness, reach):
    kernel = disc(radius, softness, reach)
    assert kernel.sum() == pytest.approx(1, abs=1e-12)
    assert kernel.min() >= 0
    assert np.allclose(kernel, kernel.T)
    assert np.allclose(kernel, kernel[::-1])
    if radius > 5:
        y, x = np.indices(kernel.shape) - len(kernel) // 2
        # A disc's variance along any axis is r² / 4, to which the softening adds its own.
        for direction in (x, y, (x + y) / np.sqrt(2)):
            assert (kernel * direction**2).sum() == pytest.approx(radius**2 / 4 + softness**2, rel=0.05)


# --- motion -----------------------------------------------------------------------------------------------------------


def _published_motion(image, radius, sigma, angle):
    """The spec's formula as a sum of moved pictures, the edges replicated."""
    tap = np.arange(2 * radius + 1)
    weight = np.exp(-(tap**2) / (2 * sigma**2))
    pad = 2 * radius + 1
    wide = np.pad(image.astype(float), ((pad, pad), (pad, pad), (0, 0)), mode="edge")
    total, (height, width) = np.zeros(image.shape), image.shape[:2]
    for i, w in zip(tap, weight / weight.sum(), strict=True):
        up, left = (int(np.ceil(i * f(np.deg2rad(angle)) - 0.5)) for f in (np.sin, np.cos))
        total += w * wide[pad + up : pad + up + height, pad + left : pad + left + width]
    return total


@pytest.mark.parametrize("angle", [-45.0, -17.3, 0.0, 30.0, 44.9])
@pytest.mark.parametrize("severity", [1, 3, 5])
def test_motion_formula_as_published(severity, angle):
    image = texture(80, 100, smooth=1)
    radius, sigma = _level("motion_blur", severity)
    result = motion_blur(image, radius, sigma, angle, centred=False)
    assert psnr(result, _published_motion(image, radius, sigma, angle)) > 55
    blur = MotionBlur(scaled=False, centred=False)
    params = {**blur.sample(severity, (80, 100), np.random.default_rng(0)), "angle_deg": angle}
    assert np.array_equal(blur.apply(image, params, None).image, result)


@pytest.mark.parametrize(("severity", "shift"), list(enumerate([2.1, 3.7, 6.1, 9.0, 11.4], 1)))
def test_published_line_shifts_and_ours_does_not(severity, shift):
    radius, sigma = _level("motion_blur", severity)
    for angle in (-45.0, -20.0, 0.0, 33.0):
        for centred in (True, False):
            kernel = line(radius, sigma, angle, centred)
            assert kernel.sum() == pytest.approx(1, abs=1e-12)
            assert kernel.min() >= 0
            moved = _centroid(kernel) - (np.array(kernel.shape) - 1) / 2
            if centred:
                assert np.abs(moved).max() < 1e-9
            else:
                expected = -shift * np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
                assert moved == pytest.approx(expected, abs=0.3)


@pytest.mark.parametrize("severity", [1, 4])
def test_centred_line_is_the_published_one_moved(severity):
    image = cv2.GaussianBlur(texture(140, 160), (0, 0), 2)
    radius, sigma = _level("motion_blur", severity)
    centred = motion_blur(image, radius, sigma, 25.0)
    published = motion_blur(image, radius, sigma, 25.0, centred=False)
    tap = np.arange(2 * radius + 1)
    weight = np.exp(-0.5 * (tap / sigma) ** 2)
    back = (tap @ weight) / weight.sum() * np.array([np.sin(np.deg2rad(25)), np.cos(np.deg2rad(25))])
    moved = ndimage.shift(published.astype(float), (*back, 0), order=3, mode="nearest")
    inside = slice(45, -45)
    assert psnr(centred[inside, inside], moved[inside, inside]) > 40
    assert psnr(centred[inside, inside], published[inside, inside]) < 35


@pytest.mark.parametrize("severity", LEVELS)
def test_centred_motion_leaves_the_centroid_of_a_dot(severity):
    image = np.zeros((161, 161, 3), np.uint8)
    image[76:85, 76:85] = 255
    for seed in range(3):
        result = corrupt("motion_blur", severity, image, None, seed).image[..., 0].astype(float)
        assert _centroid(result) == pytest.approx([80, 80], abs=0.3)


def test_directions_fill_the_published_range_and_are_shared_by_the_levels():
    blur = load("motion_blur")
    angles = [blur.sample(1, (64, 64), np.random.default_rng(s))["angle_deg"] for s in range(300)]
    assert -45 <= min(angles) < -40
    assert 40 < max(angles) <= 45
    assert np.mean(angles) == pytest.approx(0, abs=6)
    assert len({blur.sample(s, (64, 64), np.random.default_rng(1))["angle_deg"] for s in LEVELS}) == 1


# --- zoom -------------------------------------------------------------------------------------------------------------


def _published_zoom(image, zooms):
    height, width = image.shape[:2]
    y, x = np.mgrid[:height, :width].astype(float)
    total = image.astype(float)
    for zoom in zooms:
        at = [(height - 1) / 2 + (y - (height - 1) / 2) / zoom, (width - 1) / 2 + (x - (width - 1) / 2) / zoom]
        total += np.stack([ndimage.map_coordinates(image[..., c].astype(float), at, order=1) for c in range(3)], axis=2)
    return total / (len(zooms) + 1)


@pytest.mark.parametrize("shape", [(96, 128), (131, 97), (256, 256)])
@pytest.mark.parametrize(
    ("severity", "zooms"),
    [(1, np.arange(1, 1.11, 0.01)), (2, np.arange(1, 1.16, 0.01)), (3, np.arange(1, 1.21, 0.02))],
)
def test_zoom_formula(severity, zooms, shape):
    image = texture(*shape)
    result = corrupt("zoom_blur", severity, image, None).image
    assert psnr(result, _published_zoom(image, zooms)) > 55


@pytest.mark.parametrize(
    ("severity", "count", "last"), [(1, 12, 1.11), (2, 16, 1.15), (3, 11, 1.2), (4, 13, 1.24), (5, 11, 1.3)]
)
def test_zooms_are_the_published_ones(severity, count, last):
    step, zooms = _level("zoom_blur", severity)
    assert zooms == count
    assert 1 + step * (zooms - 1) == pytest.approx(last)


def test_zoom_keeps_the_centre_and_is_symmetric():
    image = texture(129, 129)
    result = corrupt("zoom_blur", 5, image, None).image.astype(int)
    assert np.abs(result[64, 64] - image[64, 64]).max() <= 1
    for turn in (lambda a: a[::-1], lambda a: a[:, ::-1], np.rot90):
        turned = corrupt("zoom_blur", 5, np.ascontiguousarray(turn(image)), None).image
        assert np.abs(turned - turn(result)).max() <= 1


def test_zoom_smears_outwards():
    """A dot at 40 % of the half width ends up as ghosts on its ray, the last at the last zoom."""
    image = np.zeros((201, 201, 3), np.uint8)
    image[98:103, 138:143] = 255
    ray = corrupt("zoom_blur", 5, image, None).image[100, :, 0]
    lit = np.flatnonzero(ray)
    assert lit[0] == 138
    assert lit[-1] == pytest.approx(100 + 1.3 * 42, abs=1.5)
    assert not corrupt("zoom_blur", 5, image, None).image[:94].any()


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda i: gaussian_blur(i, -1.0), "sigma >= 0 pixels, got -1.0"),
        (lambda i: defocus_blur(i, -1.0, 0.5, 1), "radius >= 0, softness > 0 and reach >= 0, got -1.0"),
        (lambda i: defocus_blur(i, 3.0, 0.0, 1), "softness > 0"),
        (lambda i: motion_blur(i, -1.0, 3.0, 0.0), "radius >= 0 and sigma > 0 pixels, got -1.0 and 3.0"),
        (lambda i: motion_blur(i, 3.0, 0.0, 0.0), "sigma > 0 pixels, got 3.0 and 0.0"),
        (lambda i: zoom_blur(i, (0.9, 1.1)), r"magnifications in \[1, 4\], got \(0.9, 1.1\)"),
        (lambda i: glass_blur(i, 1.0, 0, 1, np.random.default_rng(0)), "delta >= 1"),
        (lambda i: glass_blur(i, 1.0, 1, 0, np.random.default_rng(0)), "passes >= 1"),
        (lambda i: glass_blur(i, 1.0, 1, 1, np.random.default_rng(0), grain=0.0), "grain > 0"),
        (lambda i: convolve(i, np.ones((2, 3)), "reflect"), r"odd sides, got \(2, 3\)"),
    ],
)
def test_impossible_blurs_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call(texture(32, 32))


def test_no_blur_at_all():
    image = texture(40, 40)
    assert np.array_equal(gaussian_blur(image, 0.0), image)
    assert np.array_equal(zoom_blur(image, ()), image)
    assert np.array_equal(zoom_blur(image, (1.0, 1.0)), image)
    assert np.array_equal(motion_blur(image, 0.0, 1.0, 12.0), image)
    assert np.array_equal(defocus_blur(image, 0.0, 0.01, 1), image)
