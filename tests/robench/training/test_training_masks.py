"""Masks of training pictures: the option, its draws, and that they are evaluation's."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from threading import Barrier

import numpy as np
import pytest

from robench import registry
from robench.data.discover import open_dataset
from robench.engine import masks as engine_masks
from robench.engine.cells import Cell, OnTheFly
from robench.errors import UsageError
from robench.io.files import sha256_file
from robench.io.images import write_png
from robench.masking.weights import SHIPPED
from robench.training.corrupter import Choice, Corrupter
from robench.training.masks import Maskers, Masking
from robench.training.mixing import Mixing

MIXING = Mixing.from_value(
    [
        {"condition": "low_light", "severities": [4], "share": 0.4},
        {"condition": "iso_noise", "severities": [2, 4, 5], "share": 0.4},
    ]
)
HALF = Masking("given", 0.5)


@pytest.fixture
def samples(people):
    return list(open_dataset(people).dataset.samples(people))


def test_what_is_written_is_read_again():
    assert Masking.from_value({"masker": "u2netp-anny", "share": 1}) == Masking("u2netp-anny", 1.0, 0)
    masking = Masking.from_value({"masker": "u2netp-anny", "share": 0.5, "draws": 4})
    assert Masking.from_value(json.loads(json.dumps(masking.to_json()))) == masking


@pytest.mark.parametrize(
    ("value", "match"),
    [
        ("u2netp-anny", "expected such as"),
        ({"masker": "u2netp-anny"}, "expected such as"),
        ({"masker": "u2netp-anny", "share": 0.5, "level": 1}, "expected such as"),
        ({"masker": "given", "share": 0.5, "draws": -1}, "0 or more"),
        ({"masker": "given", "share": 0.5, "draws": 1.5}, "a whole number"),
        ({"masker": "given", "share": 0.5, "draws": True}, "a whole number"),
        ({"masker": 3, "share": 0.5}, "masker that cannot be"),
        ({"masker": "", "share": 0.5}, "masker that cannot be"),
        ({"masker": "given", "share": "half"}, "expected a number"),
        ({"masker": "given", "share": True}, "expected a number"),
        ({"masker": "given", "share": 0}, "above 0 and up to 1"),
        ({"masker": "given", "share": 1.1}, "above 0 and up to 1"),
        ({"masker": "given", "share": float("nan")}, "above 0 and up to 1"),
    ],
)
def test_what_cannot_be_is_refused(value, match):
    with pytest.raises(UsageError, match=match):
        Masking.from_value(value)


def test_an_unknown_masker_is_refused_with_those_there_are():
    with pytest.raises(UsageError, match="u2netp-anny"):
        Corrupter(MIXING, 0, Masking("u2net-anny", 0.5))


def test_masks_move_no_other_draw_and_those_without_are_as_ever():
    """The choices of a training without masks, held to values from before there were masks."""
    plain, masked = Corrupter(MIXING, 7), Corrupter(MIXING, 7, HALF)
    turns = [f"shape {t}" for t in range(400)]
    before = [plain.draw("s0", turn) for turn in turns]
    assert [tuple(choice[:3]) for choice in before[:5]] == [
        ("clean", 0, 0),
        ("iso_noise", 2, 1771398352),
        ("low_light", 4, 2037322315),
        ("iso_noise", 2, 1224177313),
        ("clean", 0, 0),
    ]
    after = [masked.draw("s0", turn) for turn in turns]
    assert [choice._replace(masker="") for choice in after] == before
    assert {choice.masker for choice in before} == {""}
    # Half of every condition, clean pictures too: five standard deviations of a binomial.
    for condition in ("clean", "low_light", "iso_noise"):
        found = [choice.masker == "given" for choice in after if choice.condition == condition]
        assert abs(np.mean(found) - 0.5) < 5 * 0.5 / len(found) ** 0.5
    assert Corrupter(None, 7, Masking("given", 1.0)).draw("s0", "x") == Choice("clean", 0, 0, "given")


def test_with_draws_few_pictures_of_a_sample_are_masked_and_the_rest_are_new():
    plain, masked = Corrupter(MIXING, 7), Corrupter(MIXING, 7, Masking("given", 0.5, 3))
    turns = [f"shape {t}" for t in range(300)]
    after = {turn: masked.draw("s0", turn) for turn in turns}
    kinds = [choice for choice in after.values() if choice.masker]
    assert 100 < len(kinds) < 200
    assert len(set(kinds)) == 3
    assert min(kinds.count(kind) for kind in set(kinds)) > 25
    assert {choice for choice in after.values() if choice.masker} != {masked.draw("s1", turn) for turn in turns}
    for turn, choice in after.items():
        if not choice.masker:
            assert choice == plain.draw("s0", turn)


@pytest.mark.parametrize("condition", ["clean", "color_quant", "camera_roll"])
def test_a_mask_is_the_one_of_evaluation(samples, condition, tmp_path):
    """Made by the engine's own way for a cell, with the masker on two threads as there."""
    # A body that is seen: the fixture's people are noise.
    y, x = np.mgrid[-1:1:48j, -1:1:48j]
    a, b = x / 0.35, -y / 0.9
    body = np.stack([127.5 + 100 * a, 127.5 + 100 * b, np.full_like(a, 200)], axis=-1)
    write_png(tmp_path / "body.png", (body * (a**2 + b**2 <= 1)[..., None]).clip(0, 255).astype(np.uint8))
    sample = replace(samples[1], image=tmp_path / "body.png")
    severity = 0 if condition == "clean" else 3
    cell = Cell(sample, condition, severity)
    pictures = OnTheFly(11)
    masker = registry.load("maskers", "u2netp-anny")
    masker.open("cpu")
    expected = engine_masks.mask_for(masker, pictures.picture(cell), pictures.inputs(sample))
    made = Corrupter(
        Mixing.from_value([{"condition": c, "share": 0.5} for c in ("color_quant", "camera_roll")]),
        0,
        Masking("u2netp-anny", 0.5),
    )
    found = made.mask(sample, made.picture(sample, Choice(condition, severity, 11)))
    np.testing.assert_array_equal(found, expected)
    assert found.any()
    assert made.mask_identity() == {
        "name": "u2netp-anny",
        "version": masker.card.version,
        "weights": f"sha256:{sha256_file(SHIPPED / 'u2netp-anny.onnx')}",
        "share": 0.5,
        "draws": 0,
    }


def test_maskers_that_do_not_look_move_the_true_mask(samples):
    made = Corrupter(Mixing.from_value([{"condition": "camera_roll", "share": 1.0}]), 0, Masking("given", 1.0))
    picture = made.picture(samples[0], Choice("camera_roll", 5, 3))
    found = made.mask(samples[0], picture)
    assert set(np.unique(found)) == {0.0, 1.0}
    np.testing.assert_array_equal(found, picture.true_mask >= 0.5)


def test_no_masker_is_asked_for_two_pictures_at_once(samples, monkeypatch):
    """Maskers keep what they saw last; each thread must have one to itself, and each is used again."""
    made, together = [], Barrier(3, timeout=20)

    class Busy:
        card = registry.load("maskers", "none").card
        source = "predicted"
        threads = 2

        def __init__(self):
            self.busy = False
            made.append(self)

        def open(self, device):
            assert (device, self.threads) == ("cpu", 1)
            return device

        def mask(self, image):
            assert not self.busy
            self.busy = True
            together.wait()
            self.busy = False
            return np.ones(image.shape[:2], np.float32)

    monkeypatch.setattr(engine_masks, "load_masker", lambda name: Busy())
    maskers = Maskers("busy")
    picture = Corrupter(None, 0).picture(samples[0], Choice("clean", 0, 0))
    with ThreadPoolExecutor(3) as threads:
        for _ in range(4):
            assert all(mask.all() for mask in threads.map(lambda _: maskers.mask(samples[0], picture), range(3)))
    assert len(made) == 3


def test_nobody_found_and_a_failing_masker_are_told_by_name(samples, monkeypatch):
    class Blind:
        card = registry.load("maskers", "none").card
        source = "predicted"
        answer = np.zeros

        def open(self, device):
            return device

        def mask(self, image):
            return self.answer(image.shape[:2])

    blind = Blind()
    monkeypatch.setattr(engine_masks, "load_masker", lambda name: blind)
    made = Corrupter(None, 0, Masking("blind", 1.0))
    picture = made.picture(samples[0], Choice("clean", 0, 0))
    for answer, match in (
        (np.zeros, "'blind' has no mask of the training picture 's0_0'; got it finds nobody"),
        (lambda shape: np.full(shape, np.nan), "gave no"),
        (lambda shape: 1 / 0, "ZeroDivisionError"),
    ):
        blind.answer = answer
        with pytest.raises(UsageError, match=match):
            made.mask(samples[0], picture)
    with pytest.raises(ValueError, match="without a masker"):
        Corrupter(MIXING, 0).mask(samples[0], picture)
