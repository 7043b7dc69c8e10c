"""Camera motion with parallax."""

import cv2
import numpy as np
import pytest
from corruption_pictures import aux_of, corrupt, person, psnr, texture
from scipy.ndimage import map_coordinates

from corruptions import load
from corruptions._motion import behind, motion_blur
from corruptions._path import Path
from corruptions.xy_motion_blur import XyMotionBlur, xy_motion_blur
from corruptions.z_motion_blur import z_motion_blur


def _flat(height, width, depth=3.0):
    return np.full((height, width), depth, np.float32)


def _centroid(image):
    weight = image[..., 0].astype(float)
    y, x = np.indices(weight.shape)
    return np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()


def _dot(height, width, x, y, radius=3):
    image = np.zeros((height, width, 3), np.uint8)
    cv2.circle(image, (x, y), radius, (255, 255, 255), -1, cv2.LINE_AA)
    return image


def _view(image, depth, shift=(0.0, 0.0), zoom=1.0, tau=1.0):
    return motion_blur(image, depth, Path(shift, zoom, tau, tau), 1)


@pytest.mark.parametrize("shift", [(20.0, 0.0), (-18.0, 0.0), (0.0, 16.0), (15.0, -12.0)])
def test_flat_depth_is_a_uniform_linear_blur(shift):
    image = cv2.GaussianBlur(texture(128, 128), (0, 0), 1.5)
    result = xy_motion_blur(image, _flat(128, 128), shift, 0.8, 32)
    y, x = np.mgrid[:128, :128].astype(float)
    expected = np.mean(
        [
            [
                map_coordinates(image[..., c].astype(float), [y + t * shift[1], x + t * shift[0]], order=1)
                for c in range(3)
            ]
            for t in np.linspace(0, 0.8, 161)
        ],
        axis=0,
    ).transpose(1, 2, 0)
    inside = np.s_[24:-24, 24:-24]
    assert psnr(result[inside], expected[inside]) > 35


def test_displacement_falls_with_depth():
    moved = []
    for depth in (3.0, 6.0, 12.0):
        scene = np.full((96, 192), depth, np.float32)
        scene[40:56, 60:72] = 3.0  # what d_c is measured on, away from the dot
        dot = _dot(96, 192, 140, 48)
        moved.append(_centroid(_view(dot, scene, shift=(-24.0, 12.0))) - _centroid(dot))
    assert np.allclose(moved, [[24, -12], [12, -6], [6, -3]], atol=0.5)


def test_infinitely_far_is_not_blurred():
    image = texture(96, 96)
    depth = np.full((96, 96), 1e7, np.float32)
    depth[40:56, 40:56] = 1.0
    result = xy_motion_blur(image, depth, (12.0, 0.0), 1.0, 12)
    assert np.array_equal(result[:30], image[:30])
    assert not np.array_equal(result[40:56], image[40:56])


def test_no_motion_is_the_identity():
    image, depth, mask = person(64, 80)
    depth = np.where(mask, depth, 20.0).astype(np.float32)
    assert np.array_equal(xy_motion_blur(image, depth, (0.0, 0.0), 1.0, 5), image)
    assert np.array_equal(xy_motion_blur(image, depth, (20.0, 9.0), 0.0, 3), image)
    assert np.array_equal(z_motion_blur(image, depth, (0.0, 0.0), 1.0, 1.0, 3), image)
    assert np.array_equal(z_motion_blur(image, depth, (5.0, 2.0), 0.5, 0.0, 3), image)


@pytest.mark.parametrize("name", ["xy_motion_blur", "z_motion_blur"])
def test_constant_image_stays_constant_to_the_border(name):
    plain = np.full((64, 72, 3), (200, 90, 20), np.uint8)
    depth = person(64, 72)[1]
    for seed in range(3):
        assert np.array_equal(corrupt(name, 5, plain, depth, seed).image, plain)


def test_only_ratios_of_depth_matter():
    image, depth, mask = person(64, 64)
    depth = np.where(mask, depth, 15.0).astype(np.float32)
    sideways, forwards = (9.0, 4.0), (2.0, -3.0)
    assert np.array_equal(
        xy_motion_blur(image, depth, sideways, 1.0, 8), xy_motion_blur(image, depth * 1024, sideways, 1.0, 8)
    )
    assert np.array_equal(
        z_motion_blur(image, depth, forwards, 0.5, 0.6, 8), z_motion_blur(image, depth / 256, forwards, 0.5, 0.6, 8)
    )


def test_blur_starts_at_the_true_view_or_is_centred_on_it():
    dot = _dot(96, 96, 48, 48)
    one_sided = xy_motion_blur(dot, _flat(96, 96), (-20.0, 0.0), 1.0, 40)
    assert np.allclose(_centroid(one_sided), [58, 48], atol=0.2)
    centred = xy_motion_blur(dot, _flat(96, 96), (-20.0, 0.0), 1.0, 40, centred=True)
    assert np.allclose(_centroid(centred), [48, 48], atol=0.2)
    option = XyMotionBlur(centred=True)
    params = option.sample(5, (96, 96), np.random.default_rng(0))
    moved = option.apply(dot, params, aux_of(_flat(96, 96))).image
    assert np.allclose(_centroid(moved), [48, 48], atol=0.2)


def test_no_dark_borders_and_no_holes():
    """On a bright picture with a near person, nothing darker than the picture itself comes in."""
    image, depth, _ = person(96, 96)
    image = image // 4 + 180
    for name in ("xy_motion_blur", "z_motion_blur"):
        for seed in range(4):
            assert corrupt(name, 5, image, depth, seed).image.min() >= image.min()


def test_uncovered_background_is_not_filled_with_the_person():
    image = np.full((96, 128, 3), (0, 0, 255), np.uint8)
    depth = np.full((96, 128), 30.0, np.float32)
    image[30:66, 50:78], depth[30:66, 50:78] = (255, 0, 0), 3.0
    moved = _view(image, depth, shift=(-12.0, 0.0))
    assert (moved[32:64, 64:88, 0] == 255).all()
    # The wall itself moves by 1.2 px, so one column mixes with the person's edge.
    assert (moved[32:64, 52:60, 2] > 250).all()
    assert (moved[32:64, 52:60, 0] < 5).all()


def test_near_surface_has_no_cracks_when_magnified():
    """A magnified near plane hides all of the wall behind it."""
    image = np.full((128, 128, 3), (0, 0, 255), np.uint8)
    depth = np.full((128, 128), 50.0, np.float32)
    image[40:88, 40:88], depth[40:88, 40:88] = (255, 0, 0), 2.0
    for rest in (0.9, 0.69, 0.4):
        magnified = _view(image, depth, zoom=rest)
        half = int(22 / rest)
        assert (magnified[64 - half : 64 + half, 64 - half : 64 + half, 0] == 255).all()


def test_person_hides_what_is_behind_on_the_leading_side():
    image = texture(96, 128)
    depth = np.full((96, 128), 30.0, np.float32)
    image[30:66, 50:78], depth[30:66, 50:78] = 255, 3.0
    moved = _view(image, depth, shift=(10.0, 0.0))
    assert (moved[32:64, 42:66] == 255).all()


def test_behind_takes_the_farther_side():
    image = np.full((64, 64, 3), 40, np.uint8)
    disparity = np.full((64, 64), 0.2, np.float32)
    image[20:44, 20:44], disparity[20:44, 20:44] = 220, 1.0
    for reach in (1, 4, 12):
        filled, far = behind(image, disparity, reach=reach)
        core = np.s_[20 + reach : 44 - reach, 20 + reach : 44 - reach]
        filled[core], far[core] = 40, 0.2  # what never comes into sight
        assert (filled == 40).all()
        assert np.allclose(far, 0.2)
    same, kept = behind(image, disparity, reach=0)
    assert same is image
    assert kept is disparity


@pytest.mark.parametrize("reach", [3, 6, 11, 20])
@pytest.mark.parametrize("slope", [0.0, 0.0004])
def test_the_core_of_a_wide_thing_does_not_fill_what_it_hid(reach, slope):
    """Also where the thing is so wide that its middle sees no background, and slanted."""
    image = np.full((200, 220, 3), 40, np.uint8)
    disparity = np.full((200, 220), 0.2, np.float32)
    image[31:170, 43:181] = 220
    disparity[31:170, 43:181] = 1 - slope * np.arange(138)
    filled, far = behind(image, disparity, reach)
    core = np.s_[31 + reach : 170 - reach, 43 + reach : 181 - reach]
    filled[core], far[core] = 40, 0.2
    assert np.abs(filled.astype(int) - 40).max() <= 1
    assert np.allclose(far, 0.2, atol=0.005)


@pytest.mark.parametrize(("zoom", "tau"), [(0.5, 0.627), (0.6, 0.322), (0.5, 0.322)])
def test_magnification_at_the_subject(zoom, tau):
    rest = 1 + tau * (zoom - 1)
    for x, y in ((60, 64), (90, 64), (64, 40), (100, 90)):
        dot = _dot(129, 129, x, y)
        moved = _centroid(_view(dot, _flat(129, 129), zoom=zoom, tau=tau))
        assert np.allclose(moved, 64 + (np.array([x, y]) - 64) / rest, atol=0.3)


def test_far_plane_is_static_and_magnification_follows_depth():
    depth = np.full((129, 129), 9.0, np.float32)
    depth[60:69, 40:50] = 3.0
    dot = _dot(129, 129, 100, 64)
    moved = _centroid(_view(dot, depth, zoom=0.5, tau=0.6))
    assert moved[0] == pytest.approx(64 + 36 * 9 / (9 + 3 * (0.7 - 1)), abs=0.3)
    far = np.full((129, 129), 1e7, np.float32)
    far[60:69, 40:50] = 3.0
    image = texture(129, 129)
    assert np.array_equal(_view(image, far, zoom=0.5, tau=0.3)[:40], image[:40])


def test_centre_is_sharp_and_smear_grows_with_the_radius():
    lengths = []
    for x in (64, 80, 96, 112):
        blurred = z_motion_blur(_dot(129, 129, x, 64, 2), _flat(129, 129), (0.0, 0.0), 0.5, 0.5, 60)
        row = blurred[64, :, 0].astype(float)
        at = np.arange(129)
        mean = (row * at).sum() / row.sum()
        lengths.append(np.sqrt((row * (at - mean) ** 2).sum() / row.sum()))
    spread = np.sqrt(np.maximum(np.square(lengths) - lengths[0] ** 2, 0))
    assert spread[0] == 0
    assert np.allclose(spread[1:] / spread[1], [1, 2, 3], rtol=0.15)


def test_focus_of_expansion_with_a_shift():
    shift, zoom, tau = (10.0, -6.0), 0.5, 0.5
    rest = 1 + tau * (zoom - 1)
    expected = 64 + np.array(shift) * rest / (1 - zoom)
    for offset in ((0, 0), (9, 0), (0, -9)):
        at = np.rint(expected).astype(int) + offset
        moved = _centroid(_view(_dot(129, 129, *at), _flat(129, 129), shift, zoom, tau))
        assert np.allclose(moved, expected + (at - expected) / rest, atol=0.3)


def test_one_draw_serves_all_severities():
    for name, fixed in (("xy_motion_blur", ["shift_of_width"]), ("z_motion_blur", ["shift_of_width", "zoom"])):
        draws = [load(name).sample(s, (64, 64), np.random.default_rng(4)) for s in range(1, 6)]
        for key in fixed:
            assert all(d[key] == draws[0][key] for d in draws)
        assert (np.diff([d["share"] for d in draws]) > 0).all()
    assert [round(d["share"], 3) for d in draws] == [0.322, 0.407, 0.492, 0.576, 0.627]


def test_tables_say_what_the_eye_sees():
    """The published lengths at width 512 and magnifications at the subject, which follow from frames and path."""
    rows = load("xy_motion_blur").card.extra["severities"].values()
    assert [512 * row["least_blur_widths"] for row in rows] == pytest.approx([16, 25, 33, 42, 50], abs=0.7)
    assert [512 * row["most_blur_widths"] for row in rows] == pytest.approx([34, 52, 70, 88, 106], abs=0.7)
    magnified = [row["most_magnification"] for row in load("z_motion_blur").card.extra["severities"].values()]
    assert magnified == pytest.approx([1.19, 1.26, 1.33, 1.40, 1.46], abs=0.006)


def test_draws_cover_the_published_range():
    rng = np.random.default_rng(0)
    shifts = np.array([load("xy_motion_blur").sample(1, (9, 9), rng)["shift_of_width"] for _ in range(400)]) * 512
    assert (np.abs(shifts[:, 0]) >= 50).all()
    assert np.abs(shifts).max() <= 75
    assert 0.4 < (shifts[:, 0] > 0).mean() < 0.6
    forwards = [load("z_motion_blur").sample(1, (9, 9), rng) for _ in range(400)]
    assert np.abs([p["shift_of_width"] for p in forwards]).max() * 512 <= 30
    zooms = [p["zoom"] for p in forwards]
    assert 0.5 <= min(zooms) < 0.51 < 0.59 < max(zooms) < 0.6


def test_a_point_at_the_camera_is_dropped():
    """A very near pole outside the middle leaves the picture instead of dividing by zero."""
    image, depth = texture(64, 64), np.full((64, 64), 6.0, np.float32)
    depth[:, 2:6] = 1.0
    with np.errstate(all="raise", under="ignore"):
        result = z_motion_blur(image, depth, (0.0, 0.0), 0.5, 0.627, 6)
    assert result.shape == image.shape


@pytest.mark.parametrize("wrong", ["depth", "subframes", "zoom"])
def test_impossible_requests_are_told(wrong):
    image, depth, _ = person(64, 64)
    finite = np.where(np.isfinite(depth), depth, 20).astype(np.float32)
    with pytest.raises(
        ValueError, match={"depth": "finite depth", "subframes": "sub-frame", "zoom": "in \\(0, 1\\]"}[wrong]
    ):
        z_motion_blur(
            image,
            depth if wrong == "depth" else finite,
            (0.0, 0.0),
            2.0 if wrong == "zoom" else 0.5,
            0.3,
            wrong != "subframes",
        )
