"""The library's face: any picture in, the same kind out, and what the command line writes for the same id."""

import subprocess
import sys

import numpy as np
import pytest
from corruption_pictures import ALL, CARDS, WITH_DEPTH, person, texture

import corruptions
from corruptions import Corrupted, MissingInput, _library, _seeds
from corruptions.fog_3d import Fog3D
from robench import rng as contract
from robench.contracts import Sample
from robench.engine import cells
from robench.io.depth import write_depth
from robench.io.images import write_png
from robench.registry import load as registered

SHAPE = (64, 72)


@pytest.mark.parametrize(
    ("seed", "key", "parts"),
    [(0, "", ()), (7, "0029/140", ("fog_3d@1", 2)), (-3, "naïve|id", ("a", "b@2", 5)), (2**70, "pixels:00", ("x",))],
)
def test_seed_rule_is_the_contract(seed, key, parts):
    ours, theirs = _seeds.generator(seed, key, *parts), contract.generator(seed, key, *parts)
    assert ours.bit_generator.state == theirs.bit_generator.state


@pytest.mark.parametrize("name", ALL)
def test_key_of_a_sample_gives_what_the_engine_makes(name, tmp_path):
    """The picture of `robench corrupt`: from files, through the registry, by the engine's own seed rule."""
    image, depth, mask = person(*SHAPE, seed=3)
    write_png(tmp_path / "rgb.png", image)
    write_png(tmp_path / "mask.png", (mask * 255).astype(np.uint8))
    write_depth(tmp_path / "depth.npz", depth)
    files = {"mask": tmp_path / "mask.png", "depth": tmp_path / "depth.npz"}
    inputs = cells.Inputs(Sample("0029/140", "0029", 140.0, tmp_path / "rgb.png", **files))
    made = cells.corrupt(inputs, registered("corruptions", name), 4, seed=11)
    given = {"depth": inputs.depth, "mask": inputs.mask, "camera": inputs.camera}
    assert np.array_equal(corruptions.corrupt(image, name, 4, 11, key="0029/140", **given), made.image)
    run = _library.run(image, name, 4, 11, "0029/140", corruptions.Aux(**given))
    assert run.params == made.params


@pytest.mark.parametrize("name", ALL)
def test_every_kind_of_picture_comes_back_as_it_went_in(name):
    image, depth, _ = person(*SHAPE)
    alpha = texture(*SHAPE, seed=9)[..., :1]
    colour = corruptions.corrupt(image, name, 5, key="k", depth=depth)
    assert colour.shape == image.shape
    assert colour.dtype == np.uint8
    if _library.run(image, name, 5, 0, "k", corruptions.Aux(depth)).corrupted.view_change is None:
        with_alpha = corruptions.corrupt(np.concatenate([image, alpha], axis=2), name, 5, key="k", depth=depth)
        assert np.array_equal(with_alpha[..., :3], colour)
        if not corruptions.load(name).moves_pixels:
            assert np.array_equal(with_alpha[..., 3:], alpha)
    grey = image[..., 1]
    as_colour = corruptions.corrupt(np.dstack([grey] * 3), name, 5, key="k", depth=depth)
    flat = corruptions.corrupt(grey, name, 5, key="k", depth=depth)
    assert flat.shape == SHAPE
    assert np.array_equal(flat, as_colour[..., 1])
    assert np.array_equal(corruptions.corrupt(grey[..., None], name, 5, key="k", depth=depth)[..., 0], flat)


def test_grey_noise_has_the_stated_strength():
    sigma = CARDS["iso_noise"].extra["severities"][1]["sigma"]
    noisy = corruptions.corrupt(np.full((256, 256), 128, np.uint8), "iso_noise", 1) / 255
    assert noisy.var() == pytest.approx(128 / 255 / 25 + sigma**2, rel=0.05)


def test_alpha_goes_along_with_pixels_that_move():
    image = np.full((65, 65, 4), 255, np.uint8)
    image[..., 3] = 0
    image[28:37, 48:57, 3] = 255
    affine = _library.run(image, "camera_roll", 4, 0, None, corruptions.Aux()).corrupted.affine
    moved = corruptions.corrupt(image, "camera_roll", 4)
    y, x = np.nonzero(moved[..., 3] > 127)
    assert np.allclose([x.mean(), y.mean()], affine @ [52, 32, 1], atol=0.3)
    opaque = corruptions.corrupt(np.full((65, 65, 4), 255, np.uint8), "camera_roll", 4)
    assert opaque[0, 0, 3] == 0
    assert opaque[32, 32, 3] == 255


class _Dolly:
    """Moves the camera; draws nothing and changes nothing."""

    card = corruptions.Card("dolly", "1", "a camera that moves", extra={"severities": {3: {}}, "stochastic": False})
    moves_pixels = True

    def sample(self, severity, shape, rng):
        return {}

    def apply(self, image, params, aux):
        return Corrupted(image, view_change=np.eye(4))


def test_alpha_cannot_follow_a_moving_camera():
    with pytest.raises(ValueError, match="alpha cannot follow"):
        corruptions.corrupt(np.zeros((32, 32, 4), np.uint8), _Dolly())


def test_result_never_shares_memory_with_the_picture():
    image = texture(32, 32)
    result = corruptions.corrupt(image, _Dolly())
    assert np.array_equal(result, image)
    assert not np.shares_memory(result, image)


class _Dice(_Dolly):
    """Draws one number and keeps the picture."""

    card = corruptions.Card("dice", "1", "draws", extra={"severities": {3: {}}, "stochastic": True})

    def sample(self, severity, shape, rng):
        return {"drawn": int(rng.integers(2**62))}

    def apply(self, image, params, aux):
        return Corrupted(image)


def test_pictures_without_a_key_draw_by_their_pixels():
    image = texture(*SHAPE)
    other = image.copy()
    other[0, 0, 0] ^= 1

    def drawn(picture, seed=0, key=None):
        return _library.run(picture, _Dice(), 3, seed, key, corruptions.Aux()).params["drawn"]

    assert drawn(image) == drawn(np.asfortranarray(image))
    assert drawn(image, key="k") == drawn(other, key="k")
    distinct = [drawn(image), drawn(other), drawn(image, seed=1), drawn(image, key="k"), drawn(image[:32])]
    assert len(set(distinct)) == len(distinct)


def test_nothing_global_and_no_input_is_touched():
    image, depth, _ = person(*SHAPE)
    image.flags.writeable = depth.flags.writeable = False
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    for name in ("fog_3d", "iso_noise", "camera_roll"):
        corruptions.corrupt(image, name, depth=depth)
    assert np.array_equal(before, np.random.get_state()[1])  # noqa: NPY002


def test_pictures_need_not_be_contiguous():
    image = texture(64, 80)
    turned = image[::2, ::-1]
    expected = corruptions.corrupt(np.ascontiguousarray(turned), "iso_noise")
    assert np.array_equal(corruptions.corrupt(turned, "iso_noise"), expected)


def test_corruption_made_with_options():
    image, depth, _ = person(*SHAPE)
    white = corruptions.corrupt(image, Fog3D(airlight=1.0), 5, depth=depth)
    grey = corruptions.corrupt(image, "fog_3d", 5, depth=depth)
    assert white[0, 0].min() > grey[0, 0].max()


def test_names_are_all_or_those_of_a_family():
    assert corruptions.names() == ALL
    families = {CARDS[name].extra["family"] for name in ALL}
    assert sorted(name for family in families for name in corruptions.names(family)) == ALL
    for family in families:
        assert {CARDS[name].extra["family"] for name in corruptions.names(family)} == {family}
    assert "camera_roll" in corruptions.names("camera")
    corruptions.names().clear()
    assert corruptions.names() == ALL


def test_unknown_family_is_told_with_the_known_ones():
    with pytest.raises(ValueError, match=r"no family of corruptions 'smell'.*camera.*weather"):
        corruptions.names("smell")


@pytest.mark.parametrize(
    ("image", "error", "message"),
    [
        ([[1, 2], [3, 4]], TypeError, "NumPy array, got list"),
        (np.zeros((64, 64, 3)), TypeError, r"uint8.*got float64.*rint\(255 \* image\)"),
        (np.zeros((64, 64), bool), TypeError, "got bool"),
        (np.zeros((3, 64, 64), np.uint8), ValueError, r"shape \(3, 64, 64\).*channels-first.*moveaxis"),
        (np.zeros((2, 64, 64, 3), np.uint8), ValueError, r"shape \(2, 64, 64, 3\)"),
        (np.zeros(64, np.uint8), ValueError, r"shape \(64,\)"),
        (np.zeros((64, 31), np.uint8), ValueError, "at least 32 pixels on both sides, got 31x64"),
    ],
)
def test_what_is_no_picture_is_told(image, error, message):
    with pytest.raises(error, match=message):
        corruptions.corrupt(image, "iso_noise")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"corruption": "smog"}, ValueError, "no corruption 'smog'"),
        ({"corruption": 3}, TypeError, "name or an object with card, sample and apply, got 3"),
        ({"severity": 0}, ValueError, "no severity 0.*1 to 5"),
        ({"severity": np.int64(7)}, ValueError, "no severity 7"),
        ({"seed": 0.5}, TypeError, "seed must be a whole number, got 0.5"),
        ({"seed": True}, TypeError, "seed must be"),
        ({"key": 5}, TypeError, "key must be a string, got 5"),
    ],
)
def test_what_cannot_be_asked_for_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        corruptions.corrupt(texture(32, 32), **({"corruption": "iso_noise"} | arguments))


@pytest.mark.parametrize("name", WITH_DEPTH)
def test_missing_depth_is_told(name):
    with pytest.raises(MissingInput, match=f"{name} needs a depth map"):
        corruptions.corrupt(texture(32, 32), name)


class _Reader(_Dolly):
    """Keeps what it was given."""

    def apply(self, image, params, aux):
        self.aux = aux
        return Corrupted(image)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64, np.float16, np.float64])
def test_masks_of_any_type_reach_the_corruption_from_0_to_1(dtype):
    image, depth, mask = person(32, 32)
    for top in (1, 255) if dtype in (np.uint8, np.int64) else (1,):
        reader = _Reader()
        corruptions.corrupt(image, reader, depth=depth.astype(np.float64), mask=mask.astype(dtype) * dtype(top))
        assert reader.aux.mask.dtype == np.float32
        assert np.array_equal(reader.aux.mask, mask.astype(np.float32))
        assert reader.aux.depth.dtype == np.float32


@pytest.mark.parametrize("mask", [np.full((32, 32), 2.0), np.full((32, 32), np.nan), np.full((32, 32), 256)])
def test_other_masks_are_told(mask):
    with pytest.raises(ValueError, match="mask must have values from 0 to 1"):
        corruptions.corrupt(texture(32, 32), "iso_noise", mask=mask)


def test_depth_in_millimetres_is_told():
    with pytest.raises(TypeError, match=r"floating-point metres, got uint16.*depth / 1000"):
        corruptions.corrupt(texture(32, 32), "fog_3d", depth=np.full((32, 32), 3000, np.uint16))


def test_numpy_numbers_are_numbers():
    image = texture(32, 32)
    expected = corruptions.corrupt(image, "iso_noise", 2, 5)
    assert np.array_equal(corruptions.corrupt(image, "iso_noise", np.int32(2), np.uint8(5)), expected)


def test_importing_and_naming_stay_light():
    code = (
        "import sys, corruptions\n"
        "early = 'corruptions._library' in sys.modules\n"
        "corruptions.names()\n"
        "import corruptions.torch_transform\n"
        "print(early, [m for m in ('cv2', 'av', 'scipy', 'torch', 'robench') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False []"
