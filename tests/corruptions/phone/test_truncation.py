"""A person partly out of frame: the share, the untouched rest, and what follows the picture."""

import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture

from corruptions import Aux, load
from corruptions._pixels import warp, warp_mask
from corruptions.phone.truncation import (
    EDGES,
    SIDEWAYS,
    Truncation,
    crop_affine,
    share_outside,
    shift_affine,
    shift_for,
    shifted,
)
from robench.contracts import Camera

SHARES = {s: v["share"] for s, v in load("truncation").card.extra["severities"].items()}


def _framed(image, mask, severity=3, seed=0, mode="shift", **changes):
    corruption = Truncation(mode)
    params = {**corruption.sample(severity, image.shape[:2], np.random.default_rng(seed)), **changes}
    return corruption.apply(image, params, Aux(mask=mask))


@pytest.mark.parametrize("mode", ["shift", "crop"])
@pytest.mark.parametrize("edge", list(EDGES))
@pytest.mark.parametrize("severity", range(1, 6))
def test_stated_share_of_the_person_is_outside(severity, edge, mode):
    """Counted anew on the mask that followed the picture."""
    image, _, mask = person(160, 200)
    result = _framed(image, mask, severity, edge=edge, mode=mode, sideways=0.0)
    assert result.notes["share_of"] == "mask"
    assert result.notes["share_out"] == pytest.approx(SHARES[severity], abs=0.012)
    scale = result.affine[0, 0]
    seen = warp_mask(mask, result.affine).sum() / scale**2
    assert 1 - seen / mask.sum() == pytest.approx(SHARES[severity], abs=0.025)


@pytest.mark.parametrize("mode", ["shift", "crop"])
def test_soft_masks_count_by_their_values_and_sideways_shifts_are_counted_too(mode):
    image, _, mask = person(128, 128)
    soft = np.where(mask, np.float32(0.5), np.float32(0))
    soft[:64] *= 2
    for seed in range(6):
        result = _framed(image, soft, 3, seed, mode)
        assert result.notes["share_out"] == pytest.approx(0.35, abs=0.02)
        assert share_outside(soft, result.affine) == result.notes["share_out"]


def test_analytic_square():
    """A square of 40 pixels that ends 10 pixels above the lower edge: half of it is out after 30 pixels."""
    mask = np.zeros((100, 120), bool)
    mask[50:90, 30:70] = True
    assert shift_for(mask, 0.5, "bottom") == 30
    assert shift_for(mask, 0.5, "left") == 50
    assert shift_for(mask, 0.25, "right") == 60
    assert shift_for(mask, 0.0, "top") == 0
    # Moved 35 to the left as well, an eighth is out before it moves down.
    assert shift_for(mask, 0.5, "bottom", sideways=-35) == pytest.approx(10 + 40 * (1 - 0.5 / 0.875), abs=0.5)
    assert share_outside(mask, shift_affine(30, "bottom")) == 0.5
    assert share_outside(mask, shift_affine(30, "bottom", -50)) == 0.75


def test_pixels_that_stay_are_untouched():
    image, _, mask = person(90, 110)
    for seed in range(8):
        result = _framed(image, mask, 4, seed)
        dx, dy = (int(v) for v in result.affine[:, 2])
        assert np.array_equal(result.affine[:, :2], np.eye(2))
        assert abs(dx) + abs(dy) > 0
        y, x = np.mgrid[max(0, -dy) : 90 - max(0, dy), max(0, -dx) : 110 - max(0, dx)]
        assert np.array_equal(result.image[y + dy, x + dx], image[y, x])


@pytest.mark.parametrize(("edge", "turns"), [("bottom", 0), ("right", 1), ("top", 2), ("left", 3)])
def test_all_edges_are_alike(edge, turns):
    image = texture(48, 48)
    down = shifted(np.rot90(image, -turns), 17, "bottom")
    assert np.array_equal(shifted(image, 17, edge), np.rot90(down, turns))


def test_strip_goes_on_from_the_edge_ever_more_blurred():
    image = texture(64, 200)
    strip = shifted(image, 40, "bottom")[:40].astype(float)
    spread = strip.std(axis=1).mean(axis=1)
    assert (np.diff(spread[::-1]) < 1e-9).mean() > 0.95
    assert spread[0] < 0.4 * image[0].std(axis=0).mean()
    assert psnr(strip[39], image[0]) > 18
    assert strip.mean() == pytest.approx(image[0].mean(), abs=6)
    plain = np.full((40, 50, 3), (9, 99, 199), np.uint8)
    assert np.array_equal(shifted(plain, 13, "left"), plain)


def test_crop_lies_inside_the_picture_and_keeps_its_shape():
    _, _, mask = person(150, 110)
    corners = np.array([[-0.5, -0.5], [109.5, 149.5]])
    for edge in EDGES:
        for share in SHARES.values():
            affine = crop_affine(mask, share, edge)
            assert affine[0, 0] == affine[1, 1] > 1
            assert affine[0, 1] == affine[1, 0] == 0
            window = (corners - affine[:, 2]) / affine[0, 0]
            assert (window[0] >= -0.5 - 1e-9).all()
            assert (window[1] <= corners[1] + 1e-9).all()


def test_crop_is_the_warp_by_its_own_map():
    image, _, mask = person(96, 96)
    result = _framed(image, mask, 4, mode="crop")
    assert np.array_equal(result.image, warp(image, result.affine, "replicate", "cubic"))


def test_without_a_mask_the_picture_counts():
    image = texture(100, 100)
    for mask in (None, np.zeros((100, 100), np.float32)):
        for severity, share in SHARES.items():
            result = _framed(image, mask, severity, edge="left", sideways=0.0)
            assert result.notes == {"share_out": pytest.approx(share), "share_of": "picture"}
            assert result.affine[0, 2] == -round(100 * share)


def test_camera_that_follows_sees_the_points_where_the_picture_has_them():
    camera = Camera(np.eye(4), 2.0, (54.5, 44.5), 110, 90)
    points = np.array([[3.0, 5.0, 1.0], [-8.0, 2.0, -4.0], [0.0, -9.0, 2.0]])
    image, _, mask = person(90, 110)
    for mode in ("shift", "crop"):
        affine = _framed(image, mask, 3, mode=mode).affine
        expected = camera.project(points)[:, :2] @ affine[:, :2].T + affine[:, 2]
        assert np.allclose(camera.followed(affine).project(points)[:, :2], expected)


def test_edges_are_drawn_as_often_as_stated():
    draws = [load("truncation").sample(1, (64, 64), np.random.default_rng(i)) for i in range(2000)]
    for edge, share in EDGES.items():
        assert np.mean([d["edge"] == edge for d in draws]) == pytest.approx(share, abs=0.04)
    assert max(abs(d["sideways"]) for d in draws) <= SIDEWAYS


def test_more_is_out_with_every_level():
    image, depth, mask = person(128, 128)
    assert [corrupt("truncation", s, image, depth).notes["share_of"] for s in (1, 5)] == ["picture"] * 2
    kept = [_framed(image, mask, s, seed=5).notes["share_out"] for s in range(1, 6)]
    assert (np.diff(kept) > 0.08).all()


def test_wrong_mask_and_mode_are_told():
    image = texture(64, 64)
    with pytest.raises(
        ValueError, match=r"the mask of truncation must have the image's shape \(64, 64\), got \(32, 64\)"
    ):
        _framed(image, np.ones((32, 64), bool))
    with pytest.raises(ValueError, match="'shift' or 'crop', got 'zoom'"):
        Truncation("zoom")
