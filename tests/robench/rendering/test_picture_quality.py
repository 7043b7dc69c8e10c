"""PSNR and SSIM against scikit-image, and the published axes of SSIM against windows along the width."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from robench.rendering.quality import psnr, ssim


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    smooth = 120 + 80 * np.sin(np.mgrid[:40, :52][0][..., None] / 5 + np.arange(3))
    one = np.clip(smooth + rng.normal(0, 4, smooth.shape), 0, 255).astype(np.uint8)
    return one, np.clip(one + rng.normal(0, 25, one.shape), 0, 255).astype(np.uint8)


def test_psnr_is_that_of_scikit_image(pair) -> None:
    assert psnr(*pair) == pytest.approx(peak_signal_noise_ratio(*pair, data_range=255), abs=1e-9)
    assert psnr(pair[0], pair[0]) == math.inf
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + 255) == 0


def test_ssim_is_that_of_scikit_image(pair) -> None:
    settings = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False, "data_range": 255}
    assert ssim(*pair) == pytest.approx(structural_similarity(*pair, channel_axis=2, **settings), abs=1e-7)
    assert ssim(pair[0], pair[0]) == pytest.approx(1)


def test_as_coded_ssim_has_windows_along_the_width_alone(pair) -> None:
    a, b = (image.astype(float) for image in pair)

    def blur(x):
        return gaussian_filter1d(x, 1.5, axis=1, truncate=3.5)[:, 5:-5]

    c1, c2 = 6.5025, 58.5225
    ma, mb = blur(a), blur(b)
    top = (2 * ma * mb + c1) * (2 * (blur(a * b) - ma * mb) + c2)
    bottom = (ma**2 + mb**2 + c1) * (blur(a * a) - ma**2 + blur(b * b) - mb**2 + c2)
    assert ssim(*pair, along=(1,)) == pytest.approx((top / bottom).mean(), abs=1e-9)
    assert ssim(*pair, along=(1,)) != pytest.approx(ssim(*pair), abs=1e-3)


def test_pictures_that_cannot_be_compared_are_refused(pair) -> None:
    with pytest.raises(ValueError, match="one shape"):
        ssim(pair[0], pair[1][:-1])
    with pytest.raises(ValueError, match="at least 11"):
        ssim(pair[0][:10], pair[1][:10])
    assert 0 < ssim(pair[0][:10], pair[1][:10], along=(1,)) < 1
