"""Person boxes, squares, and the camera that follows them."""

import numpy as np
import pytest

from baselines.pifu.inputs import to_view
from baselines.pifuhd.inputs import Square, network_image, parse_crop, prepare, square_of
from robench.contracts import Box, Camera
from robench.errors import UsageError


def mask_of(shape, left, top, right, bottom):
    mask = np.zeros(shape, np.float32)
    mask[top:bottom, left:right] = 1
    return mask


def test_a_box_from_the_mask_is_a_square_with_a_margin():
    # 100 tall, 40 wide, around (120, 90): 1.138 times the longer side.
    assert square_of((200, 300), mask_of((200, 300), 100, 40, 140, 140), "mask") == Square(63, 33, 114)
    # Arms spread: the width decides.
    assert square_of((200, 300), mask_of((200, 300), 50, 80, 250, 120), "mask") == Square(36, -14, 228)
    assert square_of((200, 300), np.zeros((200, 300), np.float32), "mask") is None


def test_a_given_box_is_shown_as_it_is_and_the_mask_not_looked_at():
    blank = np.zeros((200, 300), np.float32)
    assert square_of((200, 300), blank, Box(10, 20, 64, 64)) == Square(10, 20, 64)
    assert square_of((200, 300), blank, Box(10, 20, 64, 100)) == Square(-8, 20, 100)
    assert square_of((200, 300), blank, "none") == Square(0, -50, 300)


def test_boxes_are_read_from_text():
    assert parse_crop("mask") == "mask"
    assert parse_crop("none") == "none"
    assert parse_crop("-5, 0,512,600") == Box(-5, 0, 512, 600)
    for text in ("auto", "1,2,3", "1,2,3,x", "0,0,1,50", "0,0,50,9000", "0,0,50,-4", "1,2,3,4,5", ""):
        with pytest.raises(UsageError, match="'crop' of PIFuHD"):
            parse_crop(text)


def test_a_square_beside_the_picture_shows_nothing_of_it():
    shape = (100, 200)
    assert Square(-49, 0, 50).overlaps(shape)
    assert not Square(-50, 0, 50).overlaps(shape)
    assert Square(199, 99, 10).overlaps(shape)
    assert not Square(200, 0, 10).overlaps(shape)
    assert not Square(0, 100, 10).overlaps(shape)
    assert not Square(0, -10, 10).overlaps(shape)


def bilinear(image, u, v):
    """Bilinear interpolation written from its definition; pixel centres are integers, edges repeat."""
    height, width = image.shape[:2]
    u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
    x, y = np.minimum(u.astype(int), width - 2), np.minimum(v.astype(int), height - 2)
    a, b = (u - x)[..., None], (v - y)[..., None]
    upper = image[y, x] * (1 - a) + image[y, x + 1] * a
    lower = image[y + 1, x] * (1 - a) + image[y + 1, x + 1] * a
    return upper * (1 - b) + lower * b


@pytest.mark.parametrize("square", [Square(20, 10, 80), Square(-15, -20, 131), Square(60, 50, 40)])
def test_squares_are_resampled_bilinearly_over_black(square):
    image = np.random.default_rng(0).integers(0, 256, (110, 120, 3), dtype=np.uint8)
    camera = Camera(np.eye(4), 0.5, (59.5, 54.5), 120, 110)
    found = prepare(image, camera, square, 64, 128)
    padded = np.zeros((400, 400, 3))
    padded[100:210, 100:220] = image
    cut = padded[100 + square.top :, 100 + square.left :][: square.side, : square.side]
    for picture, size in ((found.coarse, 64), (found.fine, 128)):
        at = (np.arange(size) + 0.5) * square.side / size - 0.5
        expected = bilinear(cut, *np.meshgrid(at, at))
        assert np.abs(picture - expected).max() <= 1
    assert found.cropped == (square.side < 120)


def test_the_camera_follows_the_square():
    camera = Camera(np.eye(4), 2.0, (70.0, 40.0), 160, 120)
    found = prepare(np.zeros((120, 160, 3), np.uint8), camera, Square(30, -10, 100), 64, 200).camera
    assert (found.width, found.height) == (200, 200)
    # The square's edges, in centimetres by the old camera: pixel edges lie half a pixel off their centres.
    corners = np.array([[-1.0, -1.0, 0.0], [1.0, 1.0, 0.0]])
    expected = [[(29.5 - 70) / 2, -(-10.5 - 40) / 2, 0], [(129.5 - 70) / 2, -(89.5 - 40) / 2, 0]]
    np.testing.assert_allclose(to_view(corners, found), expected, atol=1e-9)


def test_the_background_stays():
    image = np.array([[[0, 51, 255]]], np.uint8)
    np.testing.assert_allclose(network_image(image)[:, 0, 0], [-1.0, -0.6, 1.0], atol=1e-6)
    assert network_image(np.zeros((4, 5, 3), np.uint8)).shape == (3, 4, 5)
