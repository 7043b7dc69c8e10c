"""Frosted glass: the forest of pointers against the plain loops, ours and the published one."""

import numpy as np
import pytest
from corruption_pictures import psnr, texture
from scipy import ndimage

from corruptions.common.glass_blur import draw_offsets, glass_blur, shuffle, shuffled

LEVELS = [(0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2)]


@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize(
    ("shape", "delta", "passes"), [((17, 23), 1, 2), ((20, 15), 2, 3), ((12, 31), 4, 2), ((3, 5), 7, 1)]
)
def test_forest_is_the_plain_loop(shape, delta, passes, centred):
    """The loop of the formula, place by place from the last to the first, with the same offsets."""
    down, across = shuffled(shape, delta, passes, np.random.default_rng(8), centred)
    content = np.stack(np.indices(shape), axis=2)
    rng = np.random.default_rng(8)
    for _ in range(passes):
        dy, dx = draw_offsets(shape, delta, rng, centred)
        for h in reversed(range(shape[0])):
            for w in reversed(range(shape[1])):
                row, column = np.clip([h + dy[h, w], w + dx[h, w]], 0, np.array(shape) - 1)
                content[h, w] = content[row, column]
    assert np.array_equal(content - np.stack(np.indices(shape), axis=2), np.stack([down, across], axis=2))


def _published_glass(shape, delta, passes, rng):
    """The published loop (its swap through views copies): displacements away from its untouched frame."""
    content = np.stack(np.indices(shape), axis=2)
    for _ in range(passes):
        for h in range(shape[0] - delta, delta, -1):
            for w in range(shape[1] - delta, delta, -1):
                dx, dy = rng.integers(-delta, delta, size=2)
                content[h, w] = content[h + dy, w + dx]
    return content - np.stack(np.indices(shape), axis=2)


@pytest.mark.parametrize(("delta", "passes"), [(1, 2), (2, 3), (4, 2)])
def test_published_glass_has_the_same_statistics(delta, passes):
    size, edge = 60 + 12 * delta, 5 * delta
    inside = (slice(edge, -edge), slice(edge, -edge))
    published = [_published_glass((size, size), delta, passes, np.random.default_rng(s))[inside] for s in range(6)]
    published = np.concatenate([p.reshape(-1, 2) for p in published])
    ours = [
        np.stack(shuffled((size, size), delta, passes, np.random.default_rng(s), False), 2)[inside] for s in range(20)
    ]
    ours = np.concatenate([o.reshape(-1, 2) for o in ours])
    # Neighbours share the ends of their chains, so that few places of a picture are independent.
    assert ours.mean(axis=0) == pytest.approx(published.mean(axis=0), abs=0.08 * delta * np.sqrt(passes))
    assert ours.std(axis=0) == pytest.approx(published.std(axis=0), rel=0.08)
    bins = np.arange(-3 * delta * passes, 3 * delta * passes + 2) - 0.5
    for axis in (0, 1):
        one, other = (np.histogram(v[:, axis], bins, density=True)[0] for v in (ours, published))
        assert np.abs(one - other).sum() / 2 < 0.06


@pytest.mark.parametrize("severity", range(1, 6))
def test_glass_displaces_nothing_on_average(severity):
    _, delta, passes = LEVELS[severity - 1]
    centred = np.array([shuffled((200, 200), delta, passes, np.random.default_rng(s)) for s in range(3)])
    published = np.array([shuffled((200, 200), delta, passes, np.random.default_rng(s), False) for s in range(3)])
    assert np.abs(centred.mean(axis=(0, 2, 3))).max() < 0.06 * delta
    assert (published.mean(axis=(0, 2, 3)) < -0.4 * passes).all()


def test_offsets_are_even():
    for delta, centred, sides in ((2, True, range(-2, 3)), (3, False, range(-3, 3))):
        for drawn in draw_offsets((300, 300), delta, np.random.default_rng(1), centred):
            values, counts = np.unique(drawn, return_counts=True)
            assert list(values) == list(sides)
            assert np.allclose(counts / counts.mean(), 1, atol=0.04)


def test_nobody_moves_without_offsets():
    nowhere = np.zeros((9, 7), np.intp)
    assert np.array_equal(shuffle(nowhere, nowhere), np.arange(63))


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_glass_is_blur_shuffle_blur(severity):
    image = texture(60, 80, smooth=1)
    sigma, delta, passes = LEVELS[severity - 1]
    down, across = shuffled((60, 80), delta, passes, np.random.default_rng(5))
    blurred = ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0), mode="nearest")
    y, x = np.indices((60, 80))
    moved = np.rint(blurred)[y + down, x + across]
    expected = ndimage.gaussian_filter(moved, (sigma, sigma, 0), mode="nearest")
    assert psnr(glass_blur(image, sigma, delta, passes, np.random.default_rng(5)), expected) > 55
