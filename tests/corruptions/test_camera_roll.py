"""Rotation about the centre, and what follows it."""

import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import load
from corruptions._pixels import warp, warp_mask
from corruptions.camera_roll import roll, roll_affine
from robench.contracts import Camera


@pytest.mark.parametrize(("interpolation", "least"), [("linear", 45), ("cubic", 50)])
@pytest.mark.parametrize("degrees", [5.0, 45.0, 80.0])
def test_there_and_back_restores_the_disc(degrees, interpolation, least):
    y, x = np.mgrid[:128, :128] - 63.5
    disc = np.hypot(x, y) < 0.49 * 128
    smooth = np.dstack([128 + 100 * np.sin(x / 12 + c) * np.cos(y / 15) for c in range(3)])
    image = np.rint(smooth).astype(np.uint8)
    there, home = (roll_affine((128, 128), angle) for angle in (degrees, -degrees))
    turned = warp(image, there, interpolation=interpolation)
    if interpolation == "linear":
        assert np.array_equal(turned, roll(image, degrees))
    back = warp(turned, home, interpolation=interpolation)
    assert psnr(back[disc], image[disc]) > least


@pytest.mark.parametrize("shape", [(64, 64), (65, 65)])
def test_right_angles_are_exact_and_anticlockwise(shape):
    image = texture(*shape)
    for quarters in (1, 2, 3, 4):
        assert np.array_equal(roll(image, 90.0 * quarters), np.rot90(image, quarters))


@pytest.mark.parametrize("degrees", [20.0, 80.0])
def test_map_takes_old_pixels_to_new_ones(degrees):
    theta = np.deg2rad(degrees)
    affine = roll_affine((101, 141), degrees)
    moved = affine @ np.array([70 + 30, 50, 1.0])
    assert np.allclose(moved, [70 + 30 * np.cos(theta), 50 - 30 * np.sin(theta)])
    image = np.zeros((101, 141, 3), np.uint8)
    image[48:53, 98:103] = 255
    y, x = np.nonzero(roll(image, degrees)[..., 0] > 127)
    assert np.allclose([x.mean(), y.mean()], moved, atol=0.3)


def test_mask_follows_and_keeps_its_area():
    _, _, mask = person(400, 400)
    for severity in range(1, 6):
        affine = corrupt("camera_roll", severity, texture(400, 400), None).affine
        moved = warp_mask(mask, affine)
        assert moved.dtype == bool
        assert moved.sum() / mask.sum() == pytest.approx(1, abs=0.001)
        back = warp_mask(moved, np.linalg.inv(np.vstack([affine, [0, 0, 1]]))[:2])
        assert (back & mask).sum() / (back | mask).sum() > 0.985


def test_corners_are_black():
    turned = corrupt("camera_roll", 4, np.full((64, 64, 3), 255, np.uint8), None).image
    assert not turned[0, 0].any()
    assert (turned[20:44, 20:44] == 255).all()


def test_camera_that_follows_sees_the_points_where_the_picture_has_them():
    """The returned map fits the camera contract: project, then move = follow, then project."""
    camera = Camera(np.eye(4), 2.0, (49.5, 39.5), 100, 80)
    points = np.array([[3.0, 5.0, 1.0], [-8.0, 2.0, -4.0], [0.0, -9.0, 2.0]])
    for severity in range(1, 6):
        affine = corrupt("camera_roll", severity, texture(80, 100), None).affine
        before = camera.project(points)[:, :2] @ affine[:, :2].T + affine[:, 2]
        assert np.allclose(camera.followed(affine).project(points)[:, :2], before)


def test_paper_level_is_eighty_degrees():
    card = load("camera_roll").card
    assert card.extra["severities"][card.extra["paper_severity"]] == {"degrees": 80.0}


def test_warp_borders():
    image = np.full((32, 32, 3), 90, np.uint8)
    shift = np.array([[1.0, 0, 5], [0, 1, 0]])
    assert (warp(image, shift, border="replicate") == 90).all()
    assert (warp(image, shift, border="reflect") == 90).all()
    moved = warp(image, shift, interpolation="nearest")
    assert not moved[:, :5].any()
    assert (moved[:, 5:] == 90).all()
