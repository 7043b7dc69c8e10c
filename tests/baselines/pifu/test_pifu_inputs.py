"""Pictures into the square and points back to centimetres."""

from dataclasses import replace

import numpy as np
import pifu_scenes as scenes
import pytest

from baselines.pifu.augment import Draw, calibration, draw, move_picture, move_points, yaw_rotation
from baselines.pifu.inputs import mask_box, network_image, prepare, square, to_normalised, to_view
from robench.contracts import Camera


def box_of(mask):
    rows, columns = np.nonzero(mask > 127)
    return columns.min(), rows.min(), columns.max(), rows.max()


@pytest.mark.parametrize("kind", ["orthographic", "pinhole"])
def test_normalised_and_view_are_inverse(kind):
    rng = np.random.default_rng(0)
    camera = Camera(np.eye(4), 1.3 if kind == "orthographic" else 900.0, (120.3, 131.9), 256, 256, 400.0, kind)
    points = rng.uniform(-80, 80, (200, 3))
    np.testing.assert_allclose(to_view(to_normalised(points, camera), camera), points, atol=1e-9)


def test_normalised_edges_are_pixel_edges_and_axes_scale_alike():
    camera = scenes.camera(64)
    # The view's origin is in the middle of the picture; 100 cm to the right is its right edge.
    found = to_normalised(np.array([[0, 0, 0], [100, 0, 0], [0, 100, 0], [0, 0, 100]]), camera)
    np.testing.assert_allclose(found, [[0, 0, 0], [1, 0, 0], [0, -1, 0], [0, 0, 1]], atol=1e-12)


def test_normalised_agrees_with_the_camera():
    camera = replace(scenes.camera(64), centre=(20.0, 40.0))
    points = np.array([[3.0, -12.0, 5.0], [-40.0, 60.0, -3.0]])
    pixels = camera.project(points)[:, :2]
    np.testing.assert_allclose((to_normalised(points, camera)[:, :2] + 1) * 32 - 0.5, pixels, atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(512, 512), (320, 480), (601, 257), (64, 64)])
@pytest.mark.parametrize("crop", ["none", "auto"])
def test_camera_follows_any_size(height, width, crop):
    """The projected body stays under its silhouette to a pixel, whatever was done to the picture."""
    scale = min(height, width) / 200
    camera = Camera(np.eye(4), scale, (width * 0.5 - 3.2, height * 0.5 + 2.1), width, height)
    # A third of the height: `auto` crops.
    radii = (15.0, 33.0, 10.0)
    image, mask = scenes.picture(radii, camera)
    ready = prepare(image, mask, camera, 256, crop)
    assert ready.image.shape == (256, 256, 3)
    assert ready.cropped == (crop == "auto")
    left, top, right, bottom = box_of(ready.mask)
    edges = to_normalised(np.diag(radii).repeat(2, axis=0) * np.array([[1], [-1]] * 3), ready.camera)
    u, v = ((edges[:4, :2] + 1) * 128 - 0.5).T
    # One pixel of the picture, in pixels of the square, and half a one for the silhouette's thin tips.
    tolerance = 0.5 + 1.1 * 256 / (1.138 * 66 * scale if ready.cropped else max(height, width))
    np.testing.assert_allclose([left, right], [u[1], u[0]], atol=tolerance)
    np.testing.assert_allclose([top, bottom], [v[2], v[3]], atol=tolerance)


def test_auto_leaves_familiar_people_alone_and_centres_others():
    mask = np.zeros((100, 100), np.float32)
    mask[10:90, 40:60] = 1
    assert square((100, 100), mask, "auto") == (0.0, 0.0, 100.0, False)
    mask[:] = 0
    mask[20:40, 70:80] = 1
    left, top, side, cropped = square((100, 100), mask, "auto")
    assert cropped
    assert side == pytest.approx(1.138 * 20)
    assert (left + side / 2, top + side / 2) == pytest.approx((75, 30))


def test_the_networks_picture_is_masked_after_normalising():
    image = np.full((4, 4, 3), 255, np.uint8)
    mask = np.zeros((4, 4), np.uint8)
    mask[1], mask[2] = 255, 51
    found = network_image(image, mask)
    assert found.shape == (3, 4, 4)
    np.testing.assert_allclose(found[0, :, 0], [0, 1, 0.2, 0], atol=1e-6)


def test_blank_masks_have_no_box():
    assert mask_box(np.zeros((8, 8), np.float32)) is None
    assert mask_box(np.full((8, 8), 0.3, np.float32)) is None
    one = np.zeros((8, 8), np.float32)
    one[2, 5] = 1
    assert mask_box(one) == (5, 2, 6, 3)


@pytest.mark.parametrize(
    "change", [Draw(), Draw(True), Draw(False, 1.08), Draw(False, 1.0, 7, -5), Draw(True, 0.92, -6, 4)]
)
def test_points_follow_an_augmentation(change):
    camera = scenes.camera(256)
    radii = (30.0, 70.0, 20.0)
    image, mask = scenes.picture(radii, camera, (12.0, 5.0))
    moved, shape = move_picture(image, (mask * 255).astype(np.uint8), change)
    assert moved.shape == image.shape
    edges = np.array([[-18.0, 5, 0], [42, 5, 0], [12, 75, 0], [12, -65, 0]])
    found = move_points(to_normalised(edges, camera), change, 256)
    u, v = ((found[:, :2] + 1) * 128 - 0.5).T
    left, top, right, bottom = box_of(shape)
    np.testing.assert_allclose([left, right], [u[:2].min(), u[:2].max()], atol=1.5)
    np.testing.assert_allclose([top, bottom], [v[2], v[3]], atol=1.5)


def test_an_augmentation_is_the_published_calibration():
    change = Draw(True, 1.07, 5, -7)
    points = np.random.default_rng(0).uniform(-50, 50, (20, 3))
    centre = np.array([3.0, 88.0, -2.0])
    plain = calibration(yaw_rotation(40), centre, 1.0, 0.4)
    changed = calibration(yaw_rotation(40), centre, 1.0, 0.4, change)
    apply = lambda m: points @ m[:3, :3].T + m[:3, 3]  # noqa: E731
    np.testing.assert_allclose(move_points(apply(plain), change, 512), apply(changed), atol=1e-5)


def test_draws_stay_in_their_ranges():
    draws = [draw(np.random.default_rng(i), 100, 0.5, 0.1, 0.02) for i in range(300)]
    assert 100 < sum(d.flip for d in draws) < 200
    assert all(0.9 <= d.zoom <= 1.1 for d in draws)
    assert {d.dx for d in draws} == {-2, -1, 0, 1, 2}
    assert draw(np.random.default_rng(0), 100, 0, 0, 0) == Draw()
