"""The maskers that do not look."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from robench import registry
from robench.contracts import Masker
from robench.errors import UsageError


@pytest.mark.parametrize(("name", "source"), [("given", "given"), ("corrupted", "corrupted"), ("none", "none")])
def test_they_are_maskers_that_name_their_source(name, source):
    masker = registry.load("maskers", name)
    assert isinstance(masker, Masker)
    assert masker.card.name == name
    assert masker.source == masker.card.extra["source"] == source
    assert masker.open("auto") == "cpu"
    masker.close()


def test_the_whole_frame_is_all_ones():
    mask = registry.load("maskers", "none").mask(np.zeros((40, 50, 3), np.uint8))
    assert mask.shape == (40, 50)
    assert mask.dtype == np.float32
    assert mask.min() == mask.max() == 1


@pytest.mark.parametrize("name", ["given", "corrupted"])
def test_a_bare_picture_has_no_true_mask(name):
    with pytest.raises(UsageError, match=f"'{name}'.*data set with masks"):
        registry.load("maskers", name).mask(np.zeros((40, 50, 3), np.uint8))


def test_given_is_sharp_and_corrupted_keeps_its_soft_edge():
    mask = np.zeros((64, 64), np.float32)
    mask[20:40, 20:40] = 1
    half = np.array([[1.0, 0, 0.5], [0, 1, 0.25]])
    given, corrupted = (registry.load("maskers", n).carry(mask, half, mask.shape) for n in ("given", "corrupted"))
    assert set(np.unique(given)) == {0.0, 1.0}
    assert ((corrupted > 0.1) & (corrupted < 0.9)).any()
    np.testing.assert_array_equal(given, corrupted >= 0.5)


def test_importing_maskers_is_light():
    code = (
        "import sys, robench.masking.given, robench.masking.rembg;"
        "heavy = {'torch', 'cv2', 'rembg', 'onnxruntime', 'PIL', 'scipy'} & set(sys.modules);"
        "sys.exit(' '.join(heavy) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
