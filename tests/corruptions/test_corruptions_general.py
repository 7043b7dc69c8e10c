"""Laws that every corruption obeys, parametrised over all of them."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest
from corruption_pictures import ALL, STOCHASTIC, WITH_DEPTH, aux_of, corrupt, person, psnr, texture
from skimage.metrics import structural_similarity

from corruptions import NAMES, Aux, Corrupted, MissingInput, load
from robench.contracts import Corruption

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", ALL)
def test_card_tells_levels_and_deviations(name):
    corruption = load(name)
    assert isinstance(corruption, Corruption)
    card = corruption.card
    assert card.name == name
    assert card.licence == "Apache-2.0"
    assert list(card.extra["severities"]) == [1, 2, 3, 4, 5]
    levels = [json.dumps(v) for v in card.extra["severities"].values()]
    assert len(set(levels)) == 5
    assert card.extra.get("paper_severity", 1) in card.extra["severities"]
    assert card.extra["family"]
    assert all(isinstance(d, str) for d in card.extra["deviations"])
    assert card.needs <= {"depth"}


def test_entry_points_are_the_names():
    points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]["robench.corruptions"]
    assert points == NAMES


def test_unknown_name_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no corruption 'smog'.*fog_3d"):
        load("smog")


def test_modules_import_nothing_heavy():
    code = (
        "import sys, corruptions, corruptions.recipes\n"
        "[corruptions.load(n) for n in corruptions.NAMES]\n"
        "print([m for m in ('cv2', 'av', 'scipy', 'skimage', 'torch', 'robench', 'baselines') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", ALL)
def test_same_parameters_give_the_same_bytes_in_any_order(name):
    image, depth, mask = person(72, 64)
    other, other_depth, _ = person(50, 70, seed=5)
    corruption = load(name)
    params = corruption.sample(3, image.shape[:2], np.random.default_rng(1))
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    first = corruption.apply(image, params, Aux(depth, mask))
    load(name).apply(other, corruption.sample(5, (50, 70), np.random.default_rng(2)), Aux(other_depth))
    replayed = load(name).apply(image.copy(), json.loads(json.dumps(params)), Aux(depth.copy(), mask))
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002
    assert np.array_equal(first.image, replayed.image)
    assert dict(first.notes) == dict(replayed.notes)
    json.dumps(dict(first.notes))


@pytest.mark.parametrize("name", ALL)
def test_bytes_do_not_depend_on_the_number_of_threads(name):
    image, depth, _ = person(80, 96)
    threads = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        one = corrupt(name, 4, image, depth).image
        cv2.setNumThreads(4)
        four = corrupt(name, 4, image, depth).image
    finally:
        cv2.setNumThreads(threads)
    assert np.array_equal(one, four)


@pytest.mark.parametrize("name", STOCHASTIC)
def test_other_seeds_give_other_draws(name):
    image, depth, _ = person(64, 64)
    results = {corrupt(name, 3, image, depth, seed).image.tobytes() for seed in range(4)}
    assert len(results) == 4


@pytest.mark.parametrize("name", ["iso_noise", "low_light"])
def test_noise_of_two_images_is_uncorrelated(name):
    image = texture(256, 256)
    noise = [corrupt(name, 3, image, None, seed).image.astype(float) for seed in range(12)]
    mean = np.mean(noise, axis=0)
    a, b = (noise[0] - mean).ravel(), (noise[1] - mean).ravel()
    # The common mean of 12 leaves a correlation of -1/11 between residuals of independent noise.
    assert abs(np.corrcoef(a, b)[0, 1] + 1 / 11) < 0.02


@pytest.mark.parametrize("shape", [(32, 32), (33, 47), (64, 32), (51, 128), (64, 2048)])
@pytest.mark.parametrize("name", ALL)
def test_any_size_keeps_shape_type_and_input(name, shape):
    image, depth, _ = person(*shape)
    kept, kept_depth = image.copy(), depth.copy()
    image.flags.writeable = depth.flags.writeable = False
    result = corrupt(name, 5, image, depth)
    assert isinstance(result, Corrupted)
    assert result.image.shape == (*shape, 3)
    assert result.image.dtype == np.uint8
    assert np.array_equal(image, kept)
    assert np.array_equal(depth, kept_depth)
    assert not np.shares_memory(result.image, image)
    # 7 px of aperture at 512 is 0.4 px at 32, too little for a visible blur.
    assert name in ("near_focus", "far_focus") or not np.array_equal(result.image, image)
    assert (result.affine is not None) == load(name).moves_pixels


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (np.zeros((64, 64), np.uint8), "shape"),
        (np.zeros((64, 64, 4), np.uint8), "RGBA"),
        (np.zeros((64, 64, 3), np.float32), "float32"),
        (np.zeros((31, 64, 3), np.uint8), "at least 32 pixels.*64x31"),
    ],
)
@pytest.mark.parametrize("name", ALL)
def test_wrong_image_is_told(name, wrong, message):
    with pytest.raises(ValueError, match=message):
        corrupt(name, 1, wrong, np.ones(wrong.shape[:2], np.float32))


@pytest.mark.parametrize("severity", [0, 6, -1, 2.5, "3", True, None])
@pytest.mark.parametrize("name", ALL)
def test_other_severities_are_refused(name, severity):
    with pytest.raises(ValueError, match=f"{name} has no severity {severity!r}.*1 to 5"):
        load(name).sample(severity, (64, 64), np.random.default_rng(0))


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_missing_depth_is_told(name):
    image, _, _ = person(64, 64)
    for nothing in (None, Aux()):
        params = load(name).sample(1, (64, 64), np.random.default_rng(0))
        with pytest.raises(MissingInput, match=f"{name} needs a depth map, got none"):
            load(name).apply(image, params, nothing)
    with pytest.raises(MissingInput, match="without a single finite"):
        corrupt(name, 1, image, np.full((64, 64), np.inf, np.float32))
    with pytest.raises(ValueError, match=r"shape \(64, 64\), got \(32, 64\)"):
        corrupt(name, 1, image, np.ones((32, 64), np.float32))


@pytest.mark.parametrize("name", sorted(set(ALL) - set(WITH_DEPTH)))
def test_others_need_no_aux(name):
    image, _, _ = person(64, 64)
    corruption = load(name)
    assert corruption.apply(image, corruption.sample(2, (64, 64), np.random.default_rng(0)), None).image.any()


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (128, 128, 128), (250, 10, 60)])
@pytest.mark.parametrize("name", ALL)
def test_plain_pictures_are_fine(name, colour):
    image = np.full((48, 40, 3), colour, np.uint8)
    depth = person(48, 40)[1]
    with np.errstate(all="raise", under="ignore"):
        result = corrupt(name, 5, image, depth)
    assert result.image.shape == image.shape


# saturate washes out at levels 1 and 2 and glares from 3 on: two scales, of which 2 may lie farther from the picture.
# frost's published weights dim the scene from level 3 to 4 under as much ice: a bright picture comes nearer to itself.
# snow's published levels 2 and 3 bring the same light.
# field_of_view and scale empty the picture; once most of it is another, chance decides (their laws: test_views.py).
@pytest.mark.parametrize(
    "name",
    sorted(
        set(ALL) - {"bit_error", "camera_roll", "field_of_view", "frost", "saturate", "scale", "snow", "truncation"}
    ),
)
def test_severity_grows(name):
    """On average over pictures, PSNR falls with severity and SSIM does not rise (the same draw for all levels)."""
    quality, structure = np.zeros(5), np.zeros(5)
    # Lamps are ranked by the light on the person, while the wall behind them takes what each lamp gives: more draws.
    pictures = 10 if name == "shadow" else 3
    for seed in range(pictures):
        image, depth, _ = person(128, 128, seed)
        for severity in range(1, 6):
            result = corrupt(name, severity, image, depth, seed).image
            quality[severity - 1] += psnr(image, result) / pictures
            structure[severity - 1] += structural_similarity(image, result, channel_axis=2) / pictures
    assert (np.diff(quality) < 0).all(), quality
    if name != "zoom_blur_2d":
        assert (np.diff(structure) < 0.01).all(), structure


def test_bit_error_grows_on_average():
    """A single picture may get better by one more error; the mean over draws may not."""
    image, depth, _ = person(128, 128)
    quality = np.mean(
        [[psnr(image, corrupt("bit_error", s, image, depth, seed).image) for s in range(1, 6)] for seed in range(24)],
        axis=0,
    )
    assert (np.diff(quality) < 0).all(), quality


def test_roll_moves_farther_with_severity():
    image, depth, _ = person(64, 64)
    corner = np.array([0.0, 0.0, 1.0])
    moved = [np.linalg.norm(corrupt("camera_roll", s, image, depth).affine @ corner) for s in range(1, 6)]
    assert (np.diff(moved) > 0).all()


@pytest.mark.parametrize(
    "name", ["far_focus", "near_focus", "occlusion", "xy_motion_blur", "z_motion_blur", "zoom_blur_2d"]
)
def test_twice_the_resolution_is_the_same_picture(name):
    image, depth, _ = person(128, 128)
    image = cv2.GaussianBlur(image, (0, 0), 1.5)
    big = cv2.resize(image, (256, 256), interpolation=cv2.INTER_CUBIC)
    big_depth = cv2.resize(depth, (256, 256), interpolation=cv2.INTER_NEAREST)
    small = corrupt(name, 4, image, depth, seed=3).image
    shrunk = cv2.resize(corrupt(name, 4, big, big_depth, seed=3).image, (128, 128), interpolation=cv2.INTER_AREA)
    assert psnr(small, shrunk) > 30


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_no_depth_is_background_however_it_is_written(name):
    image, depth, mask = person(64, 64)
    reference = corrupt(name, 3, image, depth)
    for void in (np.nan, 0.0, -1.0):
        other = corrupt(name, 3, image, np.where(mask, depth, np.float32(void)))
        assert np.array_equal(other.image, reference.image)
    assert reference.notes["no_depth_share"] == pytest.approx(1 - mask.mean())
    assert reference.notes["nearest_m"] == pytest.approx(3.0)
    assert reference.notes["farthest_m"] == pytest.approx(6.0)


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_orthographic_distance_does_not_matter(name):
    """The person stands at the declared distance, wherever the render put the camera."""
    image, depth, _ = person(64, 64)
    assert psnr(corrupt(name, 3, image, depth).image, corrupt(name, 3, image, depth - 4).image) > 55


def test_aux_carries_depth_and_mask():
    _, depth, mask = person(64, 64)
    assert aux_of(depth, mask).mask is mask
    assert aux_of(depth).mask is None
