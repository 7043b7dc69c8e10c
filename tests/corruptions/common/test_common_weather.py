"""Snow, frost, fog and brightness against their published formulas, computed here in another way; layers of weather."""

from itertools import pairwise

import cv2
import numpy as np
import pytest
from corruption_pictures import corrupt, person, psnr, texture
from scipy.ndimage import gaussian_filter, zoom
from skimage.color import hsv2rgb, rgb2hsv
from skimage.metrics import structural_similarity

from corruptions import load
from corruptions.common._frost import behind, ice, stock
from corruptions.common._layers import enlarged, fit, gaussian16, work_size
from corruptions.common._plasma import plasma, plasma_over
from corruptions.common._snow import Flakes, fallen, flakes
from corruptions.common._spatter import splashes
from corruptions.common.brightness import brighten
from corruptions.common.fog import Fog, fog
from corruptions.common.snow import Snow
from corruptions.common.spatter import Spatter


def level(name, severity):
    return load(name).card.extra["severities"][severity]


# Published levels


@pytest.mark.parametrize(
    ("name", "keys", "table"),
    [
        (
            "snow",
            ("mean", "sigma", "zoom", "threshold", "radius", "smear", "kept"),
            [
                (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
                (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
                (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
                (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
                (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
            ],
        ),
        ("frost", ("scene", "ice"), [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)]),
        ("fog", ("thickness", "decay"), [(1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4)]),
        ("brightness", ("raise",), [(0.1,), (0.2,), (0.3,), (0.4,), (0.5,)]),
        (
            "spatter",
            ("mean", "sigma", "smooth", "threshold", "strength", "liquid"),
            [
                (0.65, 0.3, 4, 0.69, 0.6, "water"),
                (0.65, 0.3, 3, 0.68, 0.6, "water"),
                (0.65, 0.3, 2, 0.68, 0.5, "water"),
                (0.65, 0.3, 1, 0.65, 1.5, "mud"),
                (0.67, 0.4, 1, 0.65, 1.5, "mud"),
            ],
        ),
    ],
)
def test_levels_are_the_published_ones(name, keys, table):
    card = load(name).card
    assert [tuple(row[k] for k in keys) for row in card.extra["severities"].values()] == table
    assert card.extra["levels"] == "published"
    assert card.extra["family"] == "weather"


# Brightness


@pytest.mark.parametrize("severity", range(1, 6))
def test_brightness_is_the_value_of_hsv_raised(severity):
    image = texture(64, 80)
    image[:2], image[2:4], image[4:6] = 0, 255, 90
    hsv = rgb2hsv(image / 255.0)
    hsv[..., 2] = np.clip(hsv[..., 2] + 0.1 * severity, 0, 1)
    expected = hsv2rgb(hsv) * 255
    assert np.abs(corrupt("brightness", severity, image, None).image - expected).max() <= 1


def test_brightness_keeps_hue_and_saturation():
    image = np.random.default_rng(0).integers(40, 150, (40, 40, 3)).astype(np.uint8)
    before, after = rgb2hsv(image), rgb2hsv(brighten(image, 0.3))
    colourful = before[..., 1] > 0.2
    turn = np.abs(after[..., 0] - before[..., 0])[colourful]
    assert np.minimum(turn, 1 - turn).max() < 0.03
    assert np.abs(after[..., 1] - before[..., 1]).max() < 0.02


def test_brightness_by_nothing_is_the_identity_and_impossible_ones_are_refused():
    image = texture(40, 40)
    assert np.array_equal(brighten(image, 0.0), image)
    for amount in (-0.1, 1.5):
        with pytest.raises(ValueError, match=r"amount in \[0, 1\]"):
            brighten(image, amount)


# Fog


def _plasma_by_loops(side, decay, rng):
    """The diamond-square rule point by point; `rng` gives the noise of a round as (centres, right, below)."""
    field = np.zeros((side, side))
    step, w = side, 1.0
    while step > 1:
        half, n = step // 2, side // step
        noise = (rng.random((3, n, n), dtype=np.float32).astype(float) * 2 - 1) * w * w
        for i in range(n):
            for j in range(n):
                y, x = i * step, j * step
                corners = [field[(y + a) % side, (x + b) % side] for a in (0, step) for b in (0, step)]
                field[y + half, x + half] = np.mean(corners) + noise[0, i, j]
        for i in range(n):
            for j in range(n):
                y, x = i * step, j * step
                for k, (cy, cx) in ((1, (y, x + half)), (2, (y + half, x))):
                    around = [
                        field[(cy + a) % side, (cx + b) % side]
                        for a, b in ((half, 0), (-half, 0), (0, half), (0, -half))
                    ]
                    field[cy, cx] = np.mean(around) + noise[k, i, j]
        step, w = half, w / decay
    field -= field.min()
    return field / field.max()


@pytest.mark.parametrize("decay", [2.0, 1.4])
def test_plasma_is_the_diamond_square_rule(decay):
    expected = _plasma_by_loops(32, decay, np.random.default_rng(4))
    assert plasma(32, decay, np.random.default_rng(4)) == pytest.approx(expected, abs=2e-6)


def test_plasma_of_twice_the_side_has_the_same_points():
    coarse, fine = (plasma(side, 1.7, np.random.default_rng(2)) for side in (64, 128))
    assert (fine.min(), fine.max(), fine.dtype) == (0, 1, np.float32)
    assert np.corrcoef(coarse.ravel(), fine[::2, ::2].ravel())[0, 1] > 0.999999


def test_plasma_gets_rougher_with_less_decay():
    def roughness(decay):
        fields = [plasma(128, decay, np.random.default_rng(seed)) for seed in range(4)]
        return np.mean([np.abs(np.diff(f, axis=1)).mean() / f.std() for f in fields])

    assert roughness(1.4) > 1.3 * roughness(1.7) > 1.3 * roughness(2.0)


def test_plasma_needs_a_power_of_two():
    assert plasma(1, 2.0, np.random.default_rng(0)).tolist() == [[0]]
    for side in (0, 48):
        with pytest.raises(ValueError, match="power of two"):
            plasma(side, 2.0, np.random.default_rng(0))


@pytest.mark.parametrize(("thickness", "decay"), [(1.5, 2.0), (3.0, 1.4)])
def test_fog_is_its_formula_at_the_size_of_the_source(thickness, decay):
    image = texture(224, 224)
    image = (image.astype(int) * 9 // 10).astype(np.uint8)
    x, highest = image / 255.0, image.max() / 255.0
    cloud = plasma(256, decay, np.random.default_rng(6))[:224, :224, None].astype(float)
    expected = 255 * (x + thickness * cloud) * highest / (highest + thickness)
    for scaled in (True, False):
        result = fog(image, thickness, decay, np.random.default_rng(6), scaled)
        assert np.abs(result - expected).max() <= 0.55


def test_fog_of_other_sizes():
    """The field spans 8/7 of the longest side; in published pixels, the next power of two."""
    rng = np.random.default_rng
    small, big = plasma_over((224, 168), 2.0, rng(1), True), plasma_over((448, 336), 2.0, rng(1), True)
    shrunk = cv2.resize(big, (168, 224), interpolation=cv2.INTER_AREA)
    # One more round of the rule, and the lowest and the highest point of the field move a little.
    assert np.corrcoef(small.ravel().astype(float), shrunk.ravel().astype(float))[0, 1] > 0.999
    assert np.array_equal(
        plasma_over((300, 200), 2.0, rng(1), False),
        np.rint(plasma(512, 2.0, rng(1))[:300, :200] * np.float32(65535)).astype(np.uint16),
    )
    assert plasma_over((300, 200), 2.0, rng(1), True).shape == (300, 200)


def test_fog_needs_light():
    black = np.zeros((64, 64, 3), np.uint8)
    assert not fog(black, 2.0, 2.0, np.random.default_rng(0)).any()
    grey = fog(np.full((64, 64, 3), 128, np.uint8), 2.0, 2.0, np.random.default_rng(0))
    # (M + a P) M / (M + a) lies between M² / (M + a) and M.
    assert 110 < grey.max() <= 128
    assert round(128 * (128 / 255) / (128 / 255 + 2)) <= grey.min() < 40
    assert (grey[..., 0] == grey[..., 2]).all()
    for thickness, decay in ((-1, 2), (2, 1.0)):
        with pytest.raises(ValueError, match="fog needs"):
            fog(black, thickness, decay, np.random.default_rng(0))


# Snow


def test_snow_is_laid_over_the_scene_as_published():
    image = texture(64, 72)
    layer = (texture(64, 72, seed=3)[..., 0] // 3).astype(np.uint8)
    x, flake = image / 255.0, layer[..., None] / 255.0
    grey = (x @ [0.299, 0.587, 0.114])[..., None]
    for kept in (0.8, 0.55):
        whitened = kept * x + (1 - kept) * np.maximum(x, 1.5 * grey + 0.5)
        expected = 255 * np.clip(whitened + flake + flake[::-1, ::-1], 0, 1)
        assert np.abs(fallen(image, layer, kept) - expected).max() <= 1


def _snow_of(severity, angle):
    row = level("snow", severity)
    return Flakes(*(row[k] for k in ("mean", "sigma", "zoom", "threshold", "radius", "smear")), angle)


@pytest.mark.parametrize("severity", range(1, 6))
def test_as_much_snow_as_published(severity):
    """The mean of a layer is that of zoomed, thresholded noise: the smear moves light, and loses none."""
    row, rng = level("snow", severity), np.random.default_rng(0)
    published = []
    for _ in range(3):
        noise = zoom(rng.normal(row["mean"], row["sigma"], (90, 90)), row["zoom"], order=1)
        noise[noise < row["threshold"]] = 0
        published.append(255 * np.clip(noise, 0, 1).mean())
    ours = [
        flakes((224, 224), _snow_of(severity, a), np.random.default_rng(-a)).mean() for a in (-130, -105, -90, -75, -60)
    ]
    assert np.mean(ours) == pytest.approx(np.mean(published), rel=0.08)


@pytest.mark.parametrize("angle", [-130.0, -105.0, -90.0, -60.0])
@pytest.mark.parametrize("severity", [2, 5])
def test_snow_falls_along_its_angle(severity, angle):
    """The direction of least change in a layer of streaks, by its structure tensor."""
    layer = flakes((256, 256), _snow_of(severity, angle), np.random.default_rng(1)).astype(float)
    dy, dx = np.gradient(gaussian_filter(layer, 1.0))
    across = 0.5 * np.arctan2(2 * (dx * dy).mean(), (dx * dx - dy * dy).mean())
    along = np.degrees(across) + 90
    # Downwards is +y in an image: a fall of -90 + t goes t to the right for every step down.
    assert abs((along - (90 - (angle + 90)) + 90) % 180 - 90) < 4


def test_snow_grows_but_for_a_tie():
    """Levels 2 and 3 bring the same light in other flakes; the others differ in PSNR."""
    quality = np.zeros(5)
    for seed in range(3):
        image = person(128, 128, seed)[0]
        quality += [psnr(image, corrupt("snow", s, image, None, seed).image) / 3 for s in range(1, 6)]
    assert abs(quality[2] - quality[1]) < 0.5
    assert (np.diff(quality)[[0, 2, 3]] < -0.5).all(), quality


def test_smear_of_a_flake_is_a_one_sided_bell():
    """The autocovariance of smeared noise along the fall is that of the kernel; across it, nothing is smeared."""
    rule = Flakes(mean=0.5, sigma=0.1, zoom=1.0, threshold=0.0, radius=12, smear=6.0, angle_deg=-90)
    layer = np.concatenate([flakes((224, 224), rule, np.random.default_rng(s)) for s in range(4)], axis=1).astype(float)
    layer -= layer.mean()
    kernel = np.exp(-0.5 * (np.arange(25) / 6.0) ** 2)
    kernel /= kernel.sum()
    for lag in (0, 3, 8):
        down = (layer[lag:] * layer[: 224 - lag]).mean() / (25.5**2)
        assert down == pytest.approx((kernel[lag:] * kernel[: 25 - lag]).sum(), rel=0.1)
    assert abs((layer[:, 2:] * layer[:, :-2]).mean()) < 0.05 * layer.var()


def test_snow_on_black_is_the_same_upside_down():
    black = np.zeros((96, 80, 3), np.uint8)
    result = corrupt("snow", 3, black, None).image.astype(int)
    scene = round(0.3 * 127.5)
    assert (result >= scene).all()
    assert np.array_equal(result, result[::-1, ::-1])


def test_snow_draws_the_direction_and_tells_it():
    angles = [Snow().sample(3, (64, 64), np.random.default_rng(s))["angle_deg"] for s in range(200)]
    assert -135 <= min(angles) < -130
    assert -50 < max(angles) <= -45
    with pytest.raises(ValueError, match="within 45 degrees"):
        _snow_of(3, -20.0)


# Frost


@pytest.mark.parametrize("severity", range(1, 6))
def test_frost_is_a_weighted_sum_of_scene_and_ice(severity):
    image = texture(64, 90)
    params = load("frost").sample(severity, (64, 90), np.random.default_rng(3))
    window = ice((64, 90), np.random.Generator(np.random.PCG64(params["seed"])))
    a, b = [(1, 0.4), (0.8, 0.6), (0.7, 0.7), (0.65, 0.7), (0.6, 0.75)][severity - 1]
    expected = np.clip(a * image.astype(float) + b * window, 0, 255)
    assert np.abs(load("frost").apply(image, params, None).image - expected).max() <= 0.52


@pytest.mark.parametrize("shape", [(224, 224), (200, 320), (320, 200)])
def test_ice_grows_in_from_all_edges(shape):
    """On every side there is more ice, and more of its fine structure, than in the middle."""
    height, width = shape
    rim, middle, detail = [], [], []
    for seed in range(4):
        grey = ice(shape, np.random.default_rng(seed))[..., 1].astype(float)
        strip = [grey[:16], grey[-16:], grey[:, :16], grey[:, -16:]]
        rim.append([s.mean() for s in strip])
        centre = grey[height * 2 // 5 : height * 3 // 5, width * 2 // 5 : width * 3 // 5]
        middle.append(centre.mean())
        detail.append((np.mean([s.std() for s in strip]), centre.std()))
    assert np.min(rim) > np.mean(middle) + 40
    assert np.mean(detail, axis=0)[0] > 1.5 * np.mean(detail, axis=0)[1]


def test_feathers_of_the_stock_are_rooted_in_their_first_row_and_differ():
    plain, mirrored = stock(200)
    assert len(plain) == len(mirrored) > 50
    for (tile, root), (other, mirrored_root) in zip(plain, mirrored, strict=True):
        assert tile[:3, max(0, root - 2) : root + 3].max() > 100
        assert np.array_equal(other, tile[:, ::-1])
        assert other.shape[1] - 1 - mirrored_root == root
    assert len({tile.tobytes() for tile, _ in plain}) == len(plain)


def test_every_window_has_other_ice():
    windows = [ice((96, 96), np.random.default_rng(seed)).astype(float) for seed in range(5)]
    mean = np.mean(windows, axis=0)
    correlation = [np.corrcoef((a - mean).ravel(), (b - mean).ravel())[0, 1] for a, b in pairwise(windows)]
    assert np.max(correlation) < 0.2


def test_ice_is_bluish_white_on_a_dark_pane():
    window = ice((200, 200), np.random.default_rng(0)).astype(int)
    assert (window[..., 2] >= window[..., 0]).all()
    assert window.min() > 20
    assert np.percentile(window, 99) > 230
    assert 80 < window.mean() < 180


def test_frost_takes_structure_with_severity():
    """PSNR need not fall (the scene is dimmed under as much ice), structure must."""
    structure = np.zeros(5)
    for seed in range(3):
        image, _, _ = person(128, 128, seed)
        structure += [
            structural_similarity(image, corrupt("frost", s, image, None, seed).image, channel_axis=2)
            for s in range(1, 6)
        ]
    assert (np.diff(structure) < 0).all(), structure


def test_impossible_frost_is_refused():
    image = texture(32, 32)
    with pytest.raises(ValueError, match="weights >= 0"):
        behind(image, image, -0.1, 0.5)
    assert np.array_equal(behind(image, image, 1.0, 0.0), image)


# Layers


@pytest.mark.parametrize(("name", "least"), [("snow", 30), ("frost", 40), ("fog", 45), ("spatter", 30)])
def test_twice_the_resolution_has_the_same_weather(name, least):
    image = cv2.GaussianBlur(person(240, 240)[0], (0, 0), 1.5)
    big = cv2.resize(image, (480, 480), interpolation=cv2.INTER_CUBIC)
    shrunk = cv2.resize(corrupt(name, 4, big, None, seed=3).image, (240, 240), interpolation=cv2.INTER_AREA)
    assert psnr(corrupt(name, 4, image, None, seed=3).image, shrunk) > least


@pytest.mark.parametrize("kind", [Snow, Fog, Spatter])
def test_published_pixels_are_an_option(kind):
    """At 224 px there is no difference; larger, lengths in pixels stay as they were."""
    for side, same in ((224, True), (448, False)):
        image = texture(side, side)
        params = kind(scaled=False).sample(3, (side, side), np.random.default_rng(5))
        scaled = kind().sample(3, (side, side), np.random.default_rng(5))
        assert (params.pop("scaled"), scaled.pop("scaled")) == (False, True)
        assert params == scaled
        results = [kind().apply(image, {**params, "scaled": s}, None).image for s in (True, False)]
        assert np.array_equal(*results) == (same or kind is Fog)


def test_published_flakes_are_small_on_a_large_picture():
    rule = _snow_of(3, -90.0)

    def size(scaled):
        layer = flakes((448, 448), rule, np.random.default_rng(0), scaled).astype(float)
        layer -= layer.mean()
        return next(n for n in range(1, 60) if (layer[:, n:] * layer[:, :-n]).mean() < 0.3 * layer.var())

    assert size(True) == pytest.approx(2 * size(False), abs=2)


@pytest.mark.parametrize("name", ["snow", "frost", "fog", "spatter", "elastic_transform"])
def test_all_levels_of_a_draw_share_it(name):
    """With one generator the levels differ by their parameters alone: the same direction, the same seed."""
    drawn = []
    for severity in range(1, 6):
        params = load(name).sample(severity, (64, 64), np.random.default_rng(8))
        drawn.append({k: v for k, v in params.items() if k not in level(name, severity)})
    assert all(d == drawn[0] for d in drawn)
    assert "seed" in drawn[0]


def test_layers_of_two_seeds_have_nothing_in_common():
    layers = [
        [flakes((448, 448), _snow_of(5, -80.0), np.random.default_rng(s)) for s in (1, 2)],
        [splashes((448, 448), "mud", level("spatter", 5), np.random.default_rng(s)) for s in (1, 2)],
    ]
    for one, other in layers:
        assert abs(np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]) < 0.03


def test_layers_have_at_least_the_pixels_of_the_source():
    assert work_size((512, 512), True) == (512, 512, 512 / 224)
    assert work_size((48, 64), True) == (168, 224, 1.0)
    assert work_size((48, 64), False) == (48, 64, 1.0)


def test_blur_of_whole_numbers_is_a_gaussian():
    layer = np.random.default_rng(0).integers(0, 256, (60, 50), dtype=np.uint8)
    blurred = gaussian16(layer, 2.0, 4.0, cv2.BORDER_REPLICATE) / 256
    assert np.abs(blurred - gaussian_filter(layer.astype(float), 2.0, mode="nearest", truncate=4)).max() < 1.5
    flat = np.full((20, 20), 77, np.uint8)
    assert (gaussian16(flat, 3.0, 4.0, cv2.BORDER_REFLECT) == 77 * 256).all()


def test_layers_are_resized_without_loss_of_light():
    layer = cv2.GaussianBlur(texture(224, 224)[..., 0], (0, 0), 3)
    assert fit(layer, (56, 56)).mean() == pytest.approx(layer.mean(), abs=0.5)
    assert enlarged(layer, (448, 448)).mean() == pytest.approx(layer.mean(), abs=0.5)
    assert fit(layer, layer.shape) is layer
